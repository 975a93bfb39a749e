"""The tilted mixture integral, streamed over blocks of components."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.expfam import ExponentialFamily
from rpm_jax.normalizers._components import Components
from rpm_jax.normalizers._plain import log_component_weights, log_tilted_mixture_plain

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
    def fold(carry: tuple[Array, Array], block: tuple[Any, Array]) -> tuple[Array, Array]:
        maximum, total = carry
        natural, log_mass = block
        terms = (natural.moveaxis(0, -1) + tilts[..., None]).log_partition() + jnp.moveaxis(log_mass, 0, -1)
        # The result does not depend on the maximum, so its derivative is left out.
        new_maximum = jnp.maximum(maximum, lax.stop_gradient(jnp.max(terms, axis=-1)))
        reference = jnp.where(jnp.isfinite(new_maximum), new_maximum, 0.0)
        total = total * jnp.exp(maximum - reference) + jnp.sum(jnp.exp(terms - reference[..., None]), axis=-1)
        return new_maximum, total

    whole = size // block_size * block_size
    carry = (jnp.full(num_terms, -jnp.inf, dtype), jnp.zeros(num_terms, dtype))
    blocks = jax.tree.map(
        lambda leaf: leaf[:whole].reshape(-1, block_size, *leaf.shape[1:]),
        (natural.natural_parameters, log_mass),
    )
    carry, _ = lax.scan(
        lambda carry, block: (fold(carry, (natural.replace(block[0]), block[1])), None), carry, blocks
    )
    if whole < size:
        carry = fold(carry, (natural[whole:], log_mass[whole:]))
    maximum, total = carry
    return maximum + jnp.log(total)
