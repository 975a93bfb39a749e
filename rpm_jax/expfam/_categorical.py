"""The categorical family."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._arrays import as_floating
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.expfam._base import ExponentialFamily, Statistics


def _expectation(probabilities: Array, values: Array) -> Array:
    """Σ_k p_k v_k, where states of probability zero count for nothing whatever their value."""
    ignored = (probabilities == 0) & ~jnp.isfinite(values)
    return jnp.sum(probabilities * jnp.where(ignored, 0.0, values), axis=-1)


@pytree_dataclass
class Categorical(ExponentialFamily):
    """One of K states: t(z) = one-hot(z), A(η) = log Σ_k exp η_k, χ = 1.

    Logits need no normalisation: adding a constant to all of them changes A, not the distribution. A logit
    of −∞ excludes a state.

    Attributes:
        logits: log p up to a constant, shape (..., K).
    """

    logits: Array

    natural_ranks: ClassVar[dict[str, int]] = {"logits": 1}
    one_hot: ClassVar[bool] = True

    def _check_event(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes["logits"][-1] == 0:
            raise ValueError(
                f"Categorical: logits must end in at least one state, got shape {shapes['logits']}"
            )

    @classmethod
    def from_probabilities(cls, probabilities: Array) -> Self:
        """The member with state probabilities proportional to those given, shape (..., K)."""
        return cls(jnp.log(as_floating("probabilities", probabilities)))

    @classmethod
    def from_mean(cls, mean: Statistics, **shared: Array) -> Self:
        """The member with state probabilities `mean[0]`, shape (..., K): normalised logits log p."""
        return cls.from_probabilities(mean[0])

    @property
    def probabilities(self) -> Array:
        """The probabilities of the states, shape (..., K)."""
        return jax.nn.softmax(self.logits, axis=-1)

    @property
    def log_probabilities(self) -> Array:
        """The normalised logits, shape (..., K)."""
        return jax.nn.log_softmax(self.logits, axis=-1)

    def mean(self) -> Array:
        """The mean of the one-hot vector: the probabilities, shape (..., K)."""
        return self.probabilities

    def variance(self) -> Array:
        """The variances p(1 − p) of the one-hot vector's entries, shape (..., K)."""
        return self.probabilities * (1.0 - self.probabilities)

    def dot(self, statistics: Statistics) -> Array:
        """⟨η, statistics⟩ of the batch shape, where logits of −∞ times zero are zero."""
        return _expectation(statistics[0], self.logits)

    def _log_partition(self) -> Array:
        return jax.scipy.special.logsumexp(self.logits, axis=-1)

    def mean_parameters(self) -> Statistics:
        """The probabilities, shape (..., K)."""
        return (self.probabilities,)

    def sufficient_statistics(self, z: Array) -> Statistics:
        """One-hot vectors, shape (..., K), of the states z, integers of shape (...) from 0 to K − 1."""
        return (jax.nn.one_hot(z, self.logits.shape[-1], dtype=self.dtype),)

    def log_base_measure(self, z: Array) -> Array:
        """0."""
        return jnp.zeros(jnp.shape(z), self.dtype)

    def expected_log_base_measure(self) -> Array:
        """0."""
        return jnp.zeros(self.batch_shape, self.dtype)

    def log_prob(self, z: Array) -> Array:
        """The log-probability of states.

        Args:
            z: Integers from 0 to K − 1 whose axes broadcast with the batch. Others give NaN.

        Returns:
            In nats, of the broadcast shape.
        """
        z = jnp.asarray(z)
        shape = jnp.broadcast_shapes(z.shape, self.batch_shape)
        logs = jnp.broadcast_to(self.log_probabilities, (*shape, self.logits.shape[-1]))
        # Negative numbers would count from the end.
        state = jnp.broadcast_to(jnp.where(z < 0, self.logits.shape[-1], z), shape)
        return jnp.take_along_axis(logs, state[..., None], axis=-1, mode="fill")[..., 0]

    def entropy(self) -> Array:
        """The entropy −Σ_k p_k log p_k, in nats, shape (...)."""
        return -_expectation(self.probabilities, self.log_probabilities)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self‖other) = Σ_k p_k log(p_k/p'_k), in nats, shape (...).

        It is infinite where `other` excludes a state that `self` does not.
        """
        self._check_same_family(other, "kl_divergence")
        return _expectation(self.probabilities, self.log_probabilities - other.log_probabilities)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw states, integers of shape `shape` + (...)."""
        return jax.random.categorical(key, self.logits, shape=shape + self.batch_shape)

    def is_valid(self) -> Array:
        """Whether no logit is NaN or +∞ and at least one is finite, shape (...)."""
        return jnp.all(self.logits < jnp.inf, axis=-1) & jnp.any(self.logits > -jnp.inf, axis=-1)

    @property
    def num_unconstrained(self) -> int:
        """K, one more than needed: the logits' common constant is free."""
        return self.logits.shape[-1]

    def potential(self, raw: Array) -> Self:
        """The raw numbers themselves: all finite logits are valid."""
        return self.replace((raw,))

    def unconstrained_potential(self) -> Array:
        """The logits themselves, shape (..., K)."""
        return self.logits
