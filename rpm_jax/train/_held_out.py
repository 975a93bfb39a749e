"""The bound of held-out data along a run."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from rpm_jax._record import record
from rpm_jax.data import Data, as_data, choose_mixture
from rpm_jax.inference import as_against, new_rows, optimise_rows, row_parts
from rpm_jax.model import Model, mean_bound
from rpm_jax.train._devices import Spread, replicate, spread_mean_bound
from rpm_jax.train._optimizer import LEARNING_RATES
from rpm_jax.train._seeds import Seeds, call_over_seeds

LOOK_STEPS = 25
"""Steps on the rows of held-out data at each look, where a saturated strategy needs rows for them."""

FINAL_STEPS = 500


@record
class HeldOut:
    """Data whose bound is recorded along a fit; never learned from.

    Attributes:
        data: `Data`, or a tuple of J views.
        against: The components of F_j for them: "train", "given" or "both".
    """

    data: Any
    against: Any = "train"

    def __post_init__(self) -> None:
        """Check the data."""
        object.__setattr__(self, "against", as_against(self.against))


def as_held_out(held_out: Any, as_stacked: Callable[[Any], Data] | None = None) -> HeldOut | None:
    """Held-out data as given to a fit: nothing, views, `Data` or `HeldOut`."""
    if held_out is None:
        return None
    held_out = held_out if isinstance(held_out, HeldOut) else HeldOut(held_out)
    if as_stacked is not None:
        return HeldOut(as_stacked(held_out.data), held_out.against)
    return HeldOut(as_data(held_out.data, name="held_out"), held_out.against)


class Watch(NamedTuple):
    """How the bound of held-out data is taken.

    Attributes:
        model: The model.
        data: The data of the fit, as they are fitted.
        held_out: The data that are watched.
        seeds: How functions are mapped over seeds, or None.
        spread: Where the data of the fit are, or None.
    """

    model: Model
    data: Data
    held_out: HeldOut
    seeds: Seeds | None
    spread: Spread | None

    def init(self, params: Any) -> dict[str, Any]:
        """The rows for held-out data that saturated strategies need; empty for all others."""
        if not row_parts(self.model):
            return {}
        fresh = self._call(new_rows, (params, self.held_out.data), (0, self._axis))
        return {name: fresh[name] for name in row_parts(self.model)}

    def look(
        self, params: Any, rows: dict[str, Any], num_steps: int = LOOK_STEPS
    ) -> tuple[Array, dict[str, Any]]:
        """The mean bound, and the rows, on which some more steps are made from one look to the next.

        Args:
            params: The model's parameters.
            rows: From `init` or the last look.
            num_steps: Steps on the rows.
        """
        if self.spread is not None:
            return self._spread_look(params), rows
        axis, data, mixture = self._axis, self.held_out.data, self._mixture()
        if rows:
            steps, rate = np.asarray(num_steps), np.asarray(LEARNING_RATES["rows"])
            arguments = ({**params, **rows}, data, mixture, steps, rate)
            params = self._call(optimise_rows, arguments, (0, axis, axis, None, None))
            rows = {name: params[name] for name in rows}
        return self._call(mean_bound, (params, data, mixture), (0, axis, axis)), rows

    @property
    def _axis(self) -> int | None:
        return None if self.seeds is None else self.seeds.data_axis

    def _mixture(self) -> Data:
        components = self.held_out.against.components
        if self._axis is None:
            return choose_mixture(self.held_out.data, self.data, components)
        choose = partial(choose_mixture, mixture=components)
        return jax.vmap(choose)(self.held_out.data, self.data)

    def _call(self, function: Callable[..., Any], arguments: tuple, axes: tuple[int | None, ...]) -> Any:
        return call_over_seeds(self.seeds, function, self.model, arguments, axes)

    def _spread_look(self, params: Any) -> Array:
        spread = self.spread
        assert spread is not None
        data = replicate(self.held_out.data, spread.mesh)
        if self.held_out.against.components == "given":
            return mean_bound(self.model, params, data, data)
        return spread_mean_bound(self.model, spread, params, self.data, data)


def check_watch(watch: Watch) -> None:
    """Refuse what cannot be watched where the data are spread over devices."""
    if watch.spread is None:
        return
    if row_parts(watch.model):
        raise ValueError("mesh: saturated strategies have no bound of held-out data; leave held_out out")
    if watch.held_out.against.components == "both":
        raise ValueError("mesh and held_out against 'both' do not go together; take 'train' or 'given'")
