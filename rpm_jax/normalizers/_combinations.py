"""Combinations of views from different data, the components of a factor of all views jointly."""

import jax
import numpy as np
from jax import Array

from rpm_jax._checks import require_positive_integer

MOST_COMBINATIONS = 2**20
"""How many combinations are made at most, unless more are asked for."""


def all_combinations(size: int, num_views: int, *, limit: int = MOST_COMBINATIONS) -> np.ndarray:
    """The grid of all N^J ways to take each view from one of N data.

    Args:
        size: N.
        num_views: J.
        limit: How many there may be.

    Returns:
        Integers (N^J, J): which datum each view comes from; the last view varies fastest.

    Raises:
        ValueError: If there are more than `limit`; nothing is allocated then.
    """
    require_positive_integer("size", size)
    require_positive_integer("num_views", num_views)
    number = size**num_views
    if number > limit:
        raise ValueError(
            f"F over all combinations of N = {size} data in J = {num_views} views has N^J = {number:.3g} "
            f"components, more than the limit of {limit}; take those of a minibatch, a number of random "
            "combinations, or raise the limit"
        )
    grid = np.indices((size,) * num_views, dtype=np.int32)
    return grid.reshape(num_views, number).T


def random_combinations(key: Array, size: int, num_views: int, number: int) -> Array:
    """Some of the N^J combinations, each drawn independently and uniformly.

    Args:
        key: A random key.
        size: N.
        num_views: J.
        number: How many.

    Returns:
        Integers (number, J).
    """
    for name, value in (("size", size), ("num_views", num_views), ("number", number)):
        require_positive_integer(name, value)
    return jax.random.randint(key, (number, num_views), 0, size)
