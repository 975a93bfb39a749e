"""Hidden Markov chains, a step at a time."""

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._pytree import pytree_dataclass
from rpm_jax.expfam import Categorical


@pytree_dataclass
class CategoricalBelief:
    """Probabilities of K states.

    Attributes:
        logits: Normalised, shape (..., K).
    """

    logits: Array

    def absorb(self, potential: Categorical) -> "CategoricalBelief":
        """The product with a potential, normalised."""
        return CategoricalBelief(jax.nn.log_softmax(self.logits + potential.logits))

    def moved(self, transition: Array) -> "CategoricalBelief":
        """Of the next state, with log-probabilities (..., K, K) from state i to j at [i, j]."""
        return CategoricalBelief(jax.nn.logsumexp(self.logits[..., :, None] + transition, axis=-2))

    @property
    def sites(self) -> Categorical:
        """The same as a family."""
        return Categorical(self.logits)

    def draw(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """States, integers of shape `shape` + (...)."""
        return jax.random.categorical(key, self.logits, shape=shape + self.logits.shape[:-1])

    def given(self, state: Array) -> "CategoricalBelief":
        """The belief in one state: log 1 and log 0."""
        is_state = state[..., None] == jnp.arange(self.logits.shape[-1])
        return CategoricalBelief(jnp.where(is_state, 0.0, -jnp.inf).astype(self.logits.dtype))

    def latents(self, state: Array) -> Array:
        """The state itself."""
        return state

    def repeated(self, size: int) -> "CategoricalBelief":
        """The same n times."""
        return CategoricalBelief(jnp.broadcast_to(self.logits, (size, *self.logits.shape)))
