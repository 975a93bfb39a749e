"""Closed-form M-steps of the prior between gradient steps of everything else."""

from typing import Any

from jax import Array

from rpm_jax._record import record
from rpm_jax.data import Data
from rpm_jax.inference import infer_data
from rpm_jax.model import RPM, ability


@record
class MaximisePrior:
    """Set the prior to its maximum-likelihood value given the posterior of all data.

    Attributes:
        model: The model; its prior's specification has `maximise(params, posterior, ...)`.
        pseudo_count: Of a symmetric Dirichlet prior on every distribution that is counted.
        perturbation: The weight of the uniform distribution in the new transitions at the start of the run;
            it falls linearly to 0.
    """

    model: Any
    pseudo_count: float = 0.0
    perturbation: float = 0.0

    def __call__(self, params: dict[str, Any], data: Data, fraction: Array) -> dict[str, Any]:
        """Parameters with the prior maximised."""
        inputs = {} if data.inputs is None else {"inputs": data.inputs}
        components = data if ability(self.model, "needs_mixture", True) else None
        prior = self.model.prior.maximise(
            params["prior"],
            infer_data(self.model, params, data, components).posterior,
            pseudo_count=self.pseudo_count,
            perturbation=self.perturbation * (1.0 - fraction),
            **inputs,
        )
        return {**params, "prior": prior}


def maximise_prior(model: RPM, *, pseudo_count: float = 0.0, perturbation: float = 0.0) -> MaximisePrior:
    """An `update` for `fit`: the prior's closed-form M-step (Baum-Welch for a hidden Markov prior).

    Use it together with `freeze=("prior",)`, so that gradient steps leave the prior alone.

    Args:
        model: A model whose prior's specification has a closed-form M-step, such as `priors.hidden_markov`.
        pseudo_count: Added to every expected count.
        perturbation: The initial weight of uniform transitions, which keeps states from collapsing early on;
            it falls to 0 over the run.

    Raises:
        TypeError: For a prior without a closed-form M-step.
        ValueError: For weights out of range.
    """
    if not hasattr(model.prior, "maximise"):
        raise TypeError(
            f"model: its prior {type(model.prior).__name__} has no closed-form M-step (no method "
            "maximise(params, posterior)); learn it by gradient, the default"
        )
    if not pseudo_count >= 0 or not 0 <= perturbation < 1:
        raise ValueError(
            "pseudo_count must be at least 0 and perturbation in [0, 1), got "
            f"{pseudo_count} and {perturbation}"
        )
    return MaximisePrior(model, float(pseudo_count), float(perturbation))
