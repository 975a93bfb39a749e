"""Where the prior leads from a state."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import as_keys, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax._record import record
from rpm_jax.expfam import ExponentialFamily
from rpm_jax.forecasting._marginals import covariance_of
from rpm_jax.forecasting._models import require_prior
from rpm_jax.forecasting._online import FilterState
from rpm_jax.forecasting._steps import steps_from
from rpm_jax.priors import Step, dynamics_of


@record
class Rollout:
    """p(z_t+1..z_t+h | state at t).

    Attributes:
        sites: The marginals, a family of batch shape (n, h).
        prior: The prior's specification.
        params: Its parameters.
        belief: What is known of the state at t, batch shape (n,).
        steps: Those that lead to the h sites, h first.
    """

    sites: Any
    prior: Any
    params: Any
    belief: Any
    steps: Step

    @property
    def mean(self) -> Array:
        """E[z_t], shape (n, h, K); probabilities of discrete states."""
        return self.sites.mean()

    @property
    def standard_deviation(self) -> Array:
        """Of each latent, shape (n, h, K)."""
        return jnp.sqrt(self.sites.variance())

    @property
    def covariance(self) -> Array:
        """Of the latents of a site, shape (n, h, K, K)."""
        return covariance_of(self.sites)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Joint draws of the h sites, shape `shape` + (n, h, K), or `shape` + (n, h) of states."""
        return _sample(self, as_keys("key", key, 0), tuple(shape))


def rollout(
    fitted: Any,
    state: Any,
    horizon: int,
    *,
    inputs: Any = None,
    times: Any = None,
    site: int | None = None,
) -> Rollout:
    """The latents of the h sites behind a state, by the prior's steps alone: O(h), whatever came before.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM` whose prior is a chain of states, as for `filter_init`.
        state: Of `filter_step`; or a family of batch shape (n,), what is known of the latents of one site,
            such as `fit.posterior().sites[:, -1]`; or latents themselves, shape (n, K), or integers (n,) of
            discrete states. Of Gaussian processes with several numbers of state only the first one says all.
        horizon: h.
        inputs: Of a prior that is driven by inputs, those of the h steps, shape (n, h) or (n, h, A).
        times: Of a Gaussian process: of the h sites since the first of the fit, shape (h,) or (n, h). Where
            each datum has times of its own, as in `filter_step`; since the state's where it is not of
            `filter_step`. None: as in the fit, going on with its last step.
        site: The number of the site that a family or latents are of, from 0 on; None: the last of the fit.

    Returns:
        Marginals of the h sites with mean, standard_deviation and covariance, and joint draws.

    Raises:
        TypeError: For other models, priors and states; the message says why.
        ValueError: For a horizon, shapes, inputs or times that do not fit.
    """
    require_positive_integer("horizon", horizon)
    model = fitted.model
    require_prior("rollout", model)
    spec, params = model.prior, fitted.params["prior"]
    dynamics = dynamics_of(spec, params)
    is_filtered = isinstance(state, FilterState)
    if is_filtered and int(state.site) == 0:
        raise ValueError("state has seen no site yet; take a filter_step first")
    if is_filtered:
        own, size, last = state.belief, state.num_data, int(state.site) - 1
    else:
        own, size = state, _size(state, model.reference(fitted.params))
        last = model.num_sites(fitted.params) - 1 if site is None else site
    time, origin = (state.time, state.origin) if is_filtered else (None, None)
    steps = steps_from(dynamics, last, size, int(horizon), inputs, times, time, origin)
    belief, sites = _roll(spec, params, own, steps, size, is_filtered)
    return Rollout(sites, spec, params, belief, steps)


def _size(state: Any, sites: Any) -> int:
    """The number n of a state that is a family or latents.

    Raises:
        TypeError: For anything else.
        ValueError: For another shape.
    """
    one = sites[0]
    if isinstance(state, ExponentialFamily):
        if type(state) is not type(one) or len(state.batch_shape) != 1:
            raise ValueError(
                f"state must be a {type(one).__name__} of batch shape (n,), as posterior().sites[:, -1] is, "
                f"got a {type(state).__name__} of batch shape {state.batch_shape}"
            )
        return state.batch_shape[0]
    if not hasattr(state, "shape"):
        raise TypeError(
            "state must be that of filter_step, a family of batch shape (n,), or an array of latents, got "
            f"{type(state).__name__}"
        )
    event = jax.eval_shape(one.sample, jax.random.key(0)).shape
    if state.shape[1:] != event or not state.shape:
        expected = f"(n, {event[0]})" if event else "(n,)"
        raise ValueError(f"state: latents of one site must have shape {expected}, got {state.shape}")
    return state.shape[0]


@jit
def _roll(spec: Any, params: Any, state: Any, steps: Step, size: int, is_belief: bool) -> tuple[Any, Any]:
    """The belief at the state, and the marginals behind it."""
    dynamics = dynamics_of(spec, params)
    if not is_belief:
        is_family = isinstance(state, ExponentialFamily)
        state = dynamics.from_sites(state) if is_family else dynamics.from_latents(state)
    like = dynamics.start.repeated(size)
    belief = jax.tree.map(lambda x, y: jnp.broadcast_to(x, y.shape).astype(y.dtype), state, like)

    def step(belief: Any, own: Step) -> tuple[Any, Any]:
        belief = dynamics.moved(belief, own)
        return belief, belief.sites.natural_parameters

    _, natural = jax.lax.scan(step, belief, steps)
    return belief, belief.sites.replace(natural).moveaxis(0, 1)


@jit
def _sample(rolled: Rollout, key: Array, shape: tuple[int, ...]) -> Array:
    dynamics = dynamics_of(rolled.prior, rolled.params)
    first, rest = jax.random.split(key)

    def step(state: Array, given: tuple[Step, Array]) -> tuple[Array, Array]:
        own, key = given
        belief = dynamics.moved(rolled.belief.given(state), own)
        state = belief.draw(key)
        return state, belief.latents(state)

    state = rolled.belief.draw(first, shape)
    keys = jax.random.split(rest, rolled.steps.site.shape[0])
    _, latents = jax.lax.scan(step, state, (rolled.steps, keys))
    return jnp.moveaxis(latents, 0, len(shape) + 1)
