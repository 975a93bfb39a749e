"""A categorical Markov chain prior: the latent process of a hidden Markov model."""

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rpm_jax._checks import is_concrete, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax._linalg import transpose
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.expfam import Categorical
from rpm_jax.priors._base import check_potentials
from rpm_jax.priors._future import Future
from rpm_jax.priors._hidden_markov_dynamics import HiddenMarkovDynamics
from rpm_jax.priors._markov_messages import (
    batch_indices,
    expected_transitions,
    finite_maximum,
    pairwise_marginals,
    smooth,
)


class TransitionCounts(NamedTuple):
    """Expected numbers of events, the sufficient statistics of a chain's parameters.

    Counts of several batches add up: `jax.tree.map(jnp.add, counts, others)`.

    Attributes:
        initial: Σ q(z_1 = k), shape (K,).
        transition: Σ_t q(z_t = i, z_t+1 = j), shape (K, K).
    """

    initial: Array
    transition: Array


@pytree_dataclass
class HiddenMarkov:
    """p(Z) = p(z_1) ∏_t p(z_t+1 | z_t): a Markov chain of T sites with K states.

    Sites are `Categorical`s of K states. Logits are normalised inside; −∞ forbids a state or a transition.

    Attributes:
        initial_logits: log p(z_1 = k) up to a constant, shape (K,).
        transition_logits: [i, j] is log p(z_t+1 = j | z_t = i) up to a constant in each row, shape (K, K); or
            that of every step, shape (T − 1, K, K), and of every datum too, (..., T − 1, K, K).
        num_sites: T.
        parallel: Whether messages are computed by an associative scan over the sites, in O(log T) steps of
            K times the work, for accelerators with room to spare; otherwise in T steps, one after another.
        varying: Whether each step has a transition of its own, by the shape of the logits.
    """

    initial_logits: Array
    transition_logits: Array
    num_sites: int = static_field()
    parallel: bool = static_field(default=False)
    varying: bool = static_field(default=False, init=False)

    def __post_init__(self) -> None:
        """Convert to floating point, and check shapes and values."""
        require_positive_integer("num_sites", self.num_sites)
        initial, transition = jnp.asarray(self.initial_logits), jnp.asarray(self.transition_logits)
        if initial.ndim != 1 or initial.shape[0] == 0 or transition.shape[-2:] != initial.shape * 2:
            raise ValueError(
                f"HiddenMarkov: initial_logits and transition_logits must have shapes (K,) and (K, K), got "
                f"{initial.shape} and {transition.shape}; those of every step have shape (..., T - 1, K, K)"
            )
        if transition.ndim > 2 and transition.shape[-3] != self.num_sites - 1:
            raise ValueError(
                f"HiddenMarkov: transition_logits of every step must be those of the T - 1 = "
                f"{self.num_sites - 1} steps between {self.num_sites} sites, got shape {transition.shape}"
            )
        object.__setattr__(self, "varying", transition.ndim > 2)
        dtype = jnp.result_type(initial, transition, 0.0)
        for name, logits in (("initial_logits", initial), ("transition_logits", transition)):
            _check_logits(name, logits)
            object.__setattr__(self, name, logits.astype(dtype))

    @classmethod
    def from_counts(
        cls,
        counts: TransitionCounts,
        num_sites: int,
        *,
        pseudo_count: float | Array = 0.0,
        perturbation: float | Array = 0.0,
        parallel: bool = False,
    ) -> Self:
        """The closed-form M-step: the chain that maximises Σ counts · log-probabilities.

            p(z_1 = k) ∝ c_k + a,   A_ij ∝ c_ij + a,   p(z_t+1 = j | z_t = i) = (1 − w) A_ij + w / K

        where A's rows sum to one; rows without any count are uniform.

        Args:
            counts: Not negative, shapes (K,) and (K, K), as from `HiddenMarkovPosterior.expected_counts`.
            num_sites: T.
            pseudo_count: a ≥ 0, added to every count: the maximum a posteriori under a symmetric Dirichlet
                prior of concentration 1 + a on each row.
            perturbation: w in [0, 1), which keeps states from falling out of use early in training; 0 is
                the maximiser. It does not touch the initial distribution.
            parallel: As in the class.

        Raises:
            ValueError: For numbers out of these ranges.

        References:
            Baum et al. 1970. The perturbation is that of the code of Walker et al. 2023 (AISTATS), with
            λ = 1 − w.
        """
        initial, transition = (jnp.asarray(count) for count in counts)
        if initial.ndim != 1 or transition.shape != initial.shape * 2:
            raise ValueError(
                f"counts must have shapes (K,) and (K, K), got {initial.shape} and {transition.shape}"
            )
        for name, count in (("counts.initial", initial), ("counts.transition", transition)):
            if is_concrete(count) and not np.all((np.asarray(count) >= 0) & np.isfinite(np.asarray(count))):
                raise ValueError(f"{name} must be finite and not negative, got {count}")
        _require_within("pseudo_count", pseudo_count, "at least 0 and finite", float("inf"))
        _require_within("perturbation", perturbation, "at least 0 and less than 1", 1.0)
        rows = _normalise_counts(transition + pseudo_count)
        rows = (1.0 - perturbation) * rows + perturbation / rows.shape[-1]
        initial = _normalise_counts(initial + pseudo_count)
        return cls(jnp.log(initial), jnp.log(rows), num_sites, parallel)

    @property
    def initial(self) -> Array:
        """The log-probabilities log p(z_1), shape (K,)."""
        return jax.nn.log_softmax(self.initial_logits)

    @property
    def transition(self) -> Array:
        """The log-probabilities log p(z_t+1 = j | z_t = i) at [i, j], of the shape of the logits."""
        return jax.nn.log_softmax(self.transition_logits, axis=-1)

    def sites(self) -> Categorical:
        """The marginals p(z_t), batch shape (T,), or (..., T) where data differ, with normalised logits."""
        batch = self.transition_logits.shape[:-3] if self.varying else ()
        shape = (*batch, self.num_sites, *self.initial_logits.shape)
        potentials = jnp.zeros(shape, self.initial_logits.dtype)
        _, predicted, _ = smooth(self.parallel, self.initial, self.transition, potentials)
        return Categorical(predicted)

    def filter(self, potentials: Categorical) -> Categorical:
        """The marginals given the potentials up to each site, batch shape (..., T), in O(T)."""
        return self.condition(potentials).filtered

    def extended(self, future: Future) -> "HiddenMarkov":
        """The chain of T + h sites, where all steps are alike."""
        future.refuse_inputs(self)
        future.refuse_times(self)
        if self.varying:
            raise ValueError(
                "horizon: the transitions of this HiddenMarkov differ by step, and what those behind its "
                f"{self.num_sites} sites are is not known; make the prior of all sites, and mask the future"
            )
        return HiddenMarkov(
            self.initial_logits, self.transition_logits, self.num_sites + future.horizon, self.parallel
        )

    def dynamics(self) -> HiddenMarkovDynamics:
        """The same a step at a time.

        Raises:
            TypeError: For a batch of chains.
        """
        if self.transition_logits.ndim > 3:
            raise TypeError("the prior is a batch of chains, of which a step at a time takes a single one")
        return HiddenMarkovDynamics(self.initial, self.transition)

    def condition(self, potentials: Categorical) -> "HiddenMarkovPosterior":
        """Condition on potentials λ_t at every site by forward and backward messages in log space.

            log_normalizer = log Σ_Z p(Z) exp Σ_t λ_t(z_t)

        Its derivative is Fisher's identity, d log_normalizer = Σ_t ⟨γ_t, dλ_t⟩ + Σ_t ⟨ξ_t, d log A⟩ +
        ⟨γ_1, d log π⟩, with γ and ξ the marginals of one and two neighbouring sites.

        Args:
            potentials: λ, batch shape (..., T), K states. −∞ excludes a state. They need no normalisation.

        Returns:
            The posterior, batch shape (...), that of the prior included. Where no path is left, its
            log_normalizer is −∞ and its marginals are NaN.
        """
        template = Categorical(
            jnp.broadcast_to(self.initial_logits, (self.num_sites, *self.initial_logits.shape))
        )
        check_potentials("HiddenMarkov", potentials, template)
        dtype = jnp.result_type(potentials.dtype, self.initial_logits.dtype)
        logits, initial, transition = (
            array.astype(dtype) for array in (potentials.logits, self.initial, self.transition)
        )
        if self.varying:
            batch = jnp.broadcast_shapes(logits.shape[:-2], transition.shape[:-3])
            logits = jnp.broadcast_to(logits, (*batch, *logits.shape[-2:]))
            missing = len(batch) + 3 - transition.ndim
            transition = transition.reshape(*(1,) * missing, *transition.shape)
        log_normalizer, predicted, sites = smooth(self.parallel, initial, transition, logits)
        return HiddenMarkovPosterior(
            log_normalizer,
            Categorical(sites),
            Categorical(predicted),
            Categorical(logits),
            transition,
            varying=self.varying,
        )


