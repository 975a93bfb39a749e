"""One view from others."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import as_keys, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax.data import Batch, Data, as_data
from rpm_jax.diagnostics import log_importance_weights, samples_at_once
from rpm_jax.generation._joint import component_log_joint
from rpm_jax.incomplete import full_mask
from rpm_jax.inference import Against, evaluated
from rpm_jax.model import (
    EVALUATED_AT_ONCE,
    Components,
    Mixture,
    components_of,
    held_mixture,
    map_blocks,
    recognise_in_blocks,
    require_ability,
)
from rpm_jax.normalizers import log_sum_exp


def predictive_log_weights(
    fitted: Any,
    views: Any,
    view: int,
    *,
    given: Sequence[int] | None = None,
    key: Array | None = None,
    num_samples: int = 1000,
    importance: bool = True,
    against: Against | str = "train",
) -> Array:
    """One view from others: log p(x_i = x_i^m | x_j, j ∈ given) for every value that the fit has seen.

        p(x_it = x_it^m | x_given) = E[ w_m f_it(z_t|x_it^m) / F_it(z_t) | x_given ],

    under p(Z|x_given) ∝ p(Z) ∏_j,t f_jt/F_jt: exactly for categorical latents, by importance sampling
    from q(Z|x_given) for all others. A function of x_i is predicted by its mean under these weights.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`.
        views: Data of which the given views are looked at; others may hold anything of the right shape.
        view: i.
        given: The views to predict from; None: all but i.
        key: A random key; not needed for categorical latents.
        num_samples: Draws of q.
        importance: Whether draws have importance weights. Over many sites one draw's is nearly all of them:
            the mean over draws of q without weights, False, is then nearer to that under p(Z|x_given).
        against: Options of rows for these data, where a strategy is saturated; the components are the fit's.

    Returns:
        Shape (n, N, T), normalised over N; −inf where missing. (n, N·T, T) where the model pools the
        sites, as in `component_log_weights`.
    """
    require_positive_integer("num_samples", num_samples)
    model = fitted.model
    require_ability(model, "pooled", "predictive_log_weights")
    data = as_data(fitted.data)
    new = _given(model, fitted.params, views, view, given, len(data.views))
    key = key_of_predictions(model, key)
    params, new, components = evaluated(fitted, new, against)
    key = as_keys("key", key, 0)
    return log_weights_given(model, params, new, components, key, view, num_samples, importance)


def predict(
    fitted: Any, views: Any, view: int, key: Array, shape: tuple[int, ...] = (), **options: Any
) -> Array:
    """Draws from p(x_i | x_given): which datum of the fit x_it is taken from.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`.
        views: As for `predictive_log_weights`.
        view: i.
        key: A random key.
        shape: Of the draws.
        **options: As for `predictive_log_weights`: given, num_samples, importance, against.

    Returns:
        Integers, `shape` + (n, T). Sites are drawn one by one, each given x_given alone.
    """
    own_key, draw_key = jax.random.split(as_keys("key", key, 0))
    log_weights = predictive_log_weights(fitted, views, view, key=own_key, **options)
    size, _, num_sites = log_weights.shape
    return jax.random.categorical(draw_key, log_weights, axis=1, shape=(*shape, size, num_sites))


def check_view(view: Any, num_views: int) -> None:
    """Raise `ValueError` unless this is the number of a view."""
    if isinstance(view, bool) or not isinstance(view, int) or not 0 <= view < num_views:
        raise ValueError(f"view must be one of the views 0..{num_views - 1}, got {view!r}")


def key_of_predictions(model: Any, key: Array | None) -> Array:
    """The key for draws of latents; any where predictions are exact."""
    if model.is_exact and model.needs_mixture:
        return jax.random.key(0)
    if key is None:
        raise ValueError("key: this model's predictions draw latents; pass a key, as jax.random.key(0)")
    return key


def _given(
    model: Any, params: Any, views: Any, view: int, given: Sequence[int] | None, num_views: int
) -> Data:
    """The data with all but the given views masked."""
    check_view(view, num_views)
    given = tuple(j for j in range(num_views) if j != view) if given is None else tuple(given)
    if not given or view in given or not set(given) <= set(range(num_views)):
        raise ValueError(
            f"given must be some of the views 0..{num_views - 1} without view {view} itself, got {given}"
        )
    own, mask, inputs = views, None, None
    if isinstance(views, Data):
        own, mask, inputs = views.views, views.mask, views.inputs
    if len(own) != num_views:
        raise ValueError(f"views must hold the J = {num_views} views of the fit, got {len(own)}")
    is_given = jnp.zeros(num_views, bool).at[jnp.asarray(given)].set(True)
    mask = full_mask(mask, model.num_sites(params))
    shape = (len(own[0]), num_views, 1) if mask is None else mask.shape
    is_given = jnp.broadcast_to(is_given[:, None], shape)
    return as_data(own, is_given if mask is None else mask & is_given, inputs=inputs)


@jit
def log_weights_given(
    model: Any, params: Any, new: Data, data: Data, key: Array, view: int, num_samples: int, importance: bool
) -> Array:
    """Log p(x_it = x_it^m | what is observed), shape (n, N, T), of the values x^m in `data`.

    Args:
        model: An `RPM`.
        params: Its parameters, with rows for the new data where there are any.
        new: The data to predict for.
        data: Those that hold the values, and that F_j is over.
        key: A random key.
        view: i.
        num_samples: Draws of q.
        importance: Whether they have importance weights; otherwise p(Z|X) is taken to be q.
    """
    mixture = held_mixture(model, params, data)
    # Every datum is to have a weight, not every distinct value.
    natural, log_scale, weights, mask = components_of(
        model, recognise_in_blocks(model, params, data.all()), data.log_weights
    )
    part = slice(view, view + 1)
    if weights is not None and weights.ndim == 3:
        weights = weights[:, part]
    target = Components(
        natural[:, part],
        None if log_scale is None else log_scale[:, part],
        weights,
        None if mask is None else mask[:, part],
    )
    sites = model.reference(params)

    def conditional(latents: Array) -> Array:
        log_joint = component_log_joint(sites, target, latents)
        return jax.nn.log_softmax(log_joint, axis=-3)[..., 0, :]

    def weighted(batch: Batch) -> Array:
        own = model.recognise(params, batch)
        inferred = model.infer(params, batch, own, mixture)
        if model.is_exact and model.needs_mixture:
            return _exact_conditional(conditional, inferred.posterior.sites)
        length = samples_at_once(own, Mixture(target, None), num_samples)
        keys = jax.random.split(jax.random.fold_in(key, batch.index[0]), -(-num_samples // length))

        def block(key: Array) -> tuple[Array, Array]:
            latents = inferred.posterior.sample(key, (length,))
            log_ratios = jnp.zeros((length, batch.index.shape[0]), latents.dtype)
            if importance:
                log_ratios = log_importance_weights(model, params, batch, own, inferred, mixture, latents)
            values = conditional(latents) + log_ratios[..., None, None]
            return log_sum_exp(values, 0), log_sum_exp(log_ratios, 0)

        def add(total: tuple, key: Array) -> tuple[tuple, None]:
            return jax.tree.map(jnp.logaddexp, total, block(key)), None

        start = jax.eval_shape(block, keys[0])
        start = jax.tree.map(lambda leaf: jnp.full(leaf.shape, -jnp.inf, leaf.dtype), start)
        (values, total), _ = jax.lax.scan(add, start, keys)
        return values - total[:, None, None]

    return map_blocks(weighted, new.all(), EVALUATED_AT_ONCE)


def _exact_conditional(conditional: Any, sites: Any) -> Array:
    """Log Σ_k q(z_t = k) p(x_it^m | z_t = k), shape (n, N, T)."""
    log_probabilities = jax.nn.log_softmax(sites.natural_parameters[0])
    num_sites, num_states = log_probabilities.shape[1:]
    states = jnp.broadcast_to(jnp.arange(num_states)[:, None], (num_states, num_sites))
    by_state = conditional(states)
    return log_sum_exp(by_state[:, None] + jnp.moveaxis(log_probabilities, -1, 0)[:, :, None], 0)
