"""A ball that swings on a line, seen by a row of noisy pixels: one view a pixel."""

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import is_concrete, require_positive_integer


class BouncingBalls(NamedTuple):
    """N sequences of T steps, seen by J pixels; a pytree, so `vmap` over keys adds leading axes.

    Attributes:
        views: J arrays of shape (N, T): what each pixel recorded.
        latent: The ball's position in [−1, 1], shape (N, T).
        times: Equally spaced on [0, 1], shape (T,).
        locations: The pixels' positions, shape (J,).
        expected: E[view | latent], shape (N, T, J); None where it carries no information.
    """

    views: tuple[Array, ...]
    latent: Array
    times: Array
    locations: Array
    expected: Array | None = None

    @property
    def stacked(self) -> Array:
        """The views as one array of shape (N, T, J)."""
        return jnp.stack(self.views, axis=-1)

    def split(self, num_first: int) -> tuple[Self, Self]:
        """Part the sequences in two.

        Args:
            num_first: How many sequences go to the first part, 0 < num_first < N.

        Returns:
            The first `num_first` sequences and the others, with the same times and locations.

        Raises:
            ValueError: If either part would be empty.
        """
        num_sequences = self.latent.shape[-2]
        require_positive_integer("BouncingBalls.split: num_first", num_first)
        if num_first >= num_sequences:
            raise ValueError(
                f"BouncingBalls.split: num_first must be less than the {num_sequences} sequences there are, "
                f"got {num_first}"
            )
        return self._sequences(slice(None, num_first)), self._sequences(slice(num_first, None))

    def _sequences(self, which: slice) -> Self:
        return self._replace(
            views=tuple(view[..., which, :] for view in self.views),
            latent=self.latent[..., which, :],
            expected=None if self.expected is None else self.expected[..., which, :, :],
        )


class TexturedPixelMoments(NamedTuple):
    """Moments of textured pixels given the latent, each of shape (..., J).

    Attributes:
        mean: E[x] = 0.
        variance: E[x²] = 1.
        third: E[x³] = v(s − v/s).
    """

    mean: Array
    variance: Array
    third: Array


def poisson_balls(
    key: Array,
    *,
    num_sequences: int = 20,
    num_steps: int = 50,
    num_pixels: int = 10,
    sampling_rate: float = 10.0,
    frequency: float = 0.5,
    base_rate: float = 10.0,
    width: float = 0.6,
) -> BouncingBalls:
    """Pixels that count: Poisson with a rate that falls with the distance to the ball.

        z_nt = cos(θ_n + 2πf(t + 1)/F),   θ_n uniform on [0, 2π),   t = 0..T−1
        x_ntj ~ Poisson(r exp(−(ℓ_j − z_nt)²/w²)),   ℓ_j equally spaced on [−1, 1]

    Can be jitted and mapped over keys; the sizes are Python integers.

    Args:
        key: One JAX random key.
        num_sequences: N.
        num_steps: T.
        num_pixels: J.
        sampling_rate: F, steps per second.
        frequency: f, swings per second.
        base_rate: r, the expected count of a pixel under the ball.
        width: w, in units of the latent.

    Returns:
        The counts as floats, with their rates in `expected`.

    Raises:
        TypeError: If `key` is no random key.
        ValueError: If `key` is a batch of keys, a size no positive integer, or a scale not positive.

    References:
        Walker, Soulat, Yu and Sahani, "Unsupervised representation learning with recognition-parametrised
        probabilistic models", AISTATS 2023.
    """
    name = "poisson_balls"
    _check_common(name, key, num_sequences, num_steps, num_pixels, sampling_rate, frequency)
    _check_positive(name, base_rate=base_rate, width=width)
    phase_key, count_key = jax.random.split(key)
    latent = _swing(phase_key, num_sequences, num_steps, sampling_rate, frequency)
    locations = jnp.linspace(-1.0, 1.0, num_pixels)
    rate = base_rate * _proximity(latent, locations, width)
    counts = jax.random.poisson(count_key, rate).astype(rate.dtype)
    return _bouncing_balls(counts, latent, locations, rate)


def textured_balls(
    key: Array,
    *,
    num_sequences: int = 20,
    num_steps: int = 50,
    num_pixels: int = 10,
    sampling_rate: float = 10.0,
    frequency: float = 0.5,
    width: float = 0.15,
    noise_variance: float = 0.01,
    max_shape: float = 1000.0,
) -> BouncingBalls:
    """Pixels of mean 0 and variance 1 everywhere: the ball shows in their higher moments only.

    The latent is that of `poisson_balls`. With v = 1 − σ² and the shape

        s = √v + (s_max − √v) exp(−(ℓ_j − z)²/w²)

    a pixel is a mixture of two Gaussians of variance σ²

        x ~ b N(s, σ²) + (1 − b) N(−v/s, σ²),   b = v/(v + s²),

    symmetric far from the ball (s = √v) and skewed near it; the J locations ℓ_j are equally spaced
    between the smallest and the largest latent drawn. Can be jitted and mapped over keys; the sizes are
    Python integers.

    Args:
        key: One JAX random key.
        num_sequences: N.
        num_steps: T.
        num_pixels: J.
        sampling_rate: F, steps per second.
        frequency: f, swings per second.
        width: w, in units of the latent.
        noise_variance: σ², the variance of either component, between 0 and 1.
        max_shape: s_max, the shape under the ball, at least √v.

    Returns:
        The pixels; `expected` is None, because the mean is 0 wherever the ball is.

    Raises:
        TypeError: If `key` is no random key.
        ValueError: If `key` is a batch of keys, a size no positive integer, or a scale out of its range.

    References:
        Walker, Soulat, Yu and Sahani, "Unsupervised representation learning with recognition-parametrised
        probabilistic models", AISTATS 2023.
    """
    name = "textured_balls"
    _check_common(name, key, num_sequences, num_steps, num_pixels, sampling_rate, frequency)
    _check_texture(name, width, noise_variance, max_shape)
    phase_key, component_key, noise_key = jax.random.split(key, 3)
    latent = _swing(phase_key, num_sequences, num_steps, sampling_rate, frequency)
    locations = jnp.linspace(jnp.min(latent), jnp.max(latent), num_pixels)
    shape = _texture_shape(latent, locations, width, noise_variance, max_shape)
    between = 1.0 - noise_variance
    # b is near 10⁻⁶ under the ball, where a float32 uniform of the usual kind is too coarse.
    tall = jax.random.bernoulli(component_key, between / (between + shape**2), mode="high")
    centre = jnp.where(tall, shape, -between / shape)
    noise = jax.random.normal(noise_key, shape.shape, shape.dtype)
    return _bouncing_balls(centre + jnp.sqrt(noise_variance) * noise, latent, locations, None)


