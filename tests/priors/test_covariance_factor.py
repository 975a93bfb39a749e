"""Factors of covariances that are singular in floating point, before and after evidence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import rbf

from rpm_jax._products import matmul, transpose
from rpm_jax.priors._covariance_factor import factor_conditioned, factor_covariance

EPS = float(np.finfo(np.float32).eps)


@jax.jit
def given_evidence(covariance, evidence):
    return factor_conditioned(factor_covariance(covariance).factor, evidence).factor


def squared(factor):
    factor = np.asarray(factor, np.float64)
    return factor @ np.swapaxes(factor, -1, -2)


def test_rank_and_error_of_a_smooth_covariance():
    """γ = 1, T = 50: six directions in float32, ten in float64; independent sites have all."""
    times = np.linspace(0.0, 1.0, 50)
    for dtype, most in ((np.float32, 8), (np.float64, 13)):
        covariance = np.asarray(rbf(times, 1.0), dtype)
        factor = jax.jit(factor_covariance)(covariance).factor
        assert 5 < np.count_nonzero(np.any(np.asarray(factor) != 0, axis=0)) < most
        assert np.abs(squared(factor) - covariance).max() < 30 * np.finfo(dtype).eps
    np.testing.assert_allclose(squared(factor_covariance(jnp.eye(3)).factor), np.eye(3), atol=1e-15)


def test_sites_of_small_variance_are_no_rounding_errors_of_others():
    scale = np.array([1e-6, 1.0, 0.0, 1e6], np.float32)
    covariance = scale[:, None] * (0.5 * np.eye(4) + 0.5).astype(np.float32) * scale
    got = squared(factor_covariance(jnp.asarray(covariance)).factor)
    np.testing.assert_allclose(got, covariance, rtol=1e-6, atol=0)


def test_covariances_known_to_be_singular():
    """Of rank 3 of 6, batched, by their rank and no more."""
    root = np.random.default_rng(0).normal(size=(2, 6, 3))
    factor = factor_covariance(jnp.asarray(root @ np.swapaxes(root, 1, 2))).factor
    np.testing.assert_array_equal(factor[..., 3:], 0.0)
    np.testing.assert_allclose(squared(factor), root @ np.swapaxes(root, 1, 2), atol=1e-14)


def problem():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(2, 5, 5))
    covariance = root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(5)
    evidence = rng.gamma(1.0, size=(3, 2, 5))
    evidence[0, 0, 1] = evidence[1] = 0.0
    return covariance, evidence


def dense(covariance, evidence):
    """S = (C⁻¹ + W)⁻¹ as C (I + W C)⁻¹."""
    inner = jnp.eye(covariance.shape[-1]) + evidence[..., :, None] * covariance
    return matmul(covariance, jnp.linalg.inv(inner))


def test_against_dense_matrices_with_first_and_second_derivatives():
    """F Fᵀ = S, also of what changes with C and W, at W = 0 too; F itself by reverse mode against forward."""
    covariance, evidence = problem()
    rng = np.random.default_rng(1)
    directions = []
    for _ in range(2):
        change = rng.normal(size=covariance.shape)
        directions.append((change + np.swapaxes(change, 1, 2), rng.normal(size=evidence.shape)))

    def along(function):
        def first(*arguments):
            return jax.jvp(function, arguments, directions[0])[1]

        def derivatives(*arguments):
            return function(*arguments), *jax.jvp(first, arguments, directions[1])

        return jax.jit(derivatives)(covariance, evidence)

    def product(*arguments):
        factor = given_evidence(*arguments)
        return matmul(factor, transpose(factor))

    for got, expected in zip(along(product), along(dense), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10 * np.abs(expected).max())

    weights = rng.normal(size=(3, 2, 5, 5))

    def scalar(covariance, evidence):
        symmetric = 0.5 * (covariance + jnp.swapaxes(covariance, 1, 2))
        return jnp.sum(weights * given_evidence(symmetric, evidence))

    slopes = jax.jit(jax.grad(scalar, argnums=(0, 1)))(covariance, evidence)
    forward = jax.jvp(scalar, (covariance, evidence), directions[0])[1]
    np.testing.assert_allclose(
        sum(np.vdot(s, d) for s, d in zip(slopes, directions[0], strict=True)), forward
    )


@pytest.mark.parametrize("observed", ["one", "half"])
@pytest.mark.parametrize("precision", [1e4, 1e8, 1e12])
def test_evidence_at_some_sites_leaves_the_others_free(observed, precision):
    """Beyond what float32 tells apart, evidence is taken for less, and never for what isn't there."""
    times = np.linspace(0.0, 1.0, 50)
    covariance = np.exp(-1e3 * (times[:, None] - times) ** 2)
    evidence = np.zeros(50)
    evidence[20 if observed == "one" else slice(25)] = precision
    got = np.diag(squared(given_evidence(*(jnp.asarray(a, jnp.float32) for a in (covariance, evidence)))))
    np.testing.assert_allclose(got[40:], 1.0, rtol=1e-3)
    assert np.all(got[evidence > 0] <= max(1.1 / precision, 1e-4))
    assert np.all(got <= 1.15)


def test_negative_evidence_is_no_number():
    covariance, evidence = problem()
    evidence[2, 1, 0] = -1e-3
    got = np.isnan(given_evidence(covariance, evidence)).all(axis=(-2, -1))
    np.testing.assert_array_equal(got, np.isin(np.arange(6), [5]).reshape(3, 2))
