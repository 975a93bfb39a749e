"""The data an RPM is fitted on, and batches of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._arrays import (
    FROM_SEQUENCES,
    as_floating,
    beyond_range,
    in_range,
    to_floating,
    to_numpy,
    warn_of_lost_digits,
)
from rpm_jax._checks import is_concrete, require_choice, require_finite
from rpm_jax._columns import warn_of_columns
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.distinct import DistinctValues
from rpm_jax.incomplete import Incomplete, View, expand_mask, join_views, mark_missing

MIXTURES = ("train", "given", "both")
MISSING = ("error", "cells")


class Data(NamedTuple):
    """Observed views of N data, which are also the components of the mixtures F_j.

    Attributes:
        views: J arrays whose first axis is N: (N, T) or (N, T, ...) for T sites, (N, ...) for one. A view
            with missing cells is `Incomplete`.
        mask: Boolean (N, J, T) or (N, J), False where a view (at a site) is missing; None: all observed.
        log_weights: Log-weights of the empirical marginals, shape (N,), Σ w = 1; None: uniform.
        distinct: The distinct values of the views, which are then the components in the place of the data
            (`Model.prepare`); None where they are not known, or not few.
        inputs: What the prior of each datum depends on (actions, times, a context): a pytree of arrays whose
            first axis is N, or None.
        lengths: How many sites of each datum there are before padding, integers (N,), where
            `rpm_jax.from_sequences` padded them; None: T of all.
    """

    views: tuple[View, ...]
    mask: Array | None = None
    log_weights: Array | None = None
    distinct: DistinctValues | None = None
    inputs: Any = None
    lengths: Array | None = None

    @property
    def size(self) -> int:
        """N."""
        return self.views[0].shape[0]

    def batch(self, index: Array) -> "Batch":
        """The rows `index` of these data.

        Args:
            index: Integers (B,) from −N to N − 1.

        Raises:
            IndexError: For rows that there are not, where the index is known now (JAX itself takes the last
                row in their place).
        """
        index = _row_index(index, self.size)
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
        views: J arrays with first axis B; `Incomplete` where cells are missing.
        mask: Boolean (B, J, T) or (B, J), or None.
        inputs: As of `Data`, first axis B, or None.
        log_weights: Log-weights among these data, as components, shape (B,) or (B, J, T); None where they are
            not known yet, or uniform.
    """

    index: Array
    views: tuple[View, ...]
    mask: Array | None = None
    inputs: Any = None
    log_weights: Array | None = None


def _row_index(index: Any, size: int) -> Array:
    """Rows of `size` data, as integers from 0 on where they are known."""
    array: Any = index if isinstance(index, Array) else np.asarray(index)
    if not jnp.issubdtype(array.dtype, jnp.integer) or array.ndim != 1:
        raise TypeError(
            f"index must be integers of shape (B,), got dtype {array.dtype} and shape {array.shape}; "
            "numpy.flatnonzero makes them of a boolean array"
        )
    if not is_concrete(array):
        return array
    known = np.asarray(array)
    outside = (known < -size) | (known >= size)
    if outside.any():
        raise IndexError(f"index must be rows of the N = {size} data, got {known[outside][0]}")
    return jnp.asarray(array if not (known < 0).any() else np.where(known < 0, known + size, known))


