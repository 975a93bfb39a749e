"""What a copula offers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import is_concrete


class Probabilities(NamedTuple):
    """Probabilities u and 1 − u, both without loss of digits where the other is close to 1.

    Attributes:
        lower: u = F(x), shape (..., D).
        upper: 1 − u = S(x), shape (..., D).
    """

    lower: Array
    upper: Array

    def inside(self) -> "Probabilities":
        """The same, but not closer to 0 than floating-point numbers with all their digits are."""
        tiny = jnp.finfo(self.lower.dtype).tiny
        return Probabilities(jnp.maximum(self.lower, tiny), jnp.maximum(self.upper, tiny))


def symmetric_quantile(lower_quantile: Callable[[Array], Array], probabilities: Probabilities) -> Array:
    """The quantiles of a distribution symmetric around 0, by the smaller one of u and 1 − u."""
    u, complement = probabilities.inside()
    half = u <= complement
    z = lower_quantile(jnp.where(half, u, complement))
    return jnp.where(half, z, -z)


@runtime_checkable
class Copula(Protocol):
    """A distribution of D numbers each of which is uniform on (0, 1)."""

    @property
    def size(self) -> int:
        """D."""
        ...

    def sample(self, key: Array, shape: tuple[int, ...] = (), /) -> Probabilities:
        """Draw u, shape `shape` + (D,)."""
        ...

    def log_density(self, probabilities: Probabilities, /) -> Array:
        """Log c(u), shape (...)."""
        ...

    def total_correlation(self) -> Array:
        """E[log c(u)] in nats: the divergence from independence; for D = 2 the mutual information."""
        ...

    def subset(self, indices: Sequence[int], /) -> Self:
        """The copula of some of the numbers."""
        ...


def by_tails(
    quantile: Callable[[Array], Array],
    inverse_survival_function: Callable[[Array], Array],
    probabilities: Probabilities,
) -> Array:
    """An inverse distribution function by the smaller one of u and 1 − u.

    Args:
        quantile: F⁻¹ of u, for the lower half.
        inverse_survival_function: S⁻¹ of 1 − u, for the upper half.
        probabilities: u and 1 − u, which may be 0.
    """
    u, complement = probabilities.inside()
    half = u <= 0.5
    # Each half sees ½ in the place of the other's numbers, which spares derivatives NaN.
    below, above = (
        quantile(jnp.where(half, u, 0.5)),
        inverse_survival_function(jnp.where(half, 0.5, complement)),
    )
    return jnp.where(half, below, above)


def as_correlation(name: str, correlation: Any) -> Array:
    """A correlation matrix (D, D), with errors for what is none."""
    array = jnp.asarray(correlation)
    array = array.astype(jnp.result_type(array, 0.0))
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(
            f"{name}: correlation must be a matrix (D, D), got shape {array.shape}; "
            "rpm_jax.copulas.equicorrelation(rho, D) makes one of a number"
        )
    if is_concrete(array):
        matrix = np.asarray(array)
        tolerance = 1e-5 if matrix.dtype == np.float32 else 1e-10
        if not np.allclose(matrix, matrix.T, atol=tolerance) or not np.allclose(
            np.diag(matrix), 1.0, atol=tolerance
        ):
            raise ValueError(f"{name}: correlation must be symmetric with ones on its diagonal, got {matrix}")
        if np.linalg.eigvalsh(matrix)[0] <= 0:
            raise ValueError(
                f"{name}: correlation must be positive definite, got the eigenvalues "
                f"{np.linalg.eigvalsh(matrix)}"
            )
    return array


def correlation_of(correlation: Array, indices: Sequence[int]) -> Array:
    """Some rows and the same columns of a matrix.

    Raises:
        ValueError: For indices that the matrix does not have, or that come twice.
    """
    index = np.asarray(indices)
    size = len(correlation)
    if not (np.all((index >= 0) & (index < size)) and len(set(index.tolist())) == index.size):
        raise ValueError(f"subset: indices must be different numbers from 0 to {size - 1}, got {indices!r}")
    return correlation[index[:, None], index]
