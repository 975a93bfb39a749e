"""What constructors say when their arguments do not fit: the argument, what came, what was expected."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest

from rpm_jax import expfam

zeros = jnp.zeros

MESSAGES = [
    (
        lambda: expfam.DiagonalGaussian(zeros((5, 3)), zeros((5, 2))),
        r"DiagonalGaussian: eta1 and eta2 must end in the same number K.*\(5, 3\) and \(5, 2\)",
    ),
    (
        lambda: expfam.Gaussian(zeros((5, 3)), zeros((5, 3))),
        r"Gaussian: eta1 must end in \(K,\) and eta2 in \(K, K\).*\(5, 3\) and \(5, 3\)",
    ),
    (
        lambda: expfam.Gaussian(zeros(3), zeros(3)),
        r"Gaussian: eta2 needs at least 2 axes.*got shape \(3,\)",
    ),
    (
        lambda: expfam.KnownCovarianceGaussian(zeros((5, 3)), jnp.eye(2)),
        r"covariance must have shape \(K, K\) = \(3, 3\) to go with eta \(5, 3\), got \(2, 2\)",
    ),
    (lambda: expfam.VonMises(zeros((5, 3))), r"VonMises: eta must end in \(K, 2\).*got shape \(5, 3\)"),
    (lambda: expfam.VonMises(zeros(2)), r"VonMises: eta needs at least 2 axes.*got shape \(2,\)"),
    (lambda: expfam.Categorical(zeros((5, 0))), r"Categorical: logits must end in at least one.*\(5, 0\)"),
    (lambda: expfam.Categorical(0.0), r"Categorical: logits needs at least 1 axes.*got shape \(\)"),
    (lambda: expfam.Dirichlet(zeros((5, 1))), r"Dirichlet: eta must end in K >= 2 parts, got shape \(5, 1\)"),
    (
        lambda: expfam.Gamma(zeros((5, 3)), zeros((5, 2))),
        r"Gamma: eta1 and eta2 must end in the same number K.*\(5, 3\) and \(5, 2\)",
    ),
    (
        lambda: expfam.Beta(zeros((5, 3)), zeros((5, 2))),
        r"Beta: eta1 and eta2 must end in the same number K.*\(5, 3\) and \(5, 2\)",
    ),
    (lambda: expfam.Poisson(0.0), r"Poisson: eta needs at least 1 axes.*got shape \(\)"),
    (
        lambda: expfam.Gamma(zeros((4, 3)), zeros((5, 3))),
        r"Gamma: the batch axes of the natural parameters differ: eta1 \(4, 3\), eta2 \(5, 3\)",
    ),
]


@pytest.mark.parametrize(("construct", "message"), MESSAGES)
def test_shapes(construct, message):
    with pytest.raises(ValueError, match=message):
        construct()


def test_dtype():
    with pytest.raises(
        TypeError, match=r"Poisson: natural parameter \w+ must be an array of real numbers, got dtype complex"
    ):
        expfam.Poisson(zeros(3, complex))


def test_integers_become_floating_point():
    assert jnp.issubdtype(expfam.Poisson(jnp.arange(3)).dtype, jnp.floating)


@pytest.mark.parametrize(("operation", "symbol"), [(lambda a, b: a + b, r"\+"), (lambda a, b: a - b, "-")])
def test_arithmetic_of_two_families(operation, symbol):
    with pytest.raises(
        TypeError, match=rf"{symbol} takes two members of one family, got Poisson and Dirichlet"
    ):
        operation(expfam.Poisson(zeros(3)), expfam.Dirichlet(zeros(3)))


@pytest.mark.parametrize(
    "family",
    [
        expfam.Beta(zeros(3), zeros(3)),
        expfam.Categorical(zeros(3)),
        expfam.DiagonalGaussian(zeros(3), -jnp.ones(3)),
        expfam.Dirichlet(zeros(3)),
        expfam.Gamma(zeros(3), -jnp.ones(3)),
        expfam.Gaussian(zeros(3), -jnp.eye(3)),
        expfam.VonMises(zeros((3, 2))),
    ],
    ids=lambda family: type(family).__name__,
)
def test_divergence_of_two_families(family):
    with pytest.raises(TypeError, match=rf"got {type(family).__name__} and Poisson"):
        family.kl_divergence(expfam.Poisson(zeros(3)))


def test_known_covariance_is_needed():
    with pytest.raises(TypeError, match=r"KnownCovarianceGaussian.from_mean needs covariance="):
        expfam.KnownCovarianceGaussian.from_mean((zeros(3),))


def test_derivative_of_rejection_sampling():
    def first(eta):
        return expfam.VonMises(eta).sample(jax.random.key(0))[0]

    with pytest.raises(TypeError, match=r"Stop the gradient of the family before sampling"):
        jax.grad(first)(jnp.ones((1, 2)))


def test_methods_of_an_incomplete_family():
    @expfam.pytree_dataclass
    class Incomplete(expfam.ExponentialFamily):
        eta: jax.Array
        natural_ranks: ClassVar[dict[str, int]] = {"eta": 1}

    with pytest.raises(NotImplementedError):
        Incomplete(zeros(3)).mean_parameters()
