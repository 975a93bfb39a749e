"""The recognition-parametrised model: binds a prior, factors, a posterior and an auxiliary strategy."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rpm_jax import auxiliaries, posteriors
from rpm_jax.auxiliaries import AuxiliaryStrategy
from rpm_jax.data import (
    Batch,
    Data,
    as_data,
    choose_mixture,
    fill_observed_mean,
    full_mask,
    zero_missing,
)
from rpm_jax.factors import FactorSpec
from rpm_jax.model._records import Draw, Factors, Inferred, Mixture
from rpm_jax.normalizers import log_component_weights
from rpm_jax.objectives import inner_bound_at
from rpm_jax.posteriors import PosteriorStrategy
from rpm_jax.priors import Posterior, Prior, PriorSpec, as_spec

MOST_EVALUATED = 1000
"""How many data a mean bound is taken over at most."""

EVALUATED_AT_ONCE = 64
"""How many data are evaluated at once."""


@dataclass(frozen=True, eq=False, init=False)
class RPM:
    """p(X, Z) = p(Z) ∏_jt p0(x_jt) f_jt(z_t|x_jt)/F_jt(z_t), with an approximate posterior q(Z|X).

    Everything is a pure function of `params`, a dictionary with the groups "prior", "factors", "posterior"
    and "auxiliary".

    Args:
        prior: A prior or a specification of one (`rpm_jax.priors`).
        factors: Recognition factors (`rpm_jax.factors`).
        posterior: How q gets its potentials (`rpm_jax.posteriors`); None: conjugate.
        auxiliary: How the inner bound gets ξ (`rpm_jax.auxiliaries`); None: the posterior's marginals.
        pooled: Whether F_j averages over the sites too ("ergodic"); for priors whose marginals are the same
            at every site.
    """

    prior_spec: PriorSpec
    factor_spec: FactorSpec
    posterior_strategy: PosteriorStrategy
    auxiliary_strategy: AuxiliaryStrategy
    pooled: bool

    def __init__(
        self,
        prior: Prior | PriorSpec,
        factors: FactorSpec,
        posterior: PosteriorStrategy | None = None,
        auxiliary: AuxiliaryStrategy | None = None,
        *,
        pooled: bool = False,
    ) -> None:
        posterior = posteriors.conjugate() if posterior is None else posterior
        auxiliary = auxiliaries.posterior() if auxiliary is None else auxiliary
        if hasattr(factors, "with_outputs"):
            raise TypeError(
                f"factors must be recognition factors, got the network {type(factors).__name__}: pass "
                "rpm_jax.factors.per_view(network) or rpm_jax.factors.shared(network)"
            )
        if hasattr(factors, "with_outputs") or isinstance(factors, nn.Module):
            raise TypeError(
                f"factors must be recognition factors, got the network {type(factors).__name__}; make "
                "factors of it by rpm_jax.factors.per_view(network)"
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
        object.__setattr__(self, "prior_spec", as_spec(prior))
        object.__setattr__(self, "factor_spec", factors)
        object.__setattr__(self, "posterior_strategy", posterior)
        object.__setattr__(self, "auxiliary_strategy", auxiliary)
        object.__setattr__(self, "pooled", pooled)
        if pooled:
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
        conjugate = self.factors(params, data.views, data.mask).conjugate()
        data = data._replace(views=zero_missing(data.views, data.mask))
        params["posterior"] = self.posterior_strategy.init(posterior_key, data, conjugate, sites)
        batch = data.batch(jnp.arange(data.size))
        potentials = self.posterior_strategy.potentials(params["posterior"], batch, conjugate, sites)
        evidence = prior.condition(potentials).sites - sites
        params["auxiliary"] = self.auxiliary_strategy.init(auxiliary_key, data, evidence, sites)
        return params

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
        recognition = self.factor_spec.apply(params["factors"], zero_missing(views, mask), sites)
        potentials, log_scale = recognition
        if mask is not None:
            potentials = potentials.where(mask)
            log_scale = None if log_scale is None else jnp.where(mask, log_scale, 0)
        return Factors(potentials + sites, potentials, log_scale, mask)

    def components(self, params: dict[str, Any], data: Data) -> Mixture:
        """The components of the mixtures F_jt: the factors of all data.

        Returns:
            Batch shape (N, J, T), or (N·T, J, 1) where the model pools the sites.
        """
        data = as_data(data)
        natural, _, log_scale, mask = self.factors(params, data.views, data.mask)
        log_weights = data.log_weights
        if not self.pooled:
            return Mixture(natural, log_scale, log_weights, mask)
        size, num_views, num_sites = natural.batch_shape

        def pool(array: Array | None) -> Array | None:
            if array is None:
                return None
            return jnp.moveaxis(array, 2, 1).reshape(size * num_sites, num_views, 1)

        natural = natural.moveaxis(2, 1).reshape((size * num_sites, num_views, 1))
        if log_weights is not None:
            log_weights = jnp.repeat(log_weights, num_sites) - jnp.log(num_sites)
        return Mixture(natural, pool(log_scale), log_weights, pool(mask))

    # The bound.

    def bound(self, params: dict[str, Any], batch: Batch, data: Data, *, em: bool = False) -> Array:
        """The inner bound of each datum of a batch, with F_j over `data`.

        Args:
            params: The model's parameters.
            batch: B data (`data.batch(index)`).
            data: The components of F_j: usually all data of the fit; the batch's own views for the
                minibatch approximation.
            em: Whether gradients of the prior and factors are those of an M-step, with q and ξ held fixed,
                and those of the strategies' parameters those of an E-step, with the model held fixed.

        Returns:
            In nats, shape (B,). The empirical marginals' log p0(x_j) are not in it.
        """
        if not em:
            return self._bound(params, batch, self.components(params, data))
        held = jax.lax.stop_gradient(self.infer_batch(params, batch))
        m_step = self._bound(params, batch, self.components(params, data), held)
        model = jax.lax.stop_gradient({name: params[name] for name in ("prior", "factors")})
        e_step = self._bound({**params, **model}, batch, self.components(model, data))
        return m_step + e_step - jax.lax.stop_gradient(e_step)

    def _bound(self, params: dict, batch: Batch, mixture: Mixture, held: Inferred | None = None) -> Array:
        prior = self.prior(params)
        if held is None:
            inferred = self.infer_batch(params, batch)
            factors, posterior = inferred.factors, inferred.posterior
        else:
            inferred = held
            factors = self.factors(params, batch.views, batch.mask)
            posterior = prior.condition(held.potentials)
        return inner_bound_at(
            posterior,
            prior.sites(),
            inferred.potentials,
            factors.natural,
            mixture.natural,
            auxiliary=inferred.auxiliary,
            log_scale=factors.log_scale,
            mixture_log_scale=mixture.log_scale,
            log_weights=mixture.log_weights,
            mask=factors.mask,
            mixture_mask=mixture.mask,
            marginals=None if held is None else held.posterior.sites,
        )

    def infer_batch(self, params: dict[str, Any], batch: Batch) -> Inferred:
        """All that the model says about the latents of a batch, which may be data of the fit only."""
        prior = self.prior(params)
        sites = prior.sites()
        factors = self.factors(params, batch.views, batch.mask)
        batch = Batch(batch.index, zero_missing(batch.views, factors.mask), factors.mask)
        conjugate = factors.conjugate()
        potentials = self.posterior_strategy.potentials(params["posterior"], batch, conjugate, sites)
        posterior = prior.condition(potentials)
        auxiliary = self.auxiliary_strategy.auxiliary(params["auxiliary"], batch, posterior.sites, sites)
        return Inferred(factors, conjugate, potentials, posterior, auxiliary)

    # Inference.

    def posterior(self, params: dict[str, Any], data: Any) -> Posterior:
        """q(Z|X^n) of the data that the model is fitted on.

        Args:
            params: The model's parameters.
            data: The data of the fit: `Data` or a tuple of J views.

        Returns:
            A posterior of batch shape (N,), with mean, standard_deviation and sample(key, shape).

        Raises:
            ValueError: If the parameters hold rows for another number of data; use `infer` for new data.
        """
        data = as_data(data)
        self._check_rows(params, data.size)
        return self._posterior(params, data)

    @partial(jax.jit, static_argnums=0)
    def _posterior(self, params: dict, data: Data) -> Posterior:
        return self.infer_batch(params, data.batch(jnp.arange(data.size))).posterior

    def infer(
        self,
        params: dict[str, Any],
        views: Any,
        *,
        data: Any = None,
        mixture: str = "train",
        num_steps: int = 500,
        learning_rate: float = 0.05,
    ) -> Posterior:
        """q(Z|X) of new data, under every posterior strategy.

        Conjugate and amortized posteriors are evaluated. For a saturated one, rows for the new data start at
        the conjugate potentials and maximise the bound with the model held fixed.

        Args:
            params: The model's parameters.
            views: The new data: `Data` (with a mask, say) or a tuple of J views.
            data: The data of the fit; only a saturated posterior with `mixture` "train" or "both" needs them.
            mixture: Whose components F_j has: the fit's data ("train"), the new data ("given"), or both.
            num_steps: Steps of Adam on new rows.
            learning_rate: Of these steps.

        Returns:
            A posterior whose batch is the new data.
        """
        new = as_data(views)
        if self.posterior_strategy.group == "rows":
            params = self.fit_rows(
                params, new, data=data, mixture=mixture, num_steps=num_steps, learning_rate=learning_rate
            )
        return self._posterior(params, new)

    def evaluate(
        self,
        params: dict[str, Any],
        views: Any,
        *,
        data: Any = None,
        mixture: str = "train",
        num_steps: int = 500,
        learning_rate: float = 0.05,
    ) -> Array:
        """The inner bound of new data, in nats, shape (n,); arguments as for `infer`."""
        new = as_data(views)
        if self.has_rows:
            params = self.fit_rows(
                params, new, data=data, mixture=mixture, num_steps=num_steps, learning_rate=learning_rate
            )
        return self._evaluate(params, new, choose_mixture(new, data, mixture))

    @partial(jax.jit, static_argnums=0)
    def _evaluate(self, params: dict, new: Data, mixture: Data) -> Array:
        return self._bound_of(params, new, jnp.arange(new.size), mixture)

    @partial(jax.jit, static_argnums=0)
    def mean_bound(self, params: dict[str, Any], data: Data, mixture: Data) -> Array:
        """The mean bound of data, or of 1000 evenly spread ones of more, with F_j over `mixture`."""
        number = min(data.size, MOST_EVALUATED)
        index = np.linspace(0, data.size - 1, number).round().astype(np.int32)
        return jnp.mean(self._bound_of(params, data, jnp.asarray(index), mixture))

    def _bound_of(self, params: dict, data: Data, index: Array, mixture: Data) -> Array:
        components = self.components(params, mixture)
        if index.shape[0] <= EVALUATED_AT_ONCE:
            return self._bound(params, data.batch(index), components)
        return jax.lax.map(
            lambda i: self._bound(params, data.batch(i[None]), components)[0],
            index,
            batch_size=EVALUATED_AT_ONCE,
        )

    def fit_rows(
        self,
        params: dict[str, Any],
        views: Any,
        *,
        data: Any = None,
        mixture: str = "train",
        num_steps: int = 500,
        learning_rate: float = 0.05,
    ) -> dict[str, Any]:
        """Replace the rows of saturated strategies by rows for new data; arguments as for `infer`.

        Returns:
            Parameters with the same prior, factors and networks.
        """
        new = as_data(views)
        components = choose_mixture(new, data, mixture)
        params = self.with_new_rows(params, new)
        return self.optimise_rows(params, new, components, num_steps=num_steps, learning_rate=learning_rate)

    @partial(jax.jit, static_argnums=0)
    def with_new_rows(self, params: dict[str, Any], new: Data) -> dict[str, Any]:
        """Initial rows of saturated strategies for new data, in the place of the fit's."""
        prior = self.prior(params)
        sites = prior.sites()
        factors = self.factors(params, new.views, new.mask)
        new = new._replace(views=zero_missing(new.views, factors.mask))
        key = jax.random.key(0)
        if "posterior" in self.row_parts:
            rows = self.posterior_strategy.init(key, new, factors.conjugate(), sites)
            params = {**params, "posterior": rows}
        if "auxiliary" in self.row_parts:
            batch = new.batch(jnp.arange(new.size))
            potentials = self.posterior_strategy.potentials(
                params["posterior"], batch, factors.conjugate(), sites
            )
            evidence = prior.condition(potentials).sites - sites
            params = {**params, "auxiliary": self.auxiliary_strategy.init(key, new, evidence, sites)}
        return params

    @partial(jax.jit, static_argnums=0, static_argnames="num_steps")
    def optimise_rows(
        self,
        params: dict[str, Any],
        new: Data,
        components: Data,
        *,
        num_steps: int,
        learning_rate: Array | float,
    ) -> dict[str, Any]:
        """Maximise the bound of new data over their rows by Adam, everything else held fixed."""
        batch = new.batch(jnp.arange(new.size))
        rows = {name: params[name] for name in self.row_parts}
        optimizer = optax.apply_if_finite(optax.adam(learning_rate), max_consecutive_errors=num_steps)
        mixture = self.components(params, components)

        def loss(rows: dict) -> Array:
            return -jnp.sum(self._bound({**params, **rows}, batch, mixture))

        def step(state: tuple, _: None) -> tuple[tuple, None]:
            rows, optimizer_state = state
            updates, optimizer_state = optimizer.update(jax.grad(loss)(rows), optimizer_state)
            return (optax.apply_updates(rows, updates), optimizer_state), None

        (rows, _), _ = jax.lax.scan(step, (rows, optimizer.init(rows)), None, length=num_steps)
        return {**params, **rows}

    @property
    def row_parts(self) -> tuple[str, ...]:
        """Which of "posterior" and "auxiliary" have rows."""
        return tuple(name for name, strategy in self._strategies().items() if strategy.group == "rows")

    def _strategies(self) -> dict[str, Any]:
        return {"posterior": self.posterior_strategy, "auxiliary": self.auxiliary_strategy}

    def _check_rows(self, params: dict, size: int) -> None:
        for name in self.row_parts:
            rows = {leaf.shape[0] for leaf in jax.tree.leaves(params[name])}
            if rows != {size}:
                raise ValueError(
                    f"data must be the {sorted(rows)[0]} data of the fit, for which the saturated {name} "
                    f"strategy has rows, got {size}; use infer(params, views, data=...) for new data"
                )

    # The model as a generative model over the data it holds.

    def component_log_weights(self, params: dict[str, Any], data: Any, latents: Array) -> Array:
        """Log p(x_jt^n | z_t) = log w_n + log f_jt(z_t|x_jt^n) − log Σ_m w_m f_jt(z_t|x_jt^m).

        Args:
            params: The model's parameters.
            data: The data of the fit.
            latents: z, shape (..., T) + event.

        Returns:
            Shape (..., N, J, T), normalised over N; −inf where missing. (..., N·T, J, T) where the model
            pools the sites, component n·T + t being datum n at site t.
        """
        return jax.nn.log_softmax(self._component_log_joint(params, as_data(data), latents), axis=-3)

    def mixture_log_density(self, params: dict[str, Any], data: Any, latents: Array) -> Array:
        """Log F_jt(z_t), in nats.

        Args:
            params: The model's parameters.
            data: The data of the fit.
            latents: z, shape (..., T) + event.

        Returns:
            Shape (..., J, T).
        """
        log_density = jax.nn.logsumexp(self._component_log_joint(params, as_data(data), latents), axis=-3)
        return log_density + self.prior(params).sites().log_base_measure(latents)[..., None, :]

    def _component_log_joint(self, params: dict, data: Data, latents: Array) -> Array:
        """Log w + ⟨η, t(z)⟩ + h, shape (..., N, J, T)."""
        prior = self.prior(params)
        example = jax.eval_shape(prior.condition(prior.sites().zeros()).sample, jax.random.key(0))
        latents = jnp.asarray(latents)
        if latents.shape[max(0, latents.ndim - example.ndim) :] != example.shape:
            raise ValueError(
                f"latents must end in the shape {example.shape} of one draw of all sites, got {latents.shape}"
            )
        return self._component_log_joint_of(params, data, latents)

    @partial(jax.jit, static_argnums=0)
    def _component_log_joint_of(self, params: dict, data: Data, latents: Array) -> Array:
        natural, log_scale, log_weights, mask = self.components(params, data)
        statistics = tuple(
            jnp.expand_dims(t, (-rank - 2, -rank - 3))
            for t, rank in zip(
                natural.sufficient_statistics(latents), natural.natural_ranks.values(), strict=True
            )
        )
        log_scale = -natural.log_partition() if log_scale is None else log_scale
        weights = log_component_weights(natural.batch_shape[0], log_weights, mask)
        return natural.dot(statistics) + log_scale + weights

    def sample(self, params: dict[str, Any], data: Any, key: Array, shape: tuple[int, ...] = ()) -> Draw:
        """Draw z from the prior, then for each view and site a datum n from p(x_jt^n | z_t).

        Args:
            params: The model's parameters.
            data: The data of the fit, which are all the values that x_j can take.
            key: A random key.
            shape: Of the draws.

        Returns:
            Latents `shape` + (T,) + event and indices `shape` + (J, T), into the components of
            `component_log_weights`.
        """
        latent_key, index_key = jax.random.split(key)
        prior = self.prior(params)
        latents = prior.condition(prior.sites().zeros()).sample(latent_key, shape)
        log_weights = self.component_log_weights(params, data, latents)
        return Draw(latents, jax.random.categorical(index_key, log_weights, axis=-3))


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
