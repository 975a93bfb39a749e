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
