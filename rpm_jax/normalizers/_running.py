"""A logsumexp over terms that arrive in blocks, or may all be −∞."""

import jax.numpy as jnp
from jax import Array, lax

RunningLogSum = tuple[Array, Array]
"""(m, s): the terms so far sum to s exp m."""


def empty_log_sum(shape: tuple[int, ...], dtype: jnp.dtype) -> RunningLogSum:
    """No terms yet."""
    return jnp.full(shape, -jnp.inf, dtype), jnp.zeros(shape, dtype)


def fold(running: RunningLogSum, terms: Array, axis: int) -> RunningLogSum:
    """Add the terms along an axis."""
    maximum, total = running
    # The result does not depend on the maximum, so its derivative is left out.
    new_maximum = jnp.maximum(maximum, lax.stop_gradient(jnp.max(terms, axis=axis)))
    reference = jnp.where(jnp.isfinite(new_maximum), new_maximum, 0.0)
    new_terms = jnp.exp(terms - jnp.expand_dims(reference, axis))
    return new_maximum, total * jnp.exp(maximum - reference) + jnp.sum(new_terms, axis=axis)


def log_sum(running: RunningLogSum) -> Array:
    """The logarithm of the sum; −∞ with gradient 0 where all terms are −∞."""
    maximum, total = running
    positive = total > 0
    return jnp.where(positive, maximum + jnp.log(jnp.where(positive, total, 1.0)), -jnp.inf)


def log_sum_exp(terms: Array, axis: int) -> Array:
    """Logsumexp along an axis; −∞ with gradient 0, not NaN, where all terms are −∞."""
    axis = axis % terms.ndim
    shape = terms.shape[:axis] + terms.shape[axis + 1 :]
    return log_sum(fold(empty_log_sum(shape, terms.dtype), terms, axis))
