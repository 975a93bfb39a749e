"""Hidden Markov chains as what moves their states."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.expfam import Categorical
from rpm_jax.priors._categorical_belief import CategoricalBelief
from rpm_jax.priors._dynamics import Step


@dataclass(frozen=True)
class HiddenMarkovDynamics:
    """Log-probabilities of transitions: of all steps, of each step, or by inputs.

    Attributes:
        initial: log p(z_1), shape (K,).
        transition: Shape (K, K), or (T − 1, K, K) of each step; or a function of a step's inputs (n, ...).
        check: Raises for known inputs that the prior does not know; or None.
    """

    initial: Array
    transition: Any
    check: Callable[[Any], None] | None = None
    clock: ClassVar[None] = None
    takes_times: ClassVar[bool] = False

    @property
    def takes_inputs(self) -> bool:
        """Whether transitions depend on inputs."""
        return callable(self.transition)

    @property
    def start(self) -> CategoricalBelief:
        """The initial state."""
        return CategoricalBelief(self.initial)

    @property
    def num_sites(self) -> int | None:
        """How many sites there are, where each step has a transition of its own; else None."""
        return None if callable(self.transition) or self.transition.ndim == 2 else len(self.transition) + 1

    def moved(self, belief: CategoricalBelief, step: Step) -> CategoricalBelief:
        """Of the next state."""
        if callable(self.transition):
            return belief.moved(self.transition(step.inputs))
        if self.transition.ndim == 2:
            return belief.moved(self.transition)
        return belief.moved(self.transition.at[step.site - 1].get(mode="fill", fill_value=jnp.nan))

    def check_inputs(self, inputs: Any) -> None:
        """Raise `ValueError` for known inputs that the prior does not know."""
        if self.check is not None:
            self.check(inputs)

    def from_sites(self, sites: Categorical) -> CategoricalBelief:
        """The state is the latent."""
        return CategoricalBelief(jax.nn.log_softmax(sites.logits))

    def from_latents(self, latents: Array) -> CategoricalBelief:
        """The same, sure of it."""
        return self.start.given(latents)
