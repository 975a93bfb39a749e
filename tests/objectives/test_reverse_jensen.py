"""torchRPM's "reverse Jensen" value: no bound as it is written there, the conjugate inner bound done right.

For J views, q conjugate and ξ = ηq the inner bound reads

    log_normalizer − Σ_j [A(η_j) − A(η0)] + J (A(ηq) − A(η0)) + J log N
    − Σ_j logsumexp_m [A(ηq − η0 + η_j^m) − A(η_j^m)];

torchRPM's formula has A(ηq) − A(η0) once instead of J times.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import FAMILIES, random_potentials

from rpm_jax.expfam import DiagonalGaussian, Gaussian
from rpm_jax.objectives import implicit_log_likelihood, inner_bound
from rpm_jax.priors import Static

REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "torchrpm.npz"


@jax.jit
def reverse_jensen(prior, factors, count):
    """The formula with A(ηq) − A(η0) `count` times."""
    sites = prior.sites()
    size = factors.batch_shape[0]
    posterior = (factors - sites).sum(-2) + sites
    gain = (posterior.log_partition() - sites.log_partition())[:, 0]
    tilted = (posterior - sites)[:, None, None] + factors
    components = tilted.log_partition() - factors.log_partition()
    log_mixtures = jax.nn.logsumexp(components, axis=1) - jnp.log(size)
    return implicit_log_likelihood(prior, factors) + count * gain - log_mixtures.sum((-2, -1))


def natural(model, array):
    if model == "single_full":
        size = int(np.sqrt(array.shape[-1] + 0.25))
        return Gaussian(array[..., :size], array[..., size:].reshape(*array.shape[:-1], size, size))
    half = array.shape[-1] // 2
    return DiagonalGaussian(array[..., :half], array[..., half:])


@pytest.fixture(scope="module", params=["single_1d", "single_diag", "single_full"])
def case(request):
    """torchRPM's random natural parameters and its value for them."""
    with np.load(REFERENCE) as arrays:
        g, eta0, value = (arrays[f"{request.param}__{name}"] for name in ("g", "eta0", "reverse_jensen"))
    prior = Static(natural(request.param, eta0))
    return prior, natural(request.param, g)[..., None] + prior.sites(), value


def test_torchrpm_has_the_term_once(case):
    prior, factors, value = case
    np.testing.assert_allclose(reverse_jensen(prior, factors, 1), value, atol=1e-10)


def test_done_right_it_is_the_conjugate_bound(case):
    prior, factors, _ = case
    bound = jax.jit(inner_bound)(prior, factors, factors)
    np.testing.assert_allclose(reverse_jensen(prior, factors, factors.batch_shape[1]), bound, atol=1e-10)


def test_done_right_for_another_family():
    prior = Static(FAMILIES["DiagonalGaussian"])
    factors = prior.sites() + random_potentials(0, prior.natural, (4, 3, 1))
    bound = jax.jit(inner_bound)(prior, factors, factors)
    np.testing.assert_allclose(reverse_jensen(prior, factors, 3), bound, rtol=1e-10)


def test_it_can_exceed_the_likelihood():
    """torchRPM's own values lie above log w by quadrature in 10 of 12 cases, by up to 0.79 nats."""
    with np.load(REFERENCE) as arrays:
        g, eta0, value, log_w = (
            arrays[f"single_1d__{name}"] for name in ("g", "eta0", "reverse_jensen", "exact_log_w")
        )
    assert (value > log_w + 1e-3).sum() == 10
    assert (value - log_w).max() > 0.75
    prior = Static(natural("single_1d", eta0))
    factors = natural("single_1d", g)[..., None] + prior.sites()
    assert (reverse_jensen(prior, factors, factors.batch_shape[1]) <= log_w + 1e-6).all()
