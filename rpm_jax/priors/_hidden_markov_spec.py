"""A Markov chain prior with learnable parameters, by gradients or in closed form."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import is_concrete, require_finite, require_positive_integer
from rpm_jax._record import record
from rpm_jax.priors._future import Future
from rpm_jax.priors._hidden_markov import HiddenMarkov, HiddenMarkovPosterior
from rpm_jax.priors._hidden_markov_dynamics import HiddenMarkovDynamics

SCALE = 0.1
"""The standard deviation of the initial transition logits."""


@record
class LearnableHiddenMarkov:
    """A Markov chain whose initial and transition logits are learned; `hidden_markov` makes it.

    Attributes:
        num_states: K.
        num_sites: T.
        initial: p(z_1) to start from, shape (K,), or None.
        transition: p(z_t+1 = j | z_t = i) to start from, shape (K, K), or None.
        stickiness: Added to the diagonal of random transition logits.
        parallel: As in `HiddenMarkov`.
    """

    num_states: int
    num_sites: int
    initial: Array | None = None
    transition: Array | None = None
    stickiness: float = 0.0
    parallel: bool = False

    def __post_init__(self) -> None:
        """Check all of them."""
        require_positive_integer("num_states", self.num_states)
        require_positive_integer("num_sites", self.num_sites)
        require_finite("stickiness", jnp.asarray(self.stickiness))
        if self.transition is not None and self.stickiness != 0:
            raise ValueError(
                f"stickiness applies to random transitions, got {self.stickiness} together with transition; "
                "leave one of them out"
            )
        size = self.num_states
        for name, shape in (("initial", (size,)), ("transition", (size, size))):
            if getattr(self, name) is not None:
                checked = _check_probabilities(name, getattr(self, name), shape)
                object.__setattr__(self, name, checked)

    def init(self, key: Array) -> dict:
        """The initial and transition logits."""
        size = self.num_states
        initial = jnp.zeros(size) if self.initial is None else _finite_log(self.initial)
        if self.transition is None:
            transition = SCALE * jax.random.normal(key, (size, size)) + self.stickiness * jnp.eye(size)
        else:
            transition = _finite_log(self.transition)
        return {"initial": initial, "transition": transition}

    def apply(self, params: Any) -> HiddenMarkov:
        """The chain with these parameters."""
        return HiddenMarkov(params["initial"], params["transition"], self.num_sites, self.parallel)

    def extended(self, future: Future, inputs: Any = None) -> tuple["LearnableHiddenMarkov", Any]:
        """The chain of T + h sites."""
        future.refuse_inputs(self)
        future.refuse_times(self)
        return dataclasses.replace(self, num_sites=self.num_sites + future.horizon), inputs

    def dynamics(self, params: Any) -> HiddenMarkovDynamics:
        """The chain a step at a time."""
        return self.apply(params).dynamics()

    def maximise(
        self,
        params: Any,
        posterior: HiddenMarkovPosterior,
        *,
        pseudo_count: float | Array = 0.0,
        perturbation: float | Array = 0.0,
    ) -> dict:
        """The closed-form M-step, in place of gradient steps on the prior's parameters.

        Probabilities of zero become the smallest normal number of the parameters' type, so that
        parameters stay finite.

        Args:
            params: The present parameters, of which only the types are used.
            posterior: The posterior of all data, conditioned with the present parameters.
            pseudo_count: As in `HiddenMarkov.from_counts`.
            perturbation: As in `HiddenMarkov.from_counts`.

        Returns:
            The new parameters.
        """
        prior = HiddenMarkov.from_counts(
            posterior.expected_counts(), self.num_sites, pseudo_count=pseudo_count, perturbation=perturbation
        )
        logits = {"initial": prior.initial_logits, "transition": prior.transition_logits}
        return {name: _floor(logits[name].astype(params[name].dtype)) for name in logits}


def _floor(logits: Array) -> Array:
    return jnp.maximum(logits, jnp.log(jnp.finfo(logits.dtype).tiny))


def _finite_log(probabilities: Array) -> Array:
    return _floor(jnp.log(probabilities))


def _check_probabilities(name: str, probabilities: Any, shape: tuple[int, ...]) -> Array:
    probabilities = jnp.asarray(probabilities)
    probabilities = probabilities.astype(jnp.result_type(probabilities, 0.0))
    if probabilities.shape != shape:
        raise ValueError(f"{name} must have shape {shape} for {shape[0]} states, got {probabilities.shape}")
    if not is_concrete(probabilities):
        return probabilities
    require_finite(name, probabilities)
    values = np.atleast_2d(np.asarray(probabilities))
    totals = values.sum(axis=-1)
    worst = int(np.argmax(np.abs(totals - 1)))
    if values.min() < 0 or abs(totals[worst] - 1) > 1e-4:
        raise ValueError(
            f"{name} must hold probabilities: not negative, and each row with a sum of one; got a smallest "
            f"entry of {values.min():.4g} and a sum of {totals[worst]:.6g} in row {worst}"
        )
    return probabilities
