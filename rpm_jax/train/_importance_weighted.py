"""The importance-weighted bound as a loss."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax.data import Batch, Data
from rpm_jax.model import RPM


@dataclass(frozen=True)
class ImportanceWeighted:
    """Minus the mean importance-weighted bound of a batch, with the mixtures F_j themselves at K draws of q.

        −1/B Σ_n log 1/K Σ_k p(Z_k) ∏_jt [f_jt(z_kt|x_jt^n)/F_jt(z_kt)] / q(Z_k|X^n),   Z_k ~ q(Z|X^n)

    An alternative to the inner bound, which it exceeds in expectation for every K ≥ 1 and the same q: there
    is no auxiliary distribution, whose parameters it leaves alone. A step costs B·K·N·J·T densities in the
    place of B·N·J·T log-partitions, and its gradient is noisy. Gradients are those of reparametrised draws.

    Attributes:
        model: A model with continuous latents whose draws are differentiable: Gaussian families and
            processes, Gamma, Beta, Dirichlet.
        num_samples: K.
        seed: Of the draws, besides the key of the fit; they are new in every step.

    References:
        Burda, Grosse & Salakhutdinov, Importance weighted autoencoders, ICLR 2016.
    """

    model: RPM
    num_samples: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse latents whose draws have no derivative."""
        if not isinstance(self.model, RPM):
            raise TypeError(f"model must be an rpm_jax.RPM, got {type(self.model).__name__}")
        require_positive_integer("num_samples", self.num_samples)
        if not self.model.has_differentiable_draws:
            raise TypeError(
                "model: importance-weighted gradients need differentiable draws of q, as of Gaussian, Gamma, "
                "Beta and Dirichlet latents, and those of this prior are not; leave out loss for the inner "
                "bound (the exact likelihood, for categorical latents)"
            )

    def init_memory(self, params: Any, batch: Batch, data: Data, key: Array) -> Array:
        """The key of the first step."""
        del params, batch, data
        return jax.random.fold_in(key, self.seed)

    def step(self, params: Any, batch: Batch, data: Data, memory: Array) -> tuple[Array, Array]:
        """The loss of a batch, and the key of the next step."""
        key, following = jax.random.split(memory)
        bound = self.model.importance_weighted_bound(params, batch, data, key, num_samples=self.num_samples)
        return -jnp.mean(bound), following
