"""Von Mises, Gamma, Beta and Dirichlet latents from end to end: fitted to data of their own kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import rpm_jax as rpm
from rpm_jax.expfam import Beta, Dirichlet, Gamma, VonMises

SIZE = 100
NOISE = 0.15


def angles(rng):
    """Two noisy points on a circle for every angle, the second turned and mirrored."""
    z = rng.uniform(-np.pi, np.pi, SIZE)
    first, second = (np.stack([np.cos(a), np.sin(a)], axis=-1) for a in (z, 1.0 - z))
    return z, (first, second)


def positive(rng):
    """The logarithm and the root of a positive number."""
    z = rng.gamma(2.0, 1.0, SIZE)
    return z, (np.log(z)[:, None], np.sqrt(z)[:, None])


def fraction(rng):
    """The log-odds of a fraction, and a curve of it."""
    z = rng.beta(2.0, 2.0, SIZE)
    return z, (np.log(z / (1.0 - z))[:, None], np.sin(2.0 * z)[:, None])


def parts(rng):
    """Three parts of a whole, as log-ratios and as they are."""
    z = rng.dirichlet(np.full(3, 2.0), SIZE)
    return z, (np.log(z[:, :2] / z[:, 2:]), 2.0 * z)


def circular_correlation(z, estimate):
    """Of directions, up to rotation and reflection."""
    return max(np.abs(np.mean(np.exp(1j * (estimate[:, 0] - sign * z)))) for sign in (1, -1))


def rank_correlation(z, estimate):
    """Up to a monotone map, which the prior alone could tell apart."""
    z = z.reshape(SIZE, -1)
    if z.shape[1] == 1:
        return abs(scipy.stats.spearmanr(z[:, 0], estimate[:, 0]).statistic)
    # Which part is which is not known, nor how they are mixed: linear regression in logarithms.
    inputs = np.column_stack([np.log(estimate), np.ones(SIZE)])
    target = np.log(z)
    residual = target - inputs @ np.linalg.lstsq(inputs, target, rcond=None)[0]
    return 1.0 - np.var(residual) / np.var(target - target.mean(axis=0))


CASES = {
    "VonMises": (lambda: VonMises(jnp.zeros((1, 2))), angles, circular_correlation, 0.9),
    "Gamma": (
        lambda: Gamma.from_shape_and_rate(jnp.full(1, 2.0), jnp.ones(1)),
        positive,
        rank_correlation,
        0.9,
    ),
    "Beta": (
        lambda: Beta.from_concentrations(jnp.full(1, 2.0), jnp.full(1, 2.0)),
        fraction,
        rank_correlation,
        0.9,
    ),
    "Dirichlet": (lambda: Dirichlet.from_concentration(jnp.full(3, 2.0)), parts, rank_correlation, 0.8),
}


@functools.cache
def fitted(name):
    natural, draw, score, _ = CASES[name]
    rng = np.random.default_rng(0)
    z, clean = draw(rng)
    views = tuple(view + NOISE * rng.normal(size=view.shape) for view in clean)
    model = rpm.RPM(rpm.priors.Static(natural()), rpm.factors.per_view(rpm.networks.MLP((16,)), 2))
    fit = rpm.fit(model, views, key=jax.random.key(0), num_steps=250, batch_size=25)
    posterior = rpm.inference.posterior(rpm.Fitted(model, fit.params, views))
    return model, fit, views, score(z, np.asarray(posterior.mean)[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_fit_to_data_of_its_own_kind(name):
    """The bound rises, the latent is recovered, and the bound is below the exact log-likelihood."""
    model, fit, views, score = fitted(name)
    bound = np.asarray(fit.history.train)
    assert np.mean(bound[-50:]) > np.mean(bound[:10]) + 0.3
    assert score > CASES[name][-1]
    some = tuple(view[:8] for view in views)
    exact = rpm.diagnostics.log_likelihood_quadrature(
        rpm.Fitted(model, fit.params, views), some, tolerance=1e-3
    )
    evaluated = rpm.inference.evaluate(rpm.Fitted(model, fit.params, views), some)
    assert np.all(evaluated <= exact.log_likelihood)
    estimate = rpm.diagnostics.log_likelihood_estimate(
        rpm.Fitted(model, fit.params, views), some, jax.random.key(1), num_samples=4000
    )
    error = np.abs(estimate.log_likelihood - exact.log_likelihood)
    assert np.all(error <= 3.5 * estimate.standard_error + 1e-3)
