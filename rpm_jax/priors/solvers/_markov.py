"""Gaussian processes as Markov chains."""

from typing import Any

import jax
from jax import Array

from rpm_jax._record import record
from rpm_jax.priors._markov_gaussian_process import MarkovGaussianProcess
from rpm_jax.priors.kernels import Kernel, form_of, require_form


@record
class Markov:
    """The kernel's states, filtered and smoothed: O(T), for kernels in time that have a Markov form."""

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

        return MarkovGaussianProcess.from_forms(mean, jax.vmap(form, axis_size=mean.shape[0])(params))


def markov() -> Markov:
    """Take the kernel's Markov form, O(T).

    `Matern`, `Cosine`, `DampedOscillation` and `White` have one, and sums, products and multiples of kernels
    that have; a kernel of your own where it is a `kernels.MarkovKernel`.
    """
    return Markov()
