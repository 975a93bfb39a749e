"""What a kernel is, and how its hyperparameters are read."""

from typing import Any, Protocol, TypeGuard, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.priors.kernels._states import MarkovForm


@runtime_checkable
class Kernel(Protocol):
    """A covariance function k(x, y) with learnable hyperparameters in unconstrained form."""

    def init(self, locations: Array, /) -> Any:
        """The initial hyperparameters: a pytree of arrays.

        Args:
            locations: Shape (T,), or (T, D) in D dimensions.
        """
        ...

    def covariance(self, params: Any, x: Array, y: Array | None = None, /) -> Array:
        """Covariances between the process at `x` and at `y`.

        Args:
            params: As from `init`.
            x: Locations, shape (T,) or (T, D).
            y: Others, shape (S,) or (S, D); None: the same.

        Returns:
            Shape (T, S).
        """
        ...


@runtime_checkable
class MarkovKernel(Kernel, Protocol):
    """A kernel whose processes in time may be Markov chains of a few states: O(T) in place of O(T³)."""

    @property
    def num_states(self) -> int | None:
        """S; None where it has no such form, as sums have none with a part that has none."""
        ...

    def markov(self, params: Any, times: Array, /) -> MarkovForm:
        """The chain at these times.

        Args:
            params: As from `init`.
            times: Shape (T,), strictly increasing.
        """
        ...


def is_kernel(value: Any) -> TypeGuard[Kernel]:
    """Whether `value` has the methods of a kernel, and is not a class."""
    return isinstance(value, Kernel) and not isinstance(value, type)


def check_kernel(kernel: Any) -> Kernel:
    """The kernel itself.

    Raises:
        TypeError: For something that is no kernel.
    """
    if not is_kernel(kernel):
        raise TypeError(
            "kernel must be an object with init(locations) and covariance(params, x, y), such as "
            f"rpm_jax.priors.kernels.RBF(), got {kernel!r}"
        )
    return kernel


def describe(params: Any) -> dict[str, Array]:
    """Learned hyperparameters by name, in the units of the locations, not as logarithms.

    Args:
        params: Of a kernel, or of a prior that has one.

    Returns:
        For each its name, with the path to it within sums and products ("0.lengthscale"), and its value.
    """
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *above, name = [str(getattr(part, "key", getattr(part, "idx", part))) for part in path]
        logarithm = name.startswith("log_")
        found[".".join([*above, name.removeprefix("log_")])] = jnp.exp(leaf) if logarithm else leaf
    return found
