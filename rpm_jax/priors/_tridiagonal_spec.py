"""Gaussian Markov processes of first order."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_finite, require_positive_integer
from rpm_jax._record import record
from rpm_jax.priors._base import PriorSpec
from rpm_jax.priors._fixed import learned_or_fixed
from rpm_jax.priors._gaussian_process import GaussianProcess


@record
class LearnableTridiagonalGaussianProcess:
    """K independent Gaussian Markov processes; `tridiagonal_gaussian_process` makes it.

    Attributes:
        num_sites: T.
        num_latents: K.
        log_diagonal: Initial a.
        coupling: Initial b.
    """

    num_sites: int
    num_latents: int = 1
    log_diagonal: float = 0.4
    coupling: float = -1.0

    def __post_init__(self) -> None:
        """Check all of them."""
        require_positive_integer("num_sites", self.num_sites)
        require_positive_integer("num_latents", self.num_latents)
        for name in ("log_diagonal", "coupling"):
            require_finite(name, jnp.asarray(getattr(self, name)))

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
    spec = LearnableTridiagonalGaussianProcess(num_sites, num_latents, log_diagonal, coupling)
    return learned_or_fixed(spec, learnable)
