"""From parameters and data to the mixtures F_jt."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax import Array

from rpm_jax.data import Data, as_data
from rpm_jax.distinct import at_sites, distinct_values
from rpm_jax.incomplete import site_mask
from rpm_jax.model._blocks import DataComponents, block_size, is_streamed, map_blocks
from rpm_jax.model._parameters import Parameters, initial_sites
from rpm_jax.model._pooling import (
    PooledComponents,
    pool_components,
    pool_log_mixture,
    pool_weights,
    weights_among_all,
)
from rpm_jax.model._records import Components, Factors, Mixture
from rpm_jax.normalizers import (
    ArrayComponents,
    Block,
    DeviceAxis,
    SpreadComponents,
    log_mixture,
)
from rpm_jax.objectives import log_ratios_at


@dataclass(frozen=True, eq=False, init=False)
class Mixtures(Parameters):
    """The mixtures of a recognition-parametrised model, in the forms that its strategies need; see `RPM`."""

    def components(self, params: dict[str, Any], data: Data) -> Components:
        """The components of the mixtures F_jt: the factors of all data.

        Returns:
            Batch shape (N, J, T), or (N·T, J, 1) where the model pools the sites.
        """
        return self._held_components(params, as_data(data))

    def prepare(self, data: Data) -> Data:
        """Data with the distinct values of their views, where these are few and the model can use them.

        Counts, say, of which there are few: every value is then a component of F_jt only once, which changes
        nothing but the time. It needs factors f_jt(z_t|x_jt) that look at one site alone: a single site,
        or a network that is pointwise. `rpm_jax.fit` calls it.

        Args:
            data: Data that are not traced.
        """
        sites = initial_sites(self.prior_spec)
        num_sites = sites.batch_shape[0]
        sitewise = getattr(self.factor_spec, "is_sitewise", None)
        if num_sites > 1 and not (sitewise is not None and sitewise(data.views, sites)):
            return data
        mask = site_mask(data.views, data.mask, num_sites)
        return data._replace(distinct=distinct_values(data.views, num_sites, mask, data.log_weights))

    def mixture(self, params: dict[str, Any], data: Data, *, devices: DeviceAxis | None = None) -> Mixture:
        """The mixtures F_jt over all data, in the form that this model's strategies need.

        Of many data the components are made by the networks when the normalizer asks for a block of them.
        Where the distinct values of the data are known (`prepare`), these are the components.

        Args:
            params: The model's parameters.
            data: The data; with `devices` those of this device, `log_weights` being `weights_among_all`.
            devices: The devices that the data are spread over.
        """
        if data.distinct is not None:
            data, devices = self._distinct(params, data), None
        components = None
        if not self.is_exact:
            make = self._streamed_components if is_streamed(data.views) else self._held_components
            components = make(params, data, devices)
        log_values = None
        if self._uses_log_mixture:
            source = self._source(params, data)
            log_values = self._log_mixture(source, data.log_weights, source.data.mask, devices)
        return Mixture(components, log_values)

    def held_mixture(self, params: dict[str, Any], data: Data) -> Mixture:
        """The mixtures F_jt with all components in memory, to be evaluated at many points."""
        log_values = self.mixture(params, data).log_values if self._uses_log_mixture else None
        data = data if data.distinct is None else self._distinct(params, data)
        components = self._components_of(self._factors_in_blocks(params, data), data.log_weights)
        return Mixture(components, log_values)

    def _distinct(self, params: dict[str, Any], data: Data) -> Data:
        """The distinct values of data as data with log-masses."""
        assert data.distinct is not None
        num_sites = self.prior(params).sites().batch_shape[0]
        views = tuple(at_sites(values, num_sites) for values in data.distinct.values)
        return Data(views, None, data.distinct.log_masses)

    def weights_among_all(self, data: Data) -> Array | None:
        """Log-weights of the data's components that stay right where the data are spread over devices.

        Returns:
            None for uniform ones, shape (N,), or (N, J, T) where some are missing, those −∞.
        """
        num_sites = initial_sites(self.prior_spec).batch_shape[0]
        mask = site_mask(data.views, data.mask, num_sites)
        return weights_among_all(data.log_weights, mask, num_sites, pooled=self.pooled)

    def _source(self, params: dict[str, Any], data: Data) -> DataComponents:
        """The factors of the data, made block by block."""
        mask = site_mask(data.views, data.mask, self.prior(params).sites().batch_shape[0])
        return DataComponents(partial(self.factors, params), data._replace(mask=mask))

    def _held_components(
        self, params: dict[str, Any], data: Data, devices: DeviceAxis | None = None
    ) -> Components:
        factors = self.factors(params, data.views, data.mask)
        return self._components_of(factors, data.log_weights, devices)

    def _components_of(
        self, factors: Factors, log_weights: Array | None, devices: DeviceAxis | None = None
    ) -> Components:
        """Factors as components."""
        natural, _, log_scale, mask = factors
        if devices is None:
            components = Components(natural, log_scale, normalise_masses(log_weights, self.pooled), mask)
            return pool_components(components) if self.pooled else components
        components = Components(natural, log_scale, log_weights, None)
        components = pool_components(components, are_final=True) if self.pooled else components
        own = ArrayComponents(components.natural, components.log_scale)
        return Components(SpreadComponents(own, devices), None, components.log_weights, None)

    def _streamed_components(
        self, params: dict[str, Any], data: Data, devices: DeviceAxis | None = None
    ) -> Components:
        source: Any = self._source(params, data)
        log_weights, mask = data.log_weights, None if devices else source.data.mask
        if self.pooled:
            num_sites = self.prior(params).sites().batch_shape[0]
            source = PooledComponents(source, num_sites)
            log_weights, mask = pool_weights(log_weights, mask, num_sites, are_final=devices is not None)
        elif devices is None:
            log_weights = normalise_masses(log_weights, pooled=False)
        if devices is not None:
            source = SpreadComponents(source, devices)
        return Components(source, None, log_weights, mask)

    def _mixture_of(
        self, factors: Factors, log_weights: Array | None, devices: DeviceAxis | None = None
    ) -> Mixture:
        """The mixtures whose components are these factors."""
        components = None if self.is_exact else self._components_of(factors, log_weights, devices)
        log_values = None
        if self._uses_log_mixture:
            held = ArrayComponents(factors.natural, factors.log_scale)
            log_values = self._log_mixture(held, log_weights, factors.mask, devices)
        return Mixture(components, log_values)

    def _log_mixture(
        self,
        components: Any,
        log_weights: Array | None,
        mask: Array | None,
        devices: DeviceAxis | None = None,
    ) -> Any:
        if devices is None:
            weights = normalise_masses(log_weights, pooled=False)
            log_values = log_mixture(components, log_weights=weights, mask=mask)
        else:
            log_values = log_mixture(SpreadComponents(components, devices), log_weights=log_weights)
            mask = None
        if not self.pooled:
            return log_values
        (array,) = log_values.natural_parameters
        pooled = pool_log_mixture(array, components.size, log_weights, mask, are_final=devices is not None)
        return log_values.replace((pooled,))

    def _evidence(self, factors: Factors, mixture: Mixture) -> Any:
        """Σ_j (log f_jt − log F_jt), batch shape (B, T)."""
        block = Block(factors.natural, factors.log_scale)
        return log_ratios_at(block, mixture.log_values, factors.mask).sum(-2)

    def _factors_in_blocks(self, params: dict[str, Any], data: Data) -> Factors:
        """The factors of many data, without the memory of all their networks' activations at once."""
        mask = site_mask(data.views, data.mask, self.prior(params).sites().batch_shape[0])

        def factors(rows: tuple) -> Factors:
            return self.factors(params, *rows)

        return map_blocks(factors, (data.views, mask), block_size(data.views))


def normalise_masses(log_weights: Array | None, pooled: bool) -> Array | None:
    """Log-masses (N, J, T) as log-weights, unless they will be normalised over sites too; others as are."""
    if log_weights is None or log_weights.ndim < 3 or pooled:
        return log_weights
    return jax.nn.log_softmax(log_weights, axis=0)
