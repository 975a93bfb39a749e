"""Which solver is taken where none is named."""

from typing import Any

from rpm_jax.priors.kernels import Kernel, num_states
from rpm_jax.priors.solvers._base import Solver
from rpm_jax.priors.solvers._dense import Dense
from rpm_jax.priors.solvers._markov import Markov

CROSSOVER = {1: 20, 2: 20, 3: 30}
"""From how many sites on a chain of 1, 2, 3 states is faster than dense covariances; measured on a CPU by
`python -m benchmarks.gaussian_processes --what crossover`. More states are taken to need
20 sites for each."""


def default(kernel: Kernel, num_sites: int, num_dimensions: int) -> Solver:
    """The faster solver.

    Args:
        kernel: Of the process.
        num_sites: T.
        num_dimensions: Of locations (T, D); 0 for times.
    """
    states = num_states(kernel)
    if num_dimensions or states is None:
        return Dense()
    return Markov() if num_sites >= CROSSOVER.get(states, 20 * states) else Dense()


def as_solver(solver: Any) -> Solver:
    """A solver as it is.

    Raises:
        TypeError: For something else.
    """
    if not isinstance(solver, Solver) or isinstance(solver, type):
        raise TypeError(
            "solver must be of rpm_jax.priors.solvers, such as solvers.markov() or solvers.dense(), or None "
            f"for the faster one, got {solver!r}"
        )
    return solver
