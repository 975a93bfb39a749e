"""An affine map of many data, the features on the first axis."""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero


@jax.custom_jvp
def affine(kernel: Array, bias: Array, inputs: Array) -> Array:
    """The map Wᵀx + b of n inputs.

    The bias's gradient, a sum over the data, is a product with a vector of ones: sums along the contiguous
    axis are slow on CPUs.

    Args:
        kernel: W, shape (D, K).
        bias: b, shape (K,).
        inputs: x, shape (D, n).

    Returns:
        Shape (K, n).
    """
    return kernel.T @ inputs + bias[:, None]


def _affine_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    kernel, bias, inputs = primals
    kernel_change, bias_change, inputs_change = tangents
    outputs = affine(kernel, bias, inputs)
    change = jnp.zeros_like(outputs)
    if not isinstance(kernel_change, SymbolicZero):
        change = change + kernel_change.T @ inputs
    if not isinstance(bias_change, SymbolicZero):
        # Behind the barrier, since the product would be turned into the sum.
        ones = lax.optimization_barrier(jnp.ones((1, inputs.shape[1]), outputs.dtype))
        change = change + bias_change[:, None] @ ones
    if not isinstance(inputs_change, SymbolicZero):
        change = change + kernel.T @ inputs_change
    return outputs, change


affine.defjvp(_affine_jvp, symbolic_zeros=True)
