"""Convolutions and max-pooling that are fast on CPUs, also inside compiled loops.

Inside `lax.scan` and its kin XLA's CPU convolutions and the gradient of its pooling are many times slower
than outside of them. On CPUs a convolution is therefore one matrix product of the kernel with patches of the
images, and pooling compares slices. Both work with the axes (channels, height, width, batch): copies and
comparisons run over whole batches, and the product is wide. Inputs and outputs keep flax's order of axes;
XLA removes the transpositions between one layer and the next. Other devices use XLA's own operations.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._pickling import reduce_module


def _exchange_batch_and_channels(images: Array) -> Array:
    """From (N, *spatial, C) to (C, *spatial, N), and back."""
    return jnp.swapaxes(images, 0, -1)


def _patches(
    images: Array, kernel_size: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> Array:
    """What the kernel covers at every place, gathered along one spatial axis after the other.

    Two short gathers have a much cheaper transpose (the gradient's sum over overlaps) than one long gather.

    Args:
        images: Shape (C, *spatial, N).
        kernel_size: One for each spatial axis, like the rest.
        strides: Steps from place to place.
        dilation: Steps between elements of the kernel.

    Returns:
        Shape (prod(kernel_size) · C, *places, N), the first axis in the order of (*kernel_size, C).
    """
    for axis in reversed(range(1, images.ndim - 1)):
        size, stride, step = kernel_size[axis - 1], strides[axis - 1], dilation[axis - 1]
        span = images.shape[axis] - (size - 1) * step
        covered = [lax.slice_in_dim(images, i * step, i * step + span, stride, axis) for i in range(size)]
        images = jnp.concatenate(covered, axis=0)
    return images


def _convolve_by_product(
    images: Array,
    kernel: Array,
    *,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    precision: Any,
) -> Array:
    zero = jnp.zeros((), images.dtype)
    padded = lax.pad(images, zero, [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)])
    patches = _patches(_exchange_batch_and_channels(padded), kernel.shape[:-2], strides, dilation)
    features = kernel.shape[-1]
    product = jnp.matmul(
        kernel.reshape(-1, features).T, patches.reshape(patches.shape[0], -1), precision=precision
    )
    return _exchange_batch_and_channels(product.reshape(features, *patches.shape[1:]))


def convolution(
    images: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: lax.ConvDimensionNumbers,
    feature_group_count: int,
    precision: Any = None,
) -> Array:
    """The convolution of `flax.linen.Conv`, which calls it in place of `lax.conv_general_dilated`.

    y[n, p] = Σ_{k, c} kernel[k, c] images[n, p · stride + k · dilation − before, c]

    Grouped features, dilated inputs and kernels larger than the image take XLA's convolution everywhere.

    Args:
        images: Shape (N, *spatial, C).
        kernel: Shape (*kernel_size, C, features).
        strides: One for each spatial axis.
        padding: "SAME", "VALID" or (before, after) for each spatial axis.
        lhs_dilation: Of the images.
        rhs_dilation: Of the kernel.
        dimension_numbers: Those of the shapes above.
        feature_group_count: Into how many groups the channels are divided.
        precision: Of the products.

    Returns:
        y of shape (N, *places, features).
    """
    by_xla = partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        precision=precision,
    )
    spatial = images.shape[1:-1]
    extents = [(size - 1) * step + 1 for size, step in zip(kernel.shape, rhs_dilation, strict=False)]
    pads = lax.padtype_to_pads(spatial, extents, strides, padding) if isinstance(padding, str) else padding
    fits = all(size + sum(pad) >= extent for size, pad, extent in zip(spatial, pads, extents, strict=True))
    if feature_group_count != 1 or any(step != 1 for step in lhs_dilation) or not fits:
        return by_xla(images, kernel)
    by_product = partial(
        _convolve_by_product, strides=strides, padding=pads, dilation=rhs_dilation, precision=precision
    )
    return lax.platform_dependent(images, kernel, cpu=by_product, default=by_xla)


def _convolution_of_layer() -> Callable[..., Array]:
    return convolution


class Conv(nn.Conv):
    """`flax.linen.Conv`, fast on CPUs: the same attributes, parameters, values and gradients.

    On CPUs an intermediate array has prod(kernel_size) · C values for every pixel of the outputs, so very
    large batches are better convolved in parts.
    """

    conv_general_dilated_cls: Any = _convolution_of_layer

    __reduce__ = reduce_module


def _larger(first: Array, second: Array) -> Array:
    """The maximum whose gradient goes to the first of two equal values; NaN if one of them is."""
    return jnp.where((first >= second) | (first != first), first, second)


def _pool_by_comparison(images: Array, window_shape: Sequence[int]) -> Array:
    images = _exchange_batch_and_channels(images)
    for axis in reversed(range(1, images.ndim - 1)):
        size = window_shape[axis - 1]
        number = images.shape[axis] // size
        images = lax.slice_in_dim(images, 0, number * size, axis=axis)
        windows = images.reshape(*images.shape[:axis], number, size, *images.shape[axis + 1 :])
        members = (lax.index_in_dim(windows, i, axis + 1, keepdims=False) for i in range(size))
        images = reduce(_larger, members)
    return _exchange_batch_and_channels(images)


def max_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
) -> Array:
    """`flax.linen.max_pool`, fast on CPUs where windows lie side by side: strides = window_shape, "VALID".

    Pixels that fill no whole window are left out. The gradient goes to the maximum alone, and to the first in
    order of rows where several pixels are equal, as in flax. Other strides and paddings are left to flax.

    Args:
        inputs: Shape (..., *spatial, C).
        window_shape: One size for each spatial axis.
        strides: Steps from window to window; None is 1 along each axis, as in flax.
        padding: "VALID", "SAME" or (before, after) for each spatial axis.

    Returns:
        Shape (..., *windows, C).
    """
    window_shape = tuple(window_shape)
    strides = (1,) * len(window_shape) if strides is None else tuple(strides)
    by_xla = partial(nn.max_pool, window_shape=window_shape, strides=strides, padding=padding)
    spatial_and_channels = inputs.shape[inputs.ndim - len(window_shape) - 1 :]
    if strides != window_shape or padding != "VALID" or len(spatial_and_channels) <= len(window_shape):
        return by_xla(inputs)
    images = inputs.reshape(-1, *spatial_and_channels)
    by_comparison = partial(_pool_by_comparison, window_shape=window_shape)
    pooled = lax.platform_dependent(images, cpu=by_comparison, default=by_xla)
    return pooled.reshape(*inputs.shape[: -len(spatial_and_channels)], *pooled.shape[1:])
