"""What inputs of every datum do to the steps of its prior: a table's rows, or a network's outputs."""

from collections.abc import Mapping
from typing import Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import is_concrete, require_instance, require_positive_integer
from rpm_jax._record import record
from rpm_jax.priors._future import Future, joined_inputs

MOST_EXAMPLES = 256
"""How many data's inputs are kept, for the marginals that factors are relative to."""

SMALL = 0.01
"""Of the outputs of a network that is to start near zero and cannot."""


class InputMap(Protocol):
    """From inputs to numbers, such as a pointwise network.

    Attributes:
        takes_codes: Optional, False where absent. Whether inputs are integers, which are not standardised.
    """

    def init(self, key: Array, inputs: Array, /) -> Any:
        """Initial parameters for inputs (M, A) of M steps, or (M,) of codes."""
        ...

    def apply(self, params: Any, inputs: Array, /) -> Array:
        """Numbers of each step, shape (M, outputs)."""
        ...


@record
class InputTable:
    """What a discrete input, such as a choice, does: numbers for each of its values.

    Attributes:
        num_values: Inputs are integers from 0 to this less 1.
        num_outputs: How many numbers for each, or None: as many as asked for.
        is_zero: Whether they start at zero, instead of small random numbers.
    """

    num_values: int
    num_outputs: int | None = None
    is_zero: bool = False
    takes_codes = True

    def __post_init__(self) -> None:
        """Check the number."""
        require_positive_integer("num_values", self.num_values)

    def with_outputs(self, number: int) -> Self:
        """The table with so many numbers for each value."""
        return type(self)(self.num_values, number, self.is_zero)

    def starting_at_zero(self) -> Self:
        """The table of zeros."""
        return type(self)(self.num_values, self.num_outputs, True)

    def init(self, key: Array, inputs: Array) -> Array:
        """The rows, shape (num_values, num_outputs)."""
        del inputs
        shape = (self.num_values, self.num_outputs or 1)
        return jnp.zeros(shape) if self.is_zero else 0.1 * jax.random.normal(key, shape)

    def apply(self, params: Array, inputs: Array) -> Array:
        """The rows of the values; NaN for values that there are not."""
        codes = inputs.astype(int)
        outside = (codes < 0) | (codes != inputs)
        return params.at[jnp.where(outside, self.num_values, codes)].get(mode="fill", fill_value=jnp.nan)

    def check(self, inputs: Array) -> None:
        """Raise `ValueError` for known inputs that the table does not hold."""
        values = np.asarray(inputs)
        wrong = (values < 0) | (values >= self.num_values) | (values != np.floor(values))
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(
                f"inputs must be integers from 0 to {self.num_values - 1}, the values of the InputTable, got "
                f"{values[where]:g} at index {where}"
            )


