"""Initial parameters that are given."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.train._guard import is_finite
from rpm_jax.train._not_finite import name_not_finite


def initial_parameters(params: Any, expected: Any, *, stacked: bool) -> Any:
    """A copy of initial parameters, of the floating-point types that `Model.init` would give them.

    Args:
        params: What was given.
        expected: The result of `Model.init`, or its shapes.
        stacked: Whether parameters are stacked over seeds.

    Raises:
        ValueError: Where structure or shapes differ from those expected.
        TypeError: For arrays that are not real numbers.
    """
    structures = [str(jax.tree.structure(tree)) for tree in (expected, params)]
    if structures[0] != structures[1]:
        raise ValueError(
            "params must have the structure of model.init(key, data)"
            f"{', stacked over seeds' if stacked else ''}: {structures[0]}, got {structures[1]}"
        )

    def convert(path: tuple, want: Any, got: Any) -> Array:
        name = f"params{jax.tree_util.keystr(path)}"
        if want.shape != jnp.shape(got):
            raise ValueError(
                f"{name} must have shape {want.shape} for this model and these data, got {jnp.shape(got)}"
            )
        dtype = jnp.result_type(got)
        if jnp.issubdtype(want.dtype, jnp.floating) and not (
            jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
        ):
            raise TypeError(f"{name} must be real numbers, got dtype {dtype}")
        return jnp.array(got, want.dtype)

    return jax.tree_util.tree_map_with_path(convert, expected, params)


def require_finite_start(params: Any, *, is_given: bool) -> None:
    """Raise `ValueError` for initial parameters that are NaN or infinite."""
    if jax.jit(is_finite)(params):
        return
    origin, advice = "params", "correct them"
    if not is_given:
        origin, advice = "model.init", "check the scale of the views, and the prior"
    raise ValueError(
        f"{origin}: the initial parameters must be finite, got NaN or infinite numbers in "
        f"params{name_not_finite(params)}; {advice}"
    )
