"""Objectives in the place of the bound: importance weighting, and score matching of implicit models."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax._record import record
from rpm_jax.data import Batch, Data
from rpm_jax.diagnostics import has_differentiable_draws, importance_weighted_bound
from rpm_jax.model import require_ability


@record
class ImportanceWeighted:
    """Minus the mean importance-weighted bound of a batch, with the mixtures F_j themselves at K draws of q.

        −1/B Σ_n log 1/K Σ_k p(Z_k) ∏_jt [f_jt(z_kt|x_jt^n)/F_jt(z_kt)] / q(Z_k|X^n),   Z_k ~ q(Z|X^n)

    An alternative to the inner bound, which it exceeds in expectation for every K ≥ 1 and the same q: there
    is no auxiliary distribution, whose parameters it leaves alone. A step costs B·K·N·J·T densities in the
    place of B·N·J·T log-partitions, and its gradient is noisy. Draws are new in every step; gradients are
    those of reparametrised draws.

    Attributes:
        model: A model with continuous latents whose draws are differentiable: Gaussian families and
            processes, Gamma, Beta, Dirichlet.
        num_samples: K.

    References:
        Burda, Grosse & Salakhutdinov, Importance weighted autoencoders, ICLR 2016.
    """

    model: Any
    num_samples: int = 10

    def __post_init__(self) -> None:
        """Refuse latents whose draws have no derivative."""
        require_ability(self.model, "evidence", "objective: ImportanceWeighted")
        require_positive_integer("num_samples", self.num_samples)
        if not has_differentiable_draws(self.model):
            raise TypeError(
                "model: importance-weighted gradients need differentiable draws of q, as of Gaussian, Gamma, "
                "Beta and Dirichlet latents, and those of this prior are not; leave out objective for the "
                "inner bound (the exact likelihood, for categorical latents)"
            )

    def __call__(self, params: Any, batch: Batch, data: Data, key: Array) -> Array:
        """The loss of a batch."""
        bound = importance_weighted_bound(self.model, params, batch, data, key, num_samples=self.num_samples)
        return -jnp.mean(bound)


@record
class ScoreMatching:
    """The mean score matching loss of a batch.

    Attributes:
        model: An implicit model with marginals and smooth networks.
        weight: h of `rpm_jax.objectives.score_matching`, from the tuple of views to a tuple like it; for data
            with a boundary at which their density does not vanish.
    """

    model: Any
    weight: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        """Refuse models without a density."""
        require_ability(self.model, "score_matching", "objective: ScoreMatching")

    def __call__(self, params: Any, batch: Batch, data: Data, key: Array) -> Array:
        """The loss of a batch."""
        del data, key
        views = Data(batch.views, batch.mask)
        return jnp.mean(self.model.score_matching(params, views, weight=self.weight))


@record
class SlicedScoreMatching:
    """The mean sliced score matching loss of a batch, with new random projections in every step.

    Attributes:
        model: As for `ScoreMatching`.
        num_projections: Products with the Hessian per datum.
        weight: As for `ScoreMatching`.
    """

    model: Any
    num_projections: int = 1
    weight: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        """Refuse models without a density."""
        require_ability(self.model, "sliced_score_matching", "objective: SlicedScoreMatching")
        require_positive_integer("num_projections", self.num_projections)

    def __call__(self, params: Any, batch: Batch, data: Data, key: Array) -> Array:
        """The loss of a batch."""
        del data
        loss = self.model.sliced_score_matching(
            params,
            Data(batch.views, batch.mask),
            key,
            num_projections=self.num_projections,
            weight=self.weight,
        )
        return jnp.mean(loss)
