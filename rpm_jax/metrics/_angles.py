"""How well recovered angles agree with true ones, up to a rotation and a reflection of the circle."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from rpm_jax._arrays import as_floating


class AlignedAngles(NamedTuple):
    """Recovered angles, turned and reflected so that they agree best with the true ones.

    Attributes:
        angles: s · recovered + rotation, in [−π, π], of the shape of the recovered angles.
        rotation: In radians, a scalar.
        reflection: s, a scalar: −1 where the circle is run through the other way round, else 1.
    """

    angles: Array
    rotation: Array
    reflection: Array

    def apply(self, recovered: ArrayLike) -> Array:
        """The same rotation and reflection of other angles.

        Args:
            recovered: Of any shape, in radians.

        Returns:
            In [−π, π], of the same shape.
        """
        return _wrapped(self.reflection * jnp.asarray(recovered) + self.rotation)


def align_angles(angles: ArrayLike, recovered: ArrayLike) -> AlignedAngles:
    """Turn and reflect recovered angles so that their mean cosine with the true ones is largest.

        maximise Σ_i cos(θ_i − s r_i − φ) over φ and s = ±1:   φ_s = arg Σ_i exp i(θ_i − s r_i)

    where the sum has the length that the mean cosine is proportional to. Can be jitted and mapped.

    Args:
        angles: True angles θ in radians, of any shape.
        recovered: r in radians, of the same shape.

    Returns:
        The aligned angles, and the rotation φ and reflection s.

    Raises:
        ValueError: If the shapes differ, or they are empty.
    """
    true, found = _pair("align_angles", angles, recovered)
    signs = jnp.array([1.0, -1.0], true.dtype)
    differences = true.reshape(-1) - signs[:, None] * found.reshape(-1)
    cosines, sines = jnp.sum(jnp.cos(differences), -1), jnp.sum(jnp.sin(differences), -1)
    best = jnp.argmax(cosines**2 + sines**2)
    rotation, reflection = jnp.arctan2(sines[best], cosines[best]), signs[best]
    return AlignedAngles(_wrapped(reflection * found + rotation), rotation, reflection)


def angular_distance(first: ArrayLike, second: ArrayLike) -> Array:
    """The distance |a − b| of angles round the circle, elementwise, from 0 to π.

    Args:
        first: a in radians, of any shape.
        second: b in radians, of a shape that broadcasts with it.

    Returns:
        In radians.
    """
    return jnp.abs(_wrapped(jnp.asarray(first) - jnp.asarray(second)))


def mean_angular_error(angles: ArrayLike, recovered: ArrayLike) -> Array:
    """The mean distance round the circle of recovered from true angles, after `align_angles`.

    Independent uniform angles have π/2 on average before they are aligned, and a little less after it.

    Args:
        angles: True angles in radians, of any shape.
        recovered: In radians, of the same shape.

    Returns:
        In radians, a scalar.

    Raises:
        ValueError: If the shapes differ, or they are empty.
    """
    true, found = _pair("mean_angular_error", angles, recovered)
    return jnp.mean(angular_distance(true, align_angles(true, found).angles))


def circular_correlation(angles: ArrayLike, recovered: ArrayLike) -> Array:
    """Fisher and Lee's correlation of angles, which no rotation changes.

        ρ = Σ_{i<j} sin(θ_i − θ_j) sin(r_i − r_j) / √(Σ_{i<j} sin²(θ_i − θ_j) Σ_{i<j} sin²(r_i − r_j))

    It is 1 for angles that differ by a rotation, −1 for a reflection, about 0 for independent ones. The
    double sums are those of single sums' squares: |Σ exp i(θ − r)|² − |Σ exp i(θ + r)|² and so on.

    Args:
        angles: θ in radians, of any shape.
        recovered: r in radians, of the same shape.

    Returns:
        A scalar from −1 to 1; NaN where one of the two has no two different directions.

    Raises:
        ValueError: If the shapes differ, or they are empty.

    References:
        N. I. Fisher and A. J. Lee, A correlation coefficient for circular data, Biometrika 70(2), 1983.
    """
    true, found = (values.reshape(-1) for values in _pair("circular_correlation", angles, recovered))
    squared_size = float(true.size) ** 2
    spread = (squared_size - _squared_sum(2 * true)) * (squared_size - _squared_sum(2 * found))
    return (_squared_sum(true - found) - _squared_sum(true + found)) / jnp.sqrt(spread)


def _squared_sum(angles: Array) -> Array:
    """|Σ exp(i a)|²."""
    return jnp.sum(jnp.cos(angles)) ** 2 + jnp.sum(jnp.sin(angles)) ** 2


def _wrapped(angles: Array) -> Array:
    return jnp.arctan2(jnp.sin(angles), jnp.cos(angles))


def _pair(function: str, angles: ArrayLike, recovered: ArrayLike) -> tuple[Array, Array]:
    true = as_floating(f"{function}: angles", angles)
    found = as_floating(f"{function}: recovered", recovered)
    if true.shape != found.shape or not true.size:
        raise ValueError(
            f"{function}: angles and recovered must have the same shape and not be empty, got {true.shape} "
            f"and {found.shape}"
        )
    return true, found
