"""Warm starts of the posterior and auxiliary strategies, with prior and factors held fixed."""

from typing import Any, NamedTuple

from rpm_jax._record import record
from rpm_jax.train._objectives import MatchAuxiliary, MatchPosterior, OwnLoss, strategies

DEFAULT_STEPS = 200
"""To match each network of a strategy."""


@record
class WarmStart:
    """How many steps to spend before the fit proper; strategies without parameters take none.

    Attributes:
        match_posterior: Make q the conjugate posterior of the initial factors.
        match_auxiliary: Make ξ the posterior's marginals.
        bound: Maximise the bound over q and ξ alone.
    """

    match_posterior: int = 0
    match_auxiliary: int = 0
    bound: int = 0

    def __post_init__(self) -> None:
        """Check that all are numbers of steps."""
        for name in ("match_posterior", "match_auxiliary", "bound"):
            steps = getattr(self, name)
            if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
                raise ValueError(f"warm_start.{name} must be a number of steps, 0 or more, got {steps!r}")


class Phase(NamedTuple):
    """A part of a run.

    Attributes:
        name: What it does.
        objective: What is minimised.
        num_steps: For how long.
        frozen: Parts of the model that stay fixed.
    """

    name: str
    objective: Any
    num_steps: int
    frozen: tuple[str, ...] = ()


def warm_start_phases(model: Any, warm_start: WarmStart | None, bound: Any) -> list[Phase]:
    """The phases before the fit proper, in their order.

    Args:
        model: The model.
        warm_start: How many steps each has; None: 200 to match each network, none for tables, which start
            matched.
        bound: The objective of the fit, without EM.
    """
    groups = strategies(model)
    if warm_start is None:
        steps = {name: DEFAULT_STEPS if group == "networks" else 0 for name, group in groups.items()}
        warm_start = WarmStart(steps["posterior"], steps["auxiliary"])
    learned = {name: group != "none" for name, group in groups.items()}
    return [
        Phase(
            "match posterior",
            OwnLoss(MatchPosterior(model)),
            warm_start.match_posterior * learned["posterior"],
            ("prior", "factors", "auxiliary"),
        ),
        Phase(
            "match auxiliary",
            OwnLoss(MatchAuxiliary(model)),
            warm_start.match_auxiliary * learned["auxiliary"],
            ("prior", "factors", "posterior"),
        ),
        Phase(
            "warm start",
            bound,
            warm_start.bound * any(learned.values()),
            ("prior", "factors"),
        ),
    ]
