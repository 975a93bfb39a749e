"""Gaussian Markov processes of first order."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_finite, require_positive_integer
from rpm_jax._record import record
from rpm_jax.priors._base import PriorSpec
from rpm_jax.priors._fixed import learned_or_fixed
from rpm_jax.priors._markov_gaussian_process import MarkovGaussianProcess


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

    def apply(self, params: Any) -> MarkovGaussianProcess:
        """The process with these parameters, as the chain that eliminating sites from the last on gives.

        Of n sites that are left, the first has the precision exp(a) G_n+1/((1 + q²) G_n) once the others are
        eliminated, G_n = Σ_k<n q^2k, q = tanh(b/2). So with n sites from t + 1 on

            z_t+1 = −q G_n/G_n+1 z_t + N(0, (1 + q²) exp(−a) G_n/G_n+1),
            Var z_t = (1 + q²) exp(−a) G_t G_T−t+1/G_T+1

        whose terms are positive for all a and b.
        """
        half = jnp.tanh(0.5 * params["coupling"])[:, None]
        scale = jnp.exp(-params["log_diagonal"])[:, None] * (1.0 + jnp.square(half))
        squares = jnp.broadcast_to(jnp.square(half), (self.num_latents, self.num_sites))
        powers = jnp.cumprod(jnp.concatenate([jnp.ones_like(half), squares], axis=-1), axis=-1)
        sums = jnp.cumsum(powers, axis=-1)  # G_1 to G_T+1
        ratio = (sums[:, :-1] / sums[:, 1:])[:, ::-1]  # with n = T, …, 1 sites left
        variance = scale * sums[:, :-1] * sums[:, -2::-1] / sums[:, -1:]
        return MarkovGaussianProcess(
            jnp.zeros_like(variance),
            variance[..., None, None],
            (-half * ratio[:, 1:])[..., None, None],
            (scale * ratio[:, 1:])[..., None, None],
        )


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

    which is positive definite for all real a and b (it is diagonally dominant). Conditioned in O(T).

    Args:
        num_sites: T.
        num_latents: K, the number of independent latents per site.
        log_diagonal: Initial a.
        coupling: Initial b; negative makes neighbours alike.
        learnable: Whether a and b are learned.
    """
    spec = LearnableTridiagonalGaussianProcess(num_sites, num_latents, log_diagonal, coupling)
    return learned_or_fixed(spec, learnable)