@pytree_dataclass
class HiddenMarkovPosterior:
    """A Markov chain conditioned on potentials λ: a Markov chain again, no longer homogeneous.

    Attributes:
        log_normalizer: Shape (...).
        sites: The smoothed marginals q(z_t), batch shape (..., T), with normalised logits.
        predicted: The chain given the potentials of earlier sites, p(z_t | λ_1..λ_t−1), batch shape
            (..., T), with normalised logits.
        potentials: λ, batch shape (..., T).
        transition: The prior's log-probabilities, from state i to j at [i, j], shape (K, K), or of every
            step, (..., T − 1, K, K).
        exact: True.
        varying: Whether they are of every step.
    """

    log_normalizer: Array
    sites: Categorical
    predicted: Categorical
    potentials: Categorical
    transition: Array
    exact: bool = static_field(default=True)
    varying: bool = static_field(default=False)

    @property
    def mean(self) -> Array:
        """The probabilities q(z_t = k), shape (..., T, K)."""
        return self.sites.mean()

    @property
    def standard_deviation(self) -> Array:
        """The standard deviations of the one-hot states' entries, shape (..., T, K)."""
        return jnp.sqrt(self.sites.variance())

    @property
    def filtered(self) -> Categorical:
        """The chain given the potentials up to each site, p(z_t | λ_1..λ_t), batch shape (..., T)."""
        return Categorical((self.predicted + self.potentials).log_probabilities)

    def pairwise(self) -> Array:
        """The marginals q(z_t = i, z_t+1 = j) of neighbouring sites, shape (..., T − 1, K, K)."""
        totals = (self.predicted + self.potentials).logits
        transition = self.aligned_transition
        transition = transition if self.varying else transition[..., None, :, :]
        return pairwise_marginals(totals, transition, self.sites.logits)

    def expected_counts(self) -> TransitionCounts:
        """The expected numbers of initial states and transitions, summed over the batch and the sites.

        initial_k = Σ_n q(z_1 = k),   transition_ij = Σ_n Σ_t q(z_t = i, z_t+1 = j)
        """
        return _expected_counts(self)

    def log_prob(self, states: Array) -> Array:
        """The log-probability log q(Z) of whole paths; of the best, `log_prob(most_probable())`.

        Args:
            states: Integers from 0 to K − 1, last axis T, whose other axes broadcast with the batch. Others
                give NaN.

        Returns:
            In nats, of the broadcast shape without T.
        """
        return _log_prob(self, jnp.asarray(states))

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw whole paths, integers of shape `shape` + (..., T), from the last site to the first.

        z_T ~ q(z_T),   z_t ~ p(z_t | z_t+1, λ_1..λ_t) ∝ p(z_t | λ_1..λ_t) p(z_t+1 | z_t)
        """
        return _sample(self, key, shape)

    def most_probable(self) -> Array:
        """The path of the highest probability (Viterbi), integers of shape (..., T).

        Its log-probability is `log_prob` of it. The steps are sequential whether or not the prior is
        `parallel`; of equally probable states the first is taken.
        """
        return _most_probable(self)

    @property
    def aligned_transition(self) -> Array:
        """The transition with an axis for each of the batch, of size 1 but where `vmap` made a batch."""
        if self.varying:
            return self.transition
        missing = self.potentials.logits.ndim - self.transition.ndim
        *batch, rows, columns = self.transition.shape
        return self.transition.reshape(*batch, *(1,) * missing, rows, columns)


# What a posterior computes, compiled once for all calls outside of `jit`.


def _by_step(posterior: HiddenMarkovPosterior) -> tuple[Any, Any]:
    """The transition of all steps and None, or None and those of every step, steps first."""
    transition = posterior.aligned_transition
    return (None, jnp.moveaxis(transition, -3, 0)) if posterior.varying else (transition, None)


@jax.jit
def _expected_counts(posterior: HiddenMarkovPosterior) -> TransitionCounts:
    totals = (posterior.predicted + posterior.potentials).logits
    initial = posterior.mean[..., 0, :]
    if posterior.varying:
        transition = jnp.sum(posterior.pairwise(), axis=-3)
    else:
        transition = expected_transitions(totals, posterior.aligned_transition, posterior.sites.logits)
    return TransitionCounts(
        jnp.sum(initial, axis=tuple(range(initial.ndim - 1))),
        jnp.sum(transition, axis=tuple(range(transition.ndim - 2))),
    )


@jax.jit
def _log_prob(posterior: HiddenMarkovPosterior, states: Array) -> Array:
    transition = posterior.aligned_transition
    # Negative numbers would count from the end.
    states = jnp.where(states < 0, transition.shape[-1], states)
    shape = jnp.broadcast_shapes(states.shape, posterior.potentials.batch_shape)
    states = jnp.broadcast_to(states, shape)
    logits = posterior.potentials.logits.at[..., 0, :].add(posterior.predicted.logits[..., 0, :])
    logits = jnp.broadcast_to(logits, (*shape, logits.shape[-1]))
    unary = jnp.take_along_axis(logits, states[..., None], axis=-1, mode="fill")[..., 0]
    batch = batch_indices(transition)
    if not posterior.varying:
        batch = tuple(index[..., None] for index in batch)
    steps = transition.at[(*batch, states[..., :-1], states[..., 1:])].get(mode="fill", fill_value=jnp.nan)
    return jnp.sum(unary, axis=-1) + jnp.sum(steps, axis=-1) - posterior.log_normalizer


@jit
def _sample(posterior: HiddenMarkovPosterior, key: Array, shape: tuple[int, ...]) -> Array:
    filtered = jnp.moveaxis(posterior.filtered.logits, -2, 0)
    shared, own = _by_step(posterior)
    keys = jax.random.split(key, filtered.shape[0])
    last = jax.random.categorical(keys[-1], filtered[-1], shape=shape + filtered.shape[1:-1])

    def step(later: Array, inputs: tuple[Array, Array, Any]) -> tuple[Array, Array]:
        step_key, logits, own = inputs
        transition = shared if own is None else own
        arrivals = transpose(transition)[(*batch_indices(transition), later)]
        states = jax.random.categorical(step_key, logits + arrivals)
        return states, states

    _, earlier = lax.scan(step, last, (keys[:-1], filtered[:-1], own), reverse=True)
    return jnp.moveaxis(jnp.concatenate([earlier, last[None]]), 0, -1)


@jax.jit
def _most_probable(posterior: HiddenMarkovPosterior) -> Array:
    potentials = jnp.moveaxis(posterior.potentials.logits, -2, 0)
    shared, own = _by_step(posterior)

    def forward(score: Array, inputs: tuple[Array, Any]) -> tuple[Array, Array]:
        potential, own = inputs
        candidates = (score + potential)[..., :, None] + (shared if own is None else own)
        best = jnp.max(candidates, axis=-2)
        return best - finite_maximum(best), jnp.argmax(candidates, axis=-2)

    score, origins = lax.scan(forward, posterior.predicted.logits[..., 0, :], (potentials[:-1], own))
    last = jnp.argmax(score + potentials[-1], axis=-1)

    def backward(state: Array, origin: Array) -> tuple[Array, Array]:
        state = jnp.take_along_axis(origin, state[..., None], axis=-1)[..., 0]
        return state, state

    _, earlier = lax.scan(backward, last, origins, reverse=True)
    return jnp.moveaxis(jnp.concatenate([earlier, last[None]]), 0, -1)


# Input.


def _check_logits(name: str, logits: Array) -> None:
    if not is_concrete(logits):
        return
    values = np.asarray(logits)
    if not np.all(values < np.inf):
        raise ValueError(
            f"{name} must be finite, or −inf for what is forbidden, got NaN or +inf among {logits}"
        )
    if not np.all(np.any(values > -np.inf, axis=-1)):
        raise ValueError(
            f"{name} must leave at least one state possible in every row, got a row of −inf only: {logits}"
        )


def _require_within(name: str, value: Any, expected: str, end: float) -> None:
    if is_concrete(value) and not 0 <= float(value) < end:
        raise ValueError(f"{name} must be {expected}, got {value}")


def _normalise_counts(counts: Array) -> Array:
    """Probabilities proportional to the counts of the last axis, uniform where there are none."""
    total = jnp.sum(counts, axis=-1, keepdims=True)
    return jnp.where(total > 0, counts / jnp.where(total > 0, total, 1.0), 1.0 / counts.shape[-1])
