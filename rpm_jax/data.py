"""The data an RPM is fitted on, and batches of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import is_concrete, require_choice
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.distinct import DistinctValues

MIXTURES = ("train", "given", "both")


class Data(NamedTuple):
    """Observed views of N data, which are also the components of the mixtures F_j.

    Attributes:
        views: J arrays whose first axis is N: (N, T) or (N, T, ...) for T sites, (N, ...) for one.
        mask: Boolean (N, J, T) or (N, J), False where a view (at a site) is missing; None: all observed.
        log_weights: Log-weights of the empirical marginals, shape (N,), Σ w = 1; None: uniform.
        distinct: The distinct values of the views, which are then the components in the place of the data
            (`Model.prepare`); None where they are not known, or not few.
        inputs: What the prior of each datum depends on (actions, times, a context): a pytree of arrays whose
            first axis is N, or None.
    """

    views: tuple[Array, ...]
    mask: Array | None = None
    log_weights: Array | None = None
    distinct: DistinctValues | None = None
    inputs: Any = None

    @property
    def size(self) -> int:
        """N."""
        return self.views[0].shape[0]

    def batch(self, index: Array) -> "Batch":
        """The rows `index` of these data."""
        return Batch(
            index,
            tuple(view[index] for view in self.views),
            None if self.mask is None else self.mask[index],
            jax.tree.map(lambda leaf: leaf[index], self.inputs),
        )

    def all(self) -> "Batch":
        """All data as one batch."""
        return Batch(jnp.arange(self.size), self.views, self.mask, self.inputs)


@pytree_dataclass
class Batch:
    """Some data.

    Attributes:
        index: Rows of the data that a saturated strategy keeps a table for, integers (B,).
        views: J arrays with first axis B.
        mask: Boolean (B, J, T) or (B, J), or None.
        inputs: As of `Data`, first axis B, or None.
        log_weights: Log-weights among these data, as components, shape (B,) or (B, J, T); None where they are
            not known yet, or uniform.
    """

    index: Array
    views: tuple[Array, ...]
    mask: Array | None = None
    inputs: Any = None
    log_weights: Array | None = None


def as_data(views: Any, mask: Any = None, log_weights: Any = None, inputs: Any = None) -> Data:
    """Check views and make them `Data`.

    Args:
        views: `Data`, or a tuple or list of J arrays with first axis N.
        mask: See `Data`.
        log_weights: See `Data`; they are normalised here.
        inputs: See `Data`.

    Returns:
        Floating-point views; where the mask is False their content does not matter.

    Raises:
        TypeError: If views are not a tuple or list of numeric arrays.
        ValueError: If N differs between arguments, there are no data, or observed numbers are NaN or
            infinite.
    """
    if isinstance(views, Data):
        distinct = views.distinct if mask is None and log_weights is None else None
        mask = views.mask if mask is None else mask
        log_weights = views.log_weights if log_weights is None else log_weights
        inputs = views.inputs if inputs is None else inputs
        return as_data(views.views, mask, log_weights, inputs)._replace(distinct=distinct)
    if not isinstance(views, Sequence) or isinstance(views, str | bytes):
        hint = ""
        if hasattr(views, "shape") and len(views.shape) > 1:
            hint = "; if its axis 1 counts the views, pass tuple(array[:, j] for j in range(array.shape[1]))"
        raise TypeError(
            f"views must be a tuple or list of J arrays, one per view, got {type(views).__name__}{hint}"
        )
    if len(views) == 0:
        raise ValueError("views must hold at least one array, got none")
    arrays = tuple(_numeric(f"views[{j}]", view) for j, view in enumerate(views))
    sizes = [array.shape[0] for array in arrays]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"all views must have the same number N of data on their first axis, got N = {sizes}"
        )
    size = sizes[0]
    if size == 0:
        raise ValueError("views must hold at least one datum, got arrays whose first axis is 0")
    if mask is not None:
        mask = jnp.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(f"mask must be boolean, got dtype {mask.dtype}")
        if mask.ndim not in (2, 3) or mask.shape[:2] != (size, len(arrays)):
            raise ValueError(
                f"mask must have shape (N, J) or (N, J, T) with N = {size} data and J = {len(arrays)} views, "
                f"got {mask.shape}"
            )
    for j, array in enumerate(arrays):
        _require_observed_finite(j, array, None if mask is None else mask[:, j])
    if log_weights is not None:
        log_weights = _numeric("log_weights", log_weights)
        if log_weights.shape != (size,):
            raise ValueError(f"log_weights must have shape (N,) = ({size},), got {log_weights.shape}")
        if is_concrete(log_weights):
            values = np.asarray(log_weights)
            if np.isnan(values).any() or np.isposinf(values).any() or np.isneginf(values).all():
                raise ValueError(
                    "log_weights must be finite or −inf, and one of them finite, got "
                    f"{np.isnan(values).sum()} NaN, {np.isposinf(values).sum()} +inf and "
                    f"{np.isneginf(values).sum()} −inf of {size}"
                )
        log_weights = jax.nn.log_softmax(log_weights)
    return Data(arrays, mask, log_weights, inputs=_checked_inputs(inputs, size))


def _checked_inputs(inputs: Any, size: int) -> Any:
    """Inputs as arrays whose first axis is N."""

    def check(path: tuple, leaf: Any) -> Array:
        name = f"inputs{jax.tree_util.keystr(path)}"
        array = _numeric(name, leaf)
        if array.shape[0] != size:
            raise ValueError(
                f"{name} must have the N = {size} data on its first axis, got shape {array.shape}"
            )
        if is_concrete(array) and not np.isfinite(np.asarray(array)).all():
            raise ValueError(f"{name} must be finite, got NaN or infinite numbers")
        return array

    return jax.tree_util.tree_map_with_path(check, inputs)


def _numeric(name: str, value: Any) -> Array:
    array = value if hasattr(value, "dtype") else np.asarray(value)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool) or jnp.issubdtype(
        array.dtype, jnp.complexfloating
    ):
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    if len(array.shape) < 1:
        raise ValueError(f"{name} must have the data on its first axis, got a scalar")
    array = jnp.asarray(array)
    return array.astype(jnp.result_type(array, 0.0))


def _require_observed_finite(view: int, array: Array, mask: Array | None) -> None:
    if not is_concrete((array, mask)):
        return
    finite = np.isfinite(np.asarray(array))
    if mask is not None:
        finite = finite | ~np.asarray(expand_mask(mask, array))
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"views[{view}] must be finite where observed, got {int((~finite).sum())} NaN or infinite "
            f"numbers of {finite.size}, the first at index {where}; mark missing ones by a mask of shape "
            "(N, J, T) or (N, J) that is False there, or remove these data"
        )


def expand_mask(mask: Array, view: Array) -> Array:
    """A mask (N,), (N, 1) or (N, T) of one view with trailing axes added, to broadcast with the view."""
    if mask.ndim == 2 and (mask.shape[1] == 1 or view.ndim == 1 or mask.shape[1] != view.shape[1]):
        mask = mask.any(axis=1)
    return mask.reshape(mask.shape + (1,) * (view.ndim - mask.ndim))


def zero_missing(views: tuple[Array, ...], mask: Array | None) -> tuple[Array, ...]:
    """Views with 0 in the place of what is missing, so that networks see no NaN."""
    if mask is None:
        return views
    return tuple(jnp.where(expand_mask(mask[:, j], view), view, 0) for j, view in enumerate(views))


def choose_mixture(new: Data, data: Any, mixture: str) -> Data:
    """The data whose factors are the components of F_j.

    Args:
        new: Data to be evaluated.
        data: The data of the fit, or None.
        mixture: "train" for `data`, "given" for `new`, "both" for their union.

    Raises:
        ValueError: For another word, or if the fit's data are needed and not given.
    """
    require_choice("mixture", mixture, MIXTURES)
    if mixture == "given":
        return new
    if data is None:
        raise ValueError(
            f"data: F_j with mixture={mixture!r} is made of the data of the fit; pass data=..., or "
            "mixture='given' to make it of the new data"
        )
    data = as_data(data)
    if mixture == "train":
        return data
    if len(data.views) != len(new.views):
        raise ValueError(f"views must hold the J = {len(data.views)} views of the fit, got {len(new.views)}")
    views = tuple(jnp.concatenate(pair) for pair in zip(data.views, new.views, strict=True))
    mask = None
    if data.mask is not None or new.mask is not None:
        masks = [_mask_or_ones(d) for d in (data, new)]
        num_sites = max(m.shape[2] for m in masks)
        mask = jnp.concatenate([jnp.broadcast_to(m, (*m.shape[:2], num_sites)) for m in masks])
    log_weights = None
    if data.log_weights is not None or new.log_weights is not None:
        total = data.size + new.size
        log_weights = jnp.concatenate(
            [
                jnp.log(d.size / total)
                + (jnp.full(d.size, -jnp.log(d.size)) if d.log_weights is None else d.log_weights)
                for d in (data, new)
            ]
        )
    return Data(views, mask, log_weights)


def _mask_or_ones(data: Data) -> Array:
    if data.mask is None:
        return jnp.ones((data.size, len(data.views), 1), bool)
    return data.mask if data.mask.ndim == 3 else data.mask[..., None]


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


def fill_observed_mean(views: tuple[Array, ...], mask: Array | None) -> tuple[Array, ...]:
    """Views with their observed mean in the place of what is missing, for statistics of the data."""
    if mask is None:
        return views
    filled = []
    for j, view in enumerate(views):
        observed = jnp.broadcast_to(expand_mask(mask[:, j], view), view.shape)
        mean = jnp.sum(jnp.where(observed, view, 0)) / jnp.maximum(jnp.sum(observed), 1)
        filled.append(jnp.where(observed, view, mean))
    return tuple(filled)
