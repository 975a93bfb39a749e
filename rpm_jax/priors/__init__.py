"""Priors over T latent sites, all with one operation: condition on site potentials.

    posterior = prior.condition(potentials)      # q(Z) ∝ p(Z) exp Σ_t ⟨λ_t, t(z_t)⟩

Classes are priors; functions in lower case make specifications of priors with learnable parameters
(`init(key) -> params`, `apply(params) -> prior`), records named `Learnable...` or `Fixed`.
"""

from rpm_jax.priors import kernels, solvers
from rpm_jax.priors._base import (
    Posterior,
    Prior,
    PriorSpec,
    RelativePrior,
    SitePosterior,
    divergence_from_prior,
    sum_over_sites,
)
from rpm_jax.priors._driven_linear_gaussian_spec import (
    LearnableDrivenLinearGaussian,
    driven_linear_gaussian,
)
from rpm_jax.priors._driving_inputs import InputTable
from rpm_jax.priors._dynamics import Belief, Dynamics, Step, dynamics_of
from rpm_jax.priors._filtered import filtered
from rpm_jax.priors._fixed import Fixed, as_spec, fixed
from rpm_jax.priors._future import Future, extended
from rpm_jax.priors._gaussian_process import GaussianProcess, GaussianProcessPosterior
from rpm_jax.priors._gaussian_process_of_times import LearnableGaussianProcessOfTimes
from rpm_jax.priors._gaussian_process_spec import (
    LearnableGaussianProcess,
    LearnableJointGaussianProcess,
    gaussian_process,
    joint_gaussian_process,
)
from rpm_jax.priors._hidden_markov import HiddenMarkov, HiddenMarkovPosterior, TransitionCounts
from rpm_jax.priors._hidden_markov_constructor import hidden_markov
from rpm_jax.priors._hidden_markov_spec import LearnableHiddenMarkov
from rpm_jax.priors._independent import Independent
from rpm_jax.priors._inducing_gaussian_process import InducingGaussianProcess, InducingPosterior
from rpm_jax.priors._input_driven_markov import InputDrivenHiddenMarkov
from rpm_jax.priors._linear_gaussian import LinearGaussian, LinearGaussianPosterior
from rpm_jax.priors._linear_gaussian_spec import LearnableLinearGaussian, linear_gaussian
from rpm_jax.priors._markov_gaussian_process import MarkovGaussianProcess, MarkovGaussianProcessPosterior
from rpm_jax.priors._mixed_gaussian_process import MixedGaussianProcess, MixedGaussianProcessPosterior
from rpm_jax.priors._mixed_gaussian_process_spec import LearnableMixedGaussianProcess, mixed_gaussian_process
from rpm_jax.priors._static import Static
from rpm_jax.priors._static_spec import LearnableStatic, static
from rpm_jax.priors._times import as_locations
from rpm_jax.priors._topics import DirichletCategorical, DirichletCategoricalPosterior
from rpm_jax.priors._topics_spec import LearnableDirichletTopics, dirichlet_topics
from rpm_jax.priors._tridiagonal_spec import (
    LearnableTridiagonalGaussianProcess,
    tridiagonal_gaussian_process,
)

__all__ = [
    "Belief",
    "DirichletCategorical",
    "DirichletCategoricalPosterior",
    "Dynamics",
    "Fixed",
    "Future",
    "GaussianProcess",
    "GaussianProcessPosterior",
    "HiddenMarkov",
    "HiddenMarkovPosterior",
    "Independent",
    "InducingGaussianProcess",
    "InducingPosterior",
    "InputDrivenHiddenMarkov",
    "InputTable",
    "LearnableDirichletTopics",
    "LearnableDrivenLinearGaussian",
    "LearnableGaussianProcess",
    "LearnableGaussianProcessOfTimes",
    "LearnableHiddenMarkov",
    "LearnableJointGaussianProcess",
    "LearnableLinearGaussian",
    "LearnableMixedGaussianProcess",
    "LearnableStatic",
    "LearnableTridiagonalGaussianProcess",
    "LinearGaussian",
    "LinearGaussianPosterior",
    "MarkovGaussianProcess",
    "MarkovGaussianProcessPosterior",
    "MixedGaussianProcess",
    "MixedGaussianProcessPosterior",
    "Posterior",
    "Prior",
    "PriorSpec",
    "RelativePrior",
    "SitePosterior",
    "Static",
    "Step",
    "TransitionCounts",
    "as_locations",
    "as_spec",
    "dirichlet_topics",
    "divergence_from_prior",
    "driven_linear_gaussian",
    "dynamics_of",
    "extended",
    "filtered",
    "fixed",
    "gaussian_process",
    "hidden_markov",
    "joint_gaussian_process",
    "kernels",
    "linear_gaussian",
    "mixed_gaussian_process",
    "solvers",
    "static",
    "sum_over_sites",
    "tridiagonal_gaussian_process",
]
