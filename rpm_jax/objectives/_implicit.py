"""Implicit models, which take every mixture F_j to be the prior instead of evaluating it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax.objectives._checks import check_mask, check_shapes, reference_sites
from rpm_jax.objectives._inner_bound import conjugate_potentials, fill_missing
from rpm_jax.priors import Prior


def implicit_log_likelihood(
    prior: Prior, factors: Any, *, log_scale: Array | None = None, mask: Array | None = None
) -> Array:
    """The log-likelihood of every datum relative to its marginals, under the assumption F_jt = p(z_t).

        log p(X) − Σ_j log p0(x_j) = log ∫ p(Z) ∏_jt f_jt(z_t|x_jt) / p(z_t) dZ
                                   = log_normalizer(Σ_j (η_jt − η0_t)) − Σ_jt [A(η_jt) − A(η0_t)],

    for one site A(Σ_j η_j − (J − 1) η0) − Σ_j A(η_j) + (J − 1) A(η0); unnormalised factors
    exp(⟨η, t⟩ + h) have h_jt in place of −A(η_jt). No mixture is evaluated, so a datum's
    value depends on nothing but itself. The model is normalised over X only as far as the assumption holds,
    which nothing enforces, so that the mean over data has no upper limit. `implicit_integral` estimates
    ∫ p(X) dX: log p(X) − ∫ p(X) dX + 1 has one, and is at its best a normalised density.

    Args:
        prior: p(Z), T sites. Where its conditioning is variational, the value is a lower bound.
        factors: η of the recognition factors, natural parameters of batch shape (..., J, T), η0 included.
        log_scale: h of unnormalised factors, shape (..., J, T). Under the assumption the marginals of p(X)
            are then not p0(x_j) but, for one site, p0(x_j) exp(A(η_j) + h_j).
        mask: Boolean (..., J, T), False where a view is missing at a site. Under the assumption the marginal
            over missing views is the model of all others.

    Returns:
        In nats, shape (...).

    Raises:
        TypeError: For natural parameters of another family than the prior's sites.
        ValueError: For shapes that do not fit.

    References:
        torchRPM, `ImplicitRPM`.
    """
    sites = reference_sites(prior)
    check_shapes(sites, factors, None, None, None, mask)
    _check_log_scale(log_scale, factors)
    factors = fill_missing(factors, sites, mask)
    excess = factors.log_partition() if log_scale is None else -log_scale
    excess = excess - sites.log_partition()
    excess = excess if mask is None else jnp.where(mask, excess, 0.0)
    posterior = prior.condition(conjugate_potentials(factors, sites))
    return posterior.log_normalizer - jnp.sum(excess, axis=(-2, -1))


def _check_log_scale(log_scale: Array | None, factors: Any) -> None:
    if log_scale is not None and log_scale.shape != factors.batch_shape:
        raise ValueError(
            f"log_scale must have the factors' batch shape {factors.batch_shape}, got {log_scale.shape}"
        )


def moment_penalty(
    prior: Prior, factors: Any, *, log_weights: Array | None = None, mask: Array | None = None
) -> Array:
    """How far the moments of the mixtures F_jt are from those of the prior, as a divergence.

        Σ_jt KL(F̄_jt ‖ p(z_t)),   F̄_jt the family's member with E[t(z)] = Σ_n w_n ∇A(η_jt^n)

    F̄_jt is the member closest to F_jt, and KL(F_jt‖p) = KL(F_jt‖F̄_jt) + KL(F̄_jt‖p) (the Pythagorean
    theorem of exponential families): the penalty is the part of Σ_jt KL(F_jt‖p(z_t)) that moments can see,
    a lower bound on it.

    Args:
        prior: p(Z), T sites of a family that has `from_mean`.
        factors: η of N data, batch shape (N, J, T).
        log_weights: log w_n, shape (N,), Σ w = 1. None: uniform.
        mask: Boolean (N, J, T), False where a view is missing. A view that is missing everywhere at a site
            counts as the prior.

    Returns:
        In nats, a scalar.

    Raises:
        TypeError: For natural parameters of another family than the prior's sites.
        ValueError: For shapes that do not fit.

    References:
        Amari & Nagaoka, Methods of Information Geometry, 2000, section 3.5; torchRPM, `ImplicitRPM`, for
        one-dimensional Gaussians.
    """
    sites = reference_sites(prior)
    check_shapes(sites, factors, None, None, None, mask)
    if len(factors.batch_shape) != 3:
        raise ValueError(
            f"factors must have batch shape (N, J, T) to average over N data, got {factors.batch_shape}"
        )
    size = factors.batch_shape[0]
    factors = fill_missing(factors, sites, mask)
    weights = jnp.full((size,), 1.0 / size, factors.dtype) if log_weights is None else jnp.exp(log_weights)
    if weights.shape != (size,):
        raise ValueError(f"log_weights must have shape (N,) = ({size},), got {weights.shape}")
    weights = jnp.broadcast_to(weights[:, None, None], factors.batch_shape)
    if mask is not None:
        check_mask("mask", mask, "factors'", factors.batch_shape)
        seen = jnp.any(mask & (weights > 0), axis=0)
        # A view that nobody has seen is the prior, which `fill_missing` put there.
        weights = jnp.where(mask | ~seen, weights, 0.0)
    weights = weights / jnp.sum(weights, axis=0)
    mean = tuple(
        jnp.sum(weights.reshape(weights.shape + (1,) * rank) * moment, axis=0)
        for moment, rank in zip(factors.mean_parameters(), sites.natural_ranks.values(), strict=True)
    )
    closest = type(sites).from_mean(mean, **sites.shared)
    return jnp.sum(closest.kl_divergence(sites))


class ImplicitIntegral(NamedTuple):
    """An estimate of ∫ p(X) dX of an implicit model.

    Attributes:
        value: The estimate; a normalised model has 1.
        standard_error: Its standard error.
        log_value: The logarithm of the estimate, finite where the estimate itself is too large a number.
    """

    value: Array
    standard_error: Array
    log_value: Array

    @property
    def deviates(self) -> Array:
        """Whether the integral is not 1 within three standard errors; True where it is not finite."""
        return ~(jnp.abs(self.value - 1.0) <= 3.0 * self.standard_error)


def implicit_integral(
    prior: Prior,
    factors: Any,
    key: Array,
    *,
    log_scale: Array | None = None,
    log_weights: Array | None = None,
    num_blocks: int = 20,
    num_shifts: int = 20,
) -> ImplicitIntegral:
    """Estimate ∫ p(X) dX of an implicit model, which is 1 where the assumption F_jt = p(z_t) holds.

        ∫ p(X) dX = E_{∏_j p0(x_j)}[∫ p(Z) ∏_jt f_jt(z_t|x_jt) / p(z_t) dZ]

    by importance sampling from the product of the marginals: views of different data, put together. The data
    are cut into blocks; in each of them, view j of datum n is joined with view j' of datum n + s, for several
    random shifts s, all different from view to view. Each block gives an independent estimate; their spread
    gives the standard error, which covers both the choice of combinations and that of the data.

    Args:
        prior: p(Z), T sites.
        factors: η of N independent data, batch shape (N, J, T); no mixture or combination is evaluated
            beyond their natural parameters.
        key: A random key.
        log_scale: h of unnormalised factors, shape (N, J, T).
        log_weights: Log-weights of the empirical marginals, shape (N,), Σ w = 1. None: uniform.
        num_blocks: How many blocks; fewer where N is small, so that each has 2 J data or more.
        num_shifts: How many combinations each datum is part of. The cost is N times as many conditionings.

    Returns:
        The estimate and its standard error.

    Raises:
        ValueError: If there are fewer than 4 J data, or shapes do not fit.
    """
    check_shapes(reference_sites(prior), factors, None, None, None, None)
    _check_log_scale(log_scale, factors)
    for name, number in (("num_blocks", num_blocks), ("num_shifts", num_shifts)):
        require_positive_integer(name, number)
    if len(factors.batch_shape) != 3 or factors.batch_shape[0] < 4 * factors.batch_shape[1]:
        raise ValueError(
            "factors must have batch shape (N, J, T) with N ≥ 4 J data, of which blocks can be made, got "
            f"{factors.batch_shape}; take more data, or larger minibatches where these give the integral"
        )
    size, num_views, num_sites = factors.batch_shape
    if log_weights is not None and log_weights.shape != (size,):
        raise ValueError(f"log_weights must have shape (N,) = ({size},), got {log_weights.shape}")
    num_blocks = max(2, min(num_blocks, size // (2 * num_views)))
    length = size // num_blocks
    order_key, shift_key = jax.random.split(key)
    order = jax.random.permutation(order_key, size)[: num_blocks * length].reshape(num_blocks, length)
    views = jnp.arange(num_views)

    def of_one_shift(key: Array) -> Array:
        offsets = jax.random.choice(key, length, (num_views,), replace=False)
        rows = order[:, (jnp.arange(length)[:, None] + offsets) % length]
        shape = (num_blocks * length, num_views, num_sites)
        scale = None if log_scale is None else log_scale[rows, views].reshape(shape)
        log_ratios = implicit_log_likelihood(prior, factors[rows, views].reshape(shape), log_scale=scale)
        log_ratios = log_ratios.reshape(num_blocks, length)
        if log_weights is None:
            return log_ratios
        return log_ratios + jnp.sum(log_weights[rows] + jnp.log(size), axis=-1)

    log_ratios = jax.lax.map(of_one_shift, jax.random.split(shift_key, num_shifts))
    log_blocks = jax.nn.logsumexp(log_ratios, axis=(0, 2)) - jnp.log(num_shifts * length)
    log_value = jax.nn.logsumexp(log_blocks) - jnp.log(num_blocks)
    spread = jnp.std(jnp.exp(log_blocks), ddof=1)
    return ImplicitIntegral(jnp.exp(log_value), spread / jnp.sqrt(num_blocks), log_value)
