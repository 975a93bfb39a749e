"""The tilted mixture integral in its plain form, all components at once."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.expfam import ExponentialFamily
from rpm_jax.normalizers._components import Components


def log_tilted_mixture(
    components: Components,
    tilts: ExponentialFamily,
    *,
    log_weights: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """The log-integral of every mixture F_jt under exponential tilts δ.

        log ∫ F_jt(z) exp⟨δ_jt^n, t(z)⟩ dz = logsumexp_m [log w_m + A(η_jt^m + δ_jt^n) + h_jt^m],

    F_jt(z) = Σ_m w_m χ(z) exp(⟨η_jt^m, t(z)⟩ + h_jt^m), with h = −A(η) for normalised factors. At δ = 0
    it is the log-mass of F_jt: 0 for normalised factors.

    Args:
        components: The N components, batch shape (N, J, T).
        tilts: δ, natural parameters of batch shape (..., J, T); η + δ must be valid. J and T broadcast
            with those of the components: a mixture pooled over sites has T = 1.
        log_weights: log w, shape (N,) or (N, J, T), with Σ_m w_m = 1; None: w_m = 1/N.
        mask: Boolean (N, J, T): components that are False (missing) leave the mixture, the others'
            weights are made to sum to 1 again. Where none is left the result is that of all of them.

    Returns:
        Shape (..., J, T).
    """
    natural, log_scale = components.block(0, components.size)
    log_scale = -natural.log_partition() if log_scale is None else log_scale
    log_mass = log_scale + log_component_weights(components.size, log_weights, mask)
    shifted = natural + tilts[..., None, :, :]
    return jax.nn.logsumexp(shifted.log_partition() + log_mass, axis=-3)


def log_component_weights(size: int, log_weights: Array | None, mask: Array | None) -> Array:
    """Log w_m, to be added to (N, J, T): uniform by default, missing components −inf."""
    if log_weights is None:
        log_weights = jnp.zeros(()) if mask is not None else jnp.asarray(-math.log(size))
    elif log_weights.ndim == 1:
        log_weights = log_weights[:, None, None]
    if mask is None:
        return log_weights
    present = jnp.where(mask.any(axis=0), mask, True)
    log_weights = jnp.where(present, log_weights, -jnp.inf)
    return log_weights - jax.nn.logsumexp(log_weights, axis=0)
