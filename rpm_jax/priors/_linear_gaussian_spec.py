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

STEPPED = ("transition", "mean", "noise")
"""What may differ by step."""

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
        start: A to start from, shape (K, K), or (T − 1, K, K) where it varies; or None.
        learned: Which of "transition", "mean", "noise" and "initial" are learned.
        parallel: As in `LinearGaussian`.
        varies: Which of "transition", "mean" and "noise" each step has of its own.
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
    varies: tuple[str, ...] | str = ()

    def __post_init__(self) -> None:
        """Check all of them."""
        require_positive_integer("num_latents", self.num_latents)
        require_positive_integer("num_sites", self.num_sites)
        require_choice("transition", self.transition, tuple(TRANSITIONS))
        require_boolean("stationary", self.stationary)
        require_choice("noise", self.noise, ("invariant", "free"))
        require_choice("initial", self.initial, ("invariant", "free"))
        for name, parts in (("learned", PARTS), ("varies", STEPPED)):
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, (getattr(self, name),))
            for part in getattr(self, name):
                require_choice(name, part, parts)
        if not self.stationary and "invariant" in (self.noise, self.initial):
            raise ValueError(
                f"stationary=False needs noise='free' and initial='free', since A may have no invariant law; "
                f"got noise={self.noise!r} and initial={self.initial!r}"
            )
        self._check_varies()
        if self.start is not None:
            object.__setattr__(self, "start", self._checked_start(self.start))

    def _check_varies(self) -> None:
        """Raise `ValueError` where steps of their own contradict the rest."""
        if not self.varies:
            return
        if self.num_sites < 2:
            raise ValueError(
                f"varies={self.varies!r} needs num_sites of at least 2, since one site has no step"
            )
        if self.stationary and "mean" in self.varies:
            raise ValueError(
                "varies='mean' needs stationary=False: the mean of a stationary chain is that of all sites, "
                "and b follows from it"
            )
        if "noise" in self.varies and self.noise == "invariant":
            raise ValueError(
                "varies='noise' needs noise='free': an invariant noise is that of its step's A, which "
                "varies='transition' lets differ"
            )
        if self.noise == "free" and self.initial == "invariant":
            raise ValueError(
                f"varies={self.varies!r} with noise='free' needs initial='free', since steps that differ "
                "have no invariant law; noise='invariant' has N(0, I) as that of every step"
            )

    def _checked_start(self, start: Any) -> Array:
        size = self.num_latents
        start = as_floating("start", start)
        steps = (self.num_sites - 1, size, size)
        by_step = f" or {steps} by step" if "transition" in self.varies else ""
        if start.shape != (size, size) and not (by_step and start.shape == steps):
            raise ValueError(
                f"start must have shape {(size, size)}{by_step} for {size} latents, got {start.shape}"
            )
        require_finite("start", start)
        if self.stationary:
            require_stable("start", start)
            norm = 0.0
            if is_concrete(start):
                norm = np.linalg.svd(np.asarray(start, float), compute_uv=False).max()
            if norm >= 1:
                raise ValueError(
                    f"start must have singular values below 1, as every stable A has in coordinates in which "
                    f"the invariant law is N(0, I); got {norm:.6g}"
                )
            if is_concrete(start):
                each = start.reshape(-1, size, size)
                rebuilt, _ = jax.vmap(self._form.stationary)(jax.vmap(self._form.params)(each))
                if not np.allclose(rebuilt, each, atol=1e-3):
                    raise ValueError(
                        f"start must be of the form {self.transition!r} that transition names, got {start}"
                    )
        return start

    @property
    def _form(self) -> Transition:
        return TRANSITIONS[self.transition]

    def _start(self) -> Array:
        """A, of each step where it varies."""
        start = self._form.start(self.num_latents) if self.start is None else self.start
        return self._by_step("transition", start, 2)

    def _by_step(self, part: str, array: Array, rank: int) -> Array:
        """The array for each of the T − 1 steps where the part varies."""
        if part not in self.varies or array.ndim > rank:
            return array
        return jnp.broadcast_to(array, (self.num_sites - 1, *array.shape))

    def _mapped(self, function: Any) -> Any:
        """A function of one A or its parameters, of each step's where A varies."""
        return jax.vmap(function) if "transition" in self.varies else function

    def _initial_params(self) -> dict[str, Any]:
        """All parameters, learned or not."""
        size = self.num_latents
        start = self._start()
        params: dict[str, Any] = {
            "transition": self._mapped(self._form.params)(start) if self.stationary else start,
            "mean": self._by_step("mean", jnp.zeros(size, start.dtype), 1),
        }
        if self.noise == "free":
            noise = 0.1 * jnp.eye(size, dtype=start.dtype)
            if self.stationary:
                noise = self._mapped(self._form.stationary)(params["transition"])[1]
            if noise.ndim > 2 and "noise" not in self.varies:
                noise = jnp.mean(noise, axis=0)
            params["noise"] = _log_cholesky(self._by_step("noise", noise, 2))
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
            self._mapped(self._form.stationary)(params["transition"])
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
        if self.varies:
            raise ValueError(
                f"horizon: each step of this linear_gaussian has its own {' and '.join(self.varies)} "
                f"(varies=), and what those behind its {self.num_sites} sites are is not known; make the "
                "prior of all sites, and mask the future"
            )
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
    varies: tuple[str, ...] | str = (),
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
        varies: Which of "transition", "noise" and "mean" each of the T − 1 steps has of its own; they start
            from the same, A also from a `start` of shape (T − 1, K, K), and are learned by default. With
            "transition" alone a stationary chain has N(μ, I) at every site still. Steps behind the last one
            are not known, so that there is no forecast.

    Returns:
        A specification of a `LinearGaussian`.

    Raises:
        ValueError: For numbers that are not positive integers, unknown words, an A to start from that is
            not stable, or not of that form, or options that contradict each other.
    """
    require_boolean("stationary", stationary)
    default = "invariant" if stationary else "free"
    noise, initial = noise or default, initial or default
    if learned is None:
        free = {"noise": noise, "initial": initial}
        learned = ("transition", *(name for name, value in free.items() if value == "free"))
        learned += ("mean",) if "mean" in varies else ()
    return LearnableLinearGaussian(
        num_latents, num_sites, transition, stationary, noise, initial, start, learned, parallel, varies
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
    """The lower factor with the logarithm of its diagonal; shapes (..., K, K)."""
    factor, _ = cholesky_with_inverse(covariance)
    return _with_diagonal(factor, jnp.log)


def _from_log_cholesky(params: Array) -> Array:
    factor = _with_diagonal(params, jnp.exp)
    return matmul(factor, transpose(factor))


def _with_diagonal(lower: Array, function: Any) -> Array:
    """The lower triangle, its diagonal replaced by a function of it."""
    diagonal = function(jnp.diagonal(lower, axis1=-2, axis2=-1))
    return jnp.tril(lower, -1) + diagonal[..., None] * jnp.eye(lower.shape[-1], dtype=lower.dtype)
