"""Expensive, exact computations that are made only where a cheap one does not do."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


def exact_unless(accurate: Array, fast: Any, exact: Callable[..., Any], *inputs: Any) -> Any:
    """`fast` where it is accurate, else `exact(*inputs)`, which is computed only if it is needed.

    A loop of no or one iteration: under `vmap`, `lax.cond` would compute both. Without a derivative.

    Args:
        accurate: A boolean.
        fast: A pytree of arrays.
        exact: Computes the like of it.
        *inputs: Pytrees of arrays.
    """

    def body(state: tuple[Array, Any]) -> tuple[Array, Any]:
        # The barrier ties the inputs to the loop, out of which XLA would move the computation otherwise.
        held, _ = lax.optimization_barrier((inputs, state[0]))
        return jnp.ones_like(state[0]), exact(*held)

    accurate = jnp.asarray(accurate)
    fast = jax.tree.map(jnp.asarray, fast)
    return lax.while_loop(lambda state: jnp.logical_not(state[0]), body, (accurate, fast))[1]
