"""The inner bound and its gradients against torchRPM's: 5 models × 2 posteriors × 3 auxiliaries."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import rbf

from rpm_jax.expfam import DiagonalGaussian, Gaussian
from rpm_jax.objectives import inner_bound
from rpm_jax.priors import GaussianProcess, Static

REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "torchrpm.npz"
MODELS = ("single_1d", "single_diag", "single_full", "temporal_rbf", "temporal_tridiagonal")
CASES = [f"{p}_{a}" for p in ("conjugate", "saturated") for a in ("useq", "classic", "delta")]
SIZE = 3  # of single_full


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith(("single", "temporal"))}


def natural(model, array):
    if model == "single_full":
        return Gaussian(array[..., :SIZE], array[..., SIZE:].reshape(*array.shape[:-1], SIZE, SIZE))
    half = array.shape[-1] // 2
    return DiagonalGaussian(array[..., :half], array[..., half:])


def make_prior(model, theta, given):
    if model.startswith("single"):
        return Static(natural(model, theta["eta0"]))
    mean = given["mu"]
    if model == "temporal_rbf":
        return GaussianProcess.from_covariance(mean, rbf(given["times"], theta["gamma"]))
    size = len(mean)
    diagonal = jnp.exp(theta["diag_val_base"])
    neighbours = jnp.eye(size, k=1) + jnp.eye(size, k=-1)
    precision = diagonal * (jnp.eye(size) + 0.5 * jnp.tanh(theta["off_val_base"]) * neighbours)
    return GaussianProcess.from_precision(mean, precision.astype(mean.dtype))


LEARNED = {
    "temporal_rbf": ("gamma",),
    "temporal_tridiagonal": ("diag_val_base", "off_val_base"),
}


def bound(model, theta, g, given, choice):
    """The mean bound, and the bounds and q's marginals; `choice` is a row of numbers for one case."""
    prior = make_prior(model, theta, given)
    sites = prior.sites()
    factors, potentials, auxiliary = (natural(model, x) for x in (g, given["lam"], given["aux"]))
    if model.startswith("single"):
        factors, potentials, auxiliary = factors[..., None], potentials[..., None], auxiliary[..., None]
    saturated, prior_based, shift = choice
    potentials = factors.sum(-2) * (1 - saturated) + potentials * saturated
    marginals = prior.condition(potentials).sites
    xi = (marginals * (1 - prior_based))[..., None, :] + sites * prior_based + auxiliary * shift
    factors = factors + sites
    values = inner_bound(prior, factors, factors, potentials=potentials, auxiliary=xi)
    return jnp.mean(values), (values, marginals)


@functools.partial(jax.jit, static_argnums=0)
def values_of(model, theta, given, choices):
    """Bounds (6, N) of all cases in one program."""
    return jax.vmap(lambda choice: bound(model, theta, given["g"], given, choice)[1][0])(choices)


@functools.partial(jax.jit, static_argnums=0)
def everything_of(model, theta, given, choices):
    """(Bounds (6, N), q's marginals), (gradient of theta, gradient of g)."""

    def both(choice):
        gradient = jax.value_and_grad(
            lambda theta, g: bound(model, theta, g, given, choice), argnums=(0, 1), has_aux=True
        )
        (_, outputs), gradients = gradient(theta, given["g"])
        return outputs, gradients

    return jax.vmap(both)(choices)


def run(function, model, reference, dtype):
    values = {
        name.removeprefix(f"{model}__"): jnp.asarray(value, dtype)
        for name, value in reference.items()
        if name.count("__") == 1 and name.startswith(f"{model}__")
    }
    theta = {name: values[name] for name in LEARNED.get(model, ("eta0",))}
    choices = [
        [float(case.startswith("saturated")), float(case.endswith("classic")), float("useq" not in case)]
        for case in CASES
    ]
    return jax.tree.map(np.asarray, function(model, theta, values, jnp.asarray(choices, dtype)))


@pytest.fixture(scope="module", params=MODELS)
def double(request, reference):
    return request.param, run(everything_of, request.param, reference, jnp.float64)


def symmetric(model, gradient):
    """Of a gradient with respect to a full η2 only the symmetric part means something."""
    if model != "single_full":
        return gradient
    matrix = gradient[..., SIZE:].reshape(*gradient.shape[:-1], SIZE, SIZE)
    matrix = 0.5 * (matrix + np.swapaxes(matrix, -1, -2))
    return np.concatenate([gradient[..., :SIZE], matrix.reshape(*gradient.shape[:-1], -1)], axis=-1)


@pytest.mark.parametrize("case", CASES)
def test_value_and_marginals(double, reference, case):
    model, ((values, marginals), _) = double
    assert values.dtype == np.float64
    expected = reference[f"{model}__{case}__elbo"]
    np.testing.assert_allclose(values[CASES.index(case)], expected, rtol=0, atol=1e-10)
    if model.startswith("temporal"):
        marginals = marginals[CASES.index(case)]
        for name, value in (("q_mean", marginals.mean()), ("q_var", marginals.variance())):
            expected = reference[f"{model}__{case}__{name}"]
            np.testing.assert_allclose(value[..., 0], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_gradients(double, reference, case):
    model, (_, (theta, factors)) = double
    prefix = f"{model}__{case}__grad_"
    for name, gradient in theta.items():
        expected = np.squeeze(reference[prefix + name])
        got = symmetric(model, gradient[CASES.index(case)])
        np.testing.assert_allclose(got, symmetric(model, expected), rtol=0, atol=1e-8, err_msg=name)
    for j in range(factors.shape[2]):
        got = symmetric(model, factors[CASES.index(case)][:, j])
        expected = symmetric(model, reference[f"{prefix}g{j}"])
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-8, err_msg=f"view {j}")


def test_below_the_exact_values(reference):
    """Bound ≤ exact ELBO ≤ log w, both by quadrature to 1e-6."""
    values = run(values_of, "single_1d", reference, jnp.float64)
    for value, case in zip(values, CASES, strict=True):
        exact = reference[f"single_1d__{case.split('_')[0]}__exact_elbo"]
        assert np.all(value <= exact + 1e-6)
        assert np.all(exact <= reference["single_1d__exact_log_w"] + 1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_single_precision(model, reference):
    values = run(values_of, model, reference, jnp.float32)
    assert values.dtype == np.float32
    expected = np.stack([reference[f"{model}__{case}__elbo"] for case in CASES])
    # The terms are of size 1 to 100: absolute where their sum is nearly zero.
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)
