"""From sources of components to the mixtures F_jt of a recognition-parametrised model."""

from functools import partial
from typing import Any

import jax
from jax import Array

from rpm_jax.data import Data
from rpm_jax.distinct import at_sites
from rpm_jax.feeds import Held, Lazy, Source, Spread
from rpm_jax.incomplete import site_mask
from rpm_jax.model._blocks import DataComponents, is_streamed, recognise_in_blocks
from rpm_jax.model._pooling import PooledComponents, pool_components, pool_log_mixture, pool_weights
from rpm_jax.model._records import Components, Factors, Mixture
from rpm_jax.normalizers import (
    ArrayComponents,
    DeviceAxis,
    SharedPrecision,
    SpreadComponents,
    as_components,
    log_mixture,
)


def mixture_of_source(model: Any, params: dict[str, Any], source: Source) -> Mixture:
    """The mixtures F_jt, in the form that the model's strategies need.

    Of many data the components are made by the networks when the normalizer asks for a block of them. Where
    the distinct values of the data are known, these are the components.

    Args:
        model: An `RPM`.
        params: Its parameters.
        source: Factors that are held, data whose factors are not, or this device's share of either.
    """
    return _with_shared_precision(model, params, source, _mixture(model, params, source))


def _mixture(model: Any, params: dict[str, Any], source: Source) -> Mixture:
    """The mixtures with components that each have a precision of their own."""
    devices = None
    if isinstance(source, Spread):
        devices, source = source.devices, source.source
    if isinstance(source, Held):
        mixture = _mixture_of_factors(model, source.factors, source.log_weights, devices)
        return mixture._replace(own=source.own)
    return _mixture_of_data(model, params, source, devices)


def _mixture_of_factors(
    model: Any, factors: Factors, log_weights: Array | None, devices: DeviceAxis | None
) -> Mixture:
    components = None if model.is_exact else components_of(model, factors, log_weights, devices)
    log_values = None
    if model.uses_log_mixture:
        held = ArrayComponents(factors.natural, factors.log_scale)
        log_values = log_mixture_values(model, held, log_weights, factors.mask, devices)
    return Mixture(components, log_values)


def _mixture_of_data(model: Any, params: dict[str, Any], source: Lazy, devices: DeviceAxis | None) -> Mixture:
    data = source.data
    num_sites = model.num_sites(params)
    if data.distinct is not None:
        data = _distinct(data, num_sites)
    data = data._replace(mask=site_mask(data.views, data.mask, num_sites))
    components = None
    if not model.is_exact and is_streamed(data.views):
        components = _streamed_components(model, params, data, num_sites, devices)
    elif not model.is_exact:
        components = components_of(model, model.recognise(params, data.all()), data.log_weights, devices)
    log_values = None
    if model.uses_log_mixture:
        own = DataComponents(partial(model.recognise, params), data)
        log_values = log_mixture_values(model, own, data.log_weights, data.mask, devices)
    return Mixture(components, log_values)


def _with_shared_precision(model: Any, params: dict[str, Any], source: Source, mixture: Mixture) -> Mixture:
    """The same mixtures, by products of matrices where these factors share their precision."""
    shared_by = getattr(model.factors, "shared_potentials", None)
    held = source.source if isinstance(source, Spread) else source
    # Factors whose rows are no longer at hand were made with other parameters.
    is_old = isinstance(held, Held) and held.rows is None and held.own is None
    if shared_by is None or mixture.components is None or is_old:
        return mixture
    sites = model.reference(params)
    potentials = shared_by(params["factors"], sites)
    if model.pooled and potentials.batch_shape[-1] > 1:
        return mixture
    shared = potentials + (sites[:1] if model.pooled else sites)
    if isinstance(source, Held):
        num_views = source.factors.natural.batch_shape[1]
    else:
        num_views = len(held.data.views) if isinstance(held, Lazy) else held.factors.natural.batch_shape[1]
    shared = shared.broadcast_to((num_views, shared.batch_shape[-1]))
    natural, log_scale, log_weights, mask = mixture.components
    if isinstance(natural, SpreadComponents):
        wrapped: Any = SpreadComponents(SharedPrecision(natural.own, shared), natural.devices)
    else:
        wrapped = SharedPrecision(as_components(natural, log_scale), shared)
    return mixture._replace(components=Components(wrapped, None, log_weights, mask))


def held_mixture(model: Any, params: dict[str, Any], data: Data) -> Mixture:
    """The mixtures F_jt with all components in memory, to be evaluated at many points."""
    log_values = mixture_of_source(model, params, Lazy(data)).log_values if model.uses_log_mixture else None
    if data.distinct is not None:
        data = _distinct(data, model.num_sites(params))
    factors = recognise_in_blocks(model, params, data.all())
    return Mixture(components_of(model, factors, data.log_weights), log_values)


def components_of(
    model: Any, factors: Factors, log_weights: Array | None, devices: DeviceAxis | None = None
) -> Components:
    """Factors as components, batch shape (N, J, T), or (N·T, J, 1) where the model pools the sites."""
    natural, _, log_scale, mask = factors
    if devices is None:
        components = Components(natural, log_scale, normalise_masses(log_weights, model.pooled), mask)
        return pool_components(components) if model.pooled else components
    components = Components(natural, log_scale, log_weights, None)
    components = pool_components(components, are_final=True) if model.pooled else components
    own = ArrayComponents(components.natural, components.log_scale)
    return Components(SpreadComponents(own, devices), None, components.log_weights, None)


def log_mixture_values(
    model: Any,
    components: Any,
    log_weights: Array | None,
    mask: Array | None,
    devices: DeviceAxis | None = None,
) -> Any:
    """Log F_jt at every state, batch shape (J, T), or (J, 1) where the model pools the sites."""
    if devices is None:
        weights = normalise_masses(log_weights, pooled=False)
        log_values = log_mixture(components, log_weights=weights, mask=mask)
    else:
        log_values = log_mixture(SpreadComponents(components, devices), log_weights=log_weights)
        mask = None
    if not model.pooled:
        return log_values
    (array,) = log_values.natural_parameters
    pooled = pool_log_mixture(array, components.size, log_weights, mask, are_final=devices is not None)
    return log_values.replace((pooled,))


def _distinct(data: Data, num_sites: int) -> Data:
    """The distinct values of data as data with log-masses."""
    assert data.distinct is not None
    views = tuple(at_sites(values, num_sites) for values in data.distinct.values)
    return Data(views, None, data.distinct.log_masses)


def _streamed_components(
    model: Any, params: dict[str, Any], data: Data, num_sites: int, devices: DeviceAxis | None
) -> Components:
    source: Any = DataComponents(partial(model.recognise, params), data)
    log_weights, mask = data.log_weights, None if devices else data.mask
    if model.pooled:
        source = PooledComponents(source, num_sites)
        log_weights, mask = pool_weights(log_weights, mask, num_sites, are_final=devices is not None)
    elif devices is None:
        log_weights = normalise_masses(log_weights, pooled=False)
    if devices is not None:
        source = SpreadComponents(source, devices)
    return Components(source, None, log_weights, mask)


def normalise_masses(log_weights: Array | None, pooled: bool) -> Array | None:
    """Log-masses (N, J, T) as log-weights, unless they will be normalised over sites too; others as are."""
    if log_weights is None or log_weights.ndim < 3 or pooled:
        return log_weights
    return jax.nn.log_softmax(log_weights, axis=0)
