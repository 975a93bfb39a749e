"""The implicit model: every mixture F_j is taken to be the prior."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.data import Batch, Data, require_batch, require_data
from rpm_jax.incomplete import fill_missing
from rpm_jax.model._implicit_density import ImplicitDensity, complete
from rpm_jax.objectives import (
    implicit_integral,
    implicit_log_likelihood,
    moment_penalty,
    sliced_score_matching,
    view_score_matching,
)

EVALUATED_SHIFTS = 20
"""How many combinations of each datum's views with others' the integral is estimated from."""

STEP_SHIFTS = 4
"""The same for a step of a fit."""


@dataclass(frozen=True, eq=False, init=False)
class ImplicitRPM(ImplicitDensity):
    """p(X) = ∏_j p0(x_j) ∫ p(Z) ∏_jt f_jt(z_t|x_jt) / p(z_t) dZ: an RPM whose F_jt are assumed to be p(z_t).

    Its likelihood is a closed formula of a single datum, for every family and prior. It is a density only as
    far as the assumption holds; `integral` says how far. Two ways to fit it:

    - Maximum likelihood, `rpm_jax.fit(model, views)`, of a density that need not be normalised,
      E[log p(X)] − (∫ p(X) dX − 1). Since log ∫p ≤ ∫p − 1 this is at most the log-likelihood of p/∫p, and
      equal to it where the integral is 1. Relative to the marginals it bounds the mutual information of the
      views from below. Without the integral (`integral_weight` 0) it would have no upper limit.
    - Score matching, `rpm_jax.fit(model, views, loss=rpm_jax.train.ScoreMatching(model))`, which needs no
      integral, and leaves it where it is, but marginals with a derivative and smooth networks (tanh, not
      ReLU). Data with a boundary at which their density does not vanish need a weight.

    Parameters are those of an `RPM` of the same prior and factors, which they also serve.

    Args:
        prior: A prior or a specification of one (`rpm_jax.priors`).
        factors: Recognition factors (`rpm_jax.factors`). Those that are not normalised make the density more
            flexible, and its marginals differ from p0 where they are not (`log_partition_error`).
        marginals: p0(x_j) of each of the J views: functions log p0, or objects with a method `log_prob`, such
            as `rpm_jax.marginals` and distrax distributions. They map a view (n, ...) to shape (n,), or give
            one number per entry, which are added up. None: unknown; then there are ratios to the marginals
            only, and no score matching.
        integral_weight: Of ∫p − 1 in the bound, at least 0.
        penalty_weight: Of `rpm_jax.objectives.moment_penalty` in the bound, at least 0. torchRPM uses this
            alone, which does not keep the integral at 1: F_j can have the prior's moments and be far from it.

    References:
        torchRPM, `ImplicitRPM`; Nguyen, Wainwright & Jordan, Estimating divergence functionals and the
        likelihood ratio by convex risk minimization, IEEE Transactions on Information Theory 2010.
    """

    def bound(self, params: dict[str, Any], batch: Batch, data: Data, *, key: Array | None = None) -> Array:
        """`log_ratio` of each datum of a batch, minus the weighted integral and penalty over `data`.

        Args:
            params: The model's parameters.
            batch: B data.
            data: What integral and penalty are estimated from: all data of the fit, or the batch's own.
            key: Of the random combinations of views that the integral is estimated from. A fit takes new ones
                in every step, since a model can be fitted to a few of them, at the expense of all others.
                None: 20 combinations of each datum, always the same ones, to evaluate a model with.

        Returns:
            In nats, shape (B,).
        """
        require_batch("batch", batch)
        require_data("data", data)
        prior = self.prior(params)
        bound = self.log_ratio(params, Data(batch.views, batch.mask))
        if self.integral_weight == 0.0 and self.penalty_weight == 0.0:
            return bound
        factors = self.factors(params, data.views, data.mask)
        if self.integral_weight > 0.0:
            integral = implicit_integral(
                prior,
                factors.natural,
                jax.random.key(0) if key is None else key,
                log_scale=factors.log_scale,
                log_weights=data.log_weights,
                num_shifts=EVALUATED_SHIFTS if key is None else STEP_SHIFTS,
            )
            bound = bound - self.integral_weight * (integral.value - 1.0)
        if self.penalty_weight > 0.0:
            if factors.log_scale is not None:
                raise ValueError(
                    "penalty_weight must be 0 for unnormalised factors, since the moments of their mixtures "
                    f"are not those of the penalty; got {self.penalty_weight} and factors with a log_scale"
                )
            penalty = moment_penalty(prior, factors.natural, log_weights=data.log_weights, mask=factors.mask)
            bound = bound - self.penalty_weight * penalty
        return bound

    def score_matching(
        self, params: dict[str, Any], views: Any, *, weight: Callable[[Any], Any] | None = None
    ) -> Array:
        """The score matching loss of every datum, `rpm_jax.objectives.score_matching` of `log_density`.

        Args:
            params: The model's parameters.
            views: Complete `Data` or a tuple of J views.
            weight: h, from a tuple of views to one like it, where the data have a boundary at which their
                density does not vanish.

        Returns:
            Shape (n,).
        """
        prior = self.prior(params)
        sites = prior.sites()

        def features(views: tuple[Array, ...]) -> tuple[tuple[Array, ...], Array | None, Array]:
            factors = self.factors(params, views)
            return factors.natural.natural_parameters, factors.log_scale, self.log_marginals(views)

        def log_density(features: tuple[tuple[Array, ...], Array | None, Array]) -> Array:
            natural, log_scale, log_marginals = features
            log_ratio = implicit_log_likelihood(prior, sites.replace(natural), log_scale=log_scale)
            return log_ratio + jnp.sum(log_marginals, axis=1)

        return view_score_matching(features, log_density, fill_missing(complete(views).views), weight=weight)

    def sliced_score_matching(
        self,
        params: dict[str, Any],
        views: Any,
        key: Array,
        *,
        num_projections: int = 1,
        weight: Callable[[Any], Any] | None = None,
    ) -> Array:
        """`score_matching` with an estimated trace, for wide views.

        Args:
            params: The model's parameters.
            views: Complete `Data` or a tuple of J views.
            key: A random key.
            num_projections: See `rpm_jax.objectives.sliced_score_matching`.
            weight: As for `score_matching`.

        Returns:
            Shape (n,).
        """
        return sliced_score_matching(
            partial(self.log_density, params),
            complete(views).views,
            key,
            num_projections=num_projections,
            weight=weight,
        )

    @partial(jax.jit, static_argnums=0)
    def mean_bound(self, params: dict[str, Any], data: Data, mixture: Data) -> Array:
        """The mean of `bound` over data, with integral and penalty over `mixture`."""
        return jnp.mean(self.bound(params, data.batch(jnp.arange(data.size)), mixture))
