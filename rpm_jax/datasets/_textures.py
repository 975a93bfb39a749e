"""Sets of texture patches: a patch shows one texture, a set mixes them in proportions of its own."""

import math
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from rpm_jax._checks import as_keys, is_concrete, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax.datasets._arguments import require_at_least

NUM_WAVES = 12
JITTER = 0.1
"""The frequencies of regular textures vary from patch to patch by this factor, their orientations by as many
radians."""

CONTRASTS = 0.6, 1.4


class _Texture(NamedTuple):
    """A sum of plane waves in random phase, then bent: tanh(gain (sum − threshold)) / tanh(gain).

    Attributes:
        num_waves: At most NUM_WAVES.
        slowest: The least frequency, in cycles per pixel.
        fastest: The greatest.
        orientation: Of the first wave, in radians; 0 varies along rows of pixels.
        step: From one wave to the next, in radians.
        spread: Each wave's orientation varies by so many radians either way.
        gain: Small for smooth textures, large for black and white ones.
        threshold: In standard deviations of the sum.
    """

    num_waves: int
    slowest: float
    fastest: float
    orientation: float
    step: float
    spread: float
    gain: float
    threshold: float


TEXTURES = (
    _Texture(1, 0.2, 0.2, 0.0, 0.0, 0.0, 0.3, 0.0),  # a grating of upright stripes
    _Texture(2, 0.2, 0.2, math.pi / 4, math.pi / 2, 0.0, 3.0, 0.0),  # a chequered pattern
    _Texture(12, 0.04, 0.12, 0.0, 0.0, math.pi, 3.0, 0.0),  # blobs
    _Texture(1, 0.2, 0.2, math.pi / 2, 0.0, 0.0, 0.3, 0.0),  # lying stripes
    _Texture(12, 0.25, 0.5, 0.0, 0.0, math.pi, 0.3, 0.0),  # fine noise
    _Texture(1, 0.2, 0.2, math.pi / 4, 0.0, 0.0, 0.3, 0.0),  # slanted stripes
    _Texture(3, 0.2, 0.2, 0.0, math.pi / 3, 0.0, 3.0, 0.8),  # a honeycomb of spots
    _Texture(12, 0.05, 0.35, 0.0, 0.0, 0.15, 0.3, 0.0),  # an upright grain
    _Texture(1, 0.2, 0.2, 3 * math.pi / 4, 0.0, 0.0, 0.3, 0.0),  # stripes slanted the other way
    _Texture(12, 0.05, 0.35, math.pi / 2, 0.0, 0.15, 0.3, 0.0),  # a lying grain
)
"""The same for every key, so that other sets show the same textures."""


class TextureSets(NamedTuple):
    """N sets of T patches of P x P pixels, each of one of S textures.

    Attributes:
        views: The patches, shape (N, T, P, P).
        topics: The texture of each patch, 0 to S − 1, shape (N, T).
        proportions: How often each set shows each texture, on average, shape (N, S).
        examples: A patch of each texture without noise, shape (S, P, P).
    """

    views: Array
    topics: Array
    proportions: Array
    examples: Array

    def split(self, num_first: int) -> tuple[Self, Self]:
        """Part the sets in two.

        Args:
            num_first: How many sets go to the first part, 0 < num_first < N.

        Returns:
            The first `num_first` sets and the others.

        Raises:
            ValueError: If either part would be empty.
        """
        require_positive_integer("TextureSets.split: num_first", num_first)
        if num_first >= len(self.topics):
            raise ValueError(
                f"TextureSets.split: num_first must be less than the {len(self.topics)} sets there are, "
                f"got {num_first}"
            )
        first, rest = slice(None, num_first), slice(num_first, None)
        return self._sets(first), self._sets(rest)

    def _sets(self, which: slice) -> Self:
        return self._replace(
            views=self.views[which], topics=self.topics[which], proportions=self.proportions[which]
        )


