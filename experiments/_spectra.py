"""Eigenvalues of transitions, and how far recovered ones are from the true ones."""

import numpy as np
from numpy.typing import ArrayLike


def eigenvalues(transition: ArrayLike) -> np.ndarray:
    """Of a real matrix, shape (K,), in order of their angles and magnitudes."""
    values = np.linalg.eigvals(np.asarray(transition, float)).astype(complex)
    return values[np.lexsort((np.abs(values), np.angle(values)))]


def eigenvalue_error(true: np.ndarray, found: np.ndarray) -> float:
    """The largest distance of a true eigenvalue from the recovered one that it is matched to.

    The matching is the one with the least sum of distances; recovered ones may be left over.

    Args:
        true: Shape (K,).
        found: Shape (K',), K' ≥ K; of fewer, those that are not found are at distance inf.
    """
    from scipy.optimize import linear_sum_assignment

    if len(found) < len(true):
        return float("inf")
    distance = np.abs(true[:, None] - found)
    return float(distance[linear_sum_assignment(distance)].max())
