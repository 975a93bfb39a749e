"""What a regressor of a decoder is."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from jax import Array


class Regressor(Protocol):
    """A way to learn observations from latents, with a few candidates for how strongly it is held back.

    Attributes:
        candidates: What cross-validation chooses from, such as strengths of a penalty; at least one.
    """

    @property
    def candidates(self) -> Sequence[Any]: ...

    def fit(
        self, inputs: Array, values: Array, weights: Array, loss: Any, candidate: Any, key: Any
    ) -> Callable[[Array], Array]:
        """Learn from some rows.

        Args:
            inputs: Latents, shape (M, K).
            values: What was observed, shape (M, D); 0 where the weight is 0.
            weights: 1 for rows to learn from, 0 for others, shape (M,).
            loss: A `Loss`.
            candidate: One of the candidates.
            key: Random key, or None.

        Returns:
            A function from latents (m, K) to means (m, D).
        """
        ...
