"""Networks evaluated on many data, block by block."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._devices import for_this_device
from rpm_jax.data import Batch, Data
from rpm_jax.incomplete import View
from rpm_jax.normalizers import Block, join_rows, merge_blocks, num_rows, slice_rows, take_rows

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
    """Apply a function of n rows to blocks of at most `length` of them.

    Args:
        function: From a tree of rows to a tree of as many.
        rows: A tree whose arrays and families have a first axis of n.
        length: Of a block.
    """
    size = num_rows(rows)
    whole = size // length * length
    if size <= length:
        return function(rows)
    results = merge_blocks(
        lax.map(lambda start: function(slice_rows(rows, start, length)), jnp.arange(0, whole, length))
    )
    if whole == size:
        return results
    return join_rows([results, function(take_rows(rows, slice(whole, size)))])


def recognise_in_blocks(model: Any, params: Any, rows: Batch) -> Any:
    """The factors of many data, without the memory of all their networks' activations at once."""
    return map_blocks(lambda block: model.recognise(params, block), rows, block_size(rows.views))


class DataComponents(NamedTuple):
    """The factors of data as mixture components, produced when a block of them is asked for.

    Attributes:
        recognise: From a `Batch` to `Factors`.
        data: N data.
    """

    recognise: Callable[[Batch], Any]
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
        own = slice_rows((self.data.views, self.data.mask, self.data.inputs), start, length)
        factors = self.recognise(Batch(start + jnp.arange(length), *own))
        return Block(factors.natural, factors.log_scale)
