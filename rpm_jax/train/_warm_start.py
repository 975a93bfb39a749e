"""Warm starts of the posterior and auxiliary strategies, with prior and factors held fixed."""

from typing import NamedTuple


class WarmStart(NamedTuple):
    """How many steps to spend before the fit proper; strategies without parameters take none.

    Attributes:
        match_posterior: Make q the conjugate posterior of the initial factors.
        match_auxiliary: Make ξ the posterior's marginals.
        bound: Maximise the bound over q and ξ alone.
    """

    match_posterior: int = 0
    match_auxiliary: int = 0
    bound: int = 0

    def check(self) -> None:
        """Raise `ValueError` unless all are numbers of steps."""
        for name, steps in self._asdict().items():
            if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
                raise ValueError(f"warm_start.{name} must be a number of steps, 0 or more, got {steps!r}")
