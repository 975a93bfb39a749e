"""Gaussian processes over times that each datum has of its own."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import is_concrete, require_boolean, require_choice, require_positive_integer
from rpm_jax._record import record
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.priors._base import Prior
from rpm_jax.priors._future import Future
from rpm_jax.priors._gaussian_process_dynamics import GaussianProcessDynamics, forms_of, require_states
from rpm_jax.priors.kernels import Kernel, as_kernel
from rpm_jax.priors.solvers import Solver, as_solver, default

EXAMPLES = 256
"""Of how many data the times are kept, of which the marginals that factors are relative to are those."""


@record
class LearnableGaussianProcessOfTimes:
    """K independent Gaussian processes over inputs that are times; `gaussian_process(num_sites=T)` makes it.

    The inputs of the data are their times, shape (N, T), or a mapping that has them under "times". Kernels
    see those since the first of each datum. Factors are relative to the marginals, which for stationary
    kernels are the same at all times; for others, to their mean over up to 256 data of the fit.

    Attributes:
        num_sites: T.
        kernel: Of all K, each with hyperparameters of its own.
        num_latents: K.
        mean: "zero" or "constant".
        solver: Of `rpm_jax.priors.solvers`; where it is None it becomes the faster one.
        learnable: Whether the hyperparameters are learned.
    """

    num_sites: int
    kernel: Kernel
    num_latents: int = 1
    mean: str = "zero"
    solver: Solver | None = None
    learnable: bool = True

    def __post_init__(self) -> None:
        """Check all of them."""
        require_positive_integer("num_sites", self.num_sites)
        object.__setattr__(self, "kernel", as_kernel(self.kernel))
        require_positive_integer("num_latents", self.num_latents)
        require_choice("mean, of times that differ by datum,", self.mean, ("zero", "constant"))
        require_boolean("learnable", self.learnable)
        if self.solver is None:
            object.__setattr__(self, "solver", default(self.kernel, self.num_sites, 0))
        as_solver(self.solver).check(self.kernel, 0)
        if getattr(self.solver, "learned", False):
            raise ValueError(
                "solver: inducing locations are learned where all data have the same times; got times that "
                "differ by datum, for which take inducing(M)"
            )

    def init(self, key: Array, inputs: Any = None) -> dict:
        """The kernel's hyperparameters for each latent, as for the first datum's times, and example times."""
        del key
        times = jnp.arange(float(self.num_sites))[None] if inputs is None else self._since_first(inputs)
        hyperparameters = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (self.num_latents, *jnp.shape(leaf))).astype(times.dtype),
            self.kernel.init(times[0]),
        )
        params: dict[str, Any] = {"kernel": hyperparameters}
        if self.mean == "constant":
            params["mean"] = jnp.zeros((self.num_latents, 1), times.dtype)
        statistics = {"times": times[:EXAMPLES]}
        if not self.learnable:
            return {"statistics": statistics | params}
        return params | {"statistics": statistics}

    def apply(self, params: Any, inputs: Any) -> Prior:
        """The processes at the data's times, whose first batch axis is theirs."""
        params = params | params["statistics"]
        times = self._since_first(inputs)
        # A step that is not positive, which a traced program cannot refuse, makes no process.
        valid = jnp.all(jnp.diff(times) > 0, axis=-1, keepdims=True)
        times = jnp.where(valid, times, jnp.nan)
        solver, mean = as_solver(self.solver), self._mean(params, times.dtype)
        return jax.vmap(lambda own: solver.prior(self.kernel, params["kernel"], own, mean))(times)

    def extended(self, future: Future, inputs: Any) -> tuple["LearnableGaussianProcessOfTimes", Any]:
        """The processes at T + h times of each datum, those to come being the future's, shape (n, h).

        Times are in the units of the inputs, and have their origin; None goes on with each datum's last step.
        """
        future.refuse_inputs(self)
        times = self._times(inputs)
        shape = (times.shape[0], future.horizon)
        if future.times is None:
            if self.num_sites < 2:
                raise ValueError(
                    f"times: a single time can't be continued; pass times= of shape {shape}, those to come"
                )
            added = times[:, -1:] + (times[:, -1:] - times[:, -2:-1]) * jnp.arange(1, future.horizon + 1)
        else:
            added = jnp.asarray(future.times)
            if added.shape != shape:
                raise ValueError(
                    f"times must be those of the horizon = {future.horizon} sites to come of each datum, "
                    f"shape {shape}, got {added.shape}"
                )
        longer = dataclasses.replace(self, num_sites=self.num_sites + future.horizon)
        whole = jnp.concatenate([times, added.astype(times.dtype)], axis=1)
        longer.check_inputs(whole)
        return longer, whole

    def dynamics(self, params: Any) -> GaussianProcessDynamics:
        """The process a step at a time, over steps of any length.

        Raises:
            TypeError: For a solver without states.
        """
        require_states(self.solver, self.kernel)
        params = params | params["statistics"]
        first = params["times"][0, 0]
        offset = self._mean(params, first.dtype)[:, 0]
        forms = forms_of(self.kernel, params["kernel"], self.num_latents)
        return GaussianProcessDynamics(forms, offset, None, None, jnp.zeros_like(first))

    def reference(self, params: Any) -> DiagonalGaussian:
        """The marginals, moments averaged over the example times."""
        params = params | params["statistics"]
        times = params["times"]

        def variances(hyperparameters: Any) -> Array:
            def variance(time: Array) -> Array:
                return self.kernel.covariance(hyperparameters, time[None])[0, 0]

            return jnp.mean(jax.vmap(jax.vmap(variance))(times), axis=0)

        variance = jax.vmap(variances, axis_size=self.num_latents)(params["kernel"])
        return DiagonalGaussian.from_mean_and_variance(self._mean(params, times.dtype).T, variance.T)

    def check_inputs(self, inputs: Any) -> None:
        """Raise `ValueError` for inputs that are no times, or, where they are known, do not increase."""
        times = self._times(inputs)
        if not is_concrete(times):
            return
        steps = np.diff(np.asarray(times))
        if not (steps > 0).all():
            row, place = (int(i) for i in np.argwhere(~(steps > 0))[0])
            given = np.asarray(times)[row]
            raise ValueError(
                f"inputs: times of each datum must be strictly increasing, but times[{row}, {place}] = "
                f"{given[place]} is followed by {given[place + 1]} (in {given.dtype}); sort them, and "
                "subtract the first of each where they are large"
            )

    def _times(self, inputs: Any) -> Array:
        times = inputs["times"] if isinstance(inputs, Mapping) and "times" in inputs else inputs
        if not hasattr(times, "ndim") or times.ndim != 2 or times.shape[1] != self.num_sites:
            got = f"shape {tuple(times.shape)}" if hasattr(times, "shape") else type(times).__name__
            raise ValueError(
                f"inputs: must be the times of each datum, shape (N, T) with T = {self.num_sites}, or a "
                f'mapping with them under "times", got {got}'
            )
        return times

    def _since_first(self, inputs: Any) -> Array:
        times = self._times(inputs)
        return times - times[:, :1]

    def _mean(self, params: Any, dtype: Any) -> Array:
        shape = (self.num_latents, self.num_sites)
        return jnp.broadcast_to(params.get("mean", jnp.zeros((), dtype)), shape)
