"""How Gaussian processes are computed: with dense covariances, or as Markov chains of a few states.

    priors.gaussian_process(times, kernels.Matern(1.5))                              # the faster one
    priors.gaussian_process(times, kernels.Matern(1.5), solver=solvers.markov())

Both are the same prior. A solver is any object with the members of `Solver`.
"""

from rpm_jax.priors.solvers._base import Solver
from rpm_jax.priors.solvers._choice import as_solver, default
from rpm_jax.priors.solvers._dense import Dense, dense
from rpm_jax.priors.solvers._markov import Markov, markov

__all__ = ["Dense", "Markov", "Solver", "as_solver", "default", "dense", "markov"]