@record
class DrivingInputs:
    """Numbers g(a_t) of the input a_t of every step from t to t + 1.

    Inputs of a network are standardised by the mean and scale of those of the fit. These, and inputs of up to
    256 data, are kept as statistics that are not learned.

    Attributes:
        function: g, an `InputTable` or a network.
        num_steps: T − 1.
        num_outputs: Of g.
        starts_at_zero: Whether g starts at (or near) zero.
        name: Which entry of the inputs, where these are a dictionary; None: the only one.
    """

    function: Any
    num_steps: int
    num_outputs: int
    starts_at_zero: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        """Check what maps inputs to numbers."""
        require_instance("inputs", self.function)
        if not (hasattr(self.function, "init") and hasattr(self.function, "apply")):
            raise TypeError(
                "inputs must be a rpm_jax.priors.InputTable(num_values) or a network, got "
                f"{type(self.function).__name__}"
            )

    @property
    def takes_codes(self) -> bool:
        """Whether inputs are integers."""
        return getattr(self.function, "takes_codes", False)

    def init(self, key: Array, inputs: Any) -> dict[str, Any]:
        """The statistics of inputs, and the parameters of g under "map"."""
        array = self.array(inputs)
        rows = np.linspace(0, len(array) - 1, min(len(array), MOST_EXAMPLES)).round().astype(int)
        statistics = {"examples": array[rows]}
        if not self.takes_codes:
            statistics["mean"], statistics["scale"] = _mean_and_scale(array)
        params = {"statistics": statistics}
        return params | {"map": self._sized().init(key, self._shown(params, array[:1]))}

    def array(self, inputs: Any) -> Array:
        """The inputs of the steps, shape (N, T − 1, A), or (N, T − 1) of codes.

        Args:
            inputs: (N, T) or (N, T, A), or T − 1 in the place of T, since that of the last site drives
                nothing; or a dictionary or other pytree that holds it.

        Raises:
            ValueError: For inputs of other shapes or names.
        """
        if self.name is not None:
            if not isinstance(inputs, Mapping) or self.name not in inputs:
                is_mapping = isinstance(inputs, Mapping)
                got = f"the entries {sorted(inputs)}" if is_mapping else type(inputs).__name__
                raise ValueError(f"inputs must have an entry {self.name!r}, got {got}")
            inputs = inputs[self.name]
        leaves = jax.tree.leaves(inputs)
        if len(leaves) != 1:
            raise ValueError(
                f"inputs must be one array that drives the prior, got {len(leaves)}; join them on their last "
                "axis, or say which entry of a dictionary drives it by name="
            )
        array = jnp.asarray(leaves[0])
        if self.takes_codes and array.ndim == 3 and array.shape[-1] == 1:
            array = array[..., 0]
        most = 2 if self.takes_codes else 3
        if not 2 <= array.ndim <= most or array.shape[1] not in (self.num_steps, self.num_steps + 1):
            shapes = "(N, T)" if most == 2 else "(N, T) or (N, T, A)"
            raise ValueError(
                f"inputs must have shape {shapes} with the prior's T = {self.num_steps + 1} sites, or the "
                f"T - 1 = {self.num_steps} steps between them, got {array.shape}"
            )
        array = array[:, : self.num_steps]
        return array if self.takes_codes or array.ndim == 3 else array[..., None]

    def examples(self, params: Any) -> Array:
        """The inputs that are kept of up to 256 data, as by `array`.

        Parameters may be those of a fit of windows, or of other sequences: of more steps than these have, the
        first follow the last again.
        """
        examples = jax.lax.stop_gradient(params["statistics"]["examples"])
        return examples[:, np.arange(self.num_steps) % examples.shape[1]]

    def extended(self, inputs: Any, future: Future) -> Any:
        """The inputs of the T − 1 + h steps of a longer prior, in the form that `array` takes them."""
        array = joined_inputs(self.array(inputs), future._replace(inputs=self._own(future.inputs)))
        self.check_values(array)
        return array if self.name is None else {self.name: array}

    def of_a_step(self, inputs: Any) -> Array:
        """The inputs of one step (n, ...) as `outputs` takes them, shape (n, 1, A), or (n, 1) of codes.

        Raises:
            ValueError: For none, or a shape that does not fit; for known ones that a table does not hold.
        """
        own = self._own(inputs)
        if own is None:
            raise ValueError("inputs: the steps of this prior are driven by inputs; pass those of this step")
        array = jnp.asarray(own)
        most = 1 if self.takes_codes else 2
        if self.takes_codes and array.ndim == 2 and array.shape[-1] == 1:
            array = array[..., 0]
        if not 1 <= array.ndim <= most:
            raise ValueError(
                f"inputs of one step must have shape {'(n,)' if most == 1 else '(n,) or (n, A)'}, got "
                f"{array.shape}"
            )
        self.check_values(array)
        return array[:, None] if self.takes_codes or array.ndim == 2 else array[:, None, None]

    def check_values(self, inputs: Any) -> None:
        """Raise `ValueError` for known inputs of any shape that a table does not hold."""
        array = self._own(inputs)
        if hasattr(self.function, "check") and is_concrete(array):
            self.function.check(array)

    def _own(self, inputs: Any) -> Any:
        """The one array of inputs, or the entry of this name; None as it is."""
        if inputs is None:
            return None
        if self.name is not None and isinstance(inputs, Mapping) and self.name in inputs:
            return inputs[self.name]
        leaves = jax.tree.leaves(inputs)
        if len(leaves) != 1 or (self.name is not None and isinstance(inputs, Mapping)):
            wanted = "one array" if self.name is None else f"an array, or have an entry {self.name!r}"
            raise ValueError(f"inputs must be {wanted}, got {inputs!r}")
        return leaves[0]

    def check(self, inputs: Any) -> None:
        """Raise `ValueError` for inputs of other shapes, and known ones that a table does not hold."""
        self.check_values(self.array(inputs))

    def outputs(self, params: Any, inputs: Array) -> Array:
        """Numbers of inputs as from `array`, shape (N, T − 1, outputs)."""
        outputs = self._sized().apply(params["map"], self._shown(params, inputs))
        shape = (*inputs.shape[:2], self.num_outputs)
        if outputs.size != np.prod(shape):
            raise ValueError(
                f"inputs: the network must give {self.num_outputs} numbers for every step, shape {shape}, "
                f"got {outputs.shape}"
            )
        near_zero = self.starts_at_zero and not hasattr(self.function, "starting_at_zero")
        return outputs.reshape(shape) * (SMALL if near_zero else 1.0)

    def _sized(self) -> Any:
        function = self.function
        if hasattr(function, "with_outputs"):
            function = function.with_outputs(self.num_outputs)
        if self.starts_at_zero and hasattr(function, "starting_at_zero"):
            function = function.starting_at_zero()
        return function

    def _shown(self, params: Any, inputs: Array) -> Array:
        """Inputs as g sees them, those of all steps on the first axis."""
        if self.takes_codes:
            return inputs.reshape(-1)
        statistics = jax.lax.stop_gradient(params["statistics"])
        shown = (inputs - statistics["mean"]) / statistics["scale"]
        return shown.reshape(-1, shown.shape[-1])


def _mean_and_scale(inputs: Array) -> tuple[Array, Array]:
    """The mean and standard deviation of each of A inputs, 1 where it is constant, shape (A,) each.

    Numbers are divided by the largest first, whose square need not be finite.
    """
    largest = jnp.max(jnp.abs(inputs), axis=(0, 1))
    largest = jnp.where(largest > 0, largest, 1.0)
    scaled = inputs / largest
    mean = jnp.mean(scaled, axis=(0, 1))
    deviation = jnp.sqrt(jnp.mean(jnp.square(scaled - mean), axis=(0, 1)))
    known = deviation > 8.0 * float(jnp.finfo(inputs.dtype).eps)
    return mean * largest, jnp.where(known, deviation * largest, largest)