def as_data(
    views: Any,
    mask: Any = None,
    log_weights: Any = None,
    inputs: Any = None,
    *,
    missing: str = "error",
    name: str = "views",
) -> Data:
    """Check views and make them `Data`.

    Numbers of NumPy, torch, pandas, xarray and nested lists are converted by NumPy: integers, booleans and
    half precision become floating-point numbers of float32 (float64 with JAX's `jax_enable_x64`), nothing is
    wrapped around. JAX arrays keep their precision, at least float32.

    Args:
        views: `Data`, or a tuple or list of J arrays with first axis N.
        mask: See `Data`; or J boolean arrays of the views' shapes, False where a cell is missing.
        log_weights: See `Data`; they are normalised here.
        inputs: See `Data`.
        missing: What NaN means: "error", a mistake unless the mask hides it; "cells", a missing cell of its
            view. What a NumPy masked array masks is a missing cell in any case.
        name: How messages call the views.

    Returns:
        Floating-point views; where the mask is False their content does not matter. Views with missing cells
        are `Incomplete`; where only whole rows of a view are missing, the mask says so instead.

    Raises:
        TypeError: If views are not a tuple or list of numeric arrays.
        ValueError: If N differs between arguments, there are no data, or observed numbers are NaN, infinite
            or beyond the range of their floating-point type.

    Warns:
        RuntimeWarning: Where float32 rounds a column of float64 or integers by more than a thousandth of its
            standard deviation.
    """
    require_choice("missing", missing, MISSING)
    if isinstance(views, Data):
        distinct = views.distinct if mask is None and log_weights is None else None
        mask = views.mask if mask is None else mask
        log_weights = views.log_weights if log_weights is None else log_weights
        inputs = views.inputs if inputs is None else inputs
        data = as_data(views.views, mask, log_weights, inputs, missing=missing, name=name)
        return data._replace(distinct=distinct, lengths=views.lengths)
    _require_views(name, views)
    given = [_Given.of(f"{name}[{j}]", view) for j, view in enumerate(views)]
    sizes = [view.values.shape[0] for view in given]
    if len(set(sizes)) > 1:
        alike = len({view.values.shape[1:] for view in given}) == 1
        raise ValueError(
            f"all {name} must have the same number N of data on their first axis, got N = {sizes}"
            + (f"; if {name} are sequences of unequal lengths, pass {FROM_SEQUENCES}" if alike else "")
        )
    size = sizes[0]
    if size == 0:
        raise ValueError(f"{name} must hold at least one datum, got arrays whose first axis is 0")
    if _is_of_cells(mask, given):
        given = [
            view.hiding(f"mask[{j}]", cells) for j, (view, cells) in enumerate(zip(given, mask, strict=True))
        ]
        mask = None
    elif mask is not None:
        mask = _as_mask(mask, size, len(given))
    rows = np.ones((size, len(given)), bool)
    checked = []
    for j, view in enumerate(given):
        checked.append(view.checked(None if mask is None else mask[:, j], missing, rows[:, j]))
    if not rows.all():
        mask = rows if mask is None else np.asarray(mask) & (rows if mask.ndim == 2 else rows[:, :, None])
    if log_weights is not None:
        log_weights = _as_log_weights(log_weights, size)
    known = None if mask is None else jnp.asarray(mask)
    return Data(tuple(checked), known, log_weights, inputs=_checked_inputs(inputs, size))


def _require_views(name: str, views: Any) -> None:
    """Raise unless views are a tuple or list of something."""
    if hasattr(views, "_fields") and "views" in views._fields:
        raise TypeError(
            f"{name} must be a tuple or list of J arrays, one per view, got the record "
            f"{type(views).__name__}; pass its field .views"
        )
    if not isinstance(views, Sequence) or isinstance(views, str | bytes):
        hint = ""
        if hasattr(views, "columns"):
            hint = "; pass the columns of every view, such as (frame[['a', 'b']], frame[['c']])"
        elif hasattr(views, "shape") and len(views.shape) > 1:
            hint = "; if its axis 1 counts the views, pass tuple(array[:, j] for j in range(array.shape[1]))"
        raise TypeError(
            f"{name} must be a tuple or list of J arrays, one per view, got {type(views).__name__}{hint}"
        )
    if len(views) == 0:
        raise ValueError(f"{name} must hold at least one array, got none")


