"""Specifications of Markov chains, by what they depend on."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_boolean, require_finite
from rpm_jax.priors._fixed import Fixed
from rpm_jax.priors._hidden_markov_spec import LearnableHiddenMarkov
from rpm_jax.priors._input_driven_markov import InputDrivenHiddenMarkov


def hidden_markov(
    num_states: int,
    num_sites: int,
    *,
    initial: Array | None = None,
    transition: Array | None = None,
    stickiness: float = 0.0,
    learnable: bool = True,
    parallel: bool = False,
    inputs: Any = None,
) -> Any:
    """A Markov chain of categorical sites: with one view, the prior of a hidden Markov model.

    Without `initial` and `transition` it starts uniformly, and its transition logits are small random
    numbers, different between seeds.

    Args:
        num_states: K.
        num_sites: T.
        initial: p(z_1), shape (K,); the starting point if learnable.
        transition: p(z_t+1 = j | z_t = i) at [i, j], shape (K, K); the starting point if learnable.
        stickiness: Added to the diagonal of the random transition logits; positive makes states last.
        learnable: Whether the logits are learned: by gradients, or by `maximise`. Learned logits are
            finite, so that a probability of zero starts at the smallest normal number instead; if not
            learned it is zero.
        parallel: As in `HiddenMarkov`.
        inputs: What transitions depend on, step by step: `InputTable(num_values)` for a discrete input,
            or a network of each step's input, such as `rpm_jax.networks.PointwiseMLP`. The data then have
            inputs of shape (N, T − 1) or (N, T − 1, A), that of the step from t to t + 1 at t.

    Returns:
        A specification of a `HiddenMarkov`. A learnable one has `maximise(params, posterior)` too.

    Raises:
        ValueError: For numbers that are not positive integers, shapes that do not fit, or rows that are no
            probabilities.
    """
    require_boolean("learnable", learnable)
    require_boolean("parallel", parallel)
    require_finite("stickiness", jnp.asarray(stickiness))
    spec = LearnableHiddenMarkov(num_states, num_sites, initial, transition, stickiness, parallel)
    if inputs is not None:
        if not learnable:
            raise ValueError(
                "learnable=False: transitions that depend on inputs are learned; leave one of them out"
            )
        return InputDrivenHiddenMarkov(spec, inputs)
    if learnable:
        return spec
    params = spec.init(jax.random.key(0))
    given = {"initial": spec.initial, "transition": spec.transition}
    exact = {name: jnp.log(value) for name, value in given.items() if value is not None}
    return Fixed(spec.apply(params | exact))
