"""Filtering a step at a time: a state that is carried, and O(1) for each site."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._arrays import as_floating
from rpm_jax._checks import is_concrete, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax._record import record
from rpm_jax.data import Data, as_data
from rpm_jax.feeds import Lazy
from rpm_jax.forecasting._models import require_prior, views_of
from rpm_jax.model import Mixture
from rpm_jax.priors import Step, dynamics_of


@record
class FilterState:
    """What is known of n sequences up to their last site; `filter_init` makes it.

    It is a pytree, and can be carried through `jax.lax.scan`.

    Attributes:
        model: The model.
        params: Its parameters.
        num_data: n.
        reference: What factors are relative to, batch shape (T,).
        mixture: The mixtures F_j, where potentials need them, or None.
        belief: p(state | x_1..t), batch shape (n,).
        site: How many sites have been seen.
        time: Of the last one, since the first, shape (n,); None where the prior has no times.
        origin: The time of the first one where each datum has times of its own, shape (n,), or None.
        most_sites: T of the fit, where the model has nothing to say of sites behind; else None.
    """

    model: Any
    params: Any
    num_data: int
    reference: Any
    mixture: Any
    belief: Any
    site: Array
    time: Array | None = None
    origin: Array | None = None
    most_sites: int | None = None


def filter_init(fitted: Any, num_data: int = 1) -> FilterState:
    """The state before the first site, for `filter_step`.

    Args:
        fitted: As for `filter`; its prior must be a chain of states: hidden Markov, linear-Gaussian, or
            a Gaussian process with solver=solvers.markov().
        num_data: n, how many sequences go along.

    Raises:
        TypeError: For other models, posteriors, factors and priors; the message says why.
    """
    require_positive_integer("num_data", num_data)
    model, params = fitted.model, fitted.params
    require_prior("filter_init", model)
    model.require_sitewise("filter_init", views_of(fitted))
    if not hasattr(model.factors, "at_site"):
        raise TypeError(
            "filter_init needs factors of one site by itself, at_site(params, views, sites, site), which "
            f"{type(model.factors).__name__} does not have; filter takes all sites at once"
        )
    dynamics = dynamics_of(model.prior, params["prior"])
    mixture = _mixture(model, params, as_data(fitted.data)) if model.needs_mixture else None
    reference, belief, zero = _start(model, params, int(num_data))
    has_own_times = dynamics.takes_times and dynamics.clock is None
    differs_by_site = (model.needs_mixture and not model.pooled) or getattr(model.factors, "by_site", False)
    has_end = differs_by_site or dynamics.num_sites is not None
    return FilterState(
        model,
        params,
        int(num_data),
        reference,
        mixture,
        belief,
        jnp.zeros((), int),
        zero if dynamics.takes_times else None,
        zero if has_own_times else None,
        model.num_sites(params) if has_end else None,
    )


def filter_step(
    state: FilterState, views: Any, inputs: Any = None, *, times: Any = None, mask: Any = None
) -> tuple[FilterState, Any]:
    """Go to the next site, and see what is observed there.

    Steps may go on behind the T sites of the fit, where what they need does not differ by site: with the
    conjugate posterior, and with the exact one where the model is pooled.

    Args:
        state: Of `filter_init`, or of the last step.
        views: J arrays (n, ...), those of this site; None where nothing is observed.
        inputs: Of a prior that is driven by inputs, that of the step that leads to this site, shape (n,) or
            (n, A); the first site needs none.
        times: Of a Gaussian process: the time of this site since the first one of the fit, a number or (n,);
            None: as in the fit, going on with its last step. Where each datum has times of its own, these,
            from any origin.
        mask: Boolean (n, J), False where a view is missing; or None.

    Returns:
        The new state, and p(z_t | x_1..x_t), a family of batch shape (n,).

    Raises:
        TypeError: For a state that is none, and times that are no numbers.
        ValueError: For shapes, inputs and times that do not fit, and sites that the model does not have.
    """
    if not isinstance(state, FilterState):
        raise TypeError(f"state must be that of filter_init or filter_step, got {type(state).__name__}")
    size = state.num_data
    rows = None if views is None else as_data(views, mask).all()
    if rows is not None and rows.views[0].shape[0] != size:
        raise ValueError(
            f"views must be those of one site of num_data = {size} sequences, (n, ...) each, got shape "
            f"{rows.views[0].shape}"
        )
    is_first = int(state.site) == 0 if is_concrete(state.site) else None
    _check_site(state)
    if times is not None and state.time is None:
        raise ValueError("times: the prior's steps are all alike, whatever their times; leave them out")
    if times is None and state.origin is not None:
        raise ValueError("times: each datum has times of its own; pass the time of this site, shape (n,)")
    if times is not None:
        times = as_floating("times", times)
        if times.shape not in ((), (size,)):
            raise ValueError(
                f"times must be a number, or have shape (n,) = ({size},), got shape {times.shape}"
            )
        times = jnp.broadcast_to(times if state.time is None else times.astype(state.time.dtype), (size,))
    belief, site, time, origin = _step(state, rows, inputs, times, is_first)
    later = times is None or is_first or not is_concrete((time, state.time)) or jnp.all(time > state.time)
    if not later:
        raise ValueError(f"times must increase from step to step, got {times} after a later or equal one")
    return dataclasses.replace(state, belief=belief, site=state.site + 1, time=time, origin=origin), site


def _check_site(state: FilterState) -> None:
    """Raise `ValueError` for a known site that the model does not have."""
    if state.most_sites is None or not is_concrete(state.site) or int(state.site) < state.most_sites:
        return
    raise ValueError(
        f"filter_step: the model has nothing to say of sites behind its T = {state.most_sites}, since its "
        "mixtures F_jt (of the exact posterior), its precisions or its prior's steps are of each site by "
        "itself; pooled=True, and a prior whose steps are alike, go on"
    )


@jit
def _mixture(model: Any, params: Any, data: Data) -> Mixture:
    return Mixture(None, model.mixture(params, Lazy(data, approximate=True)).log_values)


@jit
def _start(model: Any, params: Any, size: int) -> tuple[Any, Any, Array]:
    start = dynamics_of(model.prior, params["prior"]).start
    return model.reference(params), start.repeated(size), jnp.zeros(size, start.sites.dtype)


@jit
def _step(state: FilterState, rows: Any, inputs: Any, times: Any, is_first: bool | None) -> tuple:
    dynamics = dynamics_of(state.model.prior, state.params["prior"])
    site, belief, time, origin = state.site, state.belief, state.time, state.origin
    if origin is not None:
        origin = jnp.where(site == 0, times, origin)
        time = times - origin
    elif times is not None:
        time = times
    elif time is not None:
        time = time + jnp.where(site > 0, dynamics.clock(site) - dynamics.clock(site - 1), 0.0)
    if not is_first:
        between = None if time is None or state.time is None else (state.time, time)
        moved = dynamics.moved(belief, Step(site, inputs, between))
        if is_first is None:
            moved = jax.tree.map(lambda new, old: jnp.where(site > 0, new, old), moved, belief)
        belief = moved
    if rows is not None:
        potential = state.model.potentials_at(state.params, rows, site, state.reference, state.mixture)
        belief = belief.absorb(potential)
    return belief, belief.sites, time, origin