class _Given(NamedTuple):
    """A view on its way in.

    Attributes:
        name: For messages.
        values: A JAX array, or a NumPy array in the type that JAX will have it in.
        observed: Boolean, of the same shape, or None: all cells.
        original: The NumPy array before it was cast.
        indicated: See `Incomplete`.
    """

    name: str
    values: Any
    observed: Any = None
    original: np.ndarray | None = None
    indicated: bool = True

    @classmethod
    def of(cls, name: str, view: Any) -> "_Given":
        """Numbers of any origin."""
        if isinstance(view, Incomplete):
            return cls(name, as_floating(name, view.values), view.observed, None, view.indicated)
        if isinstance(view, Array):
            given = cls(name, as_floating(name, view))
        else:
            original = to_numpy(name, view)
            observed = None
            if isinstance(original, np.ma.MaskedArray):
                observed = ~np.ma.getmaskarray(original)
                observed, original = None if observed.all() else observed, original.data
            given = cls(name, to_floating(original), observed, original)
        if given.values.ndim < 1:
            raise ValueError(f"{name} must have the data on its first axis, got a scalar")
        if 0 in given.values.shape[1:]:
            raise ValueError(
                f"{name} must hold at least one number per datum, got shape {given.values.shape}"
            )
        return given

    def hiding(self, name: str, cells: Any) -> "_Given":
        """The view, observed only where `cells` are True."""
        cells = cells if isinstance(cells, Array) else np.asarray(to_numpy(name, cells))
        if cells.dtype != bool:
            raise TypeError(f"{name} must be boolean, got dtype {cells.dtype}")
        return self._replace(observed=cells if self.observed is None else self.observed & cells)

    def checked(self, mask: Any, missing: str, rows: np.ndarray) -> View:
        """The view for `Data`.

        Args:
            mask: Of this view, (N,) or (N, T), or None.
            missing: See `as_data`.
            rows: (N,), set to False where all cells of a row are missing.

        Raises:
            ValueError: For observed numbers that are not finite.
        """
        if not is_concrete((self.values, self.observed, mask)):
            if missing == "error":
                if self.observed is None:
                    return jnp.asarray(self.values)
                return self._incomplete(self.values, self.observed)
            cells = ~jnp.isnan(jnp.asarray(self.values))
            return self._incomplete(self.values, cells if self.observed is None else cells & self.observed)
        values: Any = np.asarray(self.values)
        if self.observed is None and in_range(values):
            self._warn_of_lost_digits()
            return jnp.asarray(self.values)
        observed: Any = np.ones(values.shape, bool) if self.observed is None else np.asarray(self.observed)
        known: Any = None if mask is None else np.asarray(mask)
        shown: Any = True if mask is None else expand_mask(known, values)
        if missing == "cells":
            observed = observed & ~np.isnan(values)
        self._require_finite(values, observed & shown)
        self._warn_of_lost_digits()
        observed = observed | ~np.asarray(shown)
        if observed.all():
            return jnp.asarray(self.values)
        whole = observed.reshape(len(values), -1).all(1)
        none = ~observed.reshape(len(values), -1).any(1)
        filled = np.where(observed, values, values.dtype.type(0))
        if (whole | none).all():
            rows &= whole
            return jnp.asarray(filled)
        return self._incomplete(jnp.asarray(filled), jnp.asarray(observed))

    def _incomplete(self, values: Array, observed: Any) -> Incomplete:
        observed = jnp.asarray(observed)
        return Incomplete(jnp.where(observed, values, 0), observed, self.indicated)

    def _require_finite(self, values: np.ndarray, observed: np.ndarray) -> None:
        limit = np.finfo(values.dtype).max / 4
        with np.errstate(invalid="ignore"):
            good = (np.abs(values) <= limit) | ~observed
        if good.all():
            return
        original = values if self.original is None else self.original
        beyond = ~good & np.isfinite(original)
        if beyond.any():
            raise ValueError(beyond_range(self.name, original, beyond, values.dtype))
        where = tuple(int(i) for i in np.argwhere(~good)[0])
        cells = "make them missing cells by rpm_jax.as_data(views, missing='cells'), "
        raise ValueError(
            f"{self.name} must be finite where observed, got {int((~good).sum())} NaN or infinite "
            f"numbers of {good.size}, the first at index {where}; mark missing ones by a mask of shape "
            "(N, J, T) or (N, J) that is False there, "
            f"{cells if np.isnan(values[~good]).all() else ''}or remove these data"
        )

    def _warn_of_lost_digits(self) -> None:
        if self.original is not None:
            warn_of_lost_digits(self.name, self.original, self.values)


def _is_of_cells(mask: Any, given: Sequence[_Given]) -> bool:
    """Whether a mask is J arrays of the views' shapes."""
    return (
        isinstance(mask, tuple | list)
        and len(mask) == len(given)
        and all(hasattr(m, "shape") and m.shape == v.values.shape for m, v in zip(mask, given, strict=True))
    )


def _as_mask(mask: Any, size: int, num_views: int) -> Any:
    """A checked mask."""
    mask = mask if isinstance(mask, Array) else np.asarray(to_numpy("mask", mask))
    if mask.dtype != bool:
        raise TypeError(f"mask must be boolean, got dtype {mask.dtype}")
    if mask.ndim not in (2, 3) or mask.shape[:2] != (size, num_views):
        raise ValueError(
            f"mask must have shape (N, J) or (N, J, T) with N = {size} data and J = {num_views} views, or be "
            f"J arrays of the views' shapes for missing cells, got {mask.shape}"
        )
    return mask


def _as_log_weights(log_weights: Any, size: int) -> Array:
    """Normalised log-weights; those of NumPy are normalised in float64."""
    name = "log_weights"
    given = log_weights if isinstance(log_weights, Array) else np.asarray(to_numpy(name, log_weights))
    if given.ndim < 1:
        raise ValueError(f"{name} must have the data on its first axis, got a scalar")
    if given.shape != (size,):
        raise ValueError(f"{name} must have shape (N,) = ({size},), got {given.shape}")
    if is_concrete(given):
        values = np.asarray(given, np.float64)
        if np.isnan(values).any() or np.isposinf(values).any() or np.isneginf(values).all():
            raise ValueError(
                f"{name} must be finite or −inf, and one of them finite, got "
                f"{np.isnan(values).sum()} NaN, {np.isposinf(values).sum()} +inf and "
                f"{np.isneginf(values).sum()} −inf of {size}"
            )
        if not isinstance(given, Array):
            values = values - values.max()
            return jnp.asarray(to_floating(values - np.log(np.exp(values).sum())))
    return jax.nn.log_softmax(as_floating(name, given))


