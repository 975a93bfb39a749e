"""One view from others."""

import jax
import jax.numpy as jnp
import numpy as np
from cases.one_latent import KEY, NEW, TRAIN, grid_densities, model, params
from support import init, two_views

import rpm_jax as rpm


def test_prediction_against_quadrature():
    own, p = model(), params()

    @jax.jit
    def expected(p):
        log_f, log_mixture, log_prior = grid_densities(own, p, NEW)
        log_train, _, _ = grid_densities(own, p, TRAIN)
        log_posterior = log_prior[:, None] + log_f[..., 0] - log_mixture[:, None, 0]
        posterior = jax.nn.softmax(log_posterior, axis=0)
        conditional = jnp.exp(log_train[..., 1] - log_mixture[:, None, 1]) / 12
        return jnp.einsum("gn,gm->nm", posterior, conditional)

    # Whatever the second view holds.
    views = (NEW[0], jnp.full_like(NEW[1], jnp.nan))
    log_weights = rpm.generation.predictive_log_weights(
        rpm.Fitted(own, p, TRAIN), views, 1, key=KEY, num_samples=20_000
    )
    assert log_weights.shape == (5, 12, 1)
    np.testing.assert_allclose(jax.nn.logsumexp(log_weights, axis=1), 0.0, atol=1e-10)
    np.testing.assert_allclose(np.exp(log_weights[..., 0]), expected(p), atol=0.01)
    draws = rpm.generation.predict(rpm.Fitted(own, p, TRAIN), views, 1, KEY, (2000,), num_samples=2000)
    assert draws.shape == (2000, 5, 1)
    frequency = np.stack([np.bincount(np.asarray(draws[:, n, 0]), minlength=12) / 2000 for n in range(5)])
    np.testing.assert_allclose(frequency, np.exp(log_weights[..., 0]), atol=0.05)


def test_pooled_mixtures():
    """Components are all data at all sites; prediction is over both."""
    train = two_views(0, 12, sites=4)
    own = rpm.RPM(
        rpm.priors.gaussian_process(jnp.arange(4.0)),
        rpm.factors.per_view(rpm.networks.PointwiseMLP((4,)), 2),
        pooled=True,
    )
    p = init(own, KEY, rpm.as_data(train))
    log_weights = rpm.generation.predictive_log_weights(
        rpm.Fitted(own, p, train), train, 0, key=KEY, num_samples=20
    )
    assert log_weights.shape == (12, 48, 4)
    np.testing.assert_allclose(jax.nn.logsumexp(log_weights, axis=1), 0.0, atol=1e-10)
    assert rpm.diagnostics.mixture_divergence(
        rpm.Fitted(own, p, train), KEY, num_samples=20
    ).divergence.shape == (2, 1)
