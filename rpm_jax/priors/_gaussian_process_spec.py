"""Gaussian processes whose kernels are learned, over times or locations."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_choice, require_positive_integer
from rpm_jax._linalg import inverse_and_log_determinant
from rpm_jax._record import record
from rpm_jax.expfam import Gaussian
from rpm_jax.priors._base import Prior, PriorSpec
from rpm_jax.priors._fixed import learned_or_fixed
from rpm_jax.priors._future import Future, longer_times
from rpm_jax.priors._gaussian_process_dynamics import (
    GaussianProcessDynamics,
    clock_of,
    forms_of,
    require_states,
)
from rpm_jax.priors._gaussian_process_of_times import LearnableGaussianProcessOfTimes
from rpm_jax.priors._static import Static
from rpm_jax.priors._times import as_locations
from rpm_jax.priors.kernels import Kernel, as_kernel
from rpm_jax.priors.solvers import Solver, as_solver, default


@record
class LearnableGaussianProcess:
    """K independent Gaussian processes with learnable kernels and mean; `gaussian_process` makes it.

    Attributes:
        times: Since the first, shape (T,), or locations (T, D).
        kernel: Of all K, each with hyperparameters of its own.
        num_latents: K.
        mean: "zero", "constant" or "free".
        solver: Of `rpm_jax.priors.solvers`; where it is None it becomes the faster one.
    """

    times: Array
    kernel: Kernel
    num_latents: int = 1
    mean: str = "zero"
    solver: Solver | None = None

    def __post_init__(self) -> None:
        """Check all of them; times become those since the first."""
        object.__setattr__(self, "times", as_locations(self.times))
        object.__setattr__(self, "kernel", as_kernel(self.kernel))
        require_positive_integer("num_latents", self.num_latents)
        require_choice("mean", self.mean, ("zero", "constant", "free"))
        num_dimensions = sum(self.times.shape[1:])
        if self.solver is None:
            object.__setattr__(self, "solver", default(self.kernel, self.times.shape[0], num_dimensions))
        as_solver(self.solver).check(self.kernel, num_dimensions)

    def init(self, key: Array) -> dict:
        """The kernel's hyperparameters for each latent, and the mean if it is learned."""
        del key
        params = {
            "kernel": jax.tree.map(
                lambda leaf: jnp.broadcast_to(leaf, (self.num_latents, *jnp.shape(leaf))).astype(
                    self.times.dtype
                ),
                self.kernel.init(self.times),
            )
        }
        if self.mean != "zero":
            size = 1 if self.mean == "constant" else self.times.shape[0]
            params["mean"] = jnp.zeros((self.num_latents, size), self.times.dtype)
        own = getattr(self.solver, "init", None)
        if own is not None and (of_solver := own(self.times)):
            params["solver"] = of_solver
        return params

    def apply(self, params: Any) -> Prior:
        """The process with these parameters."""
        shape = (self.num_latents, self.times.shape[0])
        mean = jnp.broadcast_to(params.get("mean", jnp.zeros((), self.times.dtype)), shape)
        own = (params["solver"],) if "solver" in params else ()
        return as_solver(self.solver).prior(self.kernel, params["kernel"], self.times, mean, *own)

    def extended(self, future: Future, inputs: Any = None) -> tuple["LearnableGaussianProcess", Any]:
        """The process at T + h times, which go on with the last step where none are given."""
        future.refuse_inputs(self)
        if self.mean == "free":
            raise ValueError(
                "horizon: mean='free' learns a number at each of the sites of the fit, and has none behind "
                "the last; take mean='constant' or 'zero'"
            )
        longer = getattr(self.solver, "extended", None)
        solver = self.solver if longer is None else longer(self.times.shape[0])
        return dataclasses.replace(self, times=longer_times(self.times, future), solver=solver), inputs

    def dynamics(self, params: Any) -> GaussianProcessDynamics:
        """The process a step at a time, over steps of any length.

        Raises:
            TypeError: For a solver without states.
            ValueError: For a free mean.
        """
        require_states(self.solver, self.kernel)
        if self.mean == "free":
            raise ValueError(
                "mean='free' learns a number at each of the sites of the fit, and has none at other times; "
                "take mean='constant' or 'zero'"
            )
        zero = jnp.zeros((self.num_latents, 1), self.times.dtype)
        return GaussianProcessDynamics(
            forms_of(self.kernel, params["kernel"], self.num_latents),
            (zero + params.get("mean", zero))[:, 0],
            None,
            clock_of(self.times),
            self.times[0],
        )


