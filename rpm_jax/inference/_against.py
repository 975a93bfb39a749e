"""How data are treated that the model was not fitted on."""

import math
from typing import Any

from rpm_jax._checks import require_choice, require_positive_integer
from rpm_jax._record import record
from rpm_jax.data import MIXTURES


@record
class Against:
    """Whose factors the mixtures F_j average when data are evaluated, and how rows for them are found.

    Attributes:
        components: "train" for the data of the fit, "given" for the data that are evaluated, "both" for their
            union.
        num_steps: Steps of Adam on rows for new data, where a strategy is saturated.
        learning_rate: Of these steps.
    """

    components: str = "train"
    num_steps: int = 500
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        """Check the options."""
        require_choice("against (or its components)", self.components, MIXTURES)
        require_positive_integer("against.num_steps", self.num_steps)
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"against.learning_rate must be positive and finite, got {self.learning_rate!r}")


def as_against(against: Any) -> Against:
    """`Against` as it is, or by the name of its components."""
    return against if isinstance(against, Against) else Against(against)
