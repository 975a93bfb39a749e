"""A minibatch and some other data, drawn at random, in the place of all data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer


class Subset(NamedTuple):
    """M data drawn at random for every minibatch, so that F_j is an estimate over B + M data.

        F̂_j(z) = Σ_b w_b f_j(z|x_j^b) + (1 − Σ_b w_b)/M' Σ_m f_j(z|x_j^m),

    b in the minibatch and m drawn and not in it, M' of them, is unbiased for F_j. Its logarithm is
    too low on average, by about Var[F̂]/2F². A datum's own component keeps the weight that it has among
    all N, which a minibatch as the only components gives N/B times too much.

    Attributes:
        size: M.
        seed: Of the draws, besides the key.
    """

    size: int
    seed: int = 0

    def init(self, key: Array) -> Array:
        """The random key of the first draw of a run with this key."""
        return jax.random.fold_in(key, self.seed)

    def draw(
        self, key: Array, batch_index: Array, size: int, log_weights: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Draw other data for a minibatch, with probabilities w where there are weights.

        Args:
            key: From `init`, or the last draw.
            batch_index: The minibatch, integers (B,).
            size: N.
            log_weights: Log w of all data, shape (N,), Σ w = 1; None: uniform.

        Returns:
            The next key, integers (M,), and log-weights of minibatch and drawn data, shape (B + M,).
        """
        key, own = jax.random.split(key)
        if log_weights is None:
            drawn = jax.random.randint(own, (self.size,), 0, size)
            of_batch = jnp.full(batch_index.shape, -jnp.log(size))
        else:
            drawn = jax.random.categorical(own, log_weights, shape=(self.size,))
            of_batch = log_weights[batch_index]
        is_other = jnp.all(drawn[:, None] != batch_index, axis=1)
        rest = jnp.maximum(-jnp.expm1(jax.nn.logsumexp(of_batch)), 0.0)
        of_others = jnp.where(is_other, jnp.log(rest / jnp.maximum(jnp.sum(is_other), 1)), -jnp.inf)
        joined = jnp.concatenate([of_batch, of_others.astype(of_batch.dtype)])
        return key, drawn, jax.nn.log_softmax(joined)


def random_subset(size: int, seed: int = 0) -> Subset:
    """F_j over the minibatch and `size` other data, drawn anew for every step.

    Args:
        size: M.
        seed: Of the draws: another one draws others for the same key of a fit.
    """
    require_positive_integer("size", size)
    return Subset(size, seed)
