"""The likelihood by quadrature, for a latent of one or two dimensions."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rpm_jax._checks import is_concrete
from rpm_jax.expfam import ExponentialFamily
from rpm_jax.normalizers import ArrayComponents, as_components, log_mixture_at
from rpm_jax.normalizers._points import flat_statistics
from rpm_jax.objectives._charts import box, chart_of
from rpm_jax.objectives._checks import check_component_shapes, check_shapes, reference_sites
from rpm_jax.objectives._importance import check_exact
from rpm_jax.objectives._inner_bound import conjugate_potentials, fill_missing
from rpm_jax.priors import Prior

BLOCK_ELEMENTS = 2**20
"""Pairs of a datum and a point of the grid that are evaluated at once."""

WIDTH = 9.0
"""Half the width of the first box, in standard deviations of the prior and of every posterior."""


class Quadrature(NamedTuple):
    """Integrals over the latent of every datum, in nats.

    Attributes:
        log_likelihood: log w(X), shape (...).
        expected_log_weight: The free energy with E_q[log F_jt] itself, −KL(q‖p) + Σ_j E_q[log f_j − log F_j]
            = log w(X) − KL(q‖p(z|X)), shape (...).
        error: How much the last refinement of the grid changed any of them.
        num_points: Of the last grid, for each dimension.
    """

    log_likelihood: Array
    expected_log_weight: Array
    error: float
    num_points: tuple[int, ...]


def log_likelihood_quadrature(
    prior: Prior,
    factors: Any,
    mixture: Any,
    *,
    potentials: Any = None,
    log_scale: Array | None = None,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mask: Array | None = None,
    mixture_mask: Array | None = None,
    tolerance: float = 1e-8,
    max_points: int = 2**21,
) -> Quadrature:
    """The log-likelihood of every datum by integration over a latent of one or two dimensions.

        log w(X) = log ∫ p(z) ∏_j f_j(z|x_j) / F_j(z) dz

    The midpoint rule in real coordinates of the family (z, log z, log-odds, log-ratios, angles), where it
    converges geometrically for integrands that vanish at the ends. One grid for all data, so that F_j is
    evaluated once; it starts as wide as the prior and every q are, is widened until the integrands vanish at
    its edges, and refined until nothing changes by more than `tolerance`.

    Args:
        prior: p(z), one site.
        factors: As in `inner_bound`, as all others but the last.
        mixture: See there.
        potentials: λ of q, which only `expected_log_weight` depends on; None: conjugate.
        log_scale: See there.
        mixture_log_scale: See there.
        log_weights: See there.
        mask: See there.
        mixture_mask: See there.
        tolerance: The change under a refinement by two that is small enough, in nats.
        max_points: The most points of a grid.

    Returns:
        Integrals, not differentiable and not for `jit`.

    Raises:
        TypeError: For discrete latents and families without known coordinates.
        ValueError: For more than one site or two dimensions, or if the grid would take more than
            `max_points`, as where factors are very narrow or where the integral is infinite.
    """
    sites, marginals = reference_sites(prior), prior.sites()
    chart = chart_of(sites)
    dimension = chart.dimension(sites)
    if sites.batch_shape != (1,) or dimension > 2:
        raise ValueError(
            f"prior: quadrature takes one site of one or two dimensions, got {sites.batch_shape[0]} sites of "
            f"{dimension}; log_likelihood_estimate takes any"
        )
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, got {tolerance}")
    check_shapes(sites, factors, mixture, potentials, None, mask)
    check_component_shapes(factors, mixture, log_scale, mixture_log_scale, log_weights, mixture_mask)
    if not is_concrete((sites, marginals, factors)):
        raise TypeError("factors: quadrature adapts its grid to their values; call it outside jit and vmap")
    factors = fill_missing(factors, sites, mask)
    potentials = conjugate_potentials(factors, sites) if potentials is None else potentials
    posterior = prior.condition(potentials)
    check_exact(prior, posterior)
    components = as_components(mixture, mixture_log_scale)
    natural, mixture_log_scale = components.block(0, components.size)
    if isinstance(mixture, ExponentialFamily):
        natural = fill_missing(natural, sites, mixture_mask)
    log_scale = -factors.log_partition() if log_scale is None else log_scale
    batch, num_views = factors.batch_shape[:-2], factors.batch_shape[-2]
    size = math.prod(batch)
    present = jnp.ones((size, num_views), bool) if mask is None else mask.reshape(size, num_views)
    arguments = (
        sites,
        # One density for all data, or one for each.
        marginals
        if marginals.batch_shape == (1,)
        else marginals.broadcast_to((*batch, 1)).reshape((size, 1)),
        factors.reshape((size, num_views, 1)),
        log_scale.reshape(size, num_views),
        present,
        posterior.sites.reshape((size, 1)),
        ArrayComponents(natural, mixture_log_scale),
        log_weights,
        mixture_mask,
    )
    lower, upper, narrowest = (np.asarray(x) for x in box(chart, (marginals, posterior.sites), WIDTH))
    start = np.clip(np.ceil(2.0 * (upper - lower) / narrowest), 32, math.inf)
    sizes = np.where(np.isfinite(start), start, math.inf)
    previous = None
    while math.prod(float(s) for s in sizes) <= max_points:
        result = _integrate(*arguments, jnp.asarray(lower), jnp.asarray(upper), jnp.asarray(sizes, int))
        log_w, expected, edge = (np.asarray(x) for x in result)
        volume = 0.0 if chart.is_periodic else math.log(np.prod(upper - lower))
        values = np.stack([log_w, expected])
        if not chart.is_periodic and not np.all(edge + volume < log_w + math.log(0.1 * tolerance)):
            lower, upper = lower - 0.25 * (upper - lower), upper + 0.25 * (upper - lower)
            sizes, previous = np.ceil(1.5 * sizes), None
            continue
        error = math.inf if previous is None else float(np.max(np.abs(values - previous), initial=0.0))
        if error <= tolerance:
            first, second = (jnp.asarray(value).reshape(batch) for value in values)
            return Quadrature(first, second, error, tuple(int(s) for s in sizes))
        previous, sizes = values, 2 * sizes
    raise ValueError(
        f"max_points: the integral needs a grid of {' x '.join(f'{s:.4g}' for s in sizes)} points, more than "
        f"{max_points}: factors too narrow for the width of the prior, or an integrand that does not vanish "
        f"towards {lower} or {upper}; allow more points, or use log_likelihood_estimate"
    )


@jax.jit
def _integrate(
    sites: Any,
    marginals: Any,
    factors: Any,
    log_scale: Array,
    present: Array,
    posterior: Any,
    components: ArrayComponents,
    log_weights: Array | None,
    mixture_mask: Array | None,
    lower: Array,
    upper: Array,
    sizes: Array,
) -> tuple[Array, Array, Array]:
    """Log w, E_q[log weight], and the largest log-integrand at the edges, each (n,)."""
    chart = chart_of(sites)
    dtype = log_scale.dtype
    step = (upper - lower) / sizes
    log_cell = jnp.sum(jnp.log(step))
    dimension = chart.dimension(sites)
    factors = factors[..., 0].where(present).sum(-1)
    log_scale = jnp.sum(jnp.where(present, log_scale, 0), axis=-1)
    total = jnp.prod(sizes)
    size = log_scale.shape[0]
    num_points = min(max(BLOCK_ELEMENTS // size, 64), 4096)
    ranks = tuple(sites.natural_ranks.values())

    def at_points(index: Array) -> tuple[Array, Array, Array]:
        # Row-major over one or two axes.
        position = jnp.stack([index // sizes[-1], index % sizes[-1]], axis=-1)[:, 2 - dimension :]
        statistics, log_measure = chart.at(sites, (lower + (position + 0.5) * step).astype(dtype))
        with_site = tuple(jnp.expand_dims(t, -rank - 1) for t, rank in zip(statistics, ranks, strict=True))
        log_mixtures = log_mixture_at(components, with_site, log_weights=log_weights, mask=mixture_mask)
        log_mixtures = jnp.broadcast_to(log_mixtures[..., 0], (index.shape[0], present.shape[1]))
        flat = flat_statistics(statistics, ranks)

        def with_data(family: Any) -> Array:
            return flat_statistics(family.natural_parameters, ranks) @ flat.T

        if len(marginals.batch_shape) == 1:
            log_prior = marginals[0].dot(statistics) - marginals[0].log_partition() + log_measure
        else:
            own = marginals[:, 0]
            log_prior = with_data(own) - own.log_partition()[:, None] + log_measure

        log_joint = with_data(factors) + log_scale[:, None] + log_prior - _masked(present, log_mixtures)
        q = posterior[:, 0]
        log_q = with_data(q) - q.log_partition()[:, None] + log_measure
        inside = index < total
        log_joint = jnp.where(inside, log_joint, -jnp.inf)
        log_q = jnp.where(inside, log_q, -jnp.inf)
        is_edge = jnp.any((position == 0) | (position == sizes - 1), axis=-1)
        return log_joint, log_q, is_edge

    def add(block: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        maximum, mass, expected, edge = state
        log_joint, log_q, is_edge = at_points(block * num_points + jnp.arange(num_points))
        larger = jnp.maximum(maximum, jnp.max(log_joint, axis=-1))
        mass = mass * jnp.exp(maximum - larger) + jnp.sum(jnp.exp(log_joint - larger[:, None]), axis=-1)
        density = jnp.exp(log_q + log_cell)
        surprise = jnp.where(density > 0, log_joint - jnp.where(density > 0, log_q, 0), 0)
        expected = expected + jnp.sum(density * surprise, axis=-1)
        edge = jnp.maximum(edge, jnp.max(jnp.where(is_edge, log_joint, -jnp.inf), axis=-1))
        return larger, mass, expected, edge

    lowest = jnp.full(size, jnp.finfo(dtype).min, dtype)
    zeros = jnp.zeros(size, dtype)
    state = lowest, zeros, zeros, jnp.full(size, -jnp.inf, dtype)
    maximum, mass, expected, edge = lax.fori_loop(0, -(-total // num_points), add, state)
    return maximum + jnp.log(mass) + log_cell, expected, edge


def _masked(present: Array, log_mixtures: Array) -> Array:
    """Σ_j log F_j over the views of every datum: (n, P) from (n, J) and (P, J)."""
    return present.astype(log_mixtures.dtype) @ log_mixtures.T
