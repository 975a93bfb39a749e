"""How far the log-partition of unnormalised factors is from that of their family."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from rpm_jax.normalizers import log_component_weights
from rpm_jax.objectives._checks import check_mask


class LogPartitionError(NamedTuple):
    """The log-partition ψ_jt = −h_jt of unnormalised factors against A(η_jt), over data.

    Attributes:
        mean: E[ψ − A] in nats, shape (J, T). A constant in h_jt cancels in f_jt / F_jt.
        standard_deviation: Of ψ − A over data, in nats, shape (J, T): what remains of it in f_jt / F_jt.
        correlation: Of ψ and A over data, shape (J, T); NaN where one of them does not vary.
        learned: ψ, shape (N, J, T); NaN where missing.
        exact: A(η), shape (N, J, T); NaN where missing.
    """

    mean: Array
    standard_deviation: Array
    correlation: Array
    learned: Array
    exact: Array


def log_partition_error(
    factors: Any,
    log_scale: Array | None = None,
    *,
    log_weights: Array | None = None,
    mask: Array | None = None,
) -> LogPartitionError:
    """How far f_jt = exp(⟨η_jt, t⟩ + h_jt) are from normalised: ∫ χ f_jt dz = exp(A(η_jt) + h_jt).

        mean_jt = Σ_n w_n d_jt^n,   standard_deviation_jt² = Σ_n w_n (d_jt^n − mean_jt)²,
        d_jt^n = ψ_jt^n − A(η_jt^n),   ψ = −h

    Only the deviation matters to a model: f_jt / F_jt is the same with h_jt + c_jt. Nor has a model of
    unnormalised factors to end at ψ = A, since f_jt(z) k_jt(z) with any positive k_jt gives the same
    f_jt / F_jt, with k in the family at another η. Conjugate posteriors are exact where F_jt ∝ p.

    Args:
        factors: η of N data, batch shape (N, J, T).
        log_scale: h, shape (N, J, T). None: that of normalised factors, −A(η).
        log_weights: log w_n, shape (N,), Σ w = 1. None: uniform.
        mask: Boolean (N, J, T), False where a view is missing at a site; w are then those of the others.

    Returns:
        Moments over data, NaN where nothing is observed, and both log-partitions.

    Raises:
        ValueError: For shapes that do not fit.
    """
    shape = factors.batch_shape
    if len(shape) != 3:
        raise ValueError(f"factors must have batch shape (N, J, T), got {shape}")
    if log_scale is not None and log_scale.shape != shape:
        raise ValueError(f"log_scale must have the factors' batch shape {shape}, got {log_scale.shape}")
    if log_weights is not None and log_weights.shape != shape[:1]:
        raise ValueError(f"log_weights must have shape (N,) = {shape[:1]}, got {log_weights.shape}")
    if mask is not None:
        check_mask("mask", mask, "factors'", shape)
    exact = factors.log_partition()
    learned = exact if log_scale is None else -log_scale
    weights = jnp.exp(jnp.broadcast_to(log_component_weights(shape[0], log_weights, mask), shape))
    if mask is not None:
        weights = jnp.where(jnp.any(mask, axis=0), weights, jnp.nan)

    def mean(values: Array) -> Array:
        return jnp.sum(weights * values, axis=0)

    difference = learned - exact
    centred = [values - mean(values) for values in (difference, learned, exact)]
    deviation, of_learned, of_exact = (jnp.sqrt(mean(values**2)) for values in centred)
    correlation = mean(centred[1] * centred[2]) / (of_learned * of_exact)
    if mask is not None:
        learned, exact = (jnp.where(mask, values, jnp.nan) for values in (learned, exact))
    return LogPartitionError(mean(difference), deviation, correlation, learned, exact)
