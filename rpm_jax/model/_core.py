"""The heart of a recognition-parametrised model: from parameters and data to the bound."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax import auxiliaries, posteriors
from rpm_jax.auxiliaries import AuxiliaryStrategy
from rpm_jax.data import (
    Batch,
    Data,
    as_data,
    fill_observed_mean,
    full_mask,
    zero_missing,
)
from rpm_jax.distinct import at_sites, distinct_values
from rpm_jax.factors import FactorSpec
from rpm_jax.model._blocks import DataComponents, block_size, is_streamed, map_blocks
from rpm_jax.model._pooling import (
    PooledComponents,
    pool_components,
    pool_log_mixture,
    pool_weights,
    weights_among_all,
)
from rpm_jax.model._records import Components, Factors, Inferred, Mixture
from rpm_jax.normalizers import (
    ArrayComponents,
    Block,
    DeviceAxis,
    Queue,
    QueueState,
    SpreadComponents,
    log_mixture,
)
from rpm_jax.objectives import free_energy_at, inner_bound_at, log_ratios_at
from rpm_jax.posteriors import PosteriorStrategy
from rpm_jax.priors import Prior, PriorSpec, as_spec


@dataclass(frozen=True, eq=False, init=False)
class Core:
    """Parameters, natural parameters and the bound of a recognition-parametrised model; see `RPM`."""

    prior_spec: PriorSpec
    factor_spec: FactorSpec
    posterior_strategy: PosteriorStrategy
    auxiliary_strategy: AuxiliaryStrategy
    pooled: bool
    one_hot: bool

    def __init__(
        self,
        prior: Prior | PriorSpec,
        factors: FactorSpec,
        posterior: PosteriorStrategy | None = None,
        auxiliary: AuxiliaryStrategy | None = None,
        *,
        pooled: bool = False,
    ) -> None:
        prior_spec = as_spec(prior)
        one_hot = initial_sites(prior_spec).one_hot
        if posterior is None:
            posterior = posteriors.exact() if one_hot else posteriors.conjugate()
        if auxiliary is None:
            auxiliary = auxiliaries.exact() if one_hot else auxiliaries.posterior()
        if hasattr(factors, "with_outputs") or isinstance(factors, nn.Module):
            raise TypeError(
                f"factors must be recognition factors, got the network {type(factors).__name__}: pass "
                "rpm_jax.factors.per_view(network) or rpm_jax.factors.shared(network)"
            )
        for name, value, protocol in (
            ("factors", factors, FactorSpec),
            ("posterior", posterior, PosteriorStrategy),
            ("auxiliary", auxiliary, AuxiliaryStrategy),
        ):
            if not isinstance(value, protocol):
                raise TypeError(
                    f"{name} must satisfy rpm_jax's {protocol.__name__} protocol, got {type(value).__name__}"
                    f"{': call it, as in posteriors.conjugate()' if callable(value) else ''}"
                )
        for name, strategy in (("posterior", posterior), ("auxiliary", auxiliary)):
            if getattr(strategy, "uses_mixture", False) and not one_hot:
                raise ValueError(
                    f"{name}: exact() needs a prior whose sites have one-hot statistics, such as "
                    f"Categorical, got {type(initial_sites(prior_spec)).__name__}; leave it out for "
                    "the default of this family"
                )
        object.__setattr__(self, "prior_spec", prior_spec)
        object.__setattr__(self, "factor_spec", factors)
        object.__setattr__(self, "posterior_strategy", posterior)
        object.__setattr__(self, "auxiliary_strategy", auxiliary)
        object.__setattr__(self, "pooled", pooled)
        object.__setattr__(self, "one_hot", one_hot)
        if pooled and not one_hot:
            check_equal_sites(self.prior_spec)

    # Parameters.

    def init(self, key: Array, data: Any) -> dict[str, Any]:
        """Initial parameters.

        Args:
            key: A random key.
            data: The data to be fitted, `Data` or a tuple of J views.

        Returns:
            {"prior": ..., "factors": ..., "posterior": ..., "auxiliary": ...}.

        Raises:
            ValueError: For a static model (one site) with a single view, of which nothing can be learned.
        """
        data = as_data(data)
        prior_key, factor_key, posterior_key, auxiliary_key = jax.random.split(key, 4)
        prior_params = self.prior_spec.init(prior_key)
        prior = self.prior_spec.apply(prior_params)
        sites = prior.sites()
        num_sites = sites.batch_shape[0]
        if len(data.views) == 1 and num_sites == 1:
            raise ValueError(
                "views: a static model (one site) needs at least J = 2 views, got 1; with a single view the "
                "latent explains nothing, since p(x|z) averages to the empirical marginal whatever f is"
            )
        data = data._replace(mask=full_mask(data.mask, num_sites))
        complete = fill_observed_mean(data.views, data.mask)
        params = {"prior": prior_params, "factors": self.factor_spec.init(factor_key, complete, sites)}
        if all(strategy.group == "none" for strategy in self._strategies().values()):
            return params | {"posterior": {}, "auxiliary": {}}
        factors = self._factors_in_blocks(params, data)
        conjugate = self._start(factors, sites, data)
        data = data._replace(views=zero_missing(data.views, data.mask))
        params["posterior"] = self.posterior_strategy.init(posterior_key, data, conjugate, sites)
        batch = data.batch(jnp.arange(data.size))
        potentials = self.posterior_strategy.potentials(params["posterior"], batch, conjugate, sites)
        evidence = prior.condition(potentials).sites - sites
        params["auxiliary"] = self.auxiliary_strategy.init(auxiliary_key, data, evidence, sites)
        return params

    def _start(self, factors: Factors, sites: Any, data: Data) -> Any:
        """Potentials for the posterior strategy to start from, with F_j over the same data."""
        if not self._uses_log_mixture:
            return factors.conjugate()
        return self._evidence(factors, self._mixture_of(factors, data.log_weights))

    def groups(self, params: dict[str, Any]) -> dict[str, Any]:
        """How each parameter is learned: a pytree like `params` of "prior", "networks", "rows" or "none".

        Parameters under the name "statistics" are those of standardised inputs, and not learned.
        """
        names = {
            "prior": "prior",
            "factors": "networks",
            "posterior": self.posterior_strategy.group,
            "auxiliary": self.auxiliary_strategy.group,
        }

        def group(path: tuple, _: Array) -> str:
            part, *inner = (str(getattr(entry, "key", "")) for entry in path)
            return "none" if "statistics" in inner else names[part]

        return jax.tree_util.tree_map_with_path(group, params)

    @property
    def has_rows(self) -> bool:
        """Whether some parameters belong to single data (a saturated strategy)."""
        return bool(self.row_parts)

    # Natural parameters.

    def prior(self, params: dict[str, Any]) -> Prior:
        """The prior with these parameters."""
        return self.prior_spec.apply(params["prior"])

    def factors(self, params: dict[str, Any], views: tuple[Array, ...], mask: Array | None = None) -> Factors:
        """Natural parameters of the factors of some data.

        Args:
            params: The model's parameters.
            views: J arrays with first axis n.
            mask: Boolean (n, J, T) or (n, J), or None.
        """
        sites = self.prior(params).sites()
        mask = full_mask(mask, sites.batch_shape[0])
        natural, log_scale = self.factor_spec.apply(params["factors"], zero_missing(views, mask), sites)
        # The factor spec gives g.
        natural = natural if self.one_hot else natural + sites
        if mask is not None:
            natural = natural.where(mask) + sites.broadcast_to(natural.batch_shape).where(~mask)
            log_scale = None if log_scale is None else jnp.where(mask, log_scale, 0)
        return Factors(natural, natural - sites, log_scale, mask)

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
        mask = full_mask(data.mask, num_sites)
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
        mask = full_mask(data.mask, num_sites)
        return weights_among_all(data.log_weights, mask, num_sites, pooled=self.pooled)

    def _source(self, params: dict[str, Any], data: Data) -> DataComponents:
        """The factors of the data, made block by block."""
        mask = full_mask(data.mask, self.prior(params).sites().batch_shape[0])
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
        mask = full_mask(data.mask, self.prior(params).sites().batch_shape[0])

        def factors(rows: tuple) -> Factors:
            return self.factors(params, *rows)

        return map_blocks(factors, (data.views, mask), block_size(data.views))

    @property
    def is_exact(self) -> bool:
        """Whether E_q[log F_jt] is evaluated, not bounded."""
        return getattr(self.auxiliary_strategy, "uses_mixture", False)

    @property
    def _uses_log_mixture(self) -> bool:
        return self.is_exact or self._needs_mixture

    # The bound.

    def bound(
        self,
        params: dict[str, Any],
        batch: Batch,
        data: Data,
        *,
        em: bool = False,
        devices: DeviceAxis | None = None,
    ) -> Array:
        """The inner bound of each datum of a batch, with F_j over `data`.

        Args:
            params: The model's parameters.
            batch: B data (`data.batch(index)`).
            data: The components of F_j: usually all data of the fit; the batch's own views for the
                minibatch approximation.
            em: Whether gradients of the prior and factors are those of an M-step, with q and ξ held fixed,
                and those of the strategies' parameters those of an E-step, with the model held fixed.
            devices: Inside `jax.shard_map`, the devices that data (and batch) are spread over; `data` are
                then those of this device, with `weights_among_all` as `log_weights`.

        Returns:
            In nats, shape (B,). The empirical marginals' log p0(x_j) are not in it.
        """
        if not em:
            return self._bound(params, batch, self.mixture(params, data, devices=devices))
        return self._em_bound(params, batch, lambda params: self.mixture(params, data, devices=devices))

    def minibatch_bound(
        self,
        params: dict[str, Any],
        batch: Batch,
        log_weights: Array | None = None,
        *,
        em: bool = False,
        devices: DeviceAxis | None = None,
    ) -> Array:
        """`bound` with F_j over the batch itself: cheaper, since its factors are evaluated once, and biased.

        Args:
            params: The model's parameters.
            batch: B data.
            log_weights: Their log-weights in F_j, shape (B,), Σ w = 1; None: uniform.
            em: As in `bound`.
            devices: As in `bound`; the batch is then spread over them.
        """
        if em:
            data = Data(batch.views, batch.mask, log_weights)
            return self._em_bound(params, batch, lambda params: self.mixture(params, data, devices=devices))
        factors = self.factors(params, batch.views, batch.mask)
        mixture = self._mixture_of(factors, log_weights, devices)
        return self._bound(params, batch, mixture, factors=factors)

    def queue_init(self, params: dict[str, Any], queue: Queue, batch: Batch) -> QueueState:
        """An empty memory for the factors of batches like this one."""
        factors = self.factors(params, batch.views, batch.mask)
        return queue.init(Block(factors.natural, factors.log_scale), mask=factors.mask)

    def queue_bound(
        self,
        params: dict[str, Any],
        batch: Batch,
        queue: Queue,
        state: QueueState,
        log_weights: Array | None = None,
    ) -> tuple[Array, QueueState]:
        """`bound` with F_j over the batch and a memory of earlier ones.

        Args:
            params: The model's parameters.
            batch: B data.
            queue: `normalizers.queue(length)`.
            state: From `queue_init` or the last call.
            log_weights: log w of the batch's data, up to a constant, shape (B,); None: uniform.

        Returns:
            The bound, shape (B,), and the new state.
        """
        factors = self.factors(params, batch.views, batch.mask)
        block = Block(factors.natural, factors.log_scale)
        joined = queue.components(state, block, log_weights, factors.mask)
        components = Factors(joined.natural, None, joined.log_scale, joined.mask)
        mixture = self._mixture_of(components, joined.log_weights)
        bound = self._bound(params, batch, mixture, factors=factors)
        return bound, queue.update(state, block, log_weights, factors.mask)

    def _em_bound(self, params: dict[str, Any], batch: Batch, make_mixture: Any) -> Array:
        mixture = make_mixture(params)
        held = jax.lax.stop_gradient(self.infer_batch(params, batch, mixture))
        m_step = self._bound(params, batch, mixture, held)
        if all(strategy.group == "none" for strategy in self._strategies().values()):
            return m_step
        model = jax.lax.stop_gradient({name: params[name] for name in ("prior", "factors")})
        e_step = self._bound({**params, **model}, batch, make_mixture(model))
        return m_step + e_step - jax.lax.stop_gradient(e_step)

    def _bound(
        self,
        params: dict,
        batch: Batch,
        mixture: Mixture,
        held: Inferred | None = None,
        factors: Factors | None = None,
    ) -> Array:
        prior = self.prior(params)
        factors = self.factors(params, batch.views, batch.mask) if factors is None else factors
        inferred = self.infer_batch(params, batch, mixture, factors) if held is None else held
        posterior = inferred.posterior if held is None else prior.condition(held.potentials)
        marginals = None if held is None else held.posterior.sites
        if self.is_exact:
            if held is None and self._needs_mixture:
                return posterior.log_normalizer
            evidence = self._evidence(factors, mixture)
            return free_energy_at(posterior, inferred.potentials, evidence, marginals)
        components = mixture.components
        assert components is not None
        return inner_bound_at(
            posterior,
            prior.sites(),
            inferred.potentials,
            factors.natural,
            components.natural,
            auxiliary=inferred.auxiliary,
            log_scale=factors.log_scale,
            mixture_log_scale=components.log_scale,
            log_weights=components.log_weights,
            mask=factors.mask,
            mixture_mask=components.mask,
            marginals=marginals,
        )

    def infer_batch(
        self,
        params: dict[str, Any],
        batch: Batch,
        mixture: Mixture | None = None,
        factors: Factors | None = None,
    ) -> Inferred:
        """All that the model says about the latents of a batch, which may be data of the fit only.

        Args:
            params: The model's parameters.
            batch: The batch.
            mixture: From `mixture`; an exact posterior needs it.
            factors: The batch's factors, where they are known already.
        """
        prior = self.prior(params)
        sites = prior.sites()
        factors = self.factors(params, batch.views, batch.mask) if factors is None else factors
        batch = Batch(batch.index, zero_missing(batch.views, factors.mask), factors.mask)
        if not self._needs_mixture:
            conjugate = factors.conjugate()
        elif mixture is None:
            raise ValueError("mixture: the exact posterior needs log F_j; pass model.mixture(params, data)")
        else:
            conjugate = self._evidence(factors, mixture)
        potentials = self.posterior_strategy.potentials(params["posterior"], batch, conjugate, sites)
        posterior = prior.condition(potentials)
        auxiliary = self.auxiliary_strategy.auxiliary(params["auxiliary"], batch, posterior.sites, sites)
        return Inferred(factors, conjugate, potentials, posterior, auxiliary)

    @property
    def _needs_mixture(self) -> bool:
        """Whether the posterior depends on the mixtures."""
        return getattr(self.posterior_strategy, "uses_mixture", False)

    @property
    def row_parts(self) -> tuple[str, ...]:
        """Which of "posterior" and "auxiliary" have rows."""
        return tuple(name for name, strategy in self._strategies().items() if strategy.group == "rows")

    def _strategies(self) -> dict[str, Any]:
        return {"posterior": self.posterior_strategy, "auxiliary": self.auxiliary_strategy}


def normalise_masses(log_weights: Array | None, pooled: bool) -> Array | None:
    """Log-masses (N, J, T) as log-weights, unless they will be normalised over sites too; others as are."""
    if log_weights is None or log_weights.ndim < 3 or pooled:
        return log_weights
    return jax.nn.log_softmax(log_weights, axis=0)


def initial_sites(spec: PriorSpec) -> Any:
    """The marginals of the initial prior, shapes only."""
    return jax.eval_shape(lambda key: spec.apply(spec.init(key)).sites(), jax.random.key(0))


def check_equal_sites(spec: PriorSpec) -> None:
    """Raise `ValueError` unless the initial prior has the same marginal at every site."""
    sites = spec.apply(spec.init(jax.random.key(0))).sites()
    if any(
        not np.allclose(np.asarray(parameter), np.asarray(parameter[:1]), rtol=1e-4, atol=1e-6)
        for parameter in sites.natural_parameters
    ):
        raise ValueError(
            "pooled=True averages F_j over the sites, which needs a prior with the same marginal at every "
            "site; this prior's marginals differ"
        )
