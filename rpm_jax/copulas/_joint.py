"""A copula with marginals: a distribution of several views."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.copulas._base import Copula, Probabilities, by_tails
from rpm_jax.marginals import as_marginal


@pytree_dataclass
class JointDistribution:
    """p(x) = c(F_1(x_1), ..., F_D(x_D)) ∏_d p_d(x_d), the D numbers grouped into J views; see `joint`.

    Attributes:
        copula: c.
        marginals: p_d and F_d of each of the D numbers.
        dims: How many numbers each of the J views has; Σ dims = D.
    """

    copula: Any
    marginals: tuple[Any, ...]
    dims: tuple[int, ...] = static_field()

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> tuple[Array, ...]:
        """Draw J views, view j of shape `shape` + (d_j,)."""
        lower, upper = self.copula.sample(key, shape)
        columns = [
            by_tails(
                marginal.quantile,
                marginal.inverse_survival_function,
                Probabilities(lower[..., d], upper[..., d]),
            )
            for d, marginal in enumerate(self._marginals())
        ]
        return tuple(jnp.stack(columns[start:end], axis=-1) for start, end in self._spans())

    def log_prob(self, views: Any) -> Array:
        """The log-density of J views, view j of shape (..., d_j).

        Args:
            views: A tuple or list of J arrays, or for a single view the array itself.

        Returns:
            Shape (...).
        """
        views = (views,) if len(self.dims) == 1 and hasattr(views, "shape") else tuple(views)
        shapes = [jnp.shape(view) for view in views]
        if len(views) != len(self.dims) or any(
            s[-1:] != (d,) for s, d in zip(shapes, self.dims, strict=True)
        ):
            raise ValueError(
                f"views must be J = {len(self.dims)} arrays whose last axes have {self.dims} entries, got "
                f"shapes {shapes}"
            )
        x = jnp.concatenate(views, axis=-1)
        columns = [(marginal, x[..., d]) for d, marginal in enumerate(self._marginals())]
        independent = sum(marginal.log_prob(column) for marginal, column in columns)
        lower = jnp.stack([marginal.cdf(column) for marginal, column in columns], axis=-1)
        upper = jnp.stack([marginal.survival_function(column) for marginal, column in columns], axis=-1)
        inside = jnp.isfinite(independent)
        # Outside of the support the copula sees ½.
        pair = Probabilities(*(jnp.where(inside[..., None], p, 0.5) for p in (lower, upper)))
        return jnp.where(inside, independent + self.copula.log_density(pair), -jnp.inf)

    def view(self, index: int) -> "JointDistribution":
        """The distribution of one view alone: p0(x_j), a marginal for `rpm_jax.ImplicitRPM`."""
        start, end = self._spans()[index]
        if end - start == 1:
            copula: Any = Independent()
        else:
            copula = self.copula.subset(range(start, end))
        return JointDistribution(copula, self.marginals[start:end], (end - start,))

    def mutual_information(self) -> Array:
        """E[log p(x) − Σ_j log p0(x_j)] between the views, in nats, exact; for J > 2 the total correlation.

        The numbers within a view count as one.
        """
        total = self.copula.total_correlation()
        wide = [range(start, end) for start, end in self._spans() if end - start > 1]
        return total - sum(self.copula.subset(indices).total_correlation() for indices in wide)

    def _marginals(self) -> list[Any]:
        return [as_marginal(marginal) for marginal in self.marginals]

    def _spans(self) -> list[tuple[int, int]]:
        ends = np.cumsum(self.dims)
        return [(int(end - dim), int(end)) for end, dim in zip(ends, self.dims, strict=True)]


@pytree_dataclass
class Independent:
    """The copula of one number."""

    size: int = static_field(default=1)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Probabilities:
        """Draw u uniformly."""
        lower = jax.random.uniform(key, (*shape, 1))
        return Probabilities(lower, 1.0 - lower)

    def log_density(self, probabilities: Probabilities) -> Array:
        """Zero."""
        return jnp.zeros(probabilities.lower.shape[:-1], probabilities.lower.dtype)

    def total_correlation(self) -> Array:
        """Zero."""
        return jnp.zeros(())

    def subset(self, indices: Sequence[int]) -> "Independent":
        """The same."""
        del indices
        return self


def joint(
    copula: Copula, marginals: Sequence[Any], *, dims: Sequence[int] | None = None
) -> JointDistribution:
    """A distribution of J views with a given dependence and given marginals.

    Args:
        copula: `Gaussian`, `Student`, `Clayton`, or an object with the methods of `Copula`, of D numbers.
        marginals: D distributions of one number each (`rpm_jax.marginals`, distrax, or what
            `rpm_jax.marginals.as_marginal` takes); or J of them, each for all entries of a view.
        dims: How many numbers each of J views has, Σ dims = D. None: J = D views of one number.

    Returns:
        The distribution, with sample, log_prob, mutual_information, and view(j) for the views' own.

    Raises:
        TypeError: For something that is no copula or no marginal.
        ValueError: For numbers that do not fit.
    """
    if not isinstance(copula, Copula):
        raise TypeError(
            "copula must have the methods of rpm_jax.copulas.Copula, such as copulas.Gaussian(correlation), "
            f"got {type(copula).__name__}"
        )
    sizes = (1,) * copula.size if dims is None else tuple(dims)
    for size in sizes:
        require_positive_integer("dims", size)
    if sum(sizes) != copula.size:
        raise ValueError(
            f"dims must add up to the copula's D = {copula.size} numbers, got {sizes}, which add up to "
            f"{sum(sizes)}"
        )
    if not isinstance(marginals, Sequence) or len(marginals) not in (len(sizes), copula.size):
        number = len(marginals) if isinstance(marginals, Sequence) else type(marginals).__name__
        raise ValueError(
            f"marginals must be a tuple or list of D = {copula.size} distributions, or of J = {len(sizes)}, "
            f"one for each view; got {number}"
        )
    if len(marginals) != copula.size:
        marginals = [m for m, size in zip(marginals, sizes, strict=True) for _ in range(size)]
    for marginal in marginals:
        as_marginal(marginal)
    return JointDistribution(copula, tuple(marginals), sizes)
