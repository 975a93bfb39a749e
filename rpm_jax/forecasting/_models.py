"""Which models and data these questions are for."""

from typing import Any

from rpm_jax.data import Data, as_data
from rpm_jax.inference import Against, infer_all, inferred


def require_prior(question: str, model: Any) -> None:
    """Raise `TypeError` for models whose posterior is not a prior conditioned on potentials of its sites."""
    if not (hasattr(model, "potentials_at") and hasattr(model, "prior_of")):
        raise TypeError(
            f"{question} asks how the prior goes on from what the views say of each site, which it takes an "
            f"rpm_jax.RPM for (a model with prior_of and potentials_at), got {type(model).__name__}; refit "
            "the same prior and factors as an RPM"
        )


def inferred_of(fitted: Any, data: Any, against: Against | str) -> tuple[Any, Data]:
    """What the model infers for data, or for those of the fit where these are None; and the data."""
    if data is None:
        return inferred(fitted), as_data(fitted.data)
    return infer_all(fitted, data, against=against), as_data(data)


def views_of(fitted: Any) -> tuple:
    """The views of the fit."""
    return as_data(fitted.data).views
