"""Networks evaluated on many data, block by block."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._devices import for_this_device
from rpm_jax.data import Data
from rpm_jax.expfam import map_rows
from rpm_jax.incomplete import View
from rpm_jax.normalizers import Block

BLOCK_INPUTS = 2**18
"""Numbers of all views together that reach the networks at once, where data are evaluated in blocks."""

STREAMED_INPUTS = 2**16
"""From this many numbers of all views on, networks are evaluated inside the stream of the normalizer, twice a
gradient, so that neither their activations nor their outputs are kept; below it they are evaluated once."""


def is_streamed(views: tuple[View, ...]) -> bool:
    """Whether the factors of these data are too many to be kept."""
    return sum(view.size for view in views) >= for_this_device(STREAMED_INPUTS)


def block_size(views: tuple[View, ...]) -> int:
    """How many data a block holds."""
    return max(1, for_this_device(BLOCK_INPUTS) // sum(math.prod(view.shape[1:]) for view in views))


def map_blocks(function: Callable[[Any], Any], rows: Any, length: int) -> Any:
    """Apply a function of arrays with first axis n to blocks of at most `length` of n rows.

    Args:
        function: Of a pytree like `rows`; families in its results keep what their whole batch shares.
        rows: A pytree of arrays.
        length: Of a block.
    """
    (size,) = {leaf.shape[0] for leaf in jax.tree.leaves(rows)}
    whole = size // length * length
    if size <= length:
        return function(rows)
    blocks = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, length, *leaf.shape[1:]), rows)
    results = map_rows(
        lambda leaf: leaf.reshape(whole, *leaf.shape[2:]),
        lax.map(function, blocks),
        shared=lambda leaf: leaf[0],
    )
    if whole == size:
        return results
    rest = function(jax.tree.map(lambda leaf: leaf[whole:], rows))
    return map_rows(lambda *parts: jnp.concatenate(parts), results, rest)


class DataComponents(NamedTuple):
    """The factors of data as mixture components, produced when a block of them is asked for.

    Attributes:
        factors: (views, mask) -> `Factors`.
        data: N data.
    """

    factors: Callable[[tuple[View, ...], Array | None], Any]
    data: Data

    @property
    def size(self) -> int:
        """N."""
        return self.data.size

    @property
    def block_size(self) -> int:
        """How many to ask for at a time."""
        return block_size(self.data.views)

    def block(self, start: int | Array, length: int) -> Block:
        """The components start..start + length − 1."""

        def rows(array: Array) -> Array:
            return lax.dynamic_slice_in_dim(array, start, length)

        views, mask = jax.tree.map(rows, (self.data.views, self.data.mask))
        factors = self.factors(views, mask)
        return Block(factors.natural, factors.log_scale)
