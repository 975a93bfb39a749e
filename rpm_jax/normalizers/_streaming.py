"""The tilted mixture integral, streamed over blocks of components."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.expfam import ExponentialFamily
from rpm_jax.normalizers._components import Components
from rpm_jax.normalizers._plain import log_component_weights, log_tilted_mixture_plain
from rpm_jax.normalizers._running import RunningLogSum, empty_log_sum, fold, log_sum

BLOCK_ELEMENTS = 2**17
"""Log-partitions that one block evaluates by default: a few arrays of them fit a processor's cache."""

PLAIN_ELEMENTS = 2**18
"""Up to this many in all, one block is faster."""


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

    Blocks of components are folded into a running logsumexp (m, s), m + log s, and forgotten; derivatives
    evaluate each block again, so that memory does not grow with the number of pairs of datum and component.
    Value and derivatives equal those of `log_tilted_mixture_plain` up to rounding, in both modes of
    differentiation and to every order.

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
    size = components.size
    natural, log_scale = components.block(0, size)
    num_terms = jnp.broadcast_shapes(tilts.batch_shape, natural.batch_shape[1:])
    if block_size is None:
        terms = max(1, math.prod(num_terms))
        block_size = size if size * terms <= PLAIN_ELEMENTS else max(1, BLOCK_ELEMENTS // terms)
    if block_size >= size:
        return log_tilted_mixture_plain(components, tilts, log_weights=log_weights, mask=mask)
    log_scale = -natural.log_partition() if log_scale is None else log_scale
    log_mass = log_scale + log_component_weights(size, log_weights, mask)
    dtype = jnp.result_type(log_mass, tilts.dtype)

    @jax.checkpoint
    def add(running: RunningLogSum, block: tuple[Any, Array]) -> RunningLogSum:
        natural, log_mass = block
        terms = (natural.moveaxis(0, -1) + tilts[..., None]).log_partition() + jnp.moveaxis(log_mass, 0, -1)
        return fold(running, terms, axis=-1)

    whole = size // block_size * block_size
    running = empty_log_sum(num_terms, dtype)
    blocks = jax.tree.map(
        lambda leaf: leaf[:whole].reshape(-1, block_size, *leaf.shape[1:]),
        (natural.natural_parameters, log_mass),
    )
    running, _ = lax.scan(
        lambda running, block: (add(running, (natural.replace(block[0]), block[1])), None), running, blocks
    )
    if whole < size:
        running = add(running, (natural[whole:], log_mass[whole:]))
    return log_sum(running)
