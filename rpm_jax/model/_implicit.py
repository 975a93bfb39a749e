"""The implicit model: every mixture F_j is taken to be the prior."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.data import Batch, Data, as_data, has_missing_cells
from rpm_jax.feeds import Feed, Full, Held, Lazy, Minibatch, Source
from rpm_jax.incomplete import View, fill_missing
from rpm_jax.model._parts import takes_inputs
from rpm_jax.model._protocol import Terms
from rpm_jax.model._records import Factors, Inferred
from rpm_jax.model._rpm import RPM
from rpm_jax.objectives import (
    implicit_integral,
    implicit_log_likelihood,
    moment_penalty,
    sliced_score_matching,
    view_score_matching,
)
from rpm_jax.priors import Prior, posterior_divergence

EVALUATED_SHIFTS = 20
"""How many combinations of each datum's views with others' the integral is estimated from."""

STEP_SHIFTS = 4
"""The same for a step of a fit."""


class Penalties(NamedTuple):
    """What an implicit model has in the place of mixtures: what keeps it a density.

    Attributes:
        integral: An estimate of ∫ p(X) dX, or None where it has no weight.
        moments: `rpm_jax.objectives.moment_penalty`, or None where it has no weight.
    """

    integral: Array | None
    moments: Array | None


@record
class ImplicitRPM:
    """p(X) = ∏_j p0(x_j) ∫ p(Z) ∏_jt f_jt(z_t|x_jt) / p(z_t) dZ: an RPM whose F_jt are assumed to be p(z_t).

    Its likelihood is a closed formula of a single datum, for every family and prior. It is a density only as
    far as the assumption holds; `rpm_jax.diagnostics.integral` says how far. Two ways to fit it:

    - Maximum likelihood, `rpm_jax.fit(model, views)`, of a density that need not be normalised,
      E[log p(X)] − (∫ p(X) dX − 1). Since log ∫p ≤ ∫p − 1 this is at most the log-likelihood of p/∫p, and
      equal to it where the integral is 1. Relative to the marginals it bounds the mutual information of the
      views from below. Without the integral (`integral_weight` 0) it would have no upper limit.
    - Score matching, `rpm_jax.fit(model, views, objective=rpm_jax.train.ScoreMatching(model))`, which needs
      no integral, and leaves it where it is, but marginals with a derivative and smooth networks (tanh, not
      ReLU). Data with a boundary at which their density does not vanish need a weight.

    Parameters are those of an `RPM` of the same prior and factors, which they also serve.

    Attributes:
        prior: A prior or a specification of one (`rpm_jax.priors`).
        factors: Recognition factors (`rpm_jax.factors`). Those that are not normalised make the density more
            flexible, and its marginals differ from p0 where they are not (`log_partition_error`).
        marginals: p0(x_j) of each of the J views: functions log p0, or objects with a method `log_prob`, such
            as `rpm_jax.marginals` and distrax distributions. They map a view (n, ...) to shape (n,), or give
            one number per entry, which are added up. None: unknown; then there are ratios to the marginals
            only, and no score matching.
        integral_weight: Of ∫p − 1 in the bound, at least 0. A step takes new random combinations of views to
            estimate it from, since a model can be fitted to a few of them, at the expense of all others; an
            evaluation takes the same 20 of each datum every time.
        penalty_weight: Of `rpm_jax.objectives.moment_penalty` in the bound, at least 0. torchRPM uses this
            alone, which does not keep the integral at 1: F_j can have the prior's moments and be far from it.

    References:
        torchRPM, `ImplicitRPM`; Nguyen, Wainwright & Jordan, Estimating divergence functionals and the
        likelihood ratio by convex risk minimization, IEEE Transactions on Information Theory 2010.
    """

    prior: Any
    factors: Any
    marginals: Sequence[Any] | None = None
    integral_weight: float = 1.0
    penalty_weight: float = 0.0

    is_exact = True
    needs_mixture = False

    def __post_init__(self) -> None:
        """Check the parts."""
        for name, value in (
            ("integral_weight", self.integral_weight),
            ("penalty_weight", self.penalty_weight),
        ):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {value!r}")
        object.__setattr__(self, "prior", RPM(self.prior, self.factors).prior)
        if takes_inputs(self.prior):
            raise TypeError(
                f"prior: {type(self.prior).__name__} depends on inputs of every datum, and the integral of "
                "an implicit model puts views of different data together; take rpm_jax.RPM"
            )
        if self.marginals is None:
            return
        if not isinstance(self.marginals, Sequence):
            raise TypeError(
                f"marginals must be a tuple or list, one for each view, got {type(self.marginals).__name__}"
            )
        for j, marginal in enumerate(self.marginals):
            if not callable(marginal) and not hasattr(marginal, "log_prob"):
                raise TypeError(
                    f"marginals[{j}] must be a function log p0(x), or have a method log_prob as "
                    f"rpm_jax.marginals and distrax distributions do, got {type(marginal).__name__}"
                )

    @property
    def explicit(self) -> RPM:
        """The RPM of the same prior and factors, which these parameters serve too."""
        return RPM(self.prior, self.factors)

    def prior_of(self, params: dict[str, Any], inputs: Any = None) -> Prior:
        """The prior with these parameters, of data with these inputs."""
        return self.explicit.prior_of(params, inputs)

    def init(self, key: Array, data: Any) -> dict[str, Any]:
        """Initial parameters for these data, the same as those of an `RPM`."""
        return self.explicit.init(key, data)

    def groups(self, params: dict[str, Any]) -> dict[str, Any]:
        """How each parameter is learned: a pytree like `params` of "prior", "networks" or "none"."""
        return self.explicit.groups(params)

    def prepare(self, data: Data) -> Data:
        """The data as they are, after a look at them."""
        self.explicit.prepare(data)
        return data

    def default_batch_size(self, data: Data) -> int:
        """As of an `RPM`."""
        return self.explicit.default_batch_size(data)

    def default_feed(self, data: Data, batch_size: int) -> Feed:
        """As of an `RPM`."""
        return self.explicit.default_feed(data, batch_size)

    def accepts(self, feed: Feed, data: Data) -> None:
        """Raise for feeds other than all data or the minibatch, which the integral is estimated from."""
        del data
        if not isinstance(feed, Full | Minibatch):
            raise TypeError(
                "components: an ImplicitRPM has no mixtures; its integral is estimated from all data or "
                "from the "
                f"minibatch (rpm_jax.feeds.full(), minibatch()), got {feed!r}"
            )

    def recognise(self, params: dict[str, Any], rows: Batch) -> Factors:
        """Natural parameters of the factors of some data; see `RPM.recognise`."""
        return self.explicit.recognise(params, rows)

    def mixture(self, params: dict[str, Any], source: Source, key: Array | None = None) -> Penalties:
        """The integral and the penalty, estimated from the components."""
        if self.integral_weight == 0.0 and self.penalty_weight == 0.0:
            return Penalties(None, None)
        prior = self.prior_of(params)
        if isinstance(source, Lazy):
            factors, log_weights = self.recognise(params, source.data.all()), source.data.log_weights
        elif isinstance(source, Held):
            factors, log_weights = source.factors, source.log_weights
        else:
            raise TypeError(f"components: an ImplicitRPM is not spread, got {type(source).__name__}")
        integral = penalty = None
        if self.integral_weight > 0.0:
            integral = implicit_integral(
                prior,
                factors.natural,
                jax.random.key(0) if key is None else key,
                log_scale=factors.log_scale,
                log_weights=log_weights,
                num_shifts=EVALUATED_SHIFTS if key is None else STEP_SHIFTS,
            ).value
        if self.penalty_weight > 0.0:
            if factors.log_scale is not None:
                raise ValueError(
                    "penalty_weight must be 0 for unnormalised factors, since the moments of their mixtures "
                    f"are not those of the penalty; got {self.penalty_weight} and factors with a log_scale"
                )
            penalty = moment_penalty(prior, factors.natural, log_weights=log_weights, mask=factors.mask)
        return Penalties(integral, penalty)

    def infer(
        self, params: dict[str, Any], rows: Batch, own: Factors, mixture: Penalties | None = None
    ) -> Inferred:
        """The posterior: the prior conditioned on Σ_j (η_jt − η0_t)."""
        del mixture
        potentials = own.conjugate()
        posterior = self.prior_of(params, rows.inputs).condition(potentials)
        return Inferred(potentials, potentials, posterior, None)

    def terms(
        self, params: dict[str, Any], rows: Batch, own: Factors, mixture: Penalties, inferred: Inferred
    ) -> Terms:
        """Log p(X) − Σ_j log p0(x_j) of each datum, minus the weighted integral and penalty."""
        del rows
        bound = implicit_log_likelihood(
            self.prior_of(params), own.natural, log_scale=own.log_scale, mask=own.mask
        )
        if mixture.integral is not None:
            bound = bound - self.integral_weight * (mixture.integral - 1.0)
        if mixture.moments is not None:
            bound = bound - self.penalty_weight * mixture.moments
        posterior = inferred.posterior
        mean = posterior.sites.mean_parameters()
        divergence = posterior_divergence(posterior, inferred.potentials, mean)
        return Terms(bound, divergence)

    # Densities, which score matching takes the derivatives of.

    def log_ratio(self, params: dict[str, Any], views: Any) -> Array:
        """Log p(X) − Σ_j log p0(x_j) of any data.

        Args:
            params: The model's parameters.
            views: `Data` (with a mask, say) or a tuple of J views.

        Returns:
            In nats, shape (n,).
        """
        own = self.recognise(params, as_data(views).all())
        prior = self.prior_of(params)
        return implicit_log_likelihood(prior, own.natural, log_scale=own.log_scale, mask=own.mask)

    def log_density(self, params: dict[str, Any], views: Any) -> Array:
        """Log p(X) of any data, not normalised where F_j is not the prior (`rpm_jax.diagnostics.integral`).

        Args:
            params: The model's parameters.
            views: Complete `Data` or a tuple of J views.

        Returns:
            In nats, shape (n,).

        Raises:
            ValueError: If the model has no marginals, or for data with a mask.
        """
        data = complete(views)
        return self.log_ratio(params, data) + jnp.sum(self.log_marginals(data.views), axis=1)

    def log_marginals(self, views: tuple[View, ...]) -> Array:
        """Log p0(x_j) of every view, in nats, shape (n, J)."""
        if self.marginals is None:
            raise ValueError(
                "marginals: log p(X) and its derivatives need log p0(x_j) of every view; make the model with "
                "marginals=(...), such as rpm_jax.marginals.kernel_density(view), or use log_ratio"
            )
        if len(self.marginals) != len(views):
            raise ValueError(
                f"marginals must be one for each of J = {len(views)} views, got {len(self.marginals)}"
            )
        pairs = enumerate(zip(self.marginals, fill_missing(views), strict=True))
        return jnp.stack([_log_marginal(j, *pair) for j, pair in pairs], axis=1)

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
        prior = self.prior_of(params)
        sites = prior.sites()

        def features(views: tuple[Array, ...]) -> tuple[tuple[Array, ...], Array | None, Array]:
            own = self.recognise(params, Batch(jnp.arange(views[0].shape[0]), views))
            return own.natural.natural_parameters, own.log_scale, self.log_marginals(views)

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


def complete(views: Any) -> Data:
    """Raise `ValueError` for data with a mask, where whole views are needed."""
    data = as_data(views)
    if data.mask is not None or has_missing_cells(data):
        raise ValueError(
            "views must be complete here, since marginals are of whole views; got a mask or missing "
            "cells. log_ratio, posterior and bound take incomplete data"
        )
    return data


def _log_marginal(index: int, marginal: Callable[[Array], Array] | Any, view: Array) -> Array:
    """Log p0 of one view, shape (n,)."""
    value = jnp.asarray(marginal.log_prob(view) if hasattr(marginal, "log_prob") else marginal(view))
    if value.ndim == 0 or value.shape != view.shape[: value.ndim]:
        raise ValueError(
            f"marginals[{index}] must give shape {view.shape[:1]} or a number for every entry of the view, "
            f"{view.shape}, got {value.shape}"
        )
    return jnp.sum(value.reshape(value.shape[0], -1), axis=1)
