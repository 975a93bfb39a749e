"""The families against torchRPM's values."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import expfam

REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "torchrpm.npz"
SIZE = 4


@pytest.fixture(scope="module")
def values():
    with np.load(REFERENCE) as arrays:
        prefixes = ("diag__", "full__", "vonmises__", "fixedcov__")
        return {name: arrays[name] for name in arrays.files if name.startswith(prefixes)}


def build(name, eta, values):
    if name == "diag":
        return expfam.DiagonalGaussian(eta[..., :SIZE], eta[..., SIZE:])
    if name == "full":
        return expfam.Gaussian(eta[..., :SIZE], eta[..., SIZE:].reshape(*eta.shape[:-1], SIZE, SIZE))
    if name == "vonmises":
        return expfam.VonMises(eta.reshape(*eta.shape[:-1], SIZE, 2))
    return expfam.KnownCovarianceGaussian(eta, values["fixedcov__covariance"])


@pytest.mark.parametrize("name", ["diag", "full", "vonmises", "fixedcov"])
def test_log_partition_and_mean(name, values):
    family = build(name, jnp.asarray(values[f"{name}__eta"]), values)
    np.testing.assert_allclose(family.log_partition(), values[f"{name}__A"], rtol=0, atol=1e-10)
    mean = np.concatenate([np.reshape(m, (len(m), -1)) for m in family.mean_parameters()], axis=-1)
    np.testing.assert_allclose(mean, values[f"{name}__mean"], rtol=0, atol=1e-10)


def test_hessian(values):
    hessian = jax.vmap(jax.hessian(lambda eta: build("diag", eta, values).log_partition()))
    np.testing.assert_allclose(
        hessian(jnp.asarray(values["diag__eta"])), values["diag__hessian"], rtol=0, atol=1e-10
    )
