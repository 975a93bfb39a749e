"""What training needs of a model."""

from typing import Any, Protocol, runtime_checkable

from jax import Array

from rpm_jax.data import Batch, Data


@runtime_checkable
class Model(Protocol):
    """A model that `rpm_jax.fit` can fit: pure functions of parameters, hashable."""

    def init(self, key: Array, data: Any) -> Any:
        """Initial parameters for these data."""
        ...

    def groups(self, params: Any) -> Any:
        """How each parameter is learned: a pytree like `params` of "prior", "networks", "rows" or "none"."""
        ...

    def bound(self, params: Any, batch: Batch, data: Data) -> Array:
        """The log-likelihood of each datum of a batch, or a bound on it, with mixtures over `data`."""
        ...

    def mean_bound(self, params: Any, data: Data, mixture: Data) -> Array:
        """The mean of `bound` over data, with mixtures over `mixture`."""
        ...
