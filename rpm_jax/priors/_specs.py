"""Priors with learnable parameters."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import (
    is_concrete,
    require_boolean,
    require_choice,
    require_finite,
    require_instance,
    require_positive_integer,
)
from rpm_jax._linalg import inverse_and_log_determinant
from rpm_jax.expfam import ExponentialFamily, Gaussian
from rpm_jax.priors import kernels
from rpm_jax.priors._base import Prior, PriorSpec
from rpm_jax.priors._gaussian_process import GaussianProcess
from rpm_jax.priors._static import Static

KERNELS = {
    "rbf": kernels.radial_basis_function,
    "matern12": lambda: kernels.matern(0.5),
    "matern32": lambda: kernels.matern(1.5),
    "matern52": lambda: kernels.matern(2.5),
}


@dataclass(frozen=True, eq=False)
class Fixed:
    """A prior without learnable parameters."""

    prior: Prior

    def init(self, key: Array) -> dict:
        """No parameters."""
        del key
        return {}

    def apply(self, params: Any) -> Prior:
        """The prior as given."""
        del params
        return self.prior


def fixed(prior: Prior) -> Fixed:
    """Hold a prior as it is."""
    return Fixed(prior)


def as_spec(prior: Any) -> PriorSpec:
    """A specification as it is; a plain prior as a fixed one.

    Raises:
        TypeError: For anything else.
    """
    require_instance("prior", prior)
    if isinstance(prior, PriorSpec) and not hasattr(prior, "with_outputs"):
        return prior
    if isinstance(prior, Prior):
        valid = prior.sites().is_valid()
        if is_concrete(valid) and not bool(jnp.all(valid)):
            raise ValueError(f"prior: its marginals are not in the domain of their family: {prior.sites()}")
        return Fixed(prior)
    raise TypeError(
        "prior must be a prior (with sites() and condition(potentials)) or a specification of one (with "
        f"init(key) and apply(params), such as rpm_jax.priors.gaussian_process(times)), got "
        f"{type(prior).__name__}"
    )


def learned_or_fixed(spec: PriorSpec, learnable: bool) -> PriorSpec:
    """A specification as it is, or its initial prior as a fixed one.

    Raises:
        TypeError: Unless `learnable` is True or False.
    """
    require_boolean("learnable", learnable)
    return spec if learnable else Fixed(spec.apply(spec.init(jax.random.key(0))))


@dataclass(frozen=True, eq=False)
class LearnableStatic:
    """A single site whose natural parameters are learned."""

    initial: ExponentialFamily

    def init(self, key: Array) -> dict:
        """The initial natural parameters in unconstrained form."""
        del key
        return {"unconstrained": self.initial.unconstrained()}

    def apply(self, params: Any) -> Static:
        """The prior with these parameters."""
        return Static(self.initial.from_unconstrained(params["unconstrained"]))


def static(natural: ExponentialFamily, *, learnable: bool = False) -> PriorSpec:
    """A single site with natural parameters `natural`.

    Args:
        natural: A family without batch axes.
        learnable: Whether the natural parameters are learned, starting from `natural`.
    """
    require_boolean("learnable", learnable)
    prior = Static(natural)
    valid = natural.is_valid()
    if is_concrete(valid) and not bool(valid):
        raise ValueError(
            f"natural must be a valid {type(natural).__name__}: its natural parameters are not in the "
            f"family's domain: {natural}"
        )
    return LearnableStatic(natural) if learnable else Fixed(prior)


@dataclass(frozen=True, eq=False)
class LearnableGaussianProcess:
    """K independent Gaussian processes with learnable kernels and mean."""

    times: Array
    kernel: kernels.Kernel
    num_latents: int
    mean: str

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
        return params

    def apply(self, params: Any) -> GaussianProcess:
        """The process with these parameters."""
        covariance = jax.vmap(self.kernel.covariance, in_axes=(0, None))(params["kernel"], self.times)
        shape = (self.num_latents, self.times.shape[0])
        return GaussianProcess(
            jnp.broadcast_to(params.get("mean", jnp.zeros((), self.times.dtype)), shape), covariance
        )


def gaussian_process(
    times: Array,
    kernel: str | kernels.Kernel = "rbf",
    *,
    num_latents: int = 1,
    mean: str = "zero",
    learnable: bool = True,
) -> PriorSpec:
    """Independent Gaussian processes over `times`, of unit variance, without jitter.

    Args:
        times: The sites' times, shape (T,), strictly increasing, in any unit.
        kernel: "rbf", "matern12", "matern32", "matern52", or a `rpm_jax.priors.kernels.Kernel`.
        num_latents: K, the number of independent latents per site.
        mean: "zero", or learned: "constant" over time, or "free".
        learnable: Whether the hyperparameters (and the mean) are learned.

    Returns:
        A specification of a `GaussianProcess`.

    Raises:
        ValueError: If times are not finite and strictly increasing, or for an unknown kernel or mean.
    """
    times = check_times(times)
    require_positive_integer("num_latents", num_latents)
    require_choice("mean", mean, ("zero", "constant", "free"))
    spec = LearnableGaussianProcess(times, as_kernel(kernel), num_latents, mean)
    return learned_or_fixed(spec, learnable)


@dataclass(frozen=True, eq=False)
class LearnableTridiagonal:
    """K independent first-order Gaussian Markov processes with tridiagonal precision."""

    num_sites: int
    num_latents: int
    log_diagonal: float
    coupling: float

    def init(self, key: Array) -> dict:
        """The log-diagonal and the unconstrained coupling for each latent."""
        del key
        return {
            "log_diagonal": jnp.full((self.num_latents,), self.log_diagonal),
            "coupling": jnp.full((self.num_latents,), self.coupling),
        }

    def apply(self, params: Any) -> GaussianProcess:
        """The process with these parameters."""
        diagonal = jnp.exp(params["log_diagonal"])[:, None, None]
        off_diagonal = 0.5 * diagonal * jnp.tanh(params["coupling"])[:, None, None]
        size = self.num_sites
        neighbours = jnp.eye(size, k=1) + jnp.eye(size, k=-1)
        precision = diagonal * jnp.eye(size) + off_diagonal * neighbours
        return GaussianProcess.from_precision(jnp.zeros((self.num_latents, size), precision.dtype), precision)


def tridiagonal_gaussian_process(
    num_sites: int,
    *,
    num_latents: int = 1,
    log_diagonal: float = 0.4,
    coupling: float = -1.0,
    learnable: bool = True,
) -> PriorSpec:
    """Gaussian processes with the precision of a stationary first-order Markov chain's interior.

        Λ_tt = exp(a),   Λ_t,t±1 = ½ exp(a) tanh(b)

    which is positive definite for all real a and b (it is diagonally dominant).

    Args:
        num_sites: T.
        num_latents: K, the number of independent latents per site.
        log_diagonal: Initial a.
        coupling: Initial b; negative makes neighbours alike.
        learnable: Whether a and b are learned.
    """
    require_positive_integer("num_sites", num_sites)
    require_positive_integer("num_latents", num_latents)
    spec = LearnableTridiagonal(num_sites, num_latents, log_diagonal, coupling)
    return learned_or_fixed(spec, learnable)


@dataclass(frozen=True, eq=False)
class LearnableJointGaussianProcess:
    """All T times of one Gaussian process as the coordinates of a single Gaussian site."""

    times: Array
    kernel: kernels.Kernel
    jitter: float

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
    times: Array, kernel: str | kernels.Kernel = "rbf", *, jitter: float = 1e-4, learnable: bool = True
) -> PriorSpec:
    """A whole trajectory as one site: a static `Gaussian` prior over T coordinates.

    The F_j of such a model are mixtures of T-dimensional Gaussians instead of T mixtures of scalar ones,
    and every term costs a T × T factorisation: it is here for comparison with `gaussian_process`.

    Args:
        times: Shape (T,), strictly increasing.
        kernel: As in `gaussian_process`.
        jitter: Added to the covariance's diagonal, since its inverse is needed here.
        learnable: Whether the hyperparameters are learned.
    """
    if not 0 <= jitter < float("inf"):
        raise ValueError(f"jitter must be finite and at least 0, got {jitter}")
    spec = LearnableJointGaussianProcess(check_times(times), as_kernel(kernel), jitter)
    return learned_or_fixed(spec, learnable)


def as_kernel(kernel: str | kernels.Kernel) -> kernels.Kernel:
    """A kernel by its name, or as it is."""
    if isinstance(kernel, str):
        require_choice("kernel", kernel, tuple(KERNELS))
        return KERNELS[kernel]()
    return kernel


def check_times(times: Array) -> Array:
    """Times as a floating-point vector.

    Raises:
        ValueError: Unless they are a vector of at least one time, finite and strictly increasing.
    """
    times = jnp.asarray(times)
    times = times.astype(jnp.result_type(times, 0.0))
    if times.ndim != 1 or times.shape[0] < 1:
        raise ValueError(f"times must be a vector of at least one time, got shape {times.shape}")
    require_finite("times", times)
    if is_concrete(times):
        steps = jnp.diff(times)
        if times.shape[0] > 1 and bool(jnp.any(steps <= 0)):
            first = int(jnp.argmax(steps <= 0))
            raise ValueError(
                f"times must be strictly increasing, but times[{first}] = {float(times[first])} is followed "
                f"by {float(times[first + 1])}; sort them, and merge or drop equal ones"
            )
    return times
