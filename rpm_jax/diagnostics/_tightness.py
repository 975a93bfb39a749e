"""How tight the bound of a model is: its likelihood by sampling or quadrature, and the parts of the gap."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import as_keys, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax.data import Batch, Data, as_data
from rpm_jax.diagnostics._weights import sampled_weights
from rpm_jax.inference import Against, evaluate_data, evaluated
from rpm_jax.model import (
    EVALUATED_AT_ONCE,
    held_mixture,
    map_blocks,
    recognise_in_blocks,
    require_ability,
)
from rpm_jax.objectives import (
    BoundGap,
    ImportanceEstimate,
    MixtureDivergence,
    Quadrature,
    estimate_log_likelihood,
    gap_from_quadrature,
    gap_from_weights,
    mixture_divergence_at,
)
from rpm_jax.objectives import log_likelihood_quadrature as quadrature_of_factors

MOST_POINTS = 2**21
"""Of a grid."""


def log_likelihood_estimate(
    fitted: Any,
    views: Any,
    key: Array,
    *,
    num_samples: int = 1000,
    against: str | Against = "train",
) -> ImportanceEstimate:
    """The log-likelihood log w(X) of each datum by importance sampling from q.

        log w(X) ≈ log 1/K Σ_k p(Z_k) ∏_jt [f_jt(z_kt|x_jt)/F_jt(z_kt)] / q(Z_k),   Z_k ~ q(Z|X)

    Its expectation lies between the inner bound and log w(X), and grows with K. Without bias for w(X)
    itself. Draws are made in blocks: memory does not grow with K × N.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`.
        views: The data to evaluate: `Data` or a tuple of J views. Those of the fit
            themselves, `fitted.data` or the same arrays, keep the rows of a saturated strategy; new data get
            rows of their own.
        key: A random key.
        num_samples: K.
        against: Whose components F_j has, as for `rpm_jax.inference.infer`.

    Returns:
        Estimates, standard errors and effective sample sizes, each of shape (n,).

    Raises:
        TypeError: For a prior whose conditioning is itself a variational bound.

    References:
        Burda, Grosse & Salakhutdinov, Importance weighted autoencoders, ICLR 2016.
    """
    require_positive_integer("num_samples", num_samples)
    require_ability(fitted.model, "evidence", "log_likelihood_estimate")
    key = as_keys("key", key, 0)
    params, new, components = evaluated(fitted, views, against)
    return _estimate(fitted.model, params, new, components, key, num_samples)[0]


def log_likelihood_quadrature(
    fitted: Any,
    views: Any,
    *,
    tolerance: float | None = None,
    max_points: int = MOST_POINTS,
    against: str | Against = "train",
) -> Quadrature:
    """The log-likelihood log w(X) of each datum by integration, for one site of one or two dimensions.

    See `rpm_jax.objectives.log_likelihood_quadrature`.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`.
        views: As for `log_likelihood_estimate`.
        tolerance: The change under a refinement of the grid that is small enough, in nats; None: 10⁻⁸ in
            float64, 10⁻³ in float32.
        max_points: The most points of a grid.
        against: As for `log_likelihood_estimate`.

    Returns:
        Integrals, shape (n,).

    Raises:
        TypeError: For discrete latents and families without known coordinates.
        ValueError: For more sites or dimensions, or grids that would be too large.
    """
    require_ability(fitted.model, "evidence", "log_likelihood_quadrature")
    params, new, components = evaluated(fitted, views, against)
    return _integrals(fitted.model, params, new, components, tolerance, max_points)


def bound_gap(
    fitted: Any,
    views: Any,
    key: Array | None = None,
    *,
    num_samples: int = 1000,
    against: str | Against = "train",
) -> BoundGap:
    """How far the inner bound is below log w(X), and why.

        log w(X) − bound = KL(q‖p(Z|X)) + Σ_jt (U_jt − E_q[log F_jt])

    The first part asks for a better q (other potentials), the second for a better ξ.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`.
        views: As for `log_likelihood_estimate`.
        key: A random key, for an estimate by `num_samples` draws of q; None: by quadrature, for one site
            of one or two dimensions.
        num_samples: K.
        against: As for `log_likelihood_estimate`.

    Returns:
        Both parts with standard errors, each of shape (n,).
    """
    require_positive_integer("num_samples", num_samples)
    require_ability(fitted.model, "evidence", "bound_gap")
    params, new, components = evaluated(fitted, views, against)
    if key is None:
        integrals = _integrals(fitted.model, params, new, components, None, MOST_POINTS)
        return gap_from_quadrature(evaluate_data(fitted.model, params, new, components), integrals)
    return _estimate(fitted.model, params, new, components, as_keys("key", key, 0), num_samples)[1]


def mixture_divergence(fitted: Any, key: Array, *, num_samples: int = 1000) -> MixtureDivergence:
    """KL(F_jt‖p(z_t)) of every view and site: 0 where conjugate posteriors are exact; F over the fit's data.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`.
        key: A random key.
        num_samples: Draws for every view and site.

    Returns:
        Divergences and standard errors, shape (J, T), (J, 1) where the model pools the sites.
    """
    require_positive_integer("num_samples", num_samples)
    require_ability(fitted.model, "evidence", "mixture_divergence")
    key = as_keys("key", key, 0)
    return _mixture_divergence(fitted.model, fitted.params, as_data(fitted.data), key, num_samples)


@jit
def _estimate(
    model: Any, params: Any, new: Data, components: Data, key: Array, num_samples: int
) -> tuple[ImportanceEstimate, BoundGap]:
    mixture = held_mixture(model, params, components)

    def estimate(batch: Batch) -> tuple[ImportanceEstimate, BoundGap]:
        own = model.recognise(params, batch)
        inferred = model.infer(params, batch, own, mixture)
        own_key = jax.random.fold_in(key, batch.index[0])
        log_ratios = sampled_weights(model, params, batch, own, inferred, mixture, own_key, num_samples)
        bound = model.terms(params, batch, own, mixture, inferred).bound
        return estimate_log_likelihood(log_ratios), gap_from_weights(bound, log_ratios)

    return map_blocks(estimate, new.all(), EVALUATED_AT_ONCE)


def _integrals(
    model: Any, params: Any, new: Data, components: Data, tolerance: float | None, max_points: int
) -> Quadrature:
    prior, own, potentials, held = _for_quadrature(model, params, new, components)
    if tolerance is None:
        tolerance = 1e-8 if own.natural.dtype == jnp.float64 else 1e-3
    return quadrature_of_factors(
        prior,
        own.natural,
        held.natural,
        potentials=potentials,
        log_scale=own.log_scale,
        mixture_log_scale=held.log_scale,
        log_weights=held.log_weights,
        mask=own.mask,
        mixture_mask=held.mask,
        tolerance=tolerance,
        max_points=max_points,
    )


@jit
def _for_quadrature(model: Any, params: Any, new: Data, components: Data) -> tuple:
    mixture = held_mixture(model, params, components)
    batch = new.all()
    own = recognise_in_blocks(model, params, batch)
    inferred = model.infer(params, batch, own, mixture)
    prior = model.relative_prior(params, batch.inputs)
    return prior, own, inferred.potentials, mixture.components


@jit
def _mixture_divergence(
    model: Any, params: Any, data: Data, key: Array, num_samples: int
) -> MixtureDivergence:
    components = held_mixture(model, params, data).components
    assert components is not None
    return mixture_divergence_at(
        model.reference(params),
        components.natural,
        key,
        num_samples=num_samples,
        mixture_log_scale=components.log_scale,
        log_weights=components.log_weights,
        mixture_mask=components.mask,
    )
