"""Log-partitions of the sums of all pairs, against the plain form that every family has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.expfam import (
    Beta,
    Categorical,
    DiagonalGaussian,
    Gamma,
    Gaussian,
    KnownCovarianceGaussian,
    Poisson,
    VonMises,
)
from rpm_jax.expfam._sums import all_at_once

MEMBERS, OTHERS = (3, 2, 1), (2, 2, 2, 2)
"""(M, J, T) and (B, B', J, T): sites of which one side has a single one for all."""


def normal(seed, shape):
    return np.random.default_rng(seed).normal(size=shape)


def negative(seed, shape):
    return -np.exp(normal(seed, shape))


def gaussian(seed, batch, size):
    root = normal(seed + 1, (*batch, size, size))
    precision = root @ np.swapaxes(root, -1, -2) + 0.2 * np.eye(size)
    # Of a matrix that is not symmetric the symmetric part counts.
    skew = np.triu(normal(seed + 2, (*batch, size, size)), 1)
    return Gaussian(normal(seed, (*batch, size)), -0.5 * precision + skew - np.swapaxes(skew, -1, -2))


COVARIANCE = np.array([[0.8, 0.3], [0.3, 0.6]])
CASES = {
    "diagonal 1": lambda s, b: DiagonalGaussian(normal(s, (*b, 1)), negative(s + 1, (*b, 1))),
    "diagonal 3": lambda s, b: DiagonalGaussian(normal(s, (*b, 3)), negative(s + 1, (*b, 3))),
    "gaussian 1": lambda s, b: gaussian(s, b, 1),
    "gaussian 2": lambda s, b: gaussian(s, b, 2),
    "gaussian 4": lambda s, b: gaussian(s, b, 4),
    "gaussian 5": lambda s, b: gaussian(s, b, 5),
    "known covariance": lambda s, b: KnownCovarianceGaussian(normal(s, (*b, 2)), COVARIANCE),
    "von Mises": lambda s, b: VonMises(normal(s, (*b, 2, 2))),
    "gamma": lambda s, b: Gamma(-negative(s, (*b, 2)), negative(s + 1, (*b, 2))),
    "beta": lambda s, b: Beta(-negative(s, (*b, 2)), -negative(s + 1, (*b, 2))),
    "poisson": lambda s, b: Poisson(normal(s, (*b, 2))),
    "categorical": lambda s, b: Categorical(normal(s, (*b, 3))),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name):
    first, second = CASES[name](0, MEMBERS), CASES[name](7, OTHERS)
    weights = normal(20, (2, 2, 2, 2, 3))

    def direction(leaf):
        change = normal(leaf.size, leaf.shape)
        return jnp.asarray(change + change.T if leaf.shape == COVARIANCE.shape else change)

    directions = jax.tree.map(direction, (first, second))

    def evaluate(pairs):
        def weighted(families):
            return jnp.sum(weights * pairs(*families))

        gradient, change = jax.jvp(jax.grad(weighted), ((first, second),), (directions,))
        return pairs(first, second), gradient, change

    fast = jax.jit(lambda: evaluate(lambda a, b: a.log_partition_of_sums(b)))()
    plain = jax.jit(lambda: evaluate(all_at_once))()
    assert fast[0].shape == weights.shape
    for got, expected in zip(jax.tree.leaves(fast), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["diagonal 3", "von Mises", "gamma", "beta", "poisson"])
def test_independent_families_are_sums_over_latents(name):
    family = CASES[name](3, (4,))
    ranks = family.natural_ranks.values()
    assert family.independent
    latents = [
        family.replace(
            tuple(
                jnp.expand_dims(jnp.take(p, k, axis=p.ndim - r), -r)
                for p, r in zip(family.natural_parameters, ranks, strict=True)
            )
        )
        for k in range(family.natural_parameters[0].shape[-next(iter(ranks))])
    ]
    total = sum(latent.log_partition() for latent in latents)
    np.testing.assert_allclose(total, family.log_partition(), rtol=1e-12)


def test_precisions_that_are_not_positive_definite_are_not_a_number():
    indefinite = Gaussian(np.zeros((1, 1, 2)), -0.5 * np.array([[[[1.0, 2.0], [2.0, 1.0]]]]))
    other = Gaussian(np.zeros((1, 1, 2)), np.zeros((1, 1, 2, 2)))
    assert jnp.isnan(indefinite.log_partition_of_sums(other)).all()


def test_another_family_is_refused():
    first, second = CASES["diagonal 3"](0, MEMBERS), CASES["poisson"](0, OTHERS)
    with pytest.raises(TypeError, match="DiagonalGaussian and Poisson"):
        first.log_partition_of_sums(second)
