"""Rows of pytrees whose arrays and families share their first axis.

A family's shared fields (a known covariance) belong to no row, so rows are taken, joined and stored by
`expfam.map_rows`, never leaf by leaf.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.expfam import ExponentialFamily, map_rows


def num_rows(tree: Any) -> int:
    """The length of the first axis, which all arrays and families of the tree share."""
    nodes = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, ExponentialFamily))
    (number,) = {
        node.batch_shape[0] if isinstance(node, ExponentialFamily) else node.shape[0] for node in nodes
    }
    return number


def take_rows(tree: Any, index: Any) -> Any:
    """The rows `index`: integers, a slice."""
    return map_rows(lambda array: array[index], tree)


def slice_rows(tree: Any, start: int | Array, length: int) -> Any:
    """The rows start..start + length − 1; `start` may be traced."""
    return map_rows(lambda array: lax.dynamic_slice_in_dim(array, start, length), tree)


def join_rows(trees: Sequence[Any]) -> Any:
    """The rows of several trees of one structure, one after the other."""
    return map_rows(lambda *arrays: jnp.concatenate(arrays), *trees)


def put_rows(tree: Any, places: Array, new: Any) -> Any:
    """The tree with the rows `new` at `places`, in its own types."""
    return map_rows(lambda old, rows: old.at[places].set(rows.astype(old.dtype)), tree, new)


def repeat_rows(tree: Any, number: int) -> Any:
    """A tree of one row as one of many that are all the same."""
    return map_rows(lambda array: jnp.repeat(array, number, axis=0), tree)


def merge_blocks(tree: Any) -> Any:
    """Rows by blocks, as a loop stacks them, as rows; shared fields are those of the first block."""
    return map_rows(
        lambda array: array.reshape(array.shape[0] * array.shape[1], *array.shape[2:]),
        tree,
        shared=lambda leaf: leaf[0],
    )
