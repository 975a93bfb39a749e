"""Gaussian processes with dense covariances."""

from typing import Any

import jax
from jax import Array

from rpm_jax._record import record
from rpm_jax.priors._gaussian_process import GaussianProcess
from rpm_jax.priors.kernels import Kernel


@record
class Dense:
    """Covariances (K, T, T), factorised: for every kernel and locations in any dimensions, O(T³)."""

    def check(self, kernel: Kernel, num_dimensions: int) -> None:
        """All are fine."""
        del kernel, num_dimensions

    def prior(self, kernel: Kernel, params: Any, times: Array, mean: Array) -> GaussianProcess:
        """The process with the kernel's covariance."""
        of_all = jax.vmap(kernel.covariance, in_axes=(0, None), axis_size=mean.shape[0])
        return GaussianProcess(mean, of_all(params, times))


def dense() -> Dense:
    """Take dense covariances, O(T³): for every kernel, locations in any dimensions, and short sequences."""
    return Dense()
