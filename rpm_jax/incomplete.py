"""Views some of whose entries are missing, and what networks and other parts of a model see of them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import check_index
from rpm_jax._pytree import pytree_dataclass, static_field


@pytree_dataclass
class Incomplete:
    """A view with missing cells; it stands in the place of an array in `Data.views`.

    `rpm_jax.as_data(views, missing="cells")` makes it of NaN, and of masked arrays.

    Attributes:
        values: The view, shape (N, ...), with any finite numbers where it is missing.
        observed: Boolean, of the same shape, False where missing.
        indicated: Whether networks with standardised inputs are told which cells are observed.
    """

    values: Array
    observed: Array
    indicated: bool = static_field(default=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.values.ndim

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.values.size

    @property
    def dtype(self) -> Any:
        """Of the values."""
        return self.values.dtype

    def __len__(self) -> int:
        """N."""
        return self.values.shape[0]

    def __getitem__(self, index: Any) -> "Incomplete":
        """Some of the cells."""
        check_index(index if isinstance(index, tuple) else (index,), self.shape)
        return Incomplete(self.values[index], self.observed[index], self.indicated)

    def reshape(self, *shape: int) -> "Incomplete":
        """The same cells in another shape."""
        return Incomplete(self.values.reshape(*shape), self.observed.reshape(*shape), self.indicated)

    def filled(self) -> Array:
        """An array with 0 in the place of what is missing."""
        return jnp.where(self.observed, self.values, 0)

    def without_indicators(self) -> "Incomplete":
        """The same, networks not being told."""
        return dataclasses.replace(self, indicated=False)


View = Array | Incomplete


def expand_mask(mask: Array, view: View) -> Array:
    """A mask (N,), (N, 1) or (N, T) of one view with trailing axes added, to broadcast with the view."""
    if mask.ndim == 2 and (mask.shape[1] == 1 or view.ndim == 1 or mask.shape[1] != view.shape[1]):
        mask = mask.any(axis=1)
    return mask.reshape(mask.shape + (1,) * (view.ndim - mask.ndim))


def full_mask(mask: Array | None, num_sites: int) -> Array | None:
    """A mask (n, J) or (n, J, T) as (n, J, T)."""
    if mask is None:
        return None
    mask = mask[..., None] if mask.ndim == 2 else mask
    if mask.shape[2] not in (1, num_sites):
        raise ValueError(
            f"mask must have shape (N, J) or (N, J, T) with T = {num_sites} sites as in the prior, got "
            f"{mask.shape}"
        )
    return jnp.broadcast_to(mask, (*mask.shape[:2], num_sites))


def site_mask(views: Sequence[View], mask: Array | None, num_sites: int) -> Array | None:
    """Where something is observed of a view at a site: the mask, and some cell of the view.

    Args:
        views: J views of n data.
        mask: Boolean (n, J, T) or (n, J), or None.
        num_sites: T.

    Returns:
        Boolean (n, J, T), or None where everything is observed.
    """
    mask = full_mask(mask, num_sites)
    if not any(isinstance(view, Incomplete) for view in views):
        return mask
    parts = []
    for view in views:
        if not isinstance(view, Incomplete):
            parts.append(jnp.ones((view.shape[0], num_sites), bool))
            continue
        at_sites = num_sites > 1 and view.ndim > 1 and view.shape[1] == num_sites
        observed = view.observed.reshape(view.shape[0], num_sites if at_sites else 1, -1).any(-1)
        parts.append(jnp.broadcast_to(observed, (view.shape[0], num_sites)))
    some = jnp.stack(parts, axis=1)
    return some if mask is None else some & mask


def mark_missing(views: Sequence[View], mask: Array | None) -> tuple[View, ...]:
    """Views that know what is missing of them, by their cells and by a mask (n, J, T) or (n, J)."""
    if mask is None:
        return tuple(views)
    marked = []
    for j, view in enumerate(views):
        observed = jnp.broadcast_to(expand_mask(mask[:, j], view), view.shape)
        if isinstance(view, Incomplete):
            marked.append(Incomplete(view.values, view.observed & observed, view.indicated))
        else:
            marked.append(Incomplete(view, observed, indicated=False))
    return tuple(marked)


def fill_missing(views: Sequence[View]) -> tuple[Array, ...]:
    """Arrays with 0 in the place of what is missing."""
    return tuple(view.filled() if isinstance(view, Incomplete) else view for view in views)


def fill_means(views: Sequence[View]) -> tuple[Array, ...]:
    """Arrays with the mean of the observed data in the place of what is missing, entry by entry."""
    filled = []
    for view in views:
        if isinstance(view, Incomplete):
            number = jnp.sum(view.observed, axis=0)
            mean = jnp.sum(view.filled(), axis=0) / jnp.maximum(number, 1)
            overall = jnp.sum(view.filled()) / jnp.maximum(jnp.sum(number), 1)
            view = jnp.where(view.observed, view.values, jnp.where(number > 0, mean, overall))
        filled.append(view)
    return tuple(filled)


def accepts_missing(part: Any) -> bool:
    """Whether a network, specification or strategy takes `Incomplete` views (`takes_missing = True`)."""
    return getattr(part, "takes_missing", False)


def as_taken_by(part: Any, views: Sequence[View]) -> tuple[View, ...]:
    """Views as they are for a part that takes `Incomplete` ones, with 0 where missing for any other."""
    return tuple(views) if accepts_missing(part) else fill_missing(views)


def join_views(function: Any, views: Sequence[View], axis: int) -> View:
    """Stack or concatenate views, `function` being `jnp.stack` or `jnp.concatenate`."""
    if not any(isinstance(view, Incomplete) for view in views):
        return function(views, axis=axis)
    parts = [v if isinstance(v, Incomplete) else Incomplete(v, jnp.ones(v.shape, bool), False) for v in views]
    return Incomplete(
        function([part.values for part in parts], axis=axis),
        function([part.observed for part in parts], axis=axis),
        any(part.indicated for part in parts),
    )
