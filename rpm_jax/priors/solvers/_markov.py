"""Gaussian processes as Markov chains."""

from typing import Any

import jax
from jax import Array

from rpm_jax._checks import require_boolean
from rpm_jax._record import record
from rpm_jax.priors._markov_gaussian_process import MarkovGaussianProcess
from rpm_jax.priors.kernels import Kernel, form_of, require_form


@record
class Markov:
    """The kernel's states, filtered and smoothed: O(T), for kernels in time that have a Markov form.

    Attributes:
        parallel: Whether by an associative scan over the sites, or one after the other; None: by device.
    """

    parallel: bool | None = None
    has_states = True

    def __post_init__(self) -> None:
        """Check what was given."""
        if self.parallel is not None:
            require_boolean("markov: parallel", self.parallel)

    def check(self, kernel: Kernel, num_dimensions: int) -> None:
        """Raise `ValueError` for a kernel without Markov form, or locations (T, D)."""
        if num_dimensions:
            raise ValueError(
                "solver: markov() needs times of shape (T,), which have an order; got locations in "
                f"{num_dimensions} dimensions, for which take dense()"
            )
        require_form(kernel)

    def prior(self, kernel: Kernel, params: Any, times: Array, mean: Array) -> MarkovGaussianProcess:
        """The process with the kernel's states."""

        def form(params: Any) -> Any:
            return form_of(kernel, params, times)

        forms = jax.vmap(form, axis_size=mean.shape[0])(params)
        return MarkovGaussianProcess.from_forms(mean, forms, self.parallel)


def markov(parallel: bool | None = None) -> Markov:
    """Take the kernel's Markov form, O(T).

    `Matern`, `Cosine`, `DampedOscillation` and `White` have one, and sums, products and multiples of kernels
    that have; a kernel of your own where it is a `kernels.MarkovKernel`.

    Args:
        parallel: Whether by an associative scan over the sites, in O(log T) steps of more work, or one after
            the other; None: the latter on CPUs.
    """
    return Markov(parallel)
