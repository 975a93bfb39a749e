"""A model with parameters and the data they were fitted on: what questions are asked of."""

from typing import Any

from rpm_jax._record import record
from rpm_jax.data import Data, as_data
from rpm_jax.model._protocol import Model, is_model


@record
class Fitted:
    """A model, its parameters, and the data of the fit, which are the components of its mixtures.

    Every question (`rpm_jax.inference`, `diagnostics`, `generation`) is a function of one of these, or of a
    `Fit` or of anything else with these three attributes.

    Attributes:
        model: The model.
        params: Its parameters.
        data: The data of the fit, `Data` or a tuple of J views.
    """

    model: Model
    params: Any
    data: Data

    def __post_init__(self) -> None:
        """Check model and data."""
        check_model(self.model)
        object.__setattr__(self, "data", as_data(self.data, name="data"))


def check_model(model: Any) -> None:
    """Raise `TypeError` for anything that is not a model."""
    if not is_model(model):
        got = type(model).__name__
        if isinstance(model, type):
            got = f"the class {model.__name__}; make an instance of it"
        raise TypeError(
            "model must be a model such as rpm_jax.RPM(prior, factors), or an object of one's own with "
            "the methods "
            f"of rpm_jax.model.Model, got {got}"
        )
