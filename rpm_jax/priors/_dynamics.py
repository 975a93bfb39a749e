"""Priors as what moves a state from site to site: for filtering and rollouts, a step at a time."""

from typing import Any, NamedTuple, Protocol, Self

from jax import Array


class Step(NamedTuple):
    """From one site to the next.

    Attributes:
        site: The number of the site that it leads to, from 1 on, an integer array.
        inputs: What drives it, shape (n, ...), or None.
        times: Of the two sites, shape () or (n,) each, or None where the prior has none.
    """

    site: Array
    inputs: Any = None
    times: tuple[Array, Array] | None = None


class Belief(Protocol):
    """A distribution of the state at a site, of batch shape (n,), and so of the latents there."""

    def absorb(self, potential: Any) -> Self:
        """The belief after a potential of the site's family, batch shape (n,)."""
        ...

    @property
    def sites(self) -> Any:
        """The marginal of the latents, a family of batch shape (n,)."""
        ...

    def draw(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """States, shape `shape` + (n,) + event."""
        ...

    def given(self, state: Array) -> Self:
        """The belief that is sure of a state, whose axes before the event are its batch."""
        ...

    def latents(self, state: Array) -> Array:
        """The latents that a state has, shape (n, K), or (n,) of discrete ones."""
        ...

    def repeated(self, size: int) -> Self:
        """A belief without batch axes, n times."""
        ...


class Dynamics(Protocol):
    """A prior with its parameters, a step at a time.

    Optional: `check_inputs(inputs)` raises `ValueError` for known inputs that the prior does not know.

    Attributes:
        start: The belief at the first site, without batch axes.
        num_sites: T, where steps behind the last site are not known; else None.
        clock: The time of a site by its number, a function; None where the prior has no times, or each datum
            its own.
        takes_times: Whether steps need the times of their sites.
        takes_inputs: Whether steps need inputs.
    """

    start: Any
    num_sites: int | None
    clock: Any
    takes_times: bool
    takes_inputs: bool

    def moved(self, belief: Any, step: Step) -> Any:
        """The belief at the next site, before its potential."""
        ...

    def from_sites(self, sites: Any) -> Any:
        """The belief whose marginal is a family of batch shape (n,).

        Raises:
            TypeError: Where latents do not say all of the state.
        """
        ...

    def from_latents(self, latents: Array) -> Any:
        """The belief that is sure of latents (n, K), or (n,) of discrete ones; raises as `from_sites`."""
        ...


def dynamics_of(spec: Any, params: Any) -> Any:
    """The prior of a specification, a step at a time.

    Raises:
        TypeError: For a prior that is no chain of states.
    """
    if not hasattr(spec, "dynamics"):
        raise TypeError(no_dynamics(spec))
    return spec.dynamics(params)


def no_dynamics(prior: Any) -> str:
    """Why it cannot be taken a step at a time."""
    return (
        f"the prior {type(prior).__name__} is no chain of states that steps lead from site to site (it has "
        "no dynamics(params)); hidden Markov chains, linear-Gaussian chains and Gaussian processes with "
        "solver=solvers.markov() are"
    )
