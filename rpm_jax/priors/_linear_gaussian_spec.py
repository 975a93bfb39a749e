"""Linear-Gaussian chains with learnable parameters: free, or stationary by construction."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._arrays import as_floating
from rpm_jax._checks import (
    is_concrete,
    require_boolean,
    require_choice,
    require_finite,
    require_positive_integer,
)
from rpm_jax._linalg import cholesky_with_inverse, matmul, matrix_vector, transpose
from rpm_jax._record import record
from rpm_jax.priors._base import PriorSpec
from rpm_jax.priors._future import Future
from rpm_jax.priors._linear_gaussian import LinearGaussian, require_stable
from rpm_jax.priors._linear_gaussian_dynamics import LinearGaussianDynamics
from rpm_jax.priors._transitions import TRANSITIONS, Transition

PARTS = ("transition", "mean", "noise", "initial")
"""What may be learned."""

DOUBLINGS = 24
"""Of the sum for the invariant covariance: 2²⁴ steps, after which whatever is learned has decayed."""


@record
class LearnableLinearGaussian:
    """A linear-Gaussian chain with learnable parameters; `linear_gaussian` makes it.

    Attributes:
        num_latents: K.
        num_sites: T.
        transition: "rotations", "full" or "diagonal".
        stationary: Whether A is stable by construction.
        noise: "invariant": Q = I − A Aᵀ, for which N(0, I) is the invariant law; or "free".
        initial: "invariant": z_1 has the invariant law; or "free".
        start: A to start from, shape (K, K), or None.
        learned: Which of "transition", "mean", "noise" and "initial" are learned.
        parallel: As in `LinearGaussian`.
    """

    num_latents: int
    num_sites: int
    transition: str = "rotations"
    stationary: bool = True
    noise: str = "invariant"
    initial: str = "invariant"
    start: Array | None = None
    learned: tuple[str, ...] | str = ("transition", "noise", "initial")
    parallel: bool | None = None

    def __post_init__(self) -> None:
        """Check all of them."""
        require_positive_integer("num_latents", self.num_latents)
        require_positive_integer("num_sites", self.num_sites)
        require_choice("transition", self.transition, tuple(TRANSITIONS))
        require_boolean("stationary", self.stationary)
        require_choice("noise", self.noise, ("invariant", "free"))
        require_choice("initial", self.initial, ("invariant", "free"))
        if isinstance(self.learned, str):
            object.__setattr__(self, "learned", (self.learned,))
        for part in self.learned:
            require_choice("learned", part, PARTS)
        if not self.stationary and "invariant" in (self.noise, self.initial):
            raise ValueError(
                f"stationary=False needs noise='free' and initial='free', since A may have no invariant law; "
                f"got noise={self.noise!r} and initial={self.initial!r}"
            )
        if self.start is not None:
            object.__setattr__(self, "start", self._checked_start(self.start))

    def _checked_start(self, start: Any) -> Array:
        size = self.num_latents
        start = as_floating("start", start)
        if start.shape != (size, size):
            raise ValueError(f"start must have shape {(size, size)} for {size} latents, got {start.shape}")
        require_finite("start", start)
        if self.stationary:
            require_stable("start", start)
            norm = np.linalg.norm(np.asarray(start, float), 2) if is_concrete(start) else 0.0
            if norm >= 1:
                raise ValueError(
                    f"start must have singular values below 1, as every stable A has in coordinates in which "
                    f"the invariant law is N(0, I); got {norm:.6g}"
                )
            if is_concrete(start):
                rebuilt, _ = self._form.stationary(self._form.params(start))
                if not np.allclose(rebuilt, start, atol=1e-3):
                    raise ValueError(
                        f"start must be of the form {self.transition!r} that transition names, got {start}"
                    )
        return start

    @property
    def _form(self) -> Transition:
        return TRANSITIONS[self.transition]

    def _start(self) -> Array:
        return self._form.start(self.num_latents) if self.start is None else self.start

    def _initial_params(self) -> dict[str, Any]:
        """All parameters, learned or not."""
        size = self.num_latents
        start = self._start()
        params: dict[str, Any] = {
            "transition": self._form.params(start) if self.stationary else start,
            "mean": jnp.zeros(size, start.dtype),
        }
        if self.noise == "free":
            identity = jnp.eye(size, dtype=start.dtype)
            noise = self._form.stationary(params["transition"])[1] if self.stationary else 0.1 * identity
            params["noise"] = _log_cholesky(noise)
        if self.initial == "free":
            params["initial"] = {
                "mean": jnp.zeros(size, start.dtype),
                "covariance": jnp.zeros((size, size), start.dtype),
            }
        return params

    def init(self, key: Array) -> dict[str, Any]:
        """The parameters of the parts that are learned."""
        del key
        return {name: value for name, value in self._initial_params().items() if name in self.learned}

    def moments(self, params: Any) -> dict[str, Array]:
        """The arguments of `LinearGaussian` but num_sites."""
        params = {**self._initial_params(), **params}
        size = self.num_latents
        transition, noise = (
            self._form.stationary(params["transition"])
            if self.stationary
            else (params["transition"], jnp.zeros(()))
        )
        mean = params["mean"]
        bias = mean - matrix_vector(transition, mean) if self.stationary else mean
        if self.noise == "free":
            noise = _from_log_cholesky(params["noise"])
        if self.initial == "free":
            initial_mean = params["initial"]["mean"]
            covariance = _from_log_cholesky(params["initial"]["covariance"])
        else:
            initial_mean = mean
            covariance = jnp.eye(size, dtype=transition.dtype)
            if self.noise == "free":
                covariance = invariant_covariance(transition, noise)
        return {
            "initial_mean": initial_mean,
            "initial_covariance": covariance,
            "transition": transition,
            "bias": bias,
            "noise_covariance": noise,
        }

    def apply(self, params: Any) -> LinearGaussian:
        """The chain with these parameters."""
        return LinearGaussian(**self.moments(params), num_sites=self.num_sites, parallel=self.parallel)

    def extended(self, future: Future, inputs: Any = None) -> tuple["LearnableLinearGaussian", Any]:
        """The chain of T + h sites."""
        future.refuse_inputs(self)
        future.refuse_times(self)
        return dataclasses.replace(self, num_sites=self.num_sites + future.horizon), inputs

    def dynamics(self, params: Any) -> LinearGaussianDynamics:
        """The chain a step at a time."""
        return self.apply(params).dynamics()


def linear_gaussian(
    num_latents: int,
    num_sites: int,
    *,
    transition: str = "rotations",
    stationary: bool = True,
    noise: str | None = None,
    initial: str | None = None,
    start: Array | None = None,
    learned: tuple[str, ...] | str | None = None,
    parallel: bool | None = None,
) -> PriorSpec:
    """A linear-Gaussian chain, z' = A z + b + noise, whose parts are learned.

    By default it is stationary, in the coordinates in which its invariant law is N(0, I): z_1 ~ N(0, I) and
    Q = I − A Aᵀ, with A stable whatever its parameters are.

    Args:
        num_latents: K.
        num_sites: T.
        transition: "rotations": pairs of latents that rotate and decay, eigenvalues ρ exp(±iθ), one latent
            that decays for odd K; "full": any matrix, a contraction if stationary; "diagonal": independent
            latents, each with its decay in (0, 1).
        stationary: Whether A is stable by construction. If not, A, b, Q and the initial law are free, and A
            starts from the form that `transition` names but may become any matrix.
        noise: "invariant" (default if stationary): Q = I − A Aᵀ; "free": any covariance.
        initial: "invariant" (default if stationary): z_1 has the law that the chain converges to; "free".
        start: A to start from, shape (K, K).
        learned: Which of "transition", "noise", "initial" and "mean" are learned; by default all that are
            free but the mean, which is zero. "mean" is that of the invariant law, b = (I − A) μ, or b itself
            if not stationary.
        parallel: As in `LinearGaussian`.

    Returns:
        A specification of a `LinearGaussian`.

    Raises:
        ValueError: For numbers that are not positive integers, unknown words, or an A to start from that is
            not stable, or not of that form.
    """
    require_boolean("stationary", stationary)
    default = "invariant" if stationary else "free"
    noise, initial = noise or default, initial or default
    if learned is None:
        free = {"noise": noise, "initial": initial}
        learned = ("transition", *(name for name, value in free.items() if value == "free"))
    return LearnableLinearGaussian(
        num_latents, num_sites, transition, stationary, noise, initial, start, learned, parallel
    )


def invariant_covariance(transition: Array, noise: Array) -> Array:
    """P = A P Aᵀ + Q of a stable A, by doubling: P ← P + A P Aᵀ, A ← A²; shapes (K, K)."""

    def double(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        covariance, power = carry
        covariance = covariance + matmul(power, covariance, transpose(power))
        return covariance, matmul(power, power)

    # Of fixed length, so that it can be differentiated in reverse.
    covariance, _ = jax.lax.fori_loop(0, DOUBLINGS, double, (noise, transition))
    return covariance


def _log_cholesky(covariance: Array) -> Array:
    """The lower factor with the logarithm of its diagonal."""
    factor, _ = cholesky_with_inverse(covariance)
    return jnp.tril(factor, -1) + jnp.diag(jnp.log(jnp.diagonal(factor)))


def _from_log_cholesky(params: Array) -> Array:
    factor = jnp.tril(params, -1) + jnp.diag(jnp.exp(jnp.diagonal(params)))
    return matmul(factor, transpose(factor))
