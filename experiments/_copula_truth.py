"""A pair of numbers around a curve: x1 = z, x2 = tanh z, both with noise; its density by quadrature."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import logsumexp, ndtr
from jax.scipy.stats import norm
from numpy.typing import NDArray

from experiments._copula_grid import log_independent, quantile_grid
from rpm_jax import marginals

REACH = 8.0
"""Standard deviations of z on either side over which densities are integrated."""


@dataclass(frozen=True)
class LinkedPair:
    """x1 = z + ε1, x2 = tanh(z) + ε2 with z ~ Normal(0, s²) and ε ~ Normal(0, σ²).

    Offers what `rpm_jax.copulas.joint` does: sample, log_prob, marginals, mutual_information.

    Attributes:
        scale: s.
        noise: σ.
    """

    scale: float = 1.0
    noise: float = 0.1

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> tuple[Array, Array]:
        """Draw both numbers, each of shape `shape` + (1,)."""
        keys = jax.random.split(key, 3)
        z, *noises = (jax.random.normal(one, (*shape, 1)) for one in keys)
        z = self.scale * z
        return z + self.noise * noises[0], jnp.tanh(z) + self.noise * noises[1]

    @partial(jax.jit, static_argnums=0)
    def log_prob(self, views: Any) -> Array:
        """Log p(x1) + log ∫ p(z|x1) Normal(x2; tanh z, σ²) dz of pairs (..., 1), shape (...)."""
        first, second = (jnp.asarray(view)[..., 0] for view in views)
        variance = self.scale**2 + self.noise**2
        mean = first * self.scale**2 / variance
        t, log_weights = self._standard_normal(6.0)
        z = mean[..., None] + self.scale * self.noise / np.sqrt(variance) * t
        terms = log_weights + norm.logpdf(second[..., None], jnp.tanh(z), self.noise)
        return norm.logpdf(first, 0.0, np.sqrt(variance)) + logsumexp(terms, axis=-1)

    @cached_property
    def marginals(self) -> tuple[marginals.Normal, "NormalMixture"]:
        """Those of x1 and x2."""
        t, log_weights = self._standard_normal(max(8.0, 3.0 * self.scale / self.noise))
        first = marginals.Normal(0.0, float(np.hypot(self.scale, self.noise)))
        return first, NormalMixture(log_weights, np.tanh(self.scale * t), self.noise)

    @cached_property
    def _mutual_information(self) -> float:
        # The smaller the noise, the narrower the density around its curve.
        grid = quantile_grid(self.marginals, max(64, int(np.ceil(20.0 * self.scale / self.noise))), 6.0)
        log_ratio = np.asarray(self.log_prob(grid.pairs), float) - log_independent(self.marginals, grid.pairs)
        return float(np.sum(grid.weights * np.exp(log_ratio) * log_ratio))

    def mutual_information(self) -> float:
        """E[log p(x1, x2) − log p(x1) − log p(x2)] in nats, by quadrature."""
        return self._mutual_information

    def _standard_normal(self, per_unit: float) -> tuple[NDArray, NDArray]:
        """Nodes and log-weights of the trapezoidal rule for E[f(t)], t standard normal.

        Args:
            per_unit: Nodes in a unit of t; several for each standard deviation of what is integrated.
        """
        t = np.linspace(-REACH, REACH, 2 * int(np.ceil(REACH * per_unit)) + 1)
        log_weights = -0.5 * t**2
        return t, log_weights - np.log(np.sum(np.exp(log_weights)))


@dataclass(frozen=True, eq=False)
class NormalMixture:
    """p(x) = Σ_k w_k Normal(x; m_k, σ²), a marginal.

    Attributes:
        log_weights: log w, shape (K,), Σ w = 1.
        locations: m, shape (K,).
        scale: σ.
    """

    log_weights: NDArray
    locations: NDArray
    scale: float

    def log_prob(self, x: Array) -> Array:
        """The log-density of every entry."""
        x = jnp.asarray(x)[..., None]
        return logsumexp(self.log_weights + norm.logpdf(x, self.locations, self.scale), axis=-1)

    def cdf(self, x: Array) -> Array:
        """F(x) of every entry."""
        return jnp.sum(jnp.exp(self.log_weights) * ndtr(self._standard(x)), axis=-1)

    def survival_function(self, x: Array) -> Array:
        """1 − F(x) of every entry."""
        return jnp.sum(jnp.exp(self.log_weights) * ndtr(-self._standard(x)), axis=-1)

    def _standard(self, x: Array) -> Array:
        return (jnp.asarray(x)[..., None] - self.locations) / self.scale
