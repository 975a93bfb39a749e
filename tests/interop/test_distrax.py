"""Conversions to and from distrax."""

import subprocess
import sys

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import expfam
from rpm_jax.interop import from_distrax, to_distrax

SPREAD = jnp.linspace(0.5, 2.0, 6).reshape(2, 3)
MATRIX = jnp.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]])

FAMILIES = {
    "Beta": expfam.Beta.from_concentrations(SPREAD, SPREAD[::-1]),
    "Categorical": expfam.Categorical(SPREAD),
    "DiagonalGaussian": expfam.DiagonalGaussian(SPREAD, -SPREAD),
    "Dirichlet": expfam.Dirichlet.from_concentration(SPREAD),
    "Gamma": expfam.Gamma.from_shape_and_rate(SPREAD, SPREAD[::-1]),
    "Gaussian": expfam.Gaussian(SPREAD, jnp.stack([-MATRIX, -2.0 * MATRIX])),
    "KnownCovarianceGaussian": expfam.KnownCovarianceGaussian(SPREAD, MATRIX),
    "VonMises": expfam.VonMises.from_direction_and_concentration(SPREAD, SPREAD[::-1]),
}


@pytest.fixture(params=FAMILIES, ids=str)
def family(request):
    return FAMILIES[request.param]


def test_density_and_moments(family):
    distribution = to_distrax(family)
    z = family.sample(jax.random.key(0))
    assert distribution.batch_shape == family.batch_shape
    assert distribution.event_shape == z.shape[len(family.batch_shape) :]
    np.testing.assert_allclose(distribution.log_prob(z), family.log_prob(z), atol=1e-10)
    if not isinstance(family, expfam.Categorical):
        np.testing.assert_allclose(distribution.mean(), family.mean(), atol=1e-10)
        np.testing.assert_allclose(distribution.variance(), family.variance(), atol=1e-10)


def test_round_trip(family):
    back = from_distrax(to_distrax(family))
    if isinstance(family, expfam.KnownCovarianceGaussian):
        family = expfam.Gaussian.from_mean_and_covariance(family.mean(), jnp.stack([MATRIX, MATRIX]))
    assert type(back) is type(family)
    assert back.batch_shape == family.batch_shape
    np.testing.assert_allclose(back.kl_divergence(family), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (distrax.Independent(distrax.Normal(SPREAD, 2.0), 1), expfam.DiagonalGaussian),
        (distrax.MultivariateNormalFullCovariance(SPREAD, MATRIX), expfam.Gaussian),
        (distrax.MultivariateNormalDiag(SPREAD, jnp.ones(3)), expfam.DiagonalGaussian),
        (distrax.Categorical(probs=jnp.array([0.0, 0.4, 0.6])), expfam.Categorical),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_from_other_forms(distribution, expected):
    family = from_distrax(distribution)
    assert type(family) is expected
    z = distribution.sample(seed=jax.random.key(0))
    np.testing.assert_allclose(family.log_prob(z), distribution.log_prob(z), atol=1e-10)


def test_family_without_counterpart():
    with pytest.raises(
        TypeError, match=r"no counterpart of Poisson; these convert: Beta, Categorical, .*VonMises"
    ):
        to_distrax(expfam.Poisson(jnp.zeros(3)))


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        (
            distrax.Laplace(0.0, 1.0),
            r"no family equals Laplace with event shape \(\); these convert: Categorical",
        ),
        (
            distrax.Gamma(SPREAD, SPREAD),
            r"no family equals Gamma with event shape \(\).*Independent with one event",
        ),
        (distrax.Independent(distrax.Gamma(SPREAD, SPREAD), 2), r"Independent with event shape \(2, 3\)"),
        ("text", r"no family equals str"),
    ],
    ids=["laplace", "scalar", "two_axes", "text"],
)
def test_distribution_without_counterpart(distribution, message):
    with pytest.raises(TypeError, match=message):
        from_distrax(distribution)


def test_broken_distrax(monkeypatch):
    def refuse(name):
        raise AttributeError("module 'jax' has no attribute 'gone'")

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(ImportError, match=r"AttributeError: module 'jax' has no.*pip install -U distrax"):
        to_distrax(FAMILIES["Gamma"])


def test_distrax_is_not_imported_before_it_is_asked_for():
    program = (
        "import sys, rpm_jax, rpm_jax.expfam, rpm_jax.interop; "
        "sys.exit(any(name.split('.')[0] in ('distrax', 'tensorflow_probability') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
