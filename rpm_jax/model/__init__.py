"""Models: which parts, and the one bound."""

from rpm_jax.model._blocks import map_blocks, recognise_in_blocks
from rpm_jax.model._bound import batch_terms, bound, check_em, em_terms, see, weighted
from rpm_jax.model._evaluation import EVALUATED_AT_ONCE, MOST_EVALUATED, bounds, evenly_spread, mean_bound
from rpm_jax.model._fitted import Fitted, check_model
from rpm_jax.model._implicit import ImplicitRPM, complete
from rpm_jax.model._joint import JointRPM
from rpm_jax.model._local import LocalLatentRPM, LocalOutputs
from rpm_jax.model._mixture import components_of, held_mixture, log_mixture_values
from rpm_jax.model._parts import groups_by_part, initial_sites, prior_at
from rpm_jax.model._pooling import pool_components
from rpm_jax.model._protocol import Model, Terms, ability, is_model, require_ability
from rpm_jax.model._records import Components, Factors, Inferred, Mixture, Posteriors
from rpm_jax.model._rpm import BATCH_SIZE, EXACT_BATCH_SIZE, RPM

__all__ = [
    "BATCH_SIZE",
    "EVALUATED_AT_ONCE",
    "EXACT_BATCH_SIZE",
    "MOST_EVALUATED",
    "RPM",
    "Components",
    "Factors",
    "Fitted",
    "ImplicitRPM",
    "Inferred",
    "JointRPM",
    "LocalLatentRPM",
    "LocalOutputs",
    "Mixture",
    "Model",
    "Posteriors",
    "Terms",
    "ability",
    "batch_terms",
    "bound",
    "bounds",
    "check_em",
    "check_model",
    "complete",
    "components_of",
    "em_terms",
    "evenly_spread",
    "groups_by_part",
    "held_mixture",
    "initial_sites",
    "is_model",
    "log_mixture_values",
    "map_blocks",
    "mean_bound",
    "pool_components",
    "prior_at",
    "recognise_in_blocks",
    "require_ability",
    "see",
    "weighted",
]
