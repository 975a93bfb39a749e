"""Gaussian processes of kernels with a Markov form as what moves their states."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.priors._dynamics import Step
from rpm_jax.priors._gaussian_belief import GaussianBelief
from rpm_jax.priors.kernels import MarkovForm, form_of, num_states


def require_states(solver: Any, kernel: Any) -> None:
    """Raise `TypeError` for a solver that has no states."""
    if getattr(solver, "has_states", False):
        return
    raise TypeError(
        f"a Gaussian process with solver={solver!r} has no states that steps lead from site to site; take "
        "solver=solvers.markov()"
        + ("" if num_states(kernel) else ", and a kernel that has a Markov form, such as Matern(2.5)")
    )


def forms_of(kernel: Any, params: Any, num_latents: int) -> Callable[[Array], MarkovForm]:
    """The Markov forms of K latents with hyperparameters of their own, K first, at times (M,)."""

    def forms(times: Array) -> MarkovForm:
        return jax.vmap(lambda own: form_of(kernel, own, times), axis_size=num_latents)(params)

    return forms


def clock_of(times: Array) -> Callable[[Array], Array]:
    """The time of a site by its number; behind the last of times (T,), they go on with the last step."""

    def clock(site: Array) -> Array:
        last = times.shape[0] - 1
        step = times[-1] - times[-2] if last else jnp.full((), jnp.nan, times.dtype)
        behind = times[-1] + step * (site - last)
        return jnp.where(site <= last, times[jnp.minimum(site, last)], behind)

    return clock


@dataclass(frozen=True)
class GaussianProcessDynamics:
    """States that a kernel moves over any length of time.

    Attributes:
        form: From times since the first, increasing, shape (M,), to the Markov form at them: of K independent
            latents, with an axis of K before all others, or of one state of all latents.
        offset: The latents' mean, shape (K,).
        mixing: From what the processes are to the latents, (K, R) times h; or None where latents are
            independent.
        clock: See `Dynamics`.
        first: The first time, shape ().
    """

    form: Callable[[Array], MarkovForm]
    offset: Array
    mixing: Array | None
    clock: Callable[[Array], Array] | None
    first: Array
    takes_times: ClassVar[bool] = True
    takes_inputs: ClassVar[bool] = False
    num_sites: ClassVar[None] = None

    @property
    def start(self) -> GaussianBelief:
        """The states at the first time."""
        form = self.form(self.first[None])
        covariance = form.covariance[..., 0, :, :]
        return self._belief(jnp.zeros_like(covariance[..., 0]), covariance)

    def moved(self, belief: GaussianBelief, step: Step) -> GaussianBelief:
        """Of the states at the next time; NaN unless it is later."""
        assert step.times is not None
        before, after = jnp.broadcast_arrays(*step.times)
        times = jnp.stack([before, jnp.where(after > before, after, jnp.nan)], axis=-1)
        form = jax.vmap(self.form)(times) if times.ndim > 1 else self.form(times)
        zero = jnp.zeros(form.transition.shape[-1], form.transition.dtype)
        return belief.moved(form.transition[..., 0, :, :], zero, form.noise[..., 0, :, :])

    def from_sites(self, sites: DiagonalGaussian) -> GaussianBelief:
        """Where each latent has a state of one number.

        Raises:
            TypeError: Where it has more.
        """
        scale = self._scale()
        mean, variance = (sites.mean() - self.offset) / scale, sites.variance() / scale**2
        return self._belief(mean[..., None], variance[..., None, None])

    def from_latents(self, latents: Array) -> GaussianBelief:
        """The same, sure of them."""
        return self.start.given(((latents - self.offset) / self._scale())[..., None])

    def _scale(self) -> Array:
        """What latents are of states of one number each, shape (K,)."""
        observation = self._observation()
        if self.mixing is not None or observation.shape[-1] > 1:
            raise TypeError(
                f"state: the process has {observation.shape[-1]} numbers of state for each latent (or mixes "
                "them), of which latents at one site say not all; pass the state that filter_step returns"
            )
        return observation[..., 0]

    def _observation(self) -> Array:
        return self.form(self.first[None]).observation

    def _belief(self, mean: Array, covariance: Array) -> GaussianBelief:
        if self.mixing is not None:
            return GaussianBelief(mean, covariance, self.offset, self.mixing)
        emission = self._observation()[..., None, :]
        return GaussianBelief(mean, covariance, self.offset[:, None], emission, independent=True)
