"""Priors over T latent sites, all with one operation: condition on site potentials.

    posterior = prior.condition(potentials)      # q(Z) ∝ p(Z) exp Σ_t ⟨λ_t, t(z_t)⟩

Classes are priors; functions in lower case are specifications of priors with learnable parameters
(`init(key) -> params`, `apply(params) -> prior`).
"""

from rpm_jax.priors import kernels
from rpm_jax.priors._base import Posterior, Prior, PriorSpec, SitePosterior
from rpm_jax.priors._gaussian_process import GaussianProcess, GaussianProcessPosterior
from rpm_jax.priors._hidden_markov import HiddenMarkov, HiddenMarkovPosterior, TransitionCounts
from rpm_jax.priors._hidden_markov_spec import hidden_markov
from rpm_jax.priors._independent import Independent
from rpm_jax.priors._specs import (
    as_spec,
    fixed,
    gaussian_process,
    joint_gaussian_process,
    static,
    tridiagonal_gaussian_process,
)
from rpm_jax.priors._static import Static
from rpm_jax.priors._topics import DirichletCategorical, DirichletCategoricalPosterior
from rpm_jax.priors._topics_spec import dirichlet_topics

__all__ = [
    "DirichletCategorical",
    "DirichletCategoricalPosterior",
    "GaussianProcess",
    "GaussianProcessPosterior",
    "HiddenMarkov",
    "HiddenMarkovPosterior",
    "Independent",
    "Posterior",
    "Prior",
    "PriorSpec",
    "SitePosterior",
    "Static",
    "TransitionCounts",
    "as_spec",
    "dirichlet_topics",
    "fixed",
    "gaussian_process",
    "hidden_markov",
    "joint_gaussian_process",
    "kernels",
    "static",
    "tridiagonal_gaussian_process",
]
