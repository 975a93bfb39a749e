"""The positive-definite primitives: values, derivatives, batching, domain."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rpm_jax import _factorise
from rpm_jax._factorise import ELIMINATED, KERNEL, UNROLLED
from rpm_jax._linalg import (
    cholesky_with_inverse,
    inverse_and_log_determinant,
    log_determinant_and_product,
    matrix_vector,
)

FUNCTIONS = {
    "cholesky_with_inverse": cholesky_with_inverse,
    "inverse_and_log_determinant": inverse_and_log_determinant,
    "log_determinant_and_product": lambda matrix: log_determinant_and_product(
        matrix, jnp.sin(matrix[..., 0] + 1.0)
    ),
}


@pytest.fixture(params=FUNCTIONS, ids=str)
def function(request):
    return FUNCTIONS[request.param]


@pytest.fixture(scope="module", params=[UNROLLED - 1, ELIMINATED + 1], ids="size {}".format)
def matrices(request):
    size = request.param
    roots = np.random.default_rng(0).normal(size=(2, 4, size, size)) / size**0.5
    return jnp.asarray(roots @ np.swapaxes(roots, -1, -2) + np.eye(size))


def test_cholesky_with_inverse(matrices):
    factor, inverse = cholesky_with_inverse(matrices)
    np.testing.assert_allclose(factor, np.linalg.cholesky(matrices), atol=1e-12)
    np.testing.assert_allclose(inverse, np.linalg.inv(np.linalg.cholesky(matrices)), atol=1e-12)


def test_inverse_and_log_determinant(matrices):
    inverse, log_determinant = inverse_and_log_determinant(matrices)
    np.testing.assert_allclose(inverse, np.linalg.inv(matrices), atol=1e-12)
    np.testing.assert_allclose(log_determinant, np.linalg.slogdet(matrices)[1], atol=1e-12)


def test_log_determinant_and_product(matrices):
    vector = np.random.default_rng(1).normal(size=matrices.shape[:-1])
    log_determinant, product = log_determinant_and_product(matrices, vector)
    np.testing.assert_allclose(log_determinant, np.linalg.slogdet(matrices)[1], atol=1e-12)
    expected = np.einsum("abi,abij,abj->ab", vector, np.linalg.inv(matrices), vector)
    np.testing.assert_allclose(product, expected, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, UNROLLED, UNROLLED + 1, ELIMINATED + 3, KERNEL // 2 + 3, KERNEL + 3])
def test_sizes_with_other_algorithms(size):
    root = np.random.default_rng(2).normal(size=(2, size, size))
    matrix = root @ np.swapaxes(root, -1, -2) / size + np.eye(size)
    vector = root[..., 0]
    factor, factor_inverse = jax.jit(cholesky_with_inverse)(matrix)
    np.testing.assert_allclose(factor, np.linalg.cholesky(matrix), atol=1e-11)
    np.testing.assert_allclose(factor_inverse @ factor, np.eye(size) * np.ones((2, 1, 1)), atol=1e-11)
    inverse, log_determinant = jax.jit(inverse_and_log_determinant)(matrix)
    np.testing.assert_allclose(inverse, np.linalg.inv(matrix), atol=1e-11)
    np.testing.assert_allclose(log_determinant, np.linalg.slogdet(matrix)[1], rtol=1e-11)
    again, product = jax.jit(log_determinant_and_product)(matrix, vector)
    np.testing.assert_allclose(again, log_determinant, rtol=1e-11)
    expected = np.einsum("bi,bij,bj->b", vector, np.linalg.inv(matrix), vector)
    np.testing.assert_allclose(product, expected, rtol=1e-10)


def test_large_batches_are_eliminated_in_parts(function, monkeypatch):
    """Two or three matrices at a time, of eight."""
    roots = np.random.default_rng(0).normal(size=(2, 4, 5, 5))
    matrices = jnp.asarray(roots @ np.swapaxes(roots, -1, -2) + np.eye(5))
    expected = function(matrices)
    monkeypatch.setattr(_factorise, "CACHED_BYTES", 3 * 25 * 8)
    jax.clear_caches()
    programs = str(jax.make_jaxpr(function)(matrices))
    assert "f64[2,3,5,5]" in programs or "f64[4,2,5,6]" in programs
    for got, want in zip(function(matrices), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-14)


@pytest.mark.parametrize("size", [ELIMINATED + 1, KERNEL // 2 + 1, KERNEL])
def test_kernels_are_given_single_matrices_on_cpus(function, size):
    """A batch is what two calls at once can wait for each other with, for ever (`tests/test_deadlock.py`)."""
    matrices = jnp.broadcast_to(jnp.eye(size), (2, 3, size, size))
    program = (
        jax.jit(jax.vmap(jax.vmap(function))).trace(matrices).lower(lowering_platforms=("cpu",)).as_text()
    )
    kernels = re.findall(r"@lapack_(\w+)_ffi.*?-> .*?tensor<(\w+)xf64>", program)
    assert kernels
    for name, shape in kernels:
        rows, columns = map(int, shape.split("x"))
        assert name == "dpotrf"
        assert rows == columns <= KERNEL


def test_derivatives(function, matrices):
    def symmetric(matrix):
        return function(0.5 * (matrix + matrix.T))

    check_grads(jax.jit(symmetric), (matrices[0, 0],), order=2, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5)


def test_derivatives_inside_vmap(function, matrices):
    def total(matrix):
        return sum(jnp.sum(jnp.sin(output)) for output in function(matrix))

    expected = jax.jit(jax.grad(total))(matrices)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.vmap(jax.grad(total))))(matrices), expected, atol=1e-12)
    outside = jax.grad(lambda matrices: jnp.sum(jax.vmap(total)(matrices)))
    np.testing.assert_allclose(jax.jit(outside)(matrices), expected, atol=1e-12)


def test_vmap_equals_plain(function, matrices):
    plain = function(matrices)
    transforms = (
        jax.vmap(function),
        jax.jit(jax.vmap(jax.vmap(function))),
        jax.vmap(function, in_axes=1, out_axes=1),
    )
    for transformed in transforms:
        for output, expected in zip(transformed(matrices), plain, strict=True):
            np.testing.assert_allclose(output, expected, rtol=0, atol=1e-14)


def test_scan(function, matrices):
    _, outputs = jax.lax.scan(lambda carry, matrix: (carry, function(matrix)), None, matrices)
    for output, expected in zip(outputs, function(matrices), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-14)


def test_precision_is_kept(function, matrices):
    for output, expected in zip(function(matrices.astype(jnp.float32)), function(matrices), strict=True):
        assert output.dtype == jnp.float32
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [UNROLLED, ELIMINATED, ELIMINATED + 1])
def test_empty_batch(function, size):
    outputs = function(jnp.zeros((0, size, size)))
    assert all(output.shape[0] == 0 for output in outputs)


def test_outside_the_domain(function, matrices):
    mixed = matrices[0].at[1].set(-jnp.eye(matrices.shape[-1]))
    for output in function(mixed):
        finite = np.isfinite(output).reshape(4, -1)
        np.testing.assert_array_equal(finite.all(axis=-1), [True, False, True, True])


def test_matrix_vector(matrices):
    vectors = matrices[..., 0]
    np.testing.assert_allclose(
        matrix_vector(matrices, vectors), np.einsum("...kl,...l->...k", matrices, vectors), atol=1e-12
    )
