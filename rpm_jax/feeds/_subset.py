"""A minibatch and some other data, drawn at random, in the place of all data."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax._record import record
from rpm_jax.data import Batch, Data
from rpm_jax.feeds._sources import Held, Source
from rpm_jax.normalizers import DeviceAxis, join_rows


@record
class Subset:
    """M data drawn at random for every minibatch, so that F_j is an estimate over B + M data.

        F̂_j(z) = Σ_b w_b f_j(z|x_j^b) + (1 − Σ_b w_b)/M' Σ_m f_j(z|x_j^m),

    b in the minibatch and m drawn and not in it, M' of them, is unbiased for F_j. Its logarithm is too low on
    average, by about Var[F̂]/2F². A datum's own component keeps the weight that it has among all N, which a
    minibatch as the only components gives N/B times too much.

    Attributes:
        size: M.
    """

    size: int

    def __post_init__(self) -> None:
        """Check the size."""
        require_positive_integer("size", self.size)

    def init(self, key: Array, own: Any, data: Data) -> Array:
        """The random key of the first draw."""
        del own, data
        return key

    def rows(self, state: Array, batch: Batch, data: Data) -> tuple[Batch, Array]:
        """The batch, then the data drawn."""
        state, own = jax.random.split(state)
        drawn, log_weights = draw(own, self.size, batch.index, data.size, data.log_weights)
        joined = join_rows([batch, data.batch(drawn)])
        return replace(joined, log_weights=log_weights), state

    def source(
        self, state: Array, seen: Any, rows: Batch, data: Data, devices: DeviceAxis | None
    ) -> tuple[Source, Array]:
        """The factors of both."""
        del data, devices
        return Held(seen, rows.log_weights, rows), state


def draw(
    key: Array, number: int, batch_index: Array, size: int, log_weights: Array | None = None
) -> tuple[Array, Array]:
    """Draw other data for a minibatch, with probabilities w where there are weights.

    Args:
        key: A random key.
        number: M.
        batch_index: The minibatch, integers (B,).
        size: N.
        log_weights: Log w of all data, shape (N,), Σ w = 1; None: uniform.

    Returns:
        Integers (M,), and log-weights of minibatch and drawn data, shape (B + M,).
    """
    if log_weights is None:
        drawn = jax.random.randint(key, (number,), 0, size)
        of_batch = jnp.full(batch_index.shape, -jnp.log(size))
    else:
        drawn = jax.random.categorical(key, log_weights, shape=(number,))
        of_batch = log_weights[batch_index]
    is_other = jnp.all(drawn[:, None] != batch_index, axis=1)
    rest = jnp.maximum(-jnp.expm1(jax.nn.logsumexp(of_batch)), 0.0)
    of_others = jnp.where(is_other, jnp.log(rest / jnp.maximum(jnp.sum(is_other), 1)), -jnp.inf)
    joined = jnp.concatenate([of_batch, of_others.astype(of_batch.dtype)])
    return drawn, jax.nn.log_softmax(joined)


def random_subset(size: int) -> Subset:
    """F_j over the minibatch and `size` other data, drawn anew for every step; every seed draws its own."""
    return Subset(size)
