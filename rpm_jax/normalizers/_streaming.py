"""The tilted mixture integral, streamed over blocks of components."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._devices import for_this_device
from rpm_jax.expfam import ExponentialFamily
from rpm_jax.normalizers._components import ArrayComponents, Components, row_length
from rpm_jax.normalizers._devices import SpreadComponents
from rpm_jax.normalizers._moving import Moving
from rpm_jax.normalizers._plain import log_component_weights
from rpm_jax.normalizers._running import RunningLogSum, empty_log_sum, fold, log_sum, log_sum_exp

BLOCK_ELEMENTS = 2**17
"""Log-partitions of single Gaussians, or as much work, that one block evaluates by default: a few arrays of
them fit a processor's cache."""

PLAIN_ELEMENTS = 2**18
"""Up to this many in all, one block is faster."""

LEAST_BLOCK = 4
"""Components of a block at least, where terms are many (long sequences): sums are over the components, and of
one they take three times as long."""

Evaluate = Callable[..., tuple[Any, Array]]
"""(rows, start, *constants) -> natural parameters and log-mass of a block of components, (M, J, T)."""


def log_tilted_mixture(
    components: Components,
    tilts: ExponentialFamily,
    *,
    log_weights: Array | None = None,
    mask: Array | None = None,
    block_size: int | None = None,
) -> Array:
    """The log-integral of every mixture F_jt under exponential tilts δ.

        log ∫ F_jt(z) exp⟨δ_jt^n, t(z)⟩ dz = logsumexp_m [log w_m + A(η_jt^m + δ_jt^n) + h_jt^m],

    F_jt(z) = Σ_m w_m χ(z) exp(⟨η_jt^m, t(z)⟩ + h_jt^m), with h = −A(η) for normalised factors. At δ = 0
    it is the log-mass of F_jt: 0 for normalised factors.

    Blocks of components are folded into a running logsumexp (m, s), m + log s, and forgotten. Derivatives
    evaluate each block again: with G the result and W = exp(terms − G),

        dG = Σ_m W_m [⟨∇A(η^m + δ), dη^m + dδ⟩ + dh^m + d log w_m],

    so that neither a pair of datum and component nor a running sum is ever kept, and components that are
    networks applied to data are evaluated and differentiated block by block, none of their activations or
    natural parameters being kept either. Value and derivatives equal those of `log_tilted_mixture_plain` up
    to rounding, in both modes of differentiation and to every order.

    Args:
        components: The N components, batch shape (N, J, T).
        tilts: δ, natural parameters of batch shape (..., J, T); η + δ must be valid. J and T broadcast
            with those of the components: a mixture pooled over sites has T = 1.
        log_weights: log w, shape (N,) or (N, J, T), with Σ_m w_m = 1; None: w_m = 1/N.
        mask: Boolean (N, J, T): components that are False (missing) leave the mixture, the others'
            weights are made to sum to 1 again. Where none is left the result is that of all of them.
        block_size: Components per block; None: a size for which a block fits a processor's cache.

    Returns:
        Shape (..., J, T).
    """
    if isinstance(components, SpreadComponents):
        if mask is not None:
            raise ValueError("mask: of components spread over devices, give missing ones log_weights of −inf")
        share = components.uniform_share() if log_weights is None else 0.0

        def own(tilts: ExponentialFamily) -> Array:
            return share + log_tilted_mixture(
                components.own, tilts, log_weights=log_weights, block_size=block_size
            )

        return components.log_tilted_mixture(tilts, own)
    own_way = getattr(components, "log_tilted_mixture", None)
    if own_way is not None:
        return own_way(tilts, log_weights=log_weights, mask=mask, block_size=block_size)
    size = components.size
    example = jax.eval_shape(lambda: components.block(0, size)).natural
    num_terms = jnp.broadcast_shapes(tilts.batch_shape, example.batch_shape[1:])
    row = row_length(components)
    if block_size is None:
        block_size = _default_block_size(components, max(1, math.prod(num_terms) * _work(example)))
    block_size = max(row, block_size // row * row)
    if block_size >= size:
        natural, log_scale = components.block(0, size)
        log_scale = -natural.log_partition() if log_scale is None else log_scale
        log_mass = log_scale + log_component_weights(size, log_weights, mask)
        return log_sum_exp(natural.log_partition_of_sums(tilts) + jnp.moveaxis(log_mass, 0, -1), axis=-1)
    weights = log_component_weights(size, log_weights, mask)
    # All blocks are of one length; components that a block repeats have weight 0 there.
    block_size = -(-size // -(-size // block_size) // row) * row
    num_blocks = -(-size // block_size)
    starts = jnp.arange(num_blocks) * block_size
    blocks: Any = None
    if isinstance(components, ArrayComponents):
        blocks = _array_blocks(components, weights, num_blocks, block_size)
        evaluate = partial(_array_block, components.natural)
    else:
        if weights.ndim > 0:
            blocks = weights[jnp.minimum(starts, size - block_size)[:, None] + jnp.arange(block_size)]
        evaluate = partial(_made_block, components, block_size)
    first = jax.tree.map(lambda leaf: leaf[0], (blocks, starts))
    closed, constants = jax.closure_convert(evaluate, *first)
    return _streamed(closed, num_terms, constants, tilts, blocks, starts)


def _work(natural: Any) -> int:
    """How much a log-partition takes, 1 for a Gaussian: half its numbers, or those of one latent."""
    if natural.independent:
        return 1
    batch = max(1, math.prod(natural.batch_shape))
    return max(1, sum(parameter.size for parameter in natural.natural_parameters) // (2 * batch))


def _default_block_size(components: Components, num_terms: int) -> int:
    """Components per block, all of them where they are few."""
    size = components.size
    own = getattr(components, "block_size", None) or size
    if size * num_terms <= for_this_device(PLAIN_ELEMENTS) and own >= size:
        return size
    return min(own, size, max(LEAST_BLOCK, for_this_device(BLOCK_ELEMENTS) // num_terms))


def _array_blocks(
    components: ArrayComponents, weights: Array, num_blocks: int, block_size: int
) -> tuple[tuple[Array, ...], Array]:
    """Natural parameters and log-mass with the blocks on their first axis, the last one filled up."""
    natural, log_scale = components
    log_scale = -natural.log_partition() if log_scale is None else log_scale
    padding = num_blocks * block_size - components.size

    def split(leaf: Array, **fill: Any) -> Array:
        if padding:
            leaf = jnp.pad(leaf, [(0, padding), *[(0, 0)] * (leaf.ndim - 1)], **fill)
        return leaf.reshape(num_blocks, block_size, *leaf.shape[1:])

    return (
        tuple(split(parameter, mode="edge") for parameter in natural.natural_parameters),
        split(log_scale + weights, constant_values=-jnp.inf),
    )


def _array_block(natural: Any, rows: tuple[tuple[Array, ...], Array], start: Array) -> tuple[Any, Array]:
    del start
    return natural.replace(rows[0]), rows[1]


def _made_block(
    components: Components, length: int, weights: Array | None, start: Array
) -> tuple[Any, Array]:
    """The last block is moved back to the end of the data: what it repeats has weight 0."""
    size = components.size
    moved = jnp.minimum(start, size - length)
    natural, log_scale = components.block(moved, length)
    log_scale = -natural.log_partition() if log_scale is None else log_scale
    weights = jnp.asarray(-math.log(size), log_scale.dtype) if weights is None else weights
    weights = weights if weights.ndim == 3 else weights.reshape(-1, 1, 1)
    is_new = moved + jnp.arange(length) >= start
    return natural, jnp.where(is_new[:, None, None], log_scale + weights, -jnp.inf)


def _terms(evaluate: Evaluate, constants: Any, tilts: Any, rows: Any, start: Array) -> Array:
    """Log w_m + A(η^m + δ) + h^m of a block, (..., J, T, M): sums over the contiguous axis are faster."""
    natural, log_mass = evaluate(rows, start, *constants)
    return natural.log_partition_of_sums(tilts) + jnp.moveaxis(log_mass, 0, -1)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _streamed(
    evaluate: Evaluate, shape: tuple[int, ...], constants: Any, tilts: Any, blocks: Any, starts: Array
) -> Array:
    """The logsumexp over all blocks.

    Args:
        evaluate: What makes a block of components.
        shape: (..., J, T), of the result.
        constants: What `evaluate` needs besides, such as parameters of networks.
        tilts: δ.
        blocks: Pytree whose first axis counts the blocks.
        starts: The first component of every block.
    """
    first = jax.tree.map(lambda leaf: leaf[0], (blocks, starts))
    dtype = jax.eval_shape(partial(_terms, evaluate), constants, tilts, *first).dtype

    def add(running: RunningLogSum, block: tuple[Any, Array]) -> tuple[RunningLogSum, None]:
        return fold(running, _terms(evaluate, constants, tilts, *block), axis=-1), None

    return log_sum(lax.scan(add, empty_log_sum(shape, dtype), (blocks, starts))[0])


@partial(_streamed.defjvp, symbolic_zeros=True)
def _(evaluate: Evaluate, shape: tuple[int, ...], primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    constants, tilts, blocks, starts = primals
    result = _streamed(evaluate, shape, constants, tilts, blocks, starts)
    reference = jnp.where(jnp.isneginf(result), 0.0, result)[..., None]
    fixed, fixed_tangents = Moving.split((constants, tilts), tangents[:2])
    moving, row_tangents = Moving.split(blocks, tangents[2])

    # Linear in the tangents, and evaluated again where it is transposed.
    @partial(jax.checkpoint, prevent_cse=False)
    def change(
        fixed_tangents: list[Array], leaves: list[Array], row_tangents: list[Array], start: Array
    ) -> Array:
        rows = moving._replace(leaves=leaves)

        def terms(fixed_moved: list[Array], rows_moved: list[Array]) -> Array:
            constants, tilts = fixed.merge(fixed_moved)
            return _terms(evaluate, constants, tilts, rows.merge(rows_moved), start)

        values, tangent = jax.jvp(terms, (fixed.selected(), rows.selected()), (fixed_tangents, row_tangents))
        return jnp.sum(jnp.exp(values - reference) * tangent, axis=-1)

    def add(total: Array, block: tuple[Any, Any, Array]) -> tuple[Array, None]:
        return total + change(fixed_tangents, *block), None

    zeros = jnp.zeros(shape, result.dtype)
    if not fixed_tangents and not row_tangents:
        return result, zeros
    return result, lax.scan(add, zeros, (moving.leaves, row_tangents, starts))[0]
