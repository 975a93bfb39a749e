"""Rows of saturated strategies for data that the model was not fitted on."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from rpm_jax._jit import jit
from rpm_jax.data import Data, as_data, choose_mixture
from rpm_jax.feeds import Lazy
from rpm_jax.inference._against import Against, as_against
from rpm_jax.model import ability, require_ability


def row_parts(model: Any) -> tuple[str, ...]:
    """Which of "posterior" and "auxiliary" have a row of parameters for every datum."""
    return tuple(name for name, group in ability(model, "strategies", {}).items() if group == "rows")


def fit_rows(fitted: Any, views: Any, *, against: str | Against = "train") -> Any:
    """Replace the rows of saturated strategies by rows for other data, with everything else held fixed.

    The rows start at the conjugate potentials and maximise the bound of these data.

    Args:
        fitted: A `Fit` or `Fitted`.
        views: The data: `Data` (with a mask, say) or a tuple of J views.
        against: Whose components F_j has, and how many steps are made.

    Returns:
        Parameters with the same prior, factors and networks.
    """
    against, new = as_against(against), as_data(views)
    params = new_rows(fitted.model, fitted.params, new)
    components = choose_mixture(new, fitted.data, against.components)
    return optimise_rows(
        fitted.model,
        params,
        new,
        components,
        np.asarray(against.num_steps),
        np.asarray(against.learning_rate),
    )


@jit
def new_rows(model: Any, params: Any, new: Data) -> Any:
    """Parameters with initial rows for other data."""
    return require_ability(model, "with_new_rows", "fit_rows")(params, new)


@jit
def optimise_rows(
    model: Any, params: Any, new: Data, components: Data, num_steps: Array, learning_rate: Array
) -> Any:
    """Maximise the bound of data over their rows by Adam, everything else held fixed.

    Steps whose gradient is not finite are left out.
    """
    batch = new.all()
    rows = {name: params[name] for name in row_parts(model)}
    optimizer = optax.apply_if_finite(
        optax.adam(learning_rate), max_consecutive_errors=jnp.iinfo(jnp.int32).max
    )
    mixture = model.mixture(params, Lazy(components, approximate=True))
    own = model.recognise(params, batch)

    def loss(rows: dict) -> Array:
        own_params = {**params, **rows}
        inferred = model.infer(own_params, batch, own, mixture)
        return -jnp.sum(model.terms(own_params, batch, own, mixture, inferred).bound)

    def step(_: Array, state: tuple) -> tuple:
        rows, optimizer_state = state
        updates, optimizer_state = optimizer.update(jax.grad(loss)(rows), optimizer_state)
        return optax.apply_updates(rows, updates), optimizer_state

    rows, _ = lax.fori_loop(0, num_steps, step, (rows, optimizer.init(rows)))
    return {**params, **rows}


def check_rows(model: Any, params: Any, size: int) -> None:
    """Raise `ValueError` where parameters hold rows for another number of data."""
    for name in row_parts(model):
        rows = {leaf.shape[0] for leaf in jax.tree.leaves(params[name])}
        if rows != {size}:
            raise ValueError(
                f"data must be the {sorted(rows)[0]} data of the fit, for which the saturated {name} "
                f"strategy has rows, got {size}; use infer(fitted, views) for new data"
            )
