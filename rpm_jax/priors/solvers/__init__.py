"""How Gaussian processes are computed: with dense covariances, as Markov chains, or by inducing locations.

    priors.gaussian_process(times, kernels.Matern(1.5))                              # the faster one
    priors.gaussian_process(times, kernels.Matern(1.5), solver=solvers.markov())

    priors.gaussian_process(locations, kernels.RBF(), solver=solvers.inducing(50))   # a bound, many sites

All are the same prior. A solver is any object with the members of `Solver`.
"""

from rpm_jax.priors.solvers._base import Solver
from rpm_jax.priors.solvers._choice import as_solver, default
from rpm_jax.priors.solvers._dense import Dense, dense
from rpm_jax.priors.solvers._inducing import Inducing, inducing
from rpm_jax.priors.solvers._markov import Markov, markov

__all__ = ["Dense", "Inducing", "Markov", "Solver", "as_solver", "default", "dense", "inducing", "markov"]
