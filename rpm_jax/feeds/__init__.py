"""Feeds: which components the mixtures F_j average over in a training step."""

from rpm_jax.feeds._base import Feed
from rpm_jax.feeds._full import Full, full
from rpm_jax.feeds._minibatch import Minibatch, minibatch, with_weights_among_themselves
from rpm_jax.feeds._queue import Queue, QueueState, queue
from rpm_jax.feeds._random_sites import RandomSites, draw_pairs, random_sites
from rpm_jax.feeds._sources import Held, Lazy, Source, Spread
from rpm_jax.feeds._subset import Subset, draw, random_subset

__all__ = [
    "Feed",
    "Full",
    "Held",
    "Lazy",
    "Minibatch",
    "Queue",
    "QueueState",
    "RandomSites",
    "Source",
    "Spread",
    "Subset",
    "draw",
    "draw_pairs",
    "full",
    "minibatch",
    "queue",
    "random_sites",
    "random_subset",
    "with_weights_among_themselves",
]
