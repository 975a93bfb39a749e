"""Forward-backward messages of a categorical Markov chain, and their derivatives."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from rpm_jax._if_needed import exact_unless
from rpm_jax._jit import jit
from rpm_jax._linalg import matmul, transpose


def finite_maximum(logits: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """The largest along axes, which are kept, as a constant; zero where it is infinite."""
    largest = jnp.max(logits, axis=axis, keepdims=True)
    return lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0.0))


def _smallest_accurate(dtype: Any) -> float:
    """Sums of products of numbers up to 1 that are at least this lose nothing to underflow."""
    limits = jnp.finfo(dtype)
    return float(limits.tiny) / float(limits.eps) ** 2


def _log_matmul(left: Array, right: Array) -> Array:
    """The matrix log Σ_k exp(left_ik + right_kj) of shapes (..., I, K) and (..., K, J); −∞ if all terms are.

    A product of matrices after scaling, where the numbers' range allows it; otherwise in log space.
    """
    row, column = finite_maximum(left), finite_maximum(right, axis=-2)
    product = matmul(jnp.exp(left - row), jnp.exp(right - column))
    fast = jnp.log(product) + row + column
    accurate = product >= _smallest_accurate(left.dtype)

    def exact(left: Array, right: Array) -> Array:
        terms = left[..., :, :, None] + right[..., None, :, :]
        largest = finite_maximum(terms, axis=-2)
        return jnp.log(jnp.sum(jnp.exp(terms - largest), axis=-2)) + largest[..., 0, :]

    def exact_if_possible(left: Array, right: Array, fast: Array, accurate: Array) -> Array:
        # A sum whose terms are all −∞ is −∞ already.
        possible = matmul((left > -jnp.inf).astype(left.dtype), (right > -jnp.inf).astype(left.dtype)) > 0
        return exact_unless(jnp.all(accurate | ~possible), fast, exact, left, right)

    return exact_unless(jnp.all(accurate), fast, exact_if_possible, left, right, fast, accurate)


def _origins(total: Array, matrix: Array) -> Array:
    """exp(total_i + matrix_ij) divided by its sum over i, which may be zero, shape (..., K, K).

    For a forward message plus its potential, p(z_t = i | z_t+1 = j, λ_1..λ_t).
    """
    terms = total[..., :, None] + matrix
    terms = jnp.exp(terms - finite_maximum(terms, axis=-2))
    scale = jnp.sum(terms, axis=-2, keepdims=True)
    return terms / jnp.where(scale > 0, scale, 1.0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _messages(parallel: bool, start: Array, matrix: Array, potentials: Array) -> tuple[Array, Array]:
    """Messages m_1 = start, m_t+1,j = log Σ_i exp(m_t,i + λ_t,i + matrix_ij), each up to a constant.

    With o_t the `_origins`, dm_t+1,j = Σ_i o_t,ij (dm_t,i + dλ_t,i + dmatrix_ij), again up to a constant.

    Args:
        parallel: Whether by an associative scan of matrix products.
        start: Shape (..., K).
        matrix: Shape (K, K), or one for every step, steps first, (T − 1, ..., K, K).
        potentials: λ, sites first, shape (T, ..., K).

    Returns:
        The messages, shape (T, ..., K), and the constant that the last one lacks, shape (...), which has no
        derivative.
    """
    compute = _messages_in_parallel if parallel else _messages_in_sequence
    later, offset = compute(start, matrix, potentials[:-1])
    return jnp.concatenate([start[None], later]), offset


@_messages.defjvp
def _(parallel: bool, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    _, matrix, potentials = primals
    start_dot, matrix_dot, potentials_dot = tangents
    messages, offset = _messages(parallel, *primals)
    compute = _changes_in_parallel if parallel else _changes_in_sequence
    totals = (messages + potentials)[:-1]
    later_dot = compute(start_dot, matrix, totals, matrix_dot, potentials_dot[:-1])
    return (messages, offset), (jnp.concatenate([start_dot[None], later_dot]), jnp.zeros_like(offset))


def _shared_or_own(*matrices: Array) -> tuple[Any, Any]:
    """Matrices (K, K) of all steps and None, or None and those of every step, (T − 1, ..., K, K)."""
    value = matrices if len(matrices) > 1 else matrices[0]
    return (value, None) if matrices[0].ndim == 2 else (None, value)


def _messages_in_sequence(start: Array, matrix: Array, potentials: Array) -> tuple[Array, Array]:
    shared, own = _shared_or_own(matrix)

    def step(message: Array, inputs: tuple[Array, Any]) -> tuple[Array, tuple[Array, Array]]:
        potential, own = inputs
        total = message + potential
        offset = finite_maximum(total)
        message = _log_matmul((total - offset)[..., None, :], shared if own is None else own)[..., 0, :]
        return message, (message, offset[..., 0])

    _, (messages, offsets) = lax.scan(step, start, (potentials, own))
    return messages, jnp.sum(offsets, axis=0)


def _messages_in_parallel(start: Array, matrix: Array, potentials: Array) -> tuple[Array, Array]:
    def scaled(product: Array, offset: Array) -> tuple[Array, Array]:
        largest = finite_maximum(product, axis=(-2, -1))
        return product - largest, offset + largest[..., 0, 0]

    def combine(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return scaled(_log_matmul(first[0], second[0]), first[1] + second[1])

    factors = scaled(potentials[..., :, None] + matrix, jnp.zeros_like(potentials[..., 0]))
    products, offsets = lax.associative_scan(combine, factors)
    messages = _log_matmul(start[..., None, :], products)[..., 0, :]
    return messages, offsets[-1] if len(offsets) else jnp.zeros_like(start[..., 0])


def _changes_in_sequence(
    start_dot: Array, matrix: Array, totals: Array, matrix_dot: Array, potentials_dot: Array
) -> Array:
    shared, own = _shared_or_own(matrix, matrix_dot)

    # Checkpointed, so that reverse mode does not keep K × K numbers for every site.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(change: Array, inputs: tuple[Array, Array, Any]) -> tuple[Array, Array]:
        total, potential_dot, own = inputs
        matrix, matrix_dot = shared if own is None else own
        summands = (change + potential_dot)[..., :, None] + matrix_dot
        change = jnp.sum(_origins(total, matrix) * summands, axis=-2)
        return change, change

    return lax.scan(step, start_dot, (totals, potentials_dot, own))[1]


def _changes_in_parallel(
    start_dot: Array, matrix: Array, totals: Array, matrix_dot: Array, potentials_dot: Array
) -> Array:
    def combine(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return matmul(first[0], second[0]), matmul(first[1], second[0]) + second[1]

    origins = _origins(totals, matrix)
    summands = potentials_dot[..., :, None] + matrix_dot
    constants = jnp.sum(origins * summands, axis=-2)[..., None, :]
    products, sums = lax.associative_scan(combine, (origins, constants))
    return (matmul(start_dot[..., None, :], products) + sums)[..., 0, :]


@jit
def smooth(
    parallel: bool, initial: Array, transition: Array, potentials: Array
) -> tuple[Array, Array, Array]:
    """The log-normaliser, shape (...), and the logits of the predictions and marginals, (..., T, K).

    Args:
        parallel: Whether by an associative scan.
        initial: log p(z_1), shape (K,).
        transition: Log-probabilities, shape (K, K), or of every step (..., T − 1, K, K), with an axis for
            each of the batch.
        potentials: λ, shape (..., T, K).
    """
    ordered = jnp.moveaxis(potentials, -2, 0)
    start = jnp.broadcast_to(initial, ordered.shape[1:])
    matrix, reversed_matrix = transition, transpose(transition)
    if transition.ndim > 2:
        matrix = jnp.moveaxis(transition, -3, 0)
        reversed_matrix = transpose(matrix)[::-1]
    forward, offset = _messages(parallel, start, matrix, ordered)
    backward, _ = _messages(parallel, jnp.zeros_like(start), reversed_matrix, ordered[::-1])
    value = offset + jax.scipy.special.logsumexp(forward[-1] + ordered[-1], axis=-1)
    predicted = jnp.moveaxis(jax.nn.log_softmax(forward, axis=-1), 0, -2)
    sites = jnp.moveaxis(jax.nn.log_softmax(forward + ordered + backward[::-1], axis=-1), 0, -2)
    log_normalizer = _with_derivative(
        lax.stop_gradient(value), predicted, sites, initial, transition, potentials
    )
    return log_normalizer, predicted, sites


@jax.custom_jvp
def _with_derivative(
    log_normalizer: Array,
    predicted: Array,
    sites: Array,
    initial: Array,
    transition: Array,
    potentials: Array,
) -> Array:
    """The log-normaliser as it is, with Fisher's identity as its derivative in the last three arguments.

        d log_normalizer = Σ_t ⟨γ_t, dλ_t⟩ + Σ_t ⟨ξ_t, d log A⟩ + ⟨γ_1, d log π⟩

    The marginals γ and ξ have derivatives of their own, and so does every further order.
    """
    del predicted, sites, initial, transition, potentials
    return log_normalizer


def _fisher_identity(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    _, predicted, sites, _, transition, potentials = primals
    *_, initial_dot, transition_dot, potentials_dot = tangents
    log_normalizer = _with_derivative(*primals)
    marginals = jnp.exp(sites)
    change = jnp.zeros_like(log_normalizer)
    if not isinstance(potentials_dot, SymbolicZero):
        change += jnp.sum(marginals * potentials_dot, axis=(-2, -1))
    if not isinstance(initial_dot, SymbolicZero):
        change += jnp.sum(marginals[..., 0, :] * initial_dot, axis=-1)
    if not isinstance(transition_dot, SymbolicZero):
        totals = predicted + potentials
        if transition.ndim > 2:
            each = pairwise_marginals(totals, transition, sites) * transition_dot
            return log_normalizer, change + jnp.sum(each, axis=(-3, -2, -1))
        change += jnp.sum(expected_transitions(totals, transition, sites) * transition_dot, axis=(-2, -1))
    return log_normalizer, change


_with_derivative.defjvp(_fisher_identity, symbolic_zeros=True)


def pairwise_marginals(totals: Array, transition: Array, sites: Array) -> Array:
    """q(z_t, z_t+1) = p(z_t | z_t+1, λ_1..λ_t) q(z_t+1), shape (..., T − 1, K, K).

    Args:
        totals: Predictions plus potentials, shape (..., T, K).
        transition: Shape (K, K), or any that broadcasts with the result.
        sites: The logits of the marginals, shape (..., T, K).
    """
    return _origins(totals[..., :-1, :], transition) * jnp.exp(sites[..., 1:, None, :])


@jax.custom_jvp
def expected_transitions(totals: Array, transition: Array, sites: Array) -> Array:
    """Σ_t q(z_t, z_t+1), shape (..., K, K): a product of matrices where the numbers' range allows it."""
    smallest = _smallest_accurate(totals.dtype)
    earlier = totals[..., :-1, :]
    earlier = jnp.exp(earlier - finite_maximum(earlier))
    matrix = jnp.exp(transition)
    scale = matmul(earlier, matrix)
    # A later state that is not possible, rather than improbable, has a marginal of zero.
    later = jnp.where(scale >= smallest, jnp.exp(sites[..., 1:, :]) / jnp.maximum(scale, smallest), 0.0)
    accurate = jnp.all((scale >= smallest) | (sites[..., 1:, :] == -jnp.inf))
    return exact_unless(
        accurate,
        matmul(transpose(earlier), later) * matrix,
        lambda totals, transition, sites: jnp.sum(
            pairwise_marginals(totals, transition[..., None, :, :], sites), axis=-3
        ),
        totals,
        transition,
        sites,
    )


@expected_transitions.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    def exact(totals: Array, transition: Array, sites: Array) -> Array:
        return jnp.sum(pairwise_marginals(totals, transition[..., None, :, :], sites), axis=-3)

    return expected_transitions(*primals), jax.jvp(exact, primals, tangents)[1]


def batch_indices(array: Array) -> tuple[Any, ...]:
    """Index arrays over all axes of an array but its last two, which broadcast with each other."""
    return tuple(np.indices(array.shape[:-2], sparse=True))
