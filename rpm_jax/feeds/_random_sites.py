"""Some steps of some sequences, drawn at random, as the components of mixtures that are pooled over sites."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._checks import require_instance, require_positive_integer
from rpm_jax._record import record
from rpm_jax.data import Batch, Data
from rpm_jax.expfam import map_rows
from rpm_jax.feeds._minibatch import Minibatch
from rpm_jax.feeds._sources import Held, Source
from rpm_jax.normalizers import DeviceAxis, OwnShare


@record
class RandomSites:
    """M of the pairs (n, t) that another feed shows, in the place of all of them, for pooled mixtures.

        F̂_j(z) = w f_j(z|x_jt^n) + (1 − w)/M' Σ_m f_j(z|x_j^m)     at datum n and site t,

    m the pairs drawn but (n, t) itself, M' of them, and w its weight, is unbiased for the F_j of the other
    feed. Pairs are drawn without replacement, or in proportion to their weights where these differ; of pairs
    whose view is missing the others take the place.

    Attributes:
        size: M.
        of: The other feed; its components have to be held, so it is `minibatch()`, `random_subset(size)` or
            `queue(length)`.
    """

    size: int
    of: Any = Minibatch()

    pools_sites = True

    def __post_init__(self) -> None:
        """Check the size and the other feed."""
        require_positive_integer("size", self.size)
        require_instance("of", self.of)

    def init(self, key: Array, own: Any, data: Data) -> tuple[Array, Any]:
        """The random key of the first draw, and the other feed's state."""
        key, other = jax.random.split(key)
        return key, self.of.init(other, own, data)

    def rows(self, state: tuple[Array, Any], batch: Batch, data: Data) -> tuple[Batch, tuple[Array, Any]]:
        """What the other feed shows."""
        rows, other = self.of.rows(state[1], batch, data)
        return rows, (state[0], other)

    def source(
        self, state: tuple[Array, Any], seen: Any, rows: Batch, data: Data, devices: DeviceAxis | None
    ) -> tuple[Source, tuple[Array, Any]]:
        """The factors of the pairs drawn, and what each datum's own factor weighs."""
        source, other = self.of.source(state[1], seen, rows, data, devices)
        if not isinstance(source, Held) or source.own is not None:
            raise TypeError(
                "of must be a feed whose components are held, such as rpm_jax.feeds.minibatch() or "
                f"random_subset(size), got {self.of!r}"
            )
        next_key, key = jax.random.split(state[0])
        factors, log_weights = source[:2]
        size, num_views, num_sites = factors.natural.batch_shape
        shape = (size, num_views, num_sites)
        mask = jnp.ones(shape, bool) if factors.mask is None else factors.mask
        datum, site = draw_pairs(key, self.size, mask.any(1), log_weights)
        drawn = map_rows(lambda array: array[datum, :, site][:, :, None], factors)

        # Weights among the pairs of the other feed, and among those drawn.
        weights = jnp.zeros(size) if log_weights is None else log_weights
        weights = jnp.where(mask, weights.astype(factors.natural.dtype)[:, None, None], -jnp.inf)
        weights = jax.nn.softmax(jnp.moveaxis(weights, 1, 2).reshape(-1, num_views), axis=0)
        weights = jnp.moveaxis(weights.reshape(size, num_sites, num_views), 2, 1)
        times = jnp.zeros((size, num_sites), weights.dtype).at[datum, site].add(1.0)[:, None] * mask
        shares = times / jnp.maximum(times.sum((0, 2), keepdims=True), 1)
        # All data may be shown, in the order of the batch.
        own = OwnShare(*(jnp.where(mask, array, 0) for array in (weights, shares)))
        return Held(drawn, None, None, own), (next_key, other)


def draw_pairs(key: Array, number: int, present: Array, log_weights: Array | None) -> tuple[Array, Array]:
    """Draw pairs of a datum and a site.

    Args:
        key: A random key.
        number: M; of fewer pairs all are taken.
        present: Which pairs there are, boolean, shape (n, T).
        log_weights: Log-weights of the data, shape (n,), with which pairs are drawn independently; None: all
            alike, without replacement, those that there are first.

    Returns:
        Data and sites, integers (M,).
    """
    size, num_sites = present.shape
    if log_weights is None:
        scores = jnp.where(present, jax.random.uniform(key, present.shape), -1.0)
        _, places = lax.top_k(scores.ravel(), min(number, size * num_sites))
    else:
        weights = jnp.where(present, jnp.exp(log_weights - jnp.max(log_weights))[:, None], 0.0)
        sums = jnp.cumsum(weights.ravel())
        targets = jax.random.uniform(key, (number,), sums.dtype) * sums[-1]
        places = jnp.minimum(jnp.searchsorted(sums, targets, side="right"), size * num_sites - 1)
    return places // num_sites, places % num_sites


def random_sites(size: int, of: Any = None) -> RandomSites:
    """F_j over `size` pairs of a datum and a step, drawn anew for every step of a fit of pooled sites.

    Args:
        size: M.
        of: A feed that shows what is drawn from; None: the minibatch, which of one long sequence is all.
    """
    return RandomSites(size, Minibatch() if of is None else of)
