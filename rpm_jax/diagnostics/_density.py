"""Densities of new data, and the dependence of their views."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_choice
from rpm_jax.diagnostics._tightness import log_likelihood_estimate, log_likelihood_quadrature
from rpm_jax.inference import Against, evaluate_data, evaluated

METHODS = ("bound", "estimate", "quadrature")


class Dependence(NamedTuple):
    """The dependence of views, in nats.

    Attributes:
        total_correlation: Σ_j H(x_j) − H(X); for two views their mutual information.
        standard_error: Of the mean over data.
    """

    total_correlation: Array
    standard_error: Array


def log_density_ratio(
    fitted: Any,
    views: Any,
    *,
    method: str = "bound",
    key: Array | None = None,
    num_samples: int = 1000,
    against: str | Against = "train",
) -> Array:
    """Log p(X) − Σ_j log p0(x_j) = log w(X): how much likelier the views are together than apart.

    A score for ranking and for anomalies: low where views do not belong together. The same for
    categorical latents by every method but "quadrature", exact.

    Args:
        fitted: A `Fit` or `Fitted`.
        views: The data to evaluate: `Data` or a tuple of J views.
        method: "bound", the inner bound, a lower bound; "estimate", by importance sampling
            (`log_likelihood_estimate`), which needs a key; "quadrature" (`log_likelihood_quadrature`).
        key: A random key, for "estimate".
        num_samples: Draws, for "estimate".
        against: Whose components F_j has, as for `rpm_jax.inference.infer`.

    Returns:
        In nats, shape (n,).
    """
    require_choice("method", method, METHODS)
    if method == "quadrature":
        return log_likelihood_quadrature(fitted, views, against=against).log_likelihood
    if method == "estimate":
        if key is None:
            raise ValueError("key: method='estimate' draws latents; pass a key, as jax.random.key(0)")
        estimate = log_likelihood_estimate(fitted, views, key, num_samples=num_samples, against=against)
        return estimate.log_likelihood
    params, new, components = evaluated(fitted, views, against)
    return evaluate_data(fitted.model, params, new, components)


def total_correlation(fitted: Any, views: Any, **options: Any) -> Dependence:
    """The dependence of the views: for two, their mutual information.

        I ≈ 1/n Σ_n log w(X^n)

    On data that the fit has not seen, the mean is in expectation the truth less KL(truth‖model), up to
    how well the fit's data represent the marginals, and so rather too low; on the data of the fit it may be
    too high. By the bound it is lower still.

    Args:
        fitted: A `Fit` or `Fitted`.
        views: Held-out data.
        **options: As for `log_density_ratio`: method, key, against, ...

    Returns:
        The estimate and its standard error over data.
    """
    ratios = log_density_ratio(fitted, views, **options)
    return Dependence(jnp.mean(ratios), jnp.std(ratios) / jnp.sqrt(max(1, ratios.shape[0] - 1)))
