"""What a solver is."""

from typing import Any, Protocol, runtime_checkable

from jax import Array

from rpm_jax.priors._base import Prior
from rpm_jax.priors.kernels import Kernel


@runtime_checkable
class Solver(Protocol):
    """How a Gaussian process with a kernel is computed.

    A solver that has parameters of its own has `init(times)`, which returns them, a dictionary that is empty
    where nothing is learned, and takes them as the last argument of `prior`; one that chooses among the sites
    has `extended(num_sites)`, itself for processes that go on behind these.

    Attributes:
        has_states: Optional, False where absent. Whether by the kernel's Markov form, so that processes may
            be taken a step at a time.
    """

    def check(self, kernel: Kernel, num_dimensions: int, /) -> None:
        """Raise `ValueError` for a kernel, or locations in several dimensions, that it cannot take.

        Args:
            kernel: Of the process.
            num_dimensions: Of the locations: 0 for times (T,), D for locations (T, D).
        """
        ...

    def prior(self, kernel: Kernel, params: Any, times: Array, mean: Array, /) -> Prior:
        """The prior of K independent processes.

        Args:
            kernel: Of all of them.
            params: Its hyperparameters, with an axis of K first.
            times: Shape (T,), or locations (T, D).
            mean: Shape (K, T).
        """
        ...
