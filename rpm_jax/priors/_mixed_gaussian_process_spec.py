"""Mixed Gaussian processes whose kernels and mixing are learned."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._arrays import as_floating
from rpm_jax._checks import require_boolean, require_choice, require_finite
from rpm_jax._linalg import matmul
from rpm_jax._record import record
from rpm_jax.priors._base import PriorSpec
from rpm_jax.priors._fixed import learned_or_fixed
from rpm_jax.priors._future import Future, longer_times
from rpm_jax.priors._gaussian_process_dynamics import GaussianProcessDynamics, clock_of
from rpm_jax.priors._mixed_gaussian_process import MixedGaussianProcess
from rpm_jax.priors._times import as_locations
from rpm_jax.priors.kernels import Kernel, MarkovForm, as_kernel, form_of, num_states, require_form
from rpm_jax.priors.kernels._states import added


@record
class LearnableMixedGaussianProcess:
    """K latents mixed of R Gaussian processes; `mixed_gaussian_process` makes it.

    Attributes:
        times: Since the first, shape (T,).
        kernels: R of them, each with its hyperparameters.
        mixing: Initial M, shape (K, R).
        mean: "zero" or "constant".
        learn_mixing: Whether M is learned.
    """

    times: Array
    kernels: tuple[Kernel, ...]
    mixing: Array
    mean: str = "zero"
    learn_mixing: bool = True

    def __post_init__(self) -> None:
        """Check all of them; times become those since the first."""
        object.__setattr__(self, "times", as_locations(self.times))
        if self.times.ndim != 1:
            raise ValueError(f"times of mixed processes must have shape (T,), got {self.times.shape}")
        if not isinstance(self.kernels, tuple) or not self.kernels:
            raise TypeError(f"kernels must be a list of kernels, one for each process, got {self.kernels!r}")
        object.__setattr__(self, "kernels", tuple(map(as_kernel, self.kernels)))
        for kernel in self.kernels:
            require_form(kernel)
        mixing = as_floating("mixing", self.mixing).astype(self.times.dtype)
        require_finite("mixing", mixing)
        num_processes = len(self.kernels)
        if mixing.ndim != 2 or mixing.shape[1] != num_processes or not 1 <= mixing.shape[0] <= num_processes:
            raise ValueError(
                f"mixing must have shape (K, R) for K latents of R = {num_processes} processes (kernels), "
                f"K ≤ R, so that the latents of a site have a density; got {mixing.shape}"
            )
        object.__setattr__(self, "mixing", mixing)
        require_choice("mean", self.mean, ("zero", "constant"))
        require_boolean("learn_mixing", self.learn_mixing)

    def init(self, key: Array) -> dict:
        """Each kernel's hyperparameters, and mixing and mean if they are learned."""
        del key
        dtype = self.times.dtype
        own = tuple(kernel.init(self.times) for kernel in self.kernels)
        params: dict[str, Any] = {"kernels": jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), own)}
        if self.learn_mixing:
            params["mixing"] = self.mixing
        if self.mean == "constant":
            params["mean"] = jnp.zeros(self.mixing.shape[0], dtype)
        return params

    def apply(self, params: Any) -> MixedGaussianProcess:
        """The processes with these parameters."""
        joint = self._form(params, self.times)
        mean, emission = self._emission(params, joint)
        return MixedGaussianProcess(mean, emission, joint.covariance, joint.transition, joint.noise)

    def _form(self, params: Any, times: Array) -> MarkovForm:
        """The states of all processes together."""
        pairs = zip(self.kernels, params["kernels"], strict=True)
        return functools.reduce(added, [form_of(kernel, own, times) for kernel, own in pairs])

    def _emission(self, params: Any, joint: MarkovForm) -> tuple[Array, Array]:
        """The latents' mean, and H."""
        sizes = [num_states(kernel) or 0 for kernel in self.kernels]  # each has some
        identity = np.eye(len(self.kernels))
        processes = jnp.asarray(np.repeat(identity, sizes, axis=1), joint.observation.dtype)
        mixing = params.get("mixing", self.mixing)
        mean = params.get("mean", jnp.zeros(mixing.shape[0], mixing.dtype))
        return mean, matmul(mixing, processes * joint.observation)

    def extended(self, future: Future, inputs: Any = None) -> tuple["LearnableMixedGaussianProcess", Any]:
        """The processes at T + h times, which go on with the last step where none are given."""
        future.refuse_inputs(self)
        return dataclasses.replace(self, times=longer_times(self.times, future)), inputs

    def dynamics(self, params: Any) -> GaussianProcessDynamics:
        """The processes a step at a time, over steps of any length."""
        form = functools.partial(self._form, params)
        mean, emission = self._emission(params, form(self.times[:1]))
        return GaussianProcessDynamics(form, mean, emission, clock_of(self.times), self.times[0])


def mixed_gaussian_process(
    times: Any,
    kernels: list[str | Kernel] | tuple[str | Kernel, ...],
    *,
    mixing: Any = None,
    mean: str = "zero",
    learn_mixing: bool = True,
    learnable: bool = True,
) -> PriorSpec:
    """Latents z_t = m + M f(t) of independent Gaussian processes f, with their full covariance at each site.

    Unlike K independent processes (`gaussian_process`), latents depend on each other a priori: one may be the
    sum of a slow process and of one that others share. Sites are `Gaussian`; conditioned in O(T) with the
    states of all processes together, for kernels that have a Markov form.

    Args:
        times: The sites' times, as for `gaussian_process`, shape (T,).
        kernels: One for each of R processes.
        mixing: Initial M, shape (K, R), K ≤ R; None: the identity, K = R.
        mean: "zero", or learned: "constant" over time.
        learn_mixing: Whether M is learned. If so, fix the kernels' own variances: M has them.
        learnable: Whether anything is learned.

    Returns:
        A specification of a `MixedGaussianProcess`.

    Raises:
        TypeError: For kernels that are none.
        ValueError: For kernels without Markov form, or a mixing of another shape.
    """
    if isinstance(kernels, str) or not isinstance(kernels, list | tuple):
        raise TypeError(f"kernels must be a list of kernels, one for each process, got {kernels!r}")
    if mixing is None:
        mixing = np.eye(len(kernels))
    checked = tuple(map(as_kernel, kernels))
    spec = LearnableMixedGaussianProcess(times, checked, mixing, mean, learn_mixing)
    return learned_or_fixed(spec, learnable)
