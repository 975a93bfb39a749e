"""Real coordinates of the values of a family, for integrals over them."""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import polygamma

from rpm_jax.expfam import (
    Beta,
    DiagonalGaussian,
    Dirichlet,
    Gamma,
    Gaussian,
    KnownCovarianceGaussian,
    VonMises,
)
from rpm_jax.expfam._base import Statistics


@runtime_checkable
class Chart(Protocol):
    """Coordinates u ∈ ℝ^D of values z = g(u). A family from outside the package has one as `chart`.

    Attributes:
        is_periodic: Whether u are angles in (−π, π].
    """

    @property
    def is_periodic(self) -> bool: ...

    def dimension(self, sites: Any) -> int:
        """D."""
        ...

    def moments(self, family: Any) -> tuple[Array, Array]:
        """Mean and standard deviation of u under the members, each of shape (..., D)."""
        ...

    def at(self, sites: Any, u: Array) -> tuple[Statistics, Array]:
        """t(g(u)) and log χ(g(u)) + log |dg/du| for u of shape (..., D)."""
        ...


def _trigamma(x: Array) -> Array:
    return polygamma(1, x)


class RealChart(NamedTuple):
    """Values themselves, of Gaussian families."""

    is_periodic: bool = False

    def dimension(self, sites: Any) -> int:
        """K."""
        return sites.natural_parameters[0].shape[-1]

    def moments(self, family: Any) -> tuple[Array, Array]:
        """Those of the family."""
        return family.mean(), jnp.sqrt(family.variance())

    def at(self, sites: Any, u: Array) -> tuple[Statistics, Array]:
        """Nothing changes."""
        return sites.sufficient_statistics(u), sites.log_base_measure(u)


class CircularChart(NamedTuple):
    """Angles."""

    is_periodic: bool = True

    def dimension(self, sites: Any) -> int:
        """K."""
        return sites.eta.shape[-2]

    def moments(self, family: Any) -> tuple[Array, Array]:
        """Directions, and a standard deviation that is right for concentrated members."""
        return family.mean(), 1.0 / jnp.sqrt(1.0 + family.concentration)

    def at(self, sites: Any, u: Array) -> tuple[Statistics, Array]:
        """Nothing changes."""
        return sites.sufficient_statistics(u), sites.log_base_measure(u)


class LogChart(NamedTuple):
    """Logarithms of positive numbers."""

    is_periodic: bool = False

    def dimension(self, sites: Any) -> int:
        """K."""
        return sites.eta1.shape[-1]

    def moments(self, family: Any) -> tuple[Array, Array]:
        """E[log z] and the root of ψ'(α)."""
        return family.mean_parameters()[0], jnp.sqrt(_trigamma(family.shape))

    def at(self, sites: Any, u: Array) -> tuple[Statistics, Array]:
        """The Jacobian of z = exp u is z."""
        return (u, jnp.exp(u)), jnp.sum(u, axis=-1)


class LogitChart(NamedTuple):
    """Log-odds of numbers between 0 and 1."""

    is_periodic: bool = False

    def dimension(self, sites: Any) -> int:
        """K."""
        return sites.eta1.shape[-1]

    def moments(self, family: Any) -> tuple[Array, Array]:
        """E[log z − log(1 − z)] and the root of ψ'(α) + ψ'(β)."""
        first, second = family.mean_parameters()
        return first - second, jnp.sqrt(jnp.sum(_trigamma(family.concentrations), axis=-1))

    def at(self, sites: Any, u: Array) -> tuple[Statistics, Array]:
        """The Jacobian is z(1 − z)."""
        logarithms = jax.nn.log_sigmoid(u), jax.nn.log_sigmoid(-u)
        return logarithms, jnp.sum(logarithms[0] + logarithms[1], axis=-1)


class LogRatioChart(NamedTuple):
    """Log-ratios log z_k − log z_K of the parts of a whole."""

    is_periodic: bool = False

    def dimension(self, sites: Any) -> int:
        """K − 1."""
        return sites.eta.shape[-1] - 1

    def moments(self, family: Any) -> tuple[Array, Array]:
        """E[log z_k − log z_K] and the root of ψ'(α_k) + ψ'(α_K)."""
        (logarithms,) = family.mean_parameters()
        spread = _trigamma(family.concentration)
        return logarithms[..., :-1] - logarithms[..., -1:], jnp.sqrt(spread[..., :-1] + spread[..., -1:])

    def at(self, sites: Any, u: Array) -> tuple[Statistics, Array]:
        """The Jacobian for the first K − 1 parts is the product of all."""
        logits = jnp.concatenate([u, jnp.zeros_like(u[..., :1])], axis=-1)
        logarithms = jax.nn.log_softmax(logits, axis=-1)
        return (logarithms,), jnp.sum(logarithms, axis=-1)


CHARTS: dict[type, Chart] = {
    Beta: LogitChart(),
    DiagonalGaussian: RealChart(),
    Dirichlet: LogRatioChart(),
    Gamma: LogChart(),
    Gaussian: RealChart(),
    KnownCovarianceGaussian: RealChart(),
    VonMises: CircularChart(),
}


def chart_of(sites: Any) -> Chart:
    """The coordinates of a family's values.

    Raises:
        TypeError: For a family without.
    """
    if sites.one_hot:
        raise TypeError(
            f"prior: quadrature is for continuous latents, got {type(sites).__name__}, whose likelihood is "
            "exact anyway: RPM.evaluate or rpm_jax.objectives.exact_log_likelihood"
        )
    chart = getattr(sites, "chart", None) or CHARTS.get(type(sites))
    if chart is None:
        raise TypeError(
            f"prior: quadrature knows no coordinates of {type(sites).__name__}; give the family an attribute "
            f"`chart` (rpm_jax.objectives.Chart), or use log_likelihood_estimate; it knows "
            f"{', '.join(sorted(family.__name__ for family in CHARTS))}"
        )
    return chart


def box(chart: Chart, families: tuple[Any, ...], width: float) -> tuple[Array, Array, Array]:
    """Lower and upper corner of the mass of several members, and the narrowest standard deviation, (D,)."""
    moments = [chart.moments(family) for family in families]
    mean = jnp.concatenate([m.reshape(-1, m.shape[-1]) for m, _ in moments])
    spread = jnp.concatenate([s.reshape(-1, s.shape[-1]) for _, s in moments])
    if chart.is_periodic:
        half = jnp.full(mean.shape[-1:], math.pi, mean.dtype)
        return -half, half, jnp.min(spread, axis=0)
    return (
        jnp.min(mean - width * spread, axis=0),
        jnp.max(mean + width * spread, axis=0),
        jnp.min(spread, axis=0),
    )
