"""The recognition-parametrised model: which parts, and the one bound."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
from jax import Array

from rpm_jax import auxiliaries, posteriors
from rpm_jax._checks import caller_level, is_concrete, require_boolean
from rpm_jax._record import record
from rpm_jax.auxiliaries import AuxiliaryStrategy
from rpm_jax.data import Batch, Data, as_data, warn_of_views
from rpm_jax.distinct import distinct_values
from rpm_jax.factors import FactorSpec
from rpm_jax.feeds import Feed, Held, Source, full, minibatch, random_sites, random_subset
from rpm_jax.incomplete import accepts_missing, as_taken_by, fill_means, mark_missing, site_mask
from rpm_jax.model._blocks import recognise_in_blocks
from rpm_jax.model._mixture import mixture_of_source
from rpm_jax.model._one_site import potentials_at, require_sitewise
from rpm_jax.model._parts import (
    check_equal_sites,
    check_inputs,
    check_part,
    groups_by_part,
    init_prior,
    initial_sites,
    prior_at,
    reference_sites,
    relative_prior_at,
)
from rpm_jax.model._pooling import weights_among_all
from rpm_jax.model._protocol import Terms
from rpm_jax.model._recognition import recognise_with
from rpm_jax.model._records import Factors, Inferred, Mixture
from rpm_jax.normalizers import Block
from rpm_jax.objectives import free_energy_at, inner_bound_at, log_ratios_at
from rpm_jax.posteriors import PosteriorStrategy
from rpm_jax.priors import Prior, as_spec, divergence_from_prior
from rpm_jax.sequences import warn_of_few_components

BATCH_SIZE = 32
EXACT_BATCH_SIZE = 256
"""Of models with exact likelihoods, whose F_j may be over the minibatch."""

MOST_BATCHES = 4
"""Up to this many minibatches, F_j is over all data where a model has exact likelihoods."""

MOST_POOLED_TERMS = 2**24
"""Up to this many terms a view in a step, pooled mixtures have all components."""

POOLED_SITES = (256, 1024)
"""How many are drawn otherwise, at least and at most: as many as make that many terms."""


@record
class RPM:
    """p(X, Z) = p(Z) ∏_jt p0(x_jt) f_jt(z_t|x_jt)/F_jt(z_t), with an approximate posterior q(Z|X).

    Everything is a pure function of `params`, a dictionary with the groups "prior", "factors", "posterior"
    and "auxiliary".

    The factors' natural parameters are η0_t + g_jt(x_jt), so that every posterior is valid; where sites have
    one-hot statistics every logit is, and they are g_jt(x_jt) alone.

    Attributes:
        prior: A specification of a prior (`rpm_jax.priors`); a prior as it is stands for a fixed one.
        factors: Recognition factors (`rpm_jax.factors`).
        posterior: How q gets its potentials (`rpm_jax.posteriors`); None: exact for sites with one-hot
            statistics (Categorical), conjugate for all others.
        auxiliary: How E_q[log F_jt] is bounded (`rpm_jax.auxiliaries`); None: not at all but exact for
            one-hot statistics, by the posterior's marginals for all others.
        pooled: Whether F_j averages over the sites too ("ergodic"); for priors whose marginals are the same
            at every site, or one-hot statistics.
    """

    prior: Any
    factors: Any
    posterior: Any = None
    auxiliary: Any = None
    pooled: bool = False

    def __post_init__(self) -> None:
        """Check the parts, and put defaults in the place of None."""
        spec = as_spec(self.prior)
        sites = initial_sites(spec)
        object.__setattr__(self, "prior", spec)
        if self.posterior is None:
            default: Any = posteriors.exact() if sites.one_hot else posteriors.conjugate()
            object.__setattr__(self, "posterior", default)
        if self.auxiliary is None:
            default = auxiliaries.exact() if sites.one_hot else auxiliaries.posterior()
            object.__setattr__(self, "auxiliary", default)
        check_part("factors", self.factors, FactorSpec)
        check_part("posterior", self.posterior, PosteriorStrategy)
        check_part("auxiliary", self.auxiliary, AuxiliaryStrategy)
        for name, strategy in (("posterior", self.posterior), ("auxiliary", self.auxiliary)):
            if getattr(strategy, "uses_mixture", False) and not sites.one_hot:
                raise ValueError(
                    f"{name}: exact() needs a prior whose sites have one-hot statistics, such as "
                    f"Categorical, got {type(sites).__name__}; leave it out for the default of this family"
                )
        require_boolean("pooled", self.pooled)
        if self.pooled and not sites.one_hot:
            check_equal_sites(spec)

    # What training and evaluation ask.

    @property
    def is_exact(self) -> bool:
        """Whether E_q[log F_jt] is evaluated, not bounded."""
        return getattr(self.auxiliary, "uses_mixture", False)

    @property
    def needs_mixture(self) -> bool:
        """Whether the posterior depends on the mixtures."""
        return getattr(self.posterior, "uses_mixture", False)

    @property
    def uses_log_mixture(self) -> bool:
        """Whether log F_jt is needed at every state."""
        return self.is_exact or self.needs_mixture

    @property
    def strategies(self) -> dict[str, str]:
        """How the posterior and auxiliary strategies are learned: "none", "networks" or "rows"."""
        assert self.posterior is not None
        assert self.auxiliary is not None
        return {"posterior": self.posterior.group, "auxiliary": self.auxiliary.group}

    def groups(self, params: dict[str, Any]) -> dict[str, Any]:
        """How each parameter is learned: a pytree like `params` of "prior", "networks", "rows" or "none".

        Parameters under the name "statistics" are measured on the data, and not learned.
        """
        return groups_by_part(params, {"prior": "prior", "factors": "networks", **self.strategies})

    def prepare(self, data: Data) -> Data:
        """Data with the distinct values of their views, where these are few and the model can use them.

        Counts, say, of which there are few: every value is then a component of F_jt only once, which changes
        nothing but the time. It needs factors f_jt(z_t|x_jt) that look at one site alone: a single site,
        or a network that is pointwise. `rpm_jax.fit` calls it.

        Args:
            data: Data that are not traced.

        Warns:
            RuntimeWarning: Of views that are constant, of columns whose scale outliers rule, and of sites at
                which few data have a view.
        """
        self.check_data(data)
        sites = initial_sites(self.prior)
        num_sites = sites.batch_shape[0]
        warn_of_views(data, num_sites)
        mask = site_mask(data.views, data.mask, num_sites)
        if not self.pooled:
            warn_of_few_components(data, mask)
        sitewise = getattr(self.factors, "is_sitewise", None)
        if num_sites > 1 and not (sitewise is not None and sitewise(data.views, sites)):
            return data
        return data._replace(distinct=distinct_values(data.views, num_sites, mask, data.log_weights))

    def check_data(self, data: Data) -> None:
        """Raise `ValueError` for inputs that are not for the prior, where they are known."""
        check_inputs(self.prior, data.inputs)

    def default_batch_size(self, data: Data) -> int:
        """32, or 256 where sites have one-hot statistics."""
        del data
        return EXACT_BATCH_SIZE if initial_sites(self.prior).one_hot else BATCH_SIZE

    def default_feed(self, data: Data, batch_size: int) -> Feed:
        """All data; the minibatch where likelihoods are exact and there are more than 4 minibatches.

        Where pooled mixtures would have more than 2²⁴ terms a view in a step, which is B·T·N·T, it is 1024
        pairs of a datum and a site, drawn from the batch and as many other data; fewer, but at least 256,
        where these would have more terms still.

        Warns:
            RuntimeWarning: Where components are drawn.
        """
        few_values = data.distinct is not None
        sites = initial_sites(self.prior)
        if sites.one_hot:
            return minibatch() if data.size > MOST_BATCHES * batch_size and not few_values else full()
        num_sites = sites.batch_shape[0]
        num_terms = batch_size * num_sites**2 * data.size
        if not self.pooled or few_values or num_terms <= MOST_POOLED_TERMS:
            return full()
        shown = minibatch() if batch_size >= data.size else random_subset(batch_size)
        least, most = POOLED_SITES
        number = min(most, max(least, MOST_POOLED_TERMS // (batch_size * num_sites)))
        feed = random_sites(number, shown)
        warnings.warn(
            f"pooled F_j over all N·T = {data.size}·{num_sites} components would have {num_terms:.1g} terms "
            f"a view in every step, more than {MOST_POOLED_TERMS:.1g}: {number} of them are drawn for "
            f"each step, components={feed!r}; components=rpm_jax.feeds.full() takes all",
            RuntimeWarning,
            stacklevel=caller_level(),
        )
        return feed

    def accepts(self, feed: Feed, data: Data) -> None:
        """Raise where F_j has one component, which is f_j, and for feeds of sites that are not pooled."""
        if getattr(feed, "pools_sites", False) and (not self.pooled or self.uses_log_mixture):
            raise ValueError(
                f"components: {feed!r} draws sites for pooled mixtures that are bounded, "
                + (
                    "but sums over finitely many states cost no more than the factors; leave components out"
                    if self.uses_log_mixture
                    else "and this model has pooled=False; take rpm_jax.feeds.random_subset(size)"
                )
            )
        components = data.size * (initial_sites(self.prior).batch_shape[0] if self.pooled else 1)
        if components < 2:
            raise ValueError(
                f"views: F_j needs at least 2 components, got {components}; with a single one F_j equals "
                "f_j and nothing can be learned. One long sequence can be fitted with pooled=True, which "
                "averages F_j over its sites"
            )

    def weights_among_all(self, data: Data) -> Array | None:
        """Log-weights of the data's components that stay right where the data are spread over devices.

        Returns:
            None for uniform ones, shape (N,), or (N, J, T) where some are missing, those −∞.
        """
        num_sites = initial_sites(self.prior).batch_shape[0]
        mask = site_mask(data.views, data.mask, num_sites)
        return weights_among_all(data.log_weights, mask, num_sites, pooled=self.pooled)

    # Initial parameters.

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
        prior_key, factor_key, *strategy_keys = jax.random.split(key, 4)
        params = {"prior": init_prior(self.prior, prior_key, data.inputs)}
        sites = self.reference(params)
        num_sites = sites.batch_shape[0]
        if len(data.views) == 1 and num_sites == 1:
            raise ValueError(
                "views: a static model (one site) needs at least J = 2 views, got 1; with a single view the "
                "latent explains nothing, since p(x|z) averages to the empirical marginal whatever f is"
            )
        if is_concrete((key, data)):
            warn_of_views(data, num_sites)
        data = data._replace(mask=site_mask(data.views, data.mask, num_sites))
        marked = mark_missing(data.views, data.mask)
        taken = marked if accepts_missing(self.factors) else fill_means(marked)
        params["factors"] = self.factors.init(factor_key, taken, sites)
        params |= {name: {} for name in self.strategies}
        if all(group == "none" for group in self.strategies.values()):
            return params
        return self._with_strategies(strategy_keys, params, data, tuple(self.strategies))

    def with_new_rows(self, params: dict[str, Any], new: Data) -> dict[str, Any]:
        """Initial rows of saturated strategies for new data, in the place of the fit's."""
        parts = tuple(name for name, group in self.strategies.items() if group == "rows")
        return self._with_strategies([jax.random.key(0)] * 2, params, new, parts)

    def _with_strategies(
        self, keys: Sequence[Array], params: dict[str, Any], data: Data, parts: tuple[str, ...]
    ) -> dict[str, Any]:
        """Initial parameters of some strategies, from what the factors say, with F_j over these data."""
        sites = self.reference(params)
        prior = self.prior_of(params, data.inputs)
        own = recognise_in_blocks(self, params, data.all())
        conjugate = own.conjugate()
        if self.uses_log_mixture:
            conjugate = self.evidence(own, self.mixture(params, Held(own, data.log_weights)))
        marked = mark_missing(data.views, own.mask)
        for_posterior = data._replace(views=as_taken_by(self.posterior, marked), mask=own.mask)
        if "posterior" in parts:
            rows = self.posterior.init(keys[0], for_posterior, conjugate, sites)
            params = {**params, "posterior": rows}
        if "auxiliary" in parts:
            potentials = self.posterior.potentials(params["posterior"], for_posterior.all(), conjugate, sites)
            evidence = prior.condition(potentials).sites - sites
            for_auxiliary = data._replace(views=as_taken_by(self.auxiliary, marked), mask=own.mask)
            rows = self.auxiliary.init(keys[1], for_auxiliary, evidence, sites)
            params = {**params, "auxiliary": rows}
        return params

    # The way of the data.

    def prior_of(self, params: dict[str, Any], inputs: Any = None) -> Prior:
        """The prior with these parameters, of data with these inputs."""
        return prior_at(self.prior, params["prior"], inputs)

    def relative_prior(self, params: dict[str, Any], inputs: Any = None) -> Prior:
        """`prior_of`, as `rpm_jax.objectives` take it: with what the factors are relative to."""
        return relative_prior_at(self.prior, params["prior"], inputs)

    def reference(self, params: dict[str, Any]) -> Any:
        """What the factors are relative to: the prior's marginals, or what stands for them with inputs."""
        return reference_sites(self.prior, params["prior"])

    def num_sites(self, params: dict[str, Any]) -> int:
        """T."""
        return jax.eval_shape(self.reference, params).batch_shape[0]

    def recognise(self, params: dict[str, Any], rows: Batch) -> Factors:
        """Natural parameters of the factors of some data, batch shape (n, J, T)."""
        return recognise_with(self.factors, params["factors"], rows, self.reference(params))

    def mixture(self, params: dict[str, Any], source: Source, key: Array | None = None) -> Mixture:
        """The mixtures F_jt with these components, in the form that the strategies need."""
        del key
        return mixture_of_source(self, params, source)

    def infer(
        self, params: dict[str, Any], rows: Batch, own: Factors, mixture: Mixture | None = None
    ) -> Inferred:
        """Potentials, posterior and ξ of some data, whose rows saturated strategies look up by their index.

        Args:
            params: The parameters.
            rows: B data.
            own: Their factors.
            mixture: From `mixture`; an exact posterior needs it.
        """
        sites = self.reference(params)
        prior = self.prior_of(params, rows.inputs)
        marked = mark_missing(rows.views, own.mask)
        if not self.needs_mixture:
            conjugate = own.conjugate()
        elif mixture is None:
            raise ValueError("mixture: the exact posterior needs log F_j; pass model.mixture(params, source)")
        else:
            conjugate = self.evidence(own, mixture)
        shown = replace(rows, views=as_taken_by(self.posterior, marked), mask=own.mask)
        potentials = self.posterior.potentials(params["posterior"], shown, conjugate, sites)
        posterior = prior.condition(potentials)
        shown = replace(rows, views=as_taken_by(self.auxiliary, marked), mask=own.mask)
        auxiliary = self.auxiliary.auxiliary(params["auxiliary"], shown, posterior.sites, sites)
        return Inferred(conjugate, potentials, posterior, auxiliary)

    def hold(self, params: dict[str, Any], rows: Batch, inferred: Inferred) -> Inferred:
        """Q and ξ without their gradient; the log-normalizer keeps that of the prior at fixed q.

        At fixed λ, ∇ log_normalizer = E_q[∇ log p(Z)], which is the gradient of −KL(q‖p) at fixed q.
        """
        held = jax.lax.stop_gradient(inferred)
        prior = self.prior_of(params, rows.inputs)
        return held._replace(posterior=prior.condition(held.potentials), marginals=held.posterior.sites)

    def terms(
        self, params: dict[str, Any], rows: Batch, own: Factors, mixture: Mixture, inferred: Inferred
    ) -> Terms:
        """The inner bound of each datum, or its likelihood. Log p0(x_j) of the marginals is not in it."""
        posterior, potentials = inferred.posterior, inferred.potentials
        marginals = posterior.sites if inferred.marginals is None else inferred.marginals
        divergence = divergence_from_prior(posterior, potentials, marginals.mean_parameters())
        if self.is_exact:
            if inferred.marginals is None and self.needs_mixture:
                return Terms(posterior.log_normalizer, divergence)
            evidence = self.evidence(own, mixture)
            return Terms(free_energy_at(posterior, potentials, evidence, inferred.marginals), divergence)
        components = mixture.components
        assert components is not None
        bound = inner_bound_at(
            posterior,
            self.reference(params),
            potentials,
            own.natural,
            components.natural,
            auxiliary=inferred.auxiliary,
            log_scale=own.log_scale,
            mixture_log_scale=components.log_scale,
            log_weights=components.log_weights,
            mask=own.mask,
            mixture_mask=components.mask,
            marginals=inferred.marginals,
            own=None if mixture.own is None else mixture.own.first(own.natural.batch_shape[0]),
        )
        return Terms(bound, divergence)

    # One site at a time.

    def require_sitewise(self, question: str, views: Any) -> None:
        """Raise `TypeError` unless the potential of each site comes from what is observed there alone."""
        require_sitewise(self, question, views)

    def potentials_at(
        self, params: dict[str, Any], rows: Batch, site: Array, reference: Any, mixture: Mixture | None
    ) -> Any:
        """The potentials of one site, batch shape (B,), of views (B, ...) at that site alone.

        Args:
            params: The parameters.
            rows: B data of a single site; their mask has shape (B, J).
            site: Its number from 0 on, an integer array, also behind the last of the fit.
            reference: `reference(params)`, which takes O(T) and is the same for all sites.
            mixture: As for `infer`.
        """
        return potentials_at(self, params, rows, site, reference, mixture)

    def evidence(self, own: Factors, mixture: Mixture) -> Any:
        """Σ_j (log f_jt − log F_jt), batch shape (B, T), for sites with one-hot statistics."""
        return log_ratios_at(Block(own.natural, own.log_scale), mixture.log_values, own.mask).sum(-2)