def textured_pixel_moments(
    latent: Array,
    locations: Array,
    *,
    width: float = 0.15,
    noise_variance: float = 0.01,
    max_shape: float = 1000.0,
) -> TexturedPixelMoments:
    """What the pixels of `textured_balls` have in common (mean, variance) and what tells them apart.

    The mean is 0, the variance 1, the third moment v(s − v/s), v = 1 − σ²: zero where s = √v, and growing
    like s under the ball.

    Args:
        latent: Positions of the ball, shape (...).
        locations: Positions ℓ_j of the pixels, shape (J,).
        width: w, in units of the latent.
        noise_variance: σ², the variance of either component, between 0 and 1.
        max_shape: s_max, the shape under the ball, at least √v.

    Returns:
        The first three moments, each of shape (..., J).

    Raises:
        ValueError: If a scale is out of its range.
    """
    _check_texture("textured_pixel_moments", width, noise_variance, max_shape)
    shape = _texture_shape(jnp.asarray(latent), jnp.asarray(locations), width, noise_variance, max_shape)
    between = 1.0 - noise_variance
    return TexturedPixelMoments(
        jnp.zeros_like(shape), jnp.ones_like(shape), between * (shape - between / shape)
    )


def _swing(key: Array, num_sequences: int, num_steps: int, sampling_rate: float, frequency: float) -> Array:
    phase = jax.random.uniform(key, (num_sequences, 1), maxval=2 * jnp.pi)
    seconds = jnp.arange(1, num_steps + 1) / sampling_rate
    return jnp.cos(phase + 2 * jnp.pi * frequency * seconds)


def _proximity(latent: Array, locations: Array, width: float) -> Array:
    return jnp.exp(-(((locations - latent[..., None]) / width) ** 2))


def _texture_shape(
    latent: Array, locations: Array, width: float, noise_variance: float, max_shape: float
) -> Array:
    smallest = jnp.sqrt(1.0 - noise_variance)
    return smallest + (max_shape - smallest) * _proximity(latent, locations, width)


def _bouncing_balls(stacked: Array, latent: Array, locations: Array, expected: Array | None) -> BouncingBalls:
    times = jnp.linspace(0.0, 1.0, latent.shape[-1])
    return BouncingBalls(tuple(jnp.unstack(stacked, axis=-1)), latent, times, locations, expected)


def _check_common(
    function: str,
    key: Any,
    num_sequences: int,
    num_steps: int,
    num_pixels: int,
    sampling_rate: float,
    frequency: float,
) -> None:
    _check_key(function, key)
    require_positive_integer(f"{function}: num_sequences", num_sequences)
    require_positive_integer(f"{function}: num_steps", num_steps)
    require_positive_integer(f"{function}: num_pixels", num_pixels)
    _check_positive(function, sampling_rate=sampling_rate, frequency=frequency)


def _check_key(function: str, key: Any) -> None:
    wanted = f"{function}: key must be one random key, such as jax.random.key(0)"
    if not isinstance(key, jax.Array):
        raise TypeError(f"{wanted}, got {key!r} of type {type(key).__name__}")
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed and key.dtype != jnp.uint32:
        raise TypeError(f"{wanted}, got an array of {key.dtype} and shape {key.shape}")
    if key.ndim != (0 if typed else 1):
        raise ValueError(f"{wanted}, got keys of shape {key.shape}; use jax.vmap for several")


def _check_positive(function: str, **values: Any) -> None:
    for name, value in values.items():
        if is_concrete(value) and not 0 < value < float("inf"):
            raise ValueError(f"{function}: {name} must be positive and finite, got {value!r}")


def _check_texture(function: str, width: Any, noise_variance: Any, max_shape: Any) -> None:
    _check_positive(function, width=width, noise_variance=noise_variance, max_shape=max_shape)
    if not is_concrete(noise_variance):
        return
    if not noise_variance < 1:
        raise ValueError(f"{function}: noise_variance must lie between 0 and 1, got {noise_variance!r}")
    smallest = (1.0 - noise_variance) ** 0.5
    if is_concrete(max_shape) and max_shape < smallest:
        raise ValueError(
            f"{function}: max_shape must be at least √(1 − noise_variance) = {smallest:.4g}, "
            f"the shape far from the ball, got {max_shape!r}"
        )
