"""A Markov chain whose transitions depend on inputs of every datum."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import is_concrete, require_instance, require_positive_integer
from rpm_jax._record import record
from rpm_jax.expfam import Categorical
from rpm_jax.priors._hidden_markov import HiddenMarkov, HiddenMarkovPosterior, TransitionCounts
from rpm_jax.priors._hidden_markov_spec import LearnableHiddenMarkov

MOST_EXAMPLES = 256
"""How many data's inputs are kept, for the marginals that factors are relative to."""


class TransitionMap(Protocol):
    """From inputs to numbers that are added to the transition logits, such as a pointwise network.

    Attributes:
        takes_codes: Optional, False where absent. Whether inputs are integers, which are not standardised.
    """

    def init(self, key: Array, inputs: Array, /) -> Any:
        """Initial parameters for inputs (n, T − 1, A), or (n, T − 1) of codes."""
        ...

    def apply(self, params: Any, inputs: Array, /) -> Array:
        """Numbers of shape (n, T − 1, K²)."""
        ...


@record
class TransitionTable:
    """Transitions by the value of a discrete input, such as a choice: a matrix for each.

    Attributes:
        num_values: Inputs are integers from 0 to this less 1.
        num_outputs: K², or None.
    """

    num_values: int
    num_outputs: int | None = None
    takes_codes = True

    def __post_init__(self) -> None:
        """Check the number."""
        require_positive_integer("num_values", self.num_values)

    def with_outputs(self, number: int) -> "TransitionTable":
        """The table with so many numbers for each value."""
        return TransitionTable(self.num_values, number)

    def init(self, key: Array, inputs: Array) -> Array:
        """Small random numbers."""
        del inputs
        return 0.1 * jax.random.normal(key, (self.num_values, self.num_outputs or 1))

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
                f"inputs must be integers from 0 to {self.num_values - 1}, the values of the table of "
                f"transitions, got {values[where]:g} at index {where}"
            )


