"""A datum's own component, of exact weight in mixtures that are estimated from components drawn at random."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class OwnShare(NamedTuple):
    """What a datum's own factor weighs in F_jt, and in what was drawn for it.

    Attributes:
        weight: Its weight w in F_jt, shape (B, J, T).
        drawn: Its weight s among the components drawn, 0 where it is none of them, shape (B, J, T).
    """

    weight: Array
    drawn: Array

    def first(self, number: int) -> "OwnShare":
        """Those of the first data."""
        return OwnShare(self.weight[:number], self.drawn[:number])


def with_own_component(log_drawn: Array, log_own: Array, own: OwnShare) -> Array:
    """The logarithm of w f + (1 − w) (d − s f)/(1 − s): the own component, and the mean of all others drawn.

    Without its own component F_jt has no part that is large where f_jt is, and log f_jt − log F_jt no bound.
    If the others are drawn with the probabilities that they have in F_jt, the estimate has no bias.

    Args:
        log_drawn: log d, the integral of the mean of the components drawn, shape (B, J, T).
        log_own: log f, that of the own component, shape (B, J, T).
        own: The weights w and s.

    Returns:
        Shape (B, J, T). Where nothing else was drawn it is the own component's.
    """
    weight, drawn = own
    is_drawn, is_all = drawn > 0, drawn >= 1
    drawn = jnp.where(is_all, 0, drawn)
    tiny = jnp.finfo(log_drawn.dtype).tiny
    others = (1.0 - weight) / (1.0 - drawn)
    # f is at most d/s where it was drawn, so that the difference is at least w d.
    ratio = jnp.exp(jnp.where(is_drawn, log_own - log_drawn, 0.0))
    included = log_drawn + jnp.log(jnp.maximum(others + (weight - others * drawn) * ratio, weight + tiny))
    left_out = jnp.logaddexp(
        log_drawn + jnp.log(jnp.maximum(others, tiny)), log_own + jnp.log(jnp.maximum(weight, tiny))
    )
    return jnp.where(is_all, log_own, jnp.where(is_drawn, included, left_out))
