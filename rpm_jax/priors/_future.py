"""Priors over more sites than those of a fit."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import is_concrete, require_positive_integer
from rpm_jax.priors._base import PriorSpec
from rpm_jax.priors._times import as_locations


class Future(NamedTuple):
    """What is known of the sites behind the last one.

    Attributes:
        horizon: How many there are.
        inputs: What drives the steps that lead to them, one row a step, or None.
        times: When (or where) they are, or None.
    """

    horizon: int
    inputs: Any = None
    times: Any = None

    def refuse_inputs(self, spec: Any) -> None:
        """Raise `ValueError` for inputs, which this prior does not take."""
        if self.inputs is not None:
            raise ValueError(
                f"inputs: the prior {type(spec).__name__} is not driven by inputs; leave those of the future "
                "out"
            )

    def refuse_times(self, spec: Any) -> None:
        """Raise `ValueError` for times, which this prior does not have."""
        if self.times is not None:
            raise ValueError(
                f"times: the steps of the prior {type(spec).__name__} are all alike, whatever their times; "
                "leave those of the future out"
            )


def extended(spec: Any, future: Future, inputs: Any = None) -> tuple[PriorSpec, Any]:
    """The same prior over T + h sites, and the inputs of the data that it takes.

    Its first T sites are distributed as those of the prior itself, and its parameters are the same. So a
    forecast is nothing but this prior, conditioned on potentials that are zero at the last h sites.

    Args:
        spec: A specification; it, or the prior that it fixes, has `extended(future, inputs)`.
        future: What is known of the sites to add.
        inputs: Of the data, for the T sites of the prior.

    Raises:
        TypeError: For a prior that cannot be extended.
        ValueError: For inputs and times that do not fit, or where the future depends on something unknown.
    """
    require_positive_integer("horizon", future.horizon)
    if not hasattr(spec, "extended"):
        raise TypeError(not_extended(spec))
    return spec.extended(future, inputs)


def not_extended(prior: Any) -> str:
    """Why there are no more sites."""
    return (
        f"the prior {type(prior).__name__} has no sites behind its last one (it has no extended(future, "
        "inputs)); chains, and processes of kernels in time, have"
    )


def longer_times(times: Array, future: Future) -> Array:
    """The times since the first of T sites and of those behind them.

    Args:
        times: Since the first, shape (T,), or locations (T, D).
        future: Its times are those of the h further sites since the same first one, or of all T + h; None
            goes on with the last step between sites.
    """
    number, horizon = times.shape[0], future.horizon
    if future.times is None:
        if times.ndim > 1 or number < 2:
            raise ValueError(
                "times: "
                + ("locations in several dimensions" if times.ndim > 1 else "a single time")
                + f" can't be continued; pass times= of the horizon = {horizon} further sites"
            )
        own = np.asarray(times, float)
        added = own[-1] + (own[-1] - own[-2]) * np.arange(1, horizon + 1)
        return as_locations(np.concatenate([own, added]).astype(times.dtype))
    shape = np.shape(future.times)
    if shape == (number + horizon, *times.shape[1:]):
        whole = as_locations(future.times)
        if not np.allclose(whole[:number], times, rtol=1e-5, atol=1e-6 * float(np.abs(times).max())):
            raise ValueError(
                f"times: the first T = {number} of {number + horizon} must be those of the fit, got others"
            )
        return whole
    if shape != (horizon, *times.shape[1:]):
        raise ValueError(
            f"times must be those of the horizon = {horizon} further sites since the first of the fit, shape "
            f"{(horizon, *times.shape[1:])}, or of all T + horizon = {number + horizon}, got shape {shape}"
        )
    added = np.asarray(future.times, float).astype(times.dtype)
    return as_locations(np.concatenate([np.asarray(times), added]))


def joined_inputs(own: Array, future: Future) -> Array:
    """Inputs of T − 1 steps and those of the h steps behind them.

    Args:
        own: Shape (n, T − 1, ...).
        future: Its inputs have shape (n, h, ...), the first being of the step from the last of the T sites.
    """
    horizon, size = future.horizon, own.shape[0]
    expected = f"{(size, horizon, *own.shape[2:])}"
    if future.inputs is None:
        raise ValueError(
            f"inputs: the steps of this prior are driven by inputs; pass those of the horizon = {horizon} "
            f"steps to come, shape {expected}, the first being of the step from the last observed site"
        )
    (added,) = [jnp.asarray(leaf) for leaf in jax.tree.leaves(future.inputs)][:1]
    if added.ndim == own.ndim - 1 and own.shape[-1] == 1:
        added = added[..., None]
    if added.ndim == own.ndim + 1 and added.shape[-1] == 1:
        added = added[..., 0]
    if added.shape != (size, horizon, *own.shape[2:]):
        raise ValueError(
            f"inputs must be those of the horizon = {horizon} steps to come, shape {expected}, the first "
            f"being of the step from the last observed site, got shape {added.shape}"
        )
    if is_concrete(added) and not np.all(np.isfinite(np.asarray(added, float))):
        raise ValueError("inputs of the steps to come must be finite, got NaN or infinity")
    return jnp.concatenate([own, added.astype(own.dtype)], axis=1)
