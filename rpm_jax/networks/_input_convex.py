"""Networks that are convex functions of their inputs."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.networks._affine import affine
from rpm_jax.networks._modules import OpenOutputs, in_precision_of, spread_bias

SMALL = 0.1
"""Of the usual size are the outputs of a network that starts near zero."""


class InputConvex(OpenOutputs):
    """A network of which every output is a convex function of the inputs, over all axes before the last.

        u_1 = s(W_1ᵀx + b_1),   u_l = s(softplus(U_l)ᵀu_{l−1} + W_lᵀx + b_l),   y = softplus(U)ᵀu_L + Wᵀx + b

    A convex function that does not decrease, s, of a convex function is convex, and so are sums with weights
    that are not negative. The inputs pass through to every layer with weights of any sign. For a learned
    log-partition, which A(η) is convex like.

    Attributes:
        hidden: Units of each hidden layer.
        num_outputs: None leaves it to the factors.
        activation: s, which must be convex and not decrease, of every number alone: softplus, relu,
            leaky_relu. With tanh, gelu or silu the outputs are not convex.
        zero_start: Whether the outputs start near zero, a tenth of their usual size. At zero the weights of
            hidden units could not be learned.

    References:
        Amos, Xu & Kolter, Input convex neural networks, ICML 2017.
    """

    hidden: Sequence[int] = (20, 20)
    num_outputs: int | None = None
    activation: Callable[[Array], Array] = nn.softplus
    zero_start: bool = False

    pointwise = True

    def starting_at_zero(self) -> Self:
        """The same with small outputs at first."""
        return self.clone(zero_start=True)

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Map inputs (..., D) to outputs (..., num_outputs)."""
        num_outputs = self._check(inputs)
        layer = in_precision_of(inputs, _ConvexLayer)
        features = inputs.reshape(-1, inputs.shape[-1]).T
        hidden = None
        for number, units in enumerate(self.hidden):
            dense = layer(units, bias_init=spread_bias, name=f"Dense_{number}")
            hidden = self.activation(dense(hidden, features))
        scale = SMALL if self.zero_start else 1.0
        outputs = layer(num_outputs, scale, name=f"Dense_{len(self.hidden)}")(hidden, features)
        return outputs.T.reshape(*inputs.shape[:-1], num_outputs)


class _ConvexLayer(nn.Module):
    """softplus(U)ᵀu + Wᵀx + b with the features on the first axis.

    Attributes:
        features: Of the outputs.
        scale: Of the initial outputs.
        param_dtype: Of the parameters.
        bias_init: Of the bias.
    """

    features: int
    scale: float = 1.0
    param_dtype: Any = jnp.float32
    bias_init: Callable[..., Array] = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, hidden: Array | None, inputs: Array) -> Array:
        """Map hidden units u (units, n), None in the first layer, and inputs x (D, n)."""
        through = nn.initializers.variance_scaling(self.scale**2, "fan_in", "truncated_normal")
        kernel = self.param("kernel", through, (inputs.shape[0], self.features), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        if hidden is None:
            return affine(kernel, bias, inputs)
        shape = (hidden.shape[0], self.features)
        raw = self.param("positive_kernel", self._around_the_mean, shape, self.param_dtype)
        both = jnp.concatenate([jax.nn.softplus(raw), kernel])
        return affine(both, bias, jnp.concatenate([hidden, inputs]))

    def _around_the_mean(self, key: Array, shape: tuple[int, int], dtype: Any) -> Array:
        """Raw weights whose softplus is about scale / units: outputs are then near a mean of the units."""
        centre = jnp.log(jnp.expm1(jnp.asarray(self.scale / shape[0], dtype)))
        return centre + 0.5 * jax.random.normal(key, shape, dtype)
