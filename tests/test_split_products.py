"""Sums that cancel, against exact rational arithmetic."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax._products import matrix_vector
from rpm_jax._split_products import matrix_vector_of_split

product = jax.jit(matrix_vector_of_split)


def exact(matrix, vector):
    return np.array(
        [
            float(sum(Fraction(float(m)) * Fraction(float(v)) for m, v in zip(r, vector, strict=True)))
            for r in matrix
        ]
    )


def cancelling(size, dtype):
    """A smooth matrix, and a vector of which it leaves next to nothing."""
    times = np.linspace(0.0, 1.0, size)
    matrix = np.exp(-((times[:, None] - times) ** 2)).astype(dtype)
    vector = np.where(np.arange(size) % 2, 1.0, -1.0) * np.random.default_rng(0).uniform(0.9, 1.1, size)
    return matrix, (vector - vector.mean()).astype(dtype)


@pytest.mark.parametrize("size", [2, 50, 400])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_cancelling_sums_keep_their_digits(size, scale):
    matrix, vector = cancelling(size, np.float32)
    vector = (scale * vector).astype(np.float32)
    expected = exact(matrix, vector)
    error = np.abs(product(matrix, vector) - expected).max()
    eps = float(np.finfo(np.float32).eps)
    assert error < eps * (np.abs(expected).max() + 1e-3 * scale)
    if size == 400:
        assert np.abs(jax.jit(matrix_vector)(matrix, vector) - expected).max() > 5 * error


def test_double_precision_too():
    matrix, vector = cancelling(50, np.float64)
    expected = exact(matrix, vector)
    np.testing.assert_allclose(product(matrix, vector), expected, rtol=0, atol=3e-16 * np.abs(expected).max())


def test_batches_zeros_and_numbers_that_are_not_finite():
    matrix, vector = cancelling(50, np.float32)
    rows = jnp.stack([vector, 0.0 * vector, vector]).at[2, 3].set(jnp.nan)
    got = product(jnp.asarray(matrix)[None], rows)
    np.testing.assert_array_equal(got[0], product(matrix, vector))
    np.testing.assert_array_equal(got[1], 0.0)
    assert np.all(np.isnan(got[2]))
    tiny = np.full(50, 1e-37, np.float32)
    np.testing.assert_allclose(product(np.ones((1, 50), np.float32), tiny), [50 * tiny[0]], rtol=1e-6)
