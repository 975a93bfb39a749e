"""The mixtures F_jt themselves, for sites with finitely many states."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.normalizers._components import Block, Components
from rpm_jax.normalizers._devices import SpreadComponents
from rpm_jax.normalizers._plain import log_component_weights
from rpm_jax.normalizers._running import RunningLogSum, empty_log_sum, fold, log_sum, log_sum_exp


def log_mixture(
    components: Components,
    *,
    log_weights: Array | None = None,
    mask: Array | None = None,
    block_size: int | None = None,
) -> Any:
    """The logarithm of every mixture at every state, for families with one-hot statistics.

        log F_jt(k) = logsumexp_m [log w_m + η_jtk^m + h_jt^m],   h = −A(η) for normalised factors.

    With blocks, only one block of components exists at a time, in the derivative too: components that are
    networks applied to data then never hold the activations of all of them.

    Args:
        components: The N components, batch shape (N, J, T).
        log_weights: log w, shape (N,) or (N, J, T), with Σ_m w_m = 1; None: w_m = 1/N.
        mask: Boolean (N, J, T): components that are False (missing) leave the mixture, the others'
            weights are made to sum to 1 again.
        block_size: Components per block; None: the components' own `block_size` if they have one, else all.

    Returns:
        Natural parameters θ_jt of batch shape (J, T) such that log F_jt(z) = ⟨θ_jt, t(z)⟩; −∞ for states
        that every component excludes.

    Raises:
        TypeError: For a family whose statistics are not one-hot.
    """
    if isinstance(components, SpreadComponents):
        if mask is not None:
            raise ValueError("mask: of components spread over devices, give missing ones log_weights of −inf")
        own = log_mixture(components.own, log_weights=log_weights, block_size=block_size)
        share = components.uniform_share() if log_weights is None else 0.0
        return own.replace((components.devices.log_sum_exp(share + own.natural_parameters[0]),))
    size = components.size
    if block_size is None:
        block_size = getattr(components, "block_size", None) or size
    weights = log_component_weights(size, log_weights, mask)
    weights = weights if weights.ndim == 3 else jnp.broadcast_to(weights, (size, 1, 1))
    if block_size >= size:
        block = components.block(0, size)
        log_values = log_sum_exp(log_densities(block) + weights[..., None], axis=0)
        return block.natural.replace((log_values,))
    example = jax.eval_shape(lambda: components.block(0, block_size))
    shape = example.natural.natural_parameters[0].shape[1:]
    dtype = jnp.result_type(example.natural.dtype, weights.dtype)

    def add(running: RunningLogSum, start: Array | int, length: int) -> RunningLogSum:
        terms = log_densities(components.block(start, length))
        rows = lax.dynamic_slice_in_dim(weights, start, length)
        return fold(running, terms + rows[..., None], axis=0)

    add = jax.checkpoint(add, static_argnums=2)
    num_blocks = size // block_size
    running, _ = lax.scan(
        lambda running, block: (add(running, block * block_size, block_size), None),
        empty_log_sum(shape, dtype),
        jnp.arange(num_blocks),
    )
    if num_blocks * block_size < size:
        running = add(running, num_blocks * block_size, size - num_blocks * block_size)
    return example.natural.replace((log_sum(running),))


def log_densities(block: Block) -> Array:
    """Log f at every state: η + h, shape (N, J, T, K), h = −A(η) for normalised factors."""
    natural, log_scale = block
    if not natural.one_hot:
        raise TypeError(
            f"log_mixture takes families with one-hot statistics, such as Categorical, got "
            f"{type(natural).__name__}; log_tilted_mixture is for the others"
        )
    log_scale = -natural.log_partition() if log_scale is None else log_scale
    return natural.natural_parameters[0] + log_scale[..., None]
