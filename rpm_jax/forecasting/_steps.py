"""The steps behind a site: what drives them, and when they are."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax.priors import Step


def steps_from(
    dynamics: Any,
    last: int,
    size: int,
    horizon: int,
    inputs: Any,
    times: Any,
    time: Array | None,
    origin: Array | None,
) -> Step:
    """Those that lead to the h sites behind one, h first.

    Args:
        dynamics: Of the prior.
        last: The number of the site that they start from.
        size: n.
        horizon: h.
        inputs: As for `rollout`.
        times: As for `rollout`.
        time: Of the site that they start from, since the first, shape (n,); None: as in the fit.
        origin: The time of the first site, where times are of each datum and known; else None.

    Raises:
        ValueError: For sites that the prior does not have, and inputs or times that do not fit.
    """
    if dynamics.num_sites is not None and last + horizon >= dynamics.num_sites:
        raise ValueError(
            f"horizon: the prior has a transition of its own for each step between its {dynamics.num_sites} "
            f"sites, and none that leads to site {last + horizon}"
        )
    numbers = jnp.asarray(last + np.arange(1, horizon + 1))
    between = _between(dynamics, last, numbers, size, times, time, origin)
    return Step(numbers, _inputs(dynamics, inputs, size, horizon), between)


def _inputs(dynamics: Any, inputs: Any, size: int, horizon: int) -> Any:
    """Inputs, steps first."""
    if not dynamics.takes_inputs:
        if inputs is not None:
            raise ValueError("inputs: the prior is not driven by inputs; leave them out")
        return None
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(inputs)]
    if not leaves or any(leaf.shape[:2] != (size, horizon) for leaf in leaves):
        raise ValueError(
            f"inputs must be those of the horizon = {horizon} steps, shape ({size}, {horizon}, ...), got "
            f"{[leaf.shape for leaf in leaves] or None}"
        )
    steps_first = jax.tree.map(lambda leaf: jnp.moveaxis(jnp.asarray(leaf), 1, 0), inputs)
    if hasattr(dynamics, "check_inputs"):
        dynamics.check_inputs(steps_first)
    return steps_first


def _between(
    dynamics: Any,
    last: int,
    numbers: Array,
    size: int,
    times: Any,
    time: Array | None,
    origin: Array | None,
) -> tuple[Array, Array] | None:
    """The times before and after each step, steps first."""
    if not dynamics.takes_times:
        if times is not None:
            raise ValueError("times: the prior's steps are all alike, whatever their times; leave them out")
        return None
    horizon, clock = numbers.shape[0], dynamics.clock
    if clock is None and times is None:
        raise ValueError(
            f"times: each datum has times of its own; pass those of the horizon = {horizon} sites to come, "
            f"shape ({size}, {horizon})"
        )
    if time is None:
        now = jnp.zeros((), dynamics.first.dtype) if clock is None else clock(jnp.asarray(last))
        time = jnp.broadcast_to(now, (size,))
    if times is None:
        each = time + (clock(numbers) - clock(jnp.asarray(last)))[:, None]
    else:
        given = jnp.asarray(times, time.dtype)
        if given.shape not in ((horizon,), (size, horizon)):
            raise ValueError(
                f"times must be those of the horizon = {horizon} sites, shape ({horizon},) or "
                f"({size}, {horizon}), got {given.shape}"
            )
        each = jnp.broadcast_to(given, (size, horizon)).T
        each = each if origin is None else each - origin
    whole = jnp.concatenate([time[None], each])
    if not bool(jnp.all(jnp.diff(whole, axis=0) > 0)):
        raise ValueError(f"times must increase, from that of the state on, got {times} after {time}")
    return whole[:-1], whole[1:]