def gaussian_process(
    times: Any = None,
    kernel: str | Kernel = "rbf",
    *,
    num_sites: int | None = None,
    num_latents: int = 1,
    mean: str = "zero",
    solver: Solver | None = None,
    learnable: bool = True,
) -> PriorSpec:
    """Independent Gaussian processes over times, or over locations in space or space-time, without jitter.

    Args:
        times: The sites' times, shape (T,), strictly increasing: numbers in any unit, or dates or durations,
            which become seconds. Or the sites' locations, shape (T, D), in any order. Kernels see them since
            the first, which is subtracted in double precision. None: each datum has times of its own, its
            inputs: `rpm_jax.as_data(views, inputs=times)`, shape (N, T).
        kernel: "rbf", "matern12", "matern32", "matern52", all of unit variance, or one of
            `rpm_jax.priors.kernels`, such as `RBF(lengthscale=0.1)`.
        num_sites: T, where times are inputs.
        num_latents: K, the number of independent latents per site.
        mean: "zero", or learned: "constant" over time, or "free".
        solver: `solvers.dense()`, O(T³), or `solvers.markov()`, O(T), for kernels that have a Markov form;
            None: the faster of these for this kernel and T, which is shown when the specification is printed.
            `solvers.inducing(M)`, O(T M²), is a lower bound for any kernel and many sites.
        learnable: Whether the hyperparameters (and the mean) are learned.

    Returns:
        A specification of a `GaussianProcess`, a `MarkovGaussianProcess` or an `InducingGaussianProcess`,
        which are the same prior.

    Raises:
        TypeError: For times that are neither numbers nor dates, or something that is no kernel.
        ValueError: If times are not finite and strictly increasing, lose their steps in JAX's precision, or
            for an unknown kernel or mean, or a solver that cannot take the kernel.
    """
    kernel = as_kernel(kernel)
    if times is None:
        if num_sites is None:
            raise ValueError("gaussian_process: give times, or num_sites where each datum has its own times")
        spec: Any = LearnableGaussianProcessOfTimes(num_sites, kernel, num_latents, mean, solver, learnable)
        return spec
    if num_sites is not None and num_sites != len(times):
        raise ValueError(f"gaussian_process: num_sites is {num_sites}, and there are {len(times)} times")
    spec = LearnableGaussianProcess(times, kernel, num_latents, mean, solver)
    return learned_or_fixed(spec, learnable)


@record
class LearnableJointGaussianProcess:
    """All T times of one Gaussian process as the coordinates of one site; `joint_gaussian_process` makes it.

    Attributes:
        times: Since the first, shape (T,), or locations (T, D).
        kernel: Of the process.
        jitter: Added to the covariance's diagonal.
    """

    times: Array
    kernel: Kernel
    jitter: float = 1e-4

    def __post_init__(self) -> None:
        """Check all of them; times become those since the first."""
        object.__setattr__(self, "times", as_locations(self.times))
        object.__setattr__(self, "kernel", as_kernel(self.kernel))
        if not 0 <= self.jitter < float("inf"):
            raise ValueError(f"jitter must be finite and at least 0, got {self.jitter}")

    def init(self, key: Array) -> dict:
        """The kernel's hyperparameters."""
        del key
        return {
            "kernel": jax.tree.map(lambda x: jnp.asarray(x, self.times.dtype), self.kernel.init(self.times))
        }

    def apply(self, params: Any) -> Static:
        """The prior with these parameters."""
        size = self.times.shape[0]
        covariance = self.kernel.covariance(params["kernel"], self.times)
        covariance = covariance + self.jitter * jnp.eye(size, dtype=covariance.dtype)
        precision, _ = inverse_and_log_determinant(covariance)
        return Static(Gaussian(jnp.zeros(size, precision.dtype), -0.5 * precision))


def joint_gaussian_process(
    times: Any, kernel: str | Kernel = "rbf", *, jitter: float = 1e-4, learnable: bool = True
) -> PriorSpec:
    """A whole trajectory as one site: a static `Gaussian` prior over T coordinates.

    The F_j of such a model are mixtures of T-dimensional Gaussians instead of T mixtures of scalar ones,
    and every term costs a T × T factorisation: it is here for comparison with `gaussian_process`.

    Args:
        times: As in `gaussian_process`.
        kernel: As in `gaussian_process`.
        jitter: Added to the covariance's diagonal, since its inverse is needed here.
        learnable: Whether the hyperparameters are learned.
    """
    spec = LearnableJointGaussianProcess(times, as_kernel(kernel), jitter)
    return learned_or_fixed(spec, learnable)
