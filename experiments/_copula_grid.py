"""Divergence of two densities of pairs, by quadrature over a rectangle."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr
from numpy.typing import NDArray

from rpm_jax.marginals import as_marginal

WIDTH = 3.0902
"""The rectangle reaches from the 0.1 % to the 99.9 % quantile of each true marginal, in standard normal
units: about as far as the extremes of a thousand data. Beyond these nothing is known of a fitted model."""

NUM_NODES = 64


class Grid(NamedTuple):
    """Nodes and weights of ∫ p0(x1) p0(x2) f(x1, x2) dx over a rectangle.

    Attributes:
        nodes: Values of each view, two arrays (G,).
        pairs: All pairs of them, row by row, two arrays (G², 1).
        weights: p0(x1) p0(x2) dx of each pair, shape (G²,).
    """

    nodes: tuple[Array, Array]
    pairs: tuple[Array, Array]
    weights: NDArray


def quantile_grid(marginals: Any, num_nodes: int = NUM_NODES, width: float = WIDTH) -> Grid:
    """Gauss–Legendre nodes in s, with x = F⁻¹(Φ(s)) and p0(x) dx = φ(s) ds.

    Args:
        marginals: The two marginals p0.
        num_nodes: G.
        width: The largest |s|.
    """
    s, weights = np.polynomial.legendre.leggauss(num_nodes)
    s, weights = width * s, width * weights
    measure = weights * np.exp(-0.5 * s**2) / np.sqrt(2.0 * np.pi)
    half = jnp.asarray(s) <= 0
    tail = ndtr(-jnp.abs(jnp.asarray(s)))

    def nodes_of(marginal: Any) -> Array:
        own = as_marginal(marginal)
        return jnp.where(half, own.quantile(tail), own.inverse_survival_function(tail))

    first, second = map(nodes_of, marginals)
    rows, columns = jnp.meshgrid(first, second, indexing="ij")
    pairs = rows.reshape(-1, 1), columns.reshape(-1, 1)
    return Grid((first, second), pairs, np.outer(measure, measure).ravel())


def log_independent(marginals: Any, pairs: Any) -> NDArray:
    """Log p(x1) + log p(x2) of pairs (n, 1), shape (n,)."""
    both = zip(marginals, pairs, strict=True)
    return np.asarray(sum(as_marginal(own).log_prob(view[:, 0]) for own, view in both), float)


class Divergence(NamedTuple):
    """How far a model is from the truth.

    Attributes:
        divergence: KL(true‖model) of both within the rectangle, in nats.
        mass: The model's share of the rectangle, relative to that of independent views.
    """

    divergence: float
    mass: float


def divergence(grid: Grid, log_true: Any, log_model: Any) -> Divergence:
    """KL(true‖model), both densities restricted to the rectangle and normalised there.

        ∫ p log (p/m) dx / P − log P + log M,    P = ∫ p dx, M = ∫ m dx

    Args:
        grid: The rectangle.
        log_true: The logarithm of the true density over the product of the true marginals, shape (G²,).
        log_model: That of the model, over the same product.
    """
    true, model = np.asarray(log_true, float), np.asarray(log_model, float)
    density = grid.weights * np.exp(true)
    # Relative to the largest, since a model's density may be too large a number.
    largest = model.max()
    log_mass = largest + np.log(np.sum(grid.weights * np.exp(model - largest)))
    share = density.sum()
    value = np.sum(density * (true - model)) / share - np.log(share) + log_mass
    return Divergence(float(value), float(np.exp(log_mass - np.log(grid.weights.sum()))))
