"""Small flax modules for recognition factors."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax._pickling import reduce_module
from rpm_jax.networks._affine import affine
from rpm_jax.networks._attributes import check_attributes
from rpm_jax.networks._convolution import Conv, max_pool


def spread_bias(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Biases uniform on ±1, so that the kinks of ReLUs on a standardised scalar input are spread over it."""
    return jax.random.uniform(key, shape, dtype, -1.0, 1.0)


def in_precision_of(inputs: Array, layer: Callable[..., Any]) -> Callable[..., Any]:
    """The layer with parameters of the inputs' floating-point type; flax's default is float32."""
    return partial(layer, param_dtype=jnp.result_type(inputs, 0.0))


class OpenOutputs(nn.Module):
    """A module whose number of outputs can be set later.

    `pointwise` says whether it acts on the last axis alone, so that inputs (n, T, D) give (n, T, outputs).
    """

    pointwise = False

    def __post_init__(self) -> None:
        """Freeze sequences of units, and check what the module is made with."""
        for name in ("hidden", "channels"):
            if hasattr(self, name):
                units = _units(f"{type(self).__name__}: {name}", getattr(self, name))
                object.__setattr__(self, name, units)
        check_attributes(self)
        if getattr(self, "num_outputs", None) is not None:
            object.__setattr__(self, "num_outputs", int(self.num_outputs))
        super().__post_init__()

    __reduce__ = reduce_module

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


def _units(name: str, units: Any) -> tuple[int, ...]:
    """Units of layers as a tuple of integers, which can be hashed."""
    if isinstance(units, str) or not isinstance(units, Iterable):
        raise TypeError(
            f"{name} must be a sequence of positive integers, one a layer, such as (20, 20), got {units!r}"
        )
    units = tuple(units)
    for number in units:
        require_positive_integer(f"{name}, a sequence with one number a layer,", number)
    return tuple(map(int, units))


ELEMENTWISE = (
    *(nn.relu, nn.relu6, nn.leaky_relu, nn.elu, nn.selu, nn.gelu, nn.silu),
    *(nn.sigmoid, nn.softplus, nn.soft_sign, nn.tanh, jnp.tanh, jnp.sin),
)
"""Activations that are known to act on every number alone."""


class FeaturesFirstDense(nn.Module):
    """`flax.linen.Dense` for arrays with the features on the first axis: (D, n) to (features, n).

    With few features and many data its gradient takes little more than half the time on CPUs.

    Attributes:
        features: Of the outputs.
        param_dtype: Of the parameters, which are those of `flax.linen.Dense`.
        kernel_init: Of the kernel.
        bias_init: Of the bias.
    """

    features: int
    param_dtype: Any = jnp.float32
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    bias_init: Callable[..., Array] = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Map inputs (D, n) to outputs (features, n)."""
        shape = (inputs.shape[0], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        return affine(kernel, bias, inputs)


class PointwiseMLP(OpenOutputs):
    """A multilayer perceptron on the last axis, shared over all axes before it.

    On inputs (N, T, D) it is the stack of one-dimensional convolutions with kernel size 1 over time.

    Attributes:
        hidden: Units of each hidden layer.
        num_outputs: None leaves it to the factors.
        activation: Between layers.
        zero_start: Whether the outputs start at zero.
    """

    hidden: Sequence[int] = (20, 20)
    num_outputs: int | None = None
    activation: Callable[[Array], Array] = nn.relu
    zero_start: bool = False

    pointwise = True

    def starting_at_zero(self) -> Self:
        """The same with outputs of zero at first."""
        return self.clone(zero_start=True)

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Map inputs (..., D) to outputs (..., num_outputs)."""
        num_outputs = self._check(inputs)
        last_init = nn.initializers.zeros_init() if self.zero_start else nn.initializers.lecun_normal()
        if self.activation not in ELEMENTWISE:
            dense = in_precision_of(inputs, nn.Dense)
            for units in self.hidden:
                inputs = self.activation(dense(units, bias_init=spread_bias)(inputs))
            return dense(num_outputs, kernel_init=last_init)(inputs)
        dense = in_precision_of(inputs, FeaturesFirstDense)
        features = inputs.reshape(-1, inputs.shape[-1]).T
        for layer, units in enumerate(self.hidden):
            features = self.activation(dense(units, bias_init=spread_bias, name=f"Dense_{layer}")(features))
        last = dense(num_outputs, kernel_init=last_init, name=f"Dense_{len(self.hidden)}")
        features = last(features)
        return features.T.reshape(*inputs.shape[:-1], num_outputs)


class MLP(OpenOutputs):
    """A multilayer perceptron on the flattened input: (N, ...) to (N, num_outputs).

    Attributes:
        hidden: Units of each hidden layer.
        num_outputs: None leaves it to the factors.
        activation: Between layers.
        zero_start: Whether the outputs start at zero.
    """

    hidden: Sequence[int] = (64,)
    num_outputs: int | None = None
    activation: Callable[[Array], Array] = nn.relu
    zero_start: bool = False

    def starting_at_zero(self) -> Self:
        """The same with outputs of zero at first."""
        return self.clone(zero_start=True)

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Map inputs (N, ...) to outputs (N, num_outputs)."""
        self._check(inputs)
        flat = inputs.reshape(inputs.shape[0], -1)
        return PointwiseMLP(self.hidden, self.num_outputs, self.activation, self.zero_start)(flat)


def _least_image_size(number: int, kernel_size: int) -> int:
    """Pixels along an axis of which `number` unpadded convolutions, with 2 × 2 pooling between, leave one."""
    least = 1
    for _ in range(number):
        least = (2 * least if least > 1 else 1) + kernel_size - 1
    return least


class CNN(OpenOutputs):
    """Convolutions with max-pooling, then a perceptron: images (N, H, W) or (N, H, W, C).

    The default is the network usually taken for 28 × 28 digits. Pooling halves the image, without its last
    row or column where their number is odd, and leaves a single pixel as it is.

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
        self._check_size(images)
        dense, convolution = in_precision_of(inputs, nn.Dense), in_precision_of(inputs, Conv)
        for channels in self.channels:
            images = convolution(channels, (self.kernel_size,) * 2, padding="VALID")(images)
            window = tuple(min(2, size) for size in images.shape[1:3])
            images = self.activation(max_pool(images, window, strides=window))
        features = images.reshape(images.shape[0], -1)
        for units in self.hidden:
            features = self.activation(dense(units)(features))
        return dense(num_outputs)(features)

    def _check_size(self, images: Array) -> None:
        """Refuse images of which the convolutions leave nothing."""
        number, height, width = len(self.channels), *images.shape[1:3]
        fitting = [
            size
            for size in range(1, self.kernel_size + 1)
            if _least_image_size(number, size) <= min(height, width)
        ]
        if self.kernel_size not in fitting:
            least = _least_image_size(number, self.kernel_size)
            raise ValueError(
                f"CNN: images of {height} × {width} pixels are too small for {number} convolutions with "
                f"kernel_size={self.kernel_size} and pooling between them, which take {least} × {least} or "
                f"more; set kernel_size to at most {max(fitting, default=0)}, or give fewer channels or "
                "larger images"
            )