@record
class InputDrivenHiddenMarkov:
    """A chain of transition logits B + g(a_t), a_t the input of the step from t to t + 1.

    `hidden_markov(..., inputs=)` makes it. Inputs are an array (N, T − 1) or (N, T − 1, A), or a dictionary
    or other pytree that holds one such array. Numbers reach a network standardised by those of the fit.
    Factors are relative to the mean of the marginals of up to 256 data of the fit.

    Attributes:
        chain: The chain without inputs, of initial logits and B.
        transitions: g, a `TransitionTable` or a network.
    """

    chain: LearnableHiddenMarkov
    transitions: Any

    def __post_init__(self) -> None:
        """Check what maps inputs to transitions."""
        require_instance("inputs", self.transitions)
        if not (hasattr(self.transitions, "init") and hasattr(self.transitions, "apply")):
            raise TypeError(
                "inputs must be a rpm_jax.priors.TransitionTable(num_values) or a network, got "
                f"{type(self.transitions).__name__}"
            )
        if self.chain.num_sites < 2:
            raise ValueError("inputs drive the steps between sites, of which there must be at least 2, got 1")

    def init(self, key: Array, inputs: Any) -> dict:
        """Parameters of the chain and of the map, and examples of inputs; without any of the chain alone."""
        chain_key, key = jax.random.split(key)
        params = self.chain.init(chain_key)
        if inputs is None:
            return params
        array = self._array(inputs)
        rows = np.linspace(0, len(array) - 1, min(len(array), MOST_EXAMPLES)).round().astype(int)
        statistics = {"examples": array[rows]}
        if not self._takes_codes:
            deviation = jnp.std(array, axis=(0, 1))
            statistics["mean"] = jnp.mean(array, axis=(0, 1))
            statistics["scale"] = jnp.where(deviation > 0, deviation, 1.0)
        params |= {"statistics": statistics}
        return params | {"map": self._map().init(key, self._shown(params, array[:1]))}

    def apply(self, params: Any, inputs: Any) -> HiddenMarkov:
        """The chain of each datum.

        Raises:
            ValueError: For inputs of another length than T − 1.
        """
        return self._chain_of(params, self._array(inputs))

    def reference(self, params: Any) -> Categorical:
        """The mean of the marginals over the examples, batch shape (T,)."""
        if "statistics" not in params:
            initial = jax.nn.log_softmax(params["initial"])
            return Categorical(jnp.broadcast_to(initial, (self.chain.num_sites, *initial.shape)))
        examples = jax.lax.stop_gradient(params["statistics"]["examples"])
        marginals = self._chain_of(params, examples).sites().logits
        return Categorical(jax.nn.logsumexp(marginals, axis=0) - jnp.log(len(examples)))

    def check_inputs(self, inputs: Any) -> None:
        """Raise `ValueError` for known inputs of another shape, or that a table does not hold."""
        array = self._array(inputs)
        if hasattr(self.transitions, "check") and is_concrete(array):
            self.transitions.check(array)

    def maximise(
        self,
        params: Any,
        posterior: HiddenMarkovPosterior,
        *,
        inputs: Any,
        pseudo_count: float | Array = 0.0,
        perturbation: float | Array = 0.0,
    ) -> dict:
        """The closed-form M-step of a table: the counts of each value's transitions.

        Args:
            params: The present parameters.
            posterior: The posterior of all data, conditioned with these.
            inputs: Of these data.
            pseudo_count: As in `HiddenMarkov.from_counts`.
            perturbation: As there.

        Raises:
            TypeError: For a network, which has no closed form.
        """
        if not self._takes_codes:
            raise TypeError(
                "inputs: transitions by a network have no closed-form M-step; learn them by gradient, the "
                "default"
            )
        codes = self._array(inputs).astype(int)
        pairs = posterior.pairwise()
        size = self.chain.num_states
        counts = jnp.zeros((self.transitions.num_values, size, size), pairs.dtype)
        counts = counts.at[codes.ravel()].add(pairs.reshape(-1, size, size), mode="drop")
        initial = posterior.mean[..., 0, :].reshape(-1, size).sum(0)
        options: dict[str, Any] = {"pseudo_count": pseudo_count, "perturbation": perturbation}

        def of_value(counted: Array) -> Array:
            counts = TransitionCounts(initial, counted)
            return HiddenMarkov.from_counts(counts, self.chain.num_sites, **options).transition_logits

        tiny = jnp.log(jnp.finfo(pairs.dtype).tiny)
        whole = TransitionCounts(initial, counts.sum(0))
        first = HiddenMarkov.from_counts(whole, self.chain.num_sites, **options).initial_logits
        return {
            **params,
            "initial": jnp.maximum(first, tiny).astype(params["initial"].dtype),
            "transition": jnp.zeros_like(params["transition"]),
            "map": jnp.maximum(jax.vmap(of_value)(counts), tiny)
            .reshape(params["map"].shape)
            .astype(params["map"].dtype),
        }

    @property
    def _takes_codes(self) -> bool:
        return getattr(self.transitions, "takes_codes", False)

    def _map(self) -> Any:
        """What maps inputs to K² numbers."""
        if hasattr(self.transitions, "with_outputs"):
            return self.transitions.with_outputs(self.chain.num_states**2)
        return self.transitions

    def _array(self, inputs: Any) -> Array:
        """The one array of inputs, shape (N, T − 1, A), or (N, T − 1) of codes."""
        leaves = jax.tree.leaves(inputs)
        if len(leaves) != 1:
            raise ValueError(
                f"inputs must be one array that drives the transitions, got {len(leaves)}; join them on "
                "their last axis"
            )
        array = leaves[0]
        steps = self.chain.num_sites - 1
        most = 2 if self._takes_codes else 3
        if not 2 <= array.ndim <= most or array.shape[1] != steps:
            shapes = "(N, T - 1)" if most == 2 else "(N, T - 1) or (N, T - 1, A)"
            raise ValueError(
                f"inputs must have shape {shapes} with T - 1 = {steps} steps between the prior's "
                f"{steps + 1} sites, got {array.shape}; with an input for every site pass inputs[:, :-1]"
            )
        return array if self._takes_codes or array.ndim == 3 else array[..., None]

    def _shown(self, params: Any, inputs: Array) -> Array:
        """Inputs as the map sees them."""
        if self._takes_codes:
            return inputs
        statistics = jax.lax.stop_gradient(params["statistics"])
        return (inputs - statistics["mean"]) / statistics["scale"]

    def _chain_of(self, params: Any, inputs: Array) -> HiddenMarkov:
        size = self.chain.num_states
        outputs = self._map().apply(params["map"], self._shown(params, inputs))
        if outputs.size != inputs.shape[0] * inputs.shape[1] * size**2:
            raise ValueError(
                f"inputs: the network must give K² = {size**2} numbers for every step, shape "
                f"{(*inputs.shape[:2], size**2)}, got {outputs.shape}"
            )
        logits = params["transition"] + outputs.reshape(*inputs.shape[:2], size, size)
        return HiddenMarkov(params["initial"], logits, self.chain.num_sites, self.chain.parallel)