def texture_sets(
    key: Array,
    *,
    num_sets: int = 200,
    num_patches: int = 30,
    num_textures: int = 5,
    patch_size: int = 12,
    concentration: ArrayLike = 0.3,
    noise: float = 0.3,
) -> TextureSets:
    """Sets whose patches show textures in the set's own proportions.

        π_n ~ Dirichlet(α),   z_nt ~ π_n
        x_nt = c · g(Σ_w cos(2π f_w ⟨(cos θ_w, sin θ_w), p⟩ + φ_w)) + σ ε

    Frequencies f and orientations θ of the waves come from the texture z, phases φ are uniform, g bends the
    normalised sum by a saturating curve, the contrast c is uniform on [0.6, 1.4]: no patch repeats. Can be
    jitted and mapped over keys; the sizes are Python integers.

    Args:
        key: One JAX random key.
        num_sets: N.
        num_patches: T.
        num_textures: S, at most 10: the first of stripes, chequers, blobs, lying stripes, fine noise, slanted
            stripes, spots, grain, stripes slanted the other way, lying grain.
        patch_size: P, at least 4 pixels.
        concentration: α, a number or one for each texture, shape (S,).
        noise: σ; the patches without it have standard deviations of about 1.

    Returns:
        The patches, their textures and the proportions.

    Raises:
        TypeError: If `key` is no random key.
        ValueError: If a size is no positive integer, there are too many textures, or a number is out of
            its range.
    """
    name = "texture_sets"
    key = as_keys(f"{name}: key", key, 0)
    require_positive_integer(f"{name}: num_sets", num_sets)
    require_positive_integer(f"{name}: num_patches", num_patches)
    require_positive_integer(f"{name}: num_textures", num_textures)
    require_positive_integer(f"{name}: patch_size", patch_size)
    if num_textures > len(TEXTURES):
        raise ValueError(f"{name}: num_textures must be at most {len(TEXTURES)}, got {num_textures}")
    require_at_least(f"{name}: patch_size", patch_size, 4)
    require_at_least(f"{name}: noise", noise, 0)
    alpha = jnp.asarray(concentration, float)
    if alpha.shape not in ((), (num_textures,)):
        raise ValueError(
            f"{name}: concentration must be a number or have shape ({num_textures},), got shape {alpha.shape}"
        )
    if is_concrete(alpha) and not bool(jnp.all((alpha > 0) & (alpha < jnp.inf))):
        raise ValueError(f"{name}: concentration must be positive and finite, got {alpha}")
    proportion_key, topic_key, patch_key, noise_key = jax.random.split(key, 4)
    proportions = jax.random.dirichlet(
        proportion_key, jnp.broadcast_to(alpha, (num_textures,)), shape=(num_sets,)
    )
    topics = jax.random.categorical(
        topic_key, jnp.log(proportions)[:, None, :], shape=(num_sets, num_patches)
    )
    shown = jnp.concatenate([topics.reshape(-1), jnp.arange(num_textures)])
    patches = _patches(patch_key, shown, patch_size)
    examples, views = patches[topics.size :], patches[: topics.size].reshape(*topics.shape, patch_size, -1)
    return TextureSets(
        views=views + noise * jax.random.normal(noise_key, views.shape),
        topics=topics,
        proportions=proportions,
        examples=examples,
    )


@jit
def _patches(key: Array, topics: Array, size: int) -> Array:
    """A patch of each texture asked for, shape (..., P, P)."""
    texture = jax.tree.map(lambda *values: jnp.array(values)[topics][..., None], *TEXTURES)
    draws = jax.random.uniform(key, (*topics.shape, 3 * NUM_WAVES + 3))
    turn, speed, phase = jnp.split(draws[..., 3:], 3, axis=-1)
    turned, stretched, strength = jnp.split(draws[..., :3], 3, axis=-1)

    wave = jnp.arange(NUM_WAVES)
    angle = texture.orientation + texture.step * wave + texture.spread * (2 * turn - 1)
    angle = angle + JITTER * (2 * turned - 1)
    frequency = texture.slowest + (texture.fastest - texture.slowest) * speed
    frequency = 2 * math.pi * frequency * (1 + JITTER * (2 * stretched - 1))

    # cos(a + b) parts into products over rows and columns: two small matrix products a patch.
    pixels = jnp.arange(size)[:, None] - (size - 1) / 2
    across = (frequency * jnp.cos(angle))[..., None, :] * pixels + 2 * math.pi * phase[..., None, :]
    down = (frequency * jnp.sin(angle))[..., None, :] * pixels
    weight = (wave < texture.num_waves)[..., None, :]
    total = _outer(weight * jnp.cos(down), jnp.cos(across)) - _outer(weight * jnp.sin(down), jnp.sin(across))

    deviation = total - jnp.mean(total, axis=(-2, -1), keepdims=True)
    normalised = deviation / jnp.std(total, axis=(-2, -1), keepdims=True)
    gain, threshold = texture.gain[..., None], texture.threshold[..., None]
    bent = jnp.tanh(gain * (normalised - threshold)) / jnp.tanh(gain)
    contrast = CONTRASTS[0] + (CONTRASTS[1] - CONTRASTS[0]) * strength
    return contrast[..., None] * bent


def _outer(rows: Array, columns: Array) -> Array:
    return jnp.matmul(rows, jnp.swapaxes(columns, -1, -2))
