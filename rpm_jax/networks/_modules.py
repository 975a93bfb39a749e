"""Small flax modules for recognition factors."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


def _spread_bias(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Biases uniform on ±1, so that the kinks of ReLUs on a standardised scalar input are spread over it."""
    return jax.random.uniform(key, shape, dtype, -1.0, 1.0)


def _in_precision_of(inputs: Array, layer: Callable[..., Any]) -> Callable[..., Any]:
    """The layer with parameters of the inputs' floating-point type; flax's default is float32."""
    return partial(layer, param_dtype=jnp.result_type(inputs, 0.0))


class _OpenOutputs(nn.Module):
    """A module whose number of outputs can be set later.

    `pointwise` says whether it acts on the last axis alone, so that inputs (n, T, D) give (n, T, outputs).
    """

    pointwise = False

    def with_outputs(self, number: int) -> Self:
        """The module with `number` outputs, unless it has a number already."""
        return self.clone(num_outputs=number) if self.num_outputs is None else self

    def _check(self, inputs: Any) -> int:
        name = type(self).__name__
        if not hasattr(inputs, "shape"):
            raise TypeError(
                f"{name} takes one array, got {type(inputs).__name__}; a network of all views is made by "
                "rpm_jax.networks.stacked(network) or rpm_jax.networks.concatenated(network)"
            )
        if self.num_outputs is None:
            raise ValueError(
                f"{name}: num_outputs is not set; the factors set it, or call with_outputs(number)"
            )
        return self.num_outputs


class PointwiseMLP(_OpenOutputs):
    """A multilayer perceptron on the last axis, shared over all axes before it.

    On inputs (N, T, D) it is the stack of one-dimensional convolutions with kernel size 1 over time.

    Attributes:
        hidden: Units of each hidden layer.
        num_outputs: None leaves it to the factors.
        activation: Between layers.
    """

    hidden: Sequence[int] = (20, 20)
    num_outputs: int | None = None
    activation: Callable[[Array], Array] = nn.relu

    pointwise = True

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Map inputs (..., D) to outputs (..., num_outputs)."""
        num_outputs = self._check(inputs)
        dense = _in_precision_of(inputs, nn.Dense)
        for units in self.hidden:
            inputs = self.activation(dense(units, bias_init=_spread_bias)(inputs))
        return dense(num_outputs)(inputs)


class MLP(_OpenOutputs):
    """A multilayer perceptron on the flattened input: (N, ...) to (N, num_outputs).

    Attributes:
        hidden: Units of each hidden layer.
        num_outputs: None leaves it to the factors.
        activation: Between layers.
    """

    hidden: Sequence[int] = (20, 20)
    num_outputs: int | None = None
    activation: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Map inputs (N, ...) to outputs (N, num_outputs)."""
        self._check(inputs)
        flat = inputs.reshape(inputs.shape[0], -1)
        return PointwiseMLP(self.hidden, self.num_outputs, self.activation)(flat)


class CNN(_OpenOutputs):
    """Convolutions with max-pooling, then a perceptron: images (N, H, W) or (N, H, W, C).

    The default is the network usually taken for 28 × 28 digits.

    Attributes:
        channels: Of each convolution.
        hidden: Units of each hidden layer after the convolutions.
        num_outputs: None leaves it to the factors.
        kernel_size: Of all convolutions, without padding.
        activation: Between layers.
    """

    channels: Sequence[int] = (10, 20)
    hidden: Sequence[int] = (50,)
    num_outputs: int | None = None
    kernel_size: int = 5
    activation: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Map images (N, H, W[, C]) to outputs (N, num_outputs)."""
        num_outputs = self._check(inputs)
        if inputs.ndim not in (3, 4):
            raise ValueError(f"CNN takes images of shape (N, H, W) or (N, H, W, C), got {inputs.shape}")
        images = inputs[..., None] if inputs.ndim == 3 else inputs
        dense, convolution = _in_precision_of(inputs, nn.Dense), _in_precision_of(inputs, nn.Conv)
        for channels in self.channels:
            images = convolution(channels, (self.kernel_size,) * 2, padding="VALID")(images)
            images = self.activation(nn.max_pool(images, (2, 2), strides=(2, 2)))
        features = images.reshape(images.shape[0], -1)
        for units in self.hidden:
            features = self.activation(dense(units)(features))
        return dense(num_outputs)(features)
