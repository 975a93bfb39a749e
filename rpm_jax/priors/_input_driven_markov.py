"""A Markov chain whose transitions depend on inputs of every datum."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.expfam import Categorical
from rpm_jax.priors._driving_inputs import DrivingInputs
from rpm_jax.priors._future import Future
from rpm_jax.priors._hidden_markov import HiddenMarkov, HiddenMarkovPosterior, TransitionCounts
from rpm_jax.priors._hidden_markov_dynamics import HiddenMarkovDynamics
from rpm_jax.priors._hidden_markov_spec import LearnableHiddenMarkov


@record
class InputDrivenHiddenMarkov:
    """A chain of transition logits B + g(a_t), a_t the input of the step from t to t + 1.

    `hidden_markov(..., inputs=)` makes it. Inputs are as `DrivingInputs.array` takes them. Factors are
    relative to the mean of the marginals of up to 256 data of the fit.

    Attributes:
        chain: The chain without inputs, of initial logits and B.
        transitions: g, an `InputTable` or a network.
    """

    chain: LearnableHiddenMarkov
    transitions: Any

    def __post_init__(self) -> None:
        """Check what maps inputs to transitions."""
        if self.chain.num_sites < 2:
            raise ValueError("inputs drive the steps between sites, of which there must be at least 2, got 1")
        self._driving  # noqa: B018 (checks)

    @property
    def _driving(self) -> DrivingInputs:
        return DrivingInputs(self.transitions, self.chain.num_sites - 1, self.chain.num_states**2)

    def init(self, key: Array, inputs: Any) -> dict:
        """Parameters of the chain and of the map, and examples of inputs; without any of the chain alone."""
        chain_key, key = jax.random.split(key)
        params = self.chain.init(chain_key)
        return params if inputs is None else params | self._driving.init(key, inputs)

    def apply(self, params: Any, inputs: Any) -> HiddenMarkov:
        """The chain of each datum.

        Raises:
            ValueError: For inputs of another length.
        """
        return self._chain_of(params, self._driving.array(inputs))

    def reference(self, params: Any) -> Categorical:
        """The mean of the marginals over the examples, batch shape (T,)."""
        if "statistics" not in params:
            initial = jax.nn.log_softmax(params["initial"])
            return Categorical(jnp.broadcast_to(initial, (self.chain.num_sites, *initial.shape)))
        marginals = self._chain_of(params, self._driving.examples(params)).sites().logits
        return Categorical(jax.nn.logsumexp(marginals, axis=0) - jnp.log(len(marginals)))

    def check_inputs(self, inputs: Any) -> None:
        """Raise `ValueError` for known inputs of another shape, or that a table does not hold."""
        self._driving.check(inputs)

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
        if not self._driving.takes_codes:
            raise TypeError(
                "inputs: transitions by a network have no closed-form M-step; learn them by gradient, the "
                "default"
            )
        codes = self._driving.array(inputs).astype(int)
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

    def extended(self, future: Future, inputs: Any) -> tuple["InputDrivenHiddenMarkov", Any]:
        """The chain of T + h sites, and the inputs of its T + h − 1 steps."""
        future.refuse_times(self)
        chain, _ = self.chain.extended(future._replace(inputs=None))
        return dataclasses.replace(self, chain=chain), self._driving.extended(inputs, future)

    def dynamics(self, params: Any) -> HiddenMarkovDynamics:
        """The chain a step at a time."""

        def transition(inputs: Any) -> Array:
            logits = self._logits(params, self._driving.of_a_step(inputs))
            return jax.nn.log_softmax(logits[:, 0], axis=-1)

        initial = jax.nn.log_softmax(params["initial"])
        return HiddenMarkovDynamics(initial, transition, self._driving.check_values)

    def _chain_of(self, params: Any, inputs: Array) -> HiddenMarkov:
        logits = self._logits(params, inputs)
        return HiddenMarkov(params["initial"], logits, self.chain.num_sites, self.chain.parallel)

    def _logits(self, params: Any, inputs: Array) -> Array:
        """Transition logits of steps with these inputs, shape (n, steps, K, K)."""
        size = self.chain.num_states
        outputs = self._driving.outputs(params, inputs)
        return params["transition"] + outputs.reshape(*inputs.shape[:2], size, size)
