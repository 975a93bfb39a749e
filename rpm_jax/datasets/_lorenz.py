"""Neurons that follow a Lorenz attractor: counts of spikes, in groups, one view a group."""

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rpm_jax._checks import as_keys, is_concrete, require_number, require_positive_integer

PRANDTL, RAYLEIGH, ASPECT = 10.0, 28.0, 8.0 / 3.0
LARGEST_STEP = 0.005
"""Of the integration, in units of the attractor's time."""

BURN_IN = 10.0
"""Time before the first step, in which every path reaches the attractor."""


class LorenzSpikes(NamedTuple):
    """N paths on the Lorenz attractor, T steps each, seen by neurons in J groups; a pytree.

    Attributes:
        views: Counts, J arrays of shape (N, T, neurons of the group).
        states: Where the paths are, each coordinate with mean 0 and variance 1 over all of them, (N, T, 3).
        times: In units of the attractor's time, from 0, shape (T,).
        rates: Expected counts, shape (N, T, neurons).
        weights: Of the states in the logarithms of the rates, shape (3, neurons).
    """

    views: tuple[Array, ...]
    states: Array
    times: Array
    rates: Array
    weights: Array

    @property
    def counts(self) -> Array:
        """All neurons, shape (N, T, neurons)."""
        return jnp.concatenate(self.views, axis=-1)

    def split(self, num_first: int) -> tuple[Self, Self]:
        """Part the paths in two.

        Args:
            num_first: How many go to the first part, 0 < num_first < N.

        Returns:
            The first `num_first` paths and the others, of the same neurons.

        Raises:
            ValueError: If either part would be empty.
        """
        size = self.states.shape[-3]
        require_positive_integer("LorenzSpikes.split: num_first", num_first)
        if num_first >= size:
            raise ValueError(
                f"LorenzSpikes.split: num_first must be less than the {size} paths there are, got {num_first}"
            )
        return self._paths(slice(None, num_first)), self._paths(slice(num_first, None))

    def _paths(self, which: slice) -> Self:
        return self._replace(
            views=tuple(view[..., which, :, :] for view in self.views),
            states=self.states[..., which, :, :],
            rates=self.rates[..., which, :, :],
        )


def lorenz_spikes(
    key: Array,
    *,
    num_sequences: int = 40,
    num_steps: int = 100,
    num_neurons: int = 200,
    num_groups: int = 10,
    step: float = 0.02,
    base_rate: float = 0.3,
    modulation: float = 0.7,
) -> LorenzSpikes:
    """Neurons that count: Poisson with a rate that is log-linear in the state of a Lorenz attractor.

        ẋ = σ(y − x),   ẏ = x(ρ − z) − y,   ż = xy − βz,   σ = 10, ρ = 28, β = 8/3
        count_ntd ~ Poisson(r exp(w_dᵀ s_nt − ‖w_d‖²/2)),   w_d = m u_d, u_d uniform on the unit sphere

    with s the standardised state, for which the mean rate of every neuron would be r if s were normal. Paths
    start at random and have reached the attractor at the first step. Neurons are in groups of sizes as alike
    as possible, in order. Can be jitted and mapped over keys; the sizes and the step are Python numbers.

    Args:
        key: One JAX random key.
        num_sequences: N.
        num_steps: T.
        num_neurons: D.
        num_groups: J, the number of views.
        step: Time between two steps, in units of the attractor's (an orbit takes about 0.75).
        base_rate: r, counts per step.
        modulation: m, standard deviation of a neuron's log-rate.

    Returns:
        The counts as floats, with states and rates.

    Raises:
        TypeError: If `key` is no random key.
        ValueError: If a size is no positive integer, there are fewer neurons than groups, or a number is not
            positive.
    """
    name = "lorenz_spikes"
    key = as_keys(f"{name}: key", key, 0)
    sizes = {"num_sequences": num_sequences, "num_steps": num_steps, "num_neurons": num_neurons}
    for argument, size in {**sizes, "num_groups": num_groups}.items():
        require_positive_integer(f"{name}: {argument}", size)
    if num_groups > num_neurons:
        raise ValueError(f"{name}: num_groups must be at most num_neurons = {num_neurons}, got {num_groups}")
    for argument, number in {"step": step, "base_rate": base_rate, "modulation": modulation}.items():
        if is_concrete(number):
            require_number(f"{name}: {argument}", number, above=0.0)
    path_key, weight_key, count_key = jax.random.split(key, 3)
    paths = _paths(path_key, num_sequences, num_steps, step)
    states = (paths - paths.mean((0, 1))) / paths.std((0, 1))
    directions = jax.random.normal(weight_key, (3, num_neurons), states.dtype)
    weights = modulation * directions / jnp.linalg.norm(directions, axis=0)
    rates = base_rate * jnp.exp(jnp.matmul(states, weights, precision="highest") - 0.5 * modulation**2)
    counts = jax.random.poisson(count_key, rates).astype(rates.dtype)
    edges = np.cumsum([len(part) for part in np.array_split(np.arange(num_neurons), num_groups)])[:-1]
    views = tuple(jnp.split(counts, edges.tolist(), axis=-1))
    return LorenzSpikes(views, states, step * jnp.arange(num_steps, dtype=states.dtype), rates, weights)


def _paths(key: Array, num_sequences: int, num_steps: int, step: float) -> Array:
    """Paths on the attractor by Runge-Kutta of order 4, shape (N, T, 3)."""
    num_parts = int(np.ceil(step / LARGEST_STEP - 1e-9))
    size = step / num_parts
    start = jnp.array([0.0, 0.0, RAYLEIGH - 1]) + 5.0 * jax.random.normal(key, (num_sequences, 3))

    def advance(state: Array, _: Any) -> tuple[Array, None]:
        first = _velocity(state)
        second = _velocity(state + 0.5 * size * first)
        third = _velocity(state + 0.5 * size * second)
        fourth = _velocity(state + size * third)
        return state + size / 6 * (first + 2 * second + 2 * third + fourth), None

    def record(state: Array, _: Any) -> tuple[Array, Array]:
        return lax.scan(advance, state, None, length=num_parts)[0], state

    state, _ = lax.scan(advance, start, None, length=int(np.ceil(BURN_IN / size)))
    return jnp.moveaxis(lax.scan(record, state, None, length=num_steps)[1], 0, 1)


def _velocity(state: Array) -> Array:
    x, y, z = state[..., 0], state[..., 1], state[..., 2]
    return jnp.stack([PRANDTL * (y - x), x * (RAYLEIGH - z) - y, x * y - ASPECT * z], axis=-1)
