"""The heart of a recognition-parametrised model: from parameters and data to the bound."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import is_concrete
from rpm_jax.data import (
    Batch,
    Data,
    as_data,
    require_batch,
    require_data,
    warn_of_views,
)
from rpm_jax.expfam import map_rows
from rpm_jax.incomplete import accepts_missing, as_taken_by, fill_means, mark_missing, site_mask
from rpm_jax.model._mixtures import Mixtures
from rpm_jax.model._records import Factors, Inferred, Mixture
from rpm_jax.normalizers import (
    Block,
    DeviceAxis,
    Queue,
    QueueState,
)
from rpm_jax.objectives import LogPartitionError, free_energy_at, inner_bound_at, log_partition_error


@dataclass(frozen=True, eq=False, init=False)
class Core(Mixtures):
    """Initial parameters and the bound of a recognition-parametrised model; see `RPM`."""

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
        if is_concrete((key, data)):
            warn_of_views(data, num_sites)
        if len(data.views) == 1 and num_sites == 1:
            raise ValueError(
                "views: a static model (one site) needs at least J = 2 views, got 1; with a single view the "
                "latent explains nothing, since p(x|z) averages to the empirical marginal whatever f is"
            )
        data = data._replace(mask=site_mask(data.views, data.mask, num_sites))
        marked = mark_missing(data.views, data.mask)
        taken = marked if accepts_missing(self.factor_spec) else fill_means(marked)
        params = {"prior": prior_params, "factors": self.factor_spec.init(factor_key, taken, sites)}
        if all(strategy.group == "none" for strategy in self._strategies().values()):
            return params | {"posterior": {}, "auxiliary": {}}
        factors = self._factors_in_blocks(params, data)
        conjugate = self._start(factors, sites, data)
        own = data._replace(views=as_taken_by(self.posterior_strategy, marked))
        params["posterior"] = self.posterior_strategy.init(posterior_key, own, conjugate, sites)
        batch = own.batch(jnp.arange(data.size))
        potentials = self.posterior_strategy.potentials(params["posterior"], batch, conjugate, sites)
        evidence = prior.condition(potentials).sites - sites
        own = data._replace(views=as_taken_by(self.auxiliary_strategy, marked))
        params["auxiliary"] = self.auxiliary_strategy.init(auxiliary_key, own, evidence, sites)
        return params

    def _start(self, factors: Factors, sites: Any, data: Data) -> Any:
        """Potentials for the posterior strategy to start from, with F_j over the same data."""
        if not self._uses_log_mixture:
            return factors.conjugate()
        return self._evidence(factors, self._mixture_of(factors, data.log_weights))

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
        require_batch("batch", batch)
        require_data("data", data)
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
        require_batch("batch", batch)
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
        require_batch("batch", batch)
        factors = self.factors(params, batch.views, batch.mask)
        block = Block(factors.natural, factors.log_scale)
        joined = queue.components(state, block, log_weights, factors.mask)
        components = Factors(joined.natural, None, joined.log_scale, joined.mask)
        mixture = self._mixture_of(components, joined.log_weights)
        bound = self._bound(params, batch, mixture, factors=factors)
        return bound, queue.update(state, block, log_weights, factors.mask)

    def subset_bound(self, params: dict[str, Any], batch: Batch, others: Batch, log_weights: Array) -> Array:
        """`bound` with F_j over the batch and some other data.

        Args:
            params: The model's parameters.
            batch: B data.
            others: M data.
            log_weights: log w of both, shape (B + M,), Σ w = 1.
        """
        require_batch("batch", batch)
        require_batch("others", others)
        views, mask = jax.tree.map(
            lambda *parts: jnp.concatenate(parts), (batch.views, batch.mask), (others.views, others.mask)
        )
        factors = self.factors(params, views, mask)
        mixture = self._mixture_of(factors, log_weights)
        own = map_rows(lambda leaf: leaf[: len(batch.index)], factors)
        return self._bound(params, batch, mixture, factors=own)

    def log_partition_error(self, params: dict[str, Any], views: Any) -> LogPartitionError:
        """How far the log-partition ψ_jt = −h_jt of unnormalised factors is from their family's A(η_jt).

        For every view and site the mean of ψ − A over data, which cancels in f_jt / F_jt, its standard
        deviation, which does not, and the correlation of ψ and A; see
        `rpm_jax.objectives.log_partition_error`. h may come from a learned log-partition
        (`factors.per_view(log_partition=...)`) or be free; normalised factors have ψ = A.

        Args:
            params: The model's parameters.
            views: Any data: `Data` (with a mask or weights) or a tuple of J views.

        Returns:
            Means, deviations and correlations, shape (J, T), ψ and A themselves, shape (n, J, T).
        """
        return self._log_partition_error(params, as_data(views))

    @partial(jax.jit, static_argnums=0)
    def _log_partition_error(self, params: dict, data: Data) -> LogPartitionError:
        natural, _, log_scale, mask = self._factors_in_blocks(params, data)
        return log_partition_error(natural, log_scale, log_weights=data.log_weights, mask=mask)

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
        marked = mark_missing(batch.views, factors.mask)
        own = Batch(batch.index, as_taken_by(self.posterior_strategy, marked), factors.mask)
        if not self._needs_mixture:
            conjugate = factors.conjugate()
        elif mixture is None:
            raise ValueError("mixture: the exact posterior needs log F_j; pass model.mixture(params, data)")
        else:
            conjugate = self._evidence(factors, mixture)
        potentials = self.posterior_strategy.potentials(params["posterior"], own, conjugate, sites)
        posterior = prior.condition(potentials)
        own = Batch(batch.index, as_taken_by(self.auxiliary_strategy, marked), factors.mask)
        auxiliary = self.auxiliary_strategy.auxiliary(params["auxiliary"], own, posterior.sites, sites)
        return Inferred(factors, conjugate, potentials, posterior, auxiliary)