def _checked_inputs(inputs: Any, size: int) -> Any:
    """Inputs as finite floating-point arrays whose first axis is N."""

    def check(path: tuple, leaf: Any) -> Array:
        name = f"inputs{jax.tree_util.keystr(path)}"
        array = as_floating(name, leaf)
        if array.ndim < 1 or array.shape[0] != size:
            raise ValueError(
                f"{name} must have the N = {size} data on its first axis, got shape {array.shape}"
            )
        require_finite(name, array)
        if not isinstance(leaf, Array) and is_concrete(array):
            warn_of_lost_digits(name, to_numpy(name, leaf), np.asarray(array))
        return jnp.asarray(array)

    return jax.tree_util.tree_map_with_path(check, inputs)


def choose_mixture(new: Data, data: Any, mixture: str) -> Data:
    """The data whose factors are the components of F_j.

    Args:
        new: Data to be evaluated.
        data: The data of the fit, or None.
        mixture: "train" for `data`, "given" for `new`, "both" for their union.

    Raises:
        ValueError: For another word, if the fit's data are needed and not given, or if data have other
            shapes than those of the fit.
    """
    require_choice("mixture", mixture, MIXTURES)
    if mixture == "given":
        return new
    if data is None:
        raise ValueError(
            f"data: F_j with mixture={mixture!r} is made of the data of the fit; pass data=..., or "
            "mixture='given' to make it of the new data"
        )
    data = as_data(data, name="data")
    require_alike("views", new, data)
    if mixture == "train":
        return data
    views = tuple(join_views(jnp.concatenate, pair, 0) for pair in zip(data.views, new.views, strict=True))
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
    inputs = jax.tree.map(lambda *pair: jnp.concatenate(pair), data.inputs, new.inputs)
    return Data(views, mask, log_weights, inputs=inputs)


def require_alike(name: str, new: Data, data: Data, *, num_leading: int = 1) -> None:
    """Raise `ValueError` unless new data have the views and inputs of those of the fit, of the same shapes.

    Args:
        name: Of the new data, for the message.
        new: New data.
        data: Those of the fit.
        num_leading: How many axes are not compared: 2 with one of seeds before N.
    """
    if len(data.views) != len(new.views):
        raise ValueError(f"{name} must hold the J = {len(data.views)} views of the fit, got {len(new.views)}")
    for j, (ours, theirs) in enumerate(zip(new.views, data.views, strict=True)):
        if ours.shape[num_leading:] != theirs.shape[num_leading:]:
            own = theirs.shape[num_leading:]
            expected = f"(n, {', '.join(map(str, own))})" if own else "(n,)"
            raise ValueError(
                f"{name}[{j}] must have shape {expected} like the data of the fit, got {ours.shape}"
            )
    own_shapes, fit_shapes = (
        jax.tree.map(lambda leaf: leaf.shape[num_leading:], one.inputs) for one in (new, data)
    )
    if own_shapes != fit_shapes:
        raise ValueError(
            f"{name}: inputs must be like those of the data of the fit, {fit_shapes} for each datum, got "
            f"{own_shapes}"
        )


def warn_of_views(data: Data, num_sites: int) -> None:
    """Warn of views that are constant, and of columns whose scale outliers rule.

    Args:
        data: Known data that a model is to be fitted to.
        num_sites: T of the model's prior: a view (N, T) or (N, T, D) of T > 1 sites has one column or D.
    """
    for j, view in enumerate(mark_missing(data.views, data.mask)):
        values = np.asarray(view.values if isinstance(view, Incomplete) else view, np.float64)
        at_sites = num_sites > 1 and view.ndim > 1 and view.shape[1] == num_sites
        number = view.shape[-1] if (view.ndim == 2 and not at_sites) or (view.ndim == 3 and at_sites) else 1
        observed = np.asarray(view.observed).reshape(-1, number) if isinstance(view, Incomplete) else None
        warn_of_columns(f"views[{j}]", values.reshape(-1, number), observed)


def has_missing_cells(data: "Data | Batch") -> bool:
    """Whether cells of a view are missing."""
    return any(isinstance(view, Incomplete) for view in data.views)


def require_data(name: str, data: Any) -> None:
    """Raise `TypeError` unless data are `Data`."""
    if not isinstance(data, Data):
        raise TypeError(
            f"{name} must be rpm_jax.Data, got {type(data).__name__}; rpm_jax.as_data(views) makes them"
        )


def require_batch(name: str, batch: Any) -> None:
    """Raise `TypeError` unless a batch is a `Batch`."""
    if not isinstance(batch, Batch):
        raise TypeError(
            f"{name} must be an rpm_jax.Batch, got {type(batch).__name__}; "
            "rpm_jax.as_data(views).batch(index) makes one"
        )


def _mask_or_ones(data: Data) -> Array:
    if data.mask is None:
        return jnp.ones((data.size, len(data.views), 1), bool)
    return data.mask if data.mask.ndim == 3 else data.mask[..., None]
