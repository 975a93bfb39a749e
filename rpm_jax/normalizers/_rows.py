"""Rows of pytrees whose arrays and families share their first axis.

A family's shared fields (a known covariance) belong to no row, so rows are taken, joined and stored by way of
its natural parameters, never leaf by leaf.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.expfam import ExponentialFamily


def map_rows(function: Callable[..., Array], tree: Any, *others: Any) -> Any:
    """Apply a function to every array that has rows, natural parameters included."""

    def apply(first: Any, *rest: Any) -> Any:
        if not isinstance(first, ExponentialFamily):
            return function(first, *rest)
        columns = zip(*(family.natural_parameters for family in (first, *rest)), strict=True)
        return first.replace(tuple(function(*column) for column in columns))

    return jax.tree.map(apply, tree, *others, is_leaf=is_family)


def is_family(node: Any) -> bool:
    """Whether a node of a pytree is a family."""
    return isinstance(node, ExponentialFamily)


def num_rows(tree: Any) -> int:
    """The length of the first axis, which all arrays and families of the tree share."""
    nodes = jax.tree.leaves(tree, is_leaf=is_family)
    (number,) = {node.batch_shape[0] if is_family(node) else node.shape[0] for node in nodes}
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

    def merge(array: Array) -> Array:
        return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])

    def apply(node: Any) -> Any:
        if not isinstance(node, ExponentialFamily):
            return merge(node)
        shared = {name: jax.tree.map(lambda leaf: leaf[0], value) for name, value in node.shared.items()}
        fields = dict(zip(node.natural_ranks, map(merge, node.natural_parameters), strict=True))
        return type(node)(**fields, **shared)

    return jax.tree.map(apply, tree, is_leaf=is_family)
