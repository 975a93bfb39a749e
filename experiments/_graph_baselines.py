"""What the angles recovered from graphs are compared with."""

from collections.abc import Callable
from typing import Any

import numpy as np

GRID_SIZE = 720


def spectral_angles(adjacency: np.ndarray) -> np.ndarray:
    """Angles in the plane of the second and third eigenvectors of the normalised adjacency.

    On a circle without noise they are a cosine and a sine of the angle.

    Args:
        adjacency: Such as the mean of all views, shape (..., T, T).

    Returns:
        In radians, shape (..., T), up to a rotation and reflection for each matrix.
    """
    degree = np.maximum(adjacency.sum(-1), 1e-12)
    scale = 1.0 / np.sqrt(degree)
    _, vectors = np.linalg.eigh(adjacency * scale[..., :, None] * scale[..., None, :])
    return np.arctan2(vectors[..., -3], vectors[..., -2])


def informed_angles(
    views: tuple[np.ndarray, ...],
    angles: np.ndarray,
    edge_probability: Callable[[np.ndarray], Any],
) -> np.ndarray:
    """The most likely angle of each node, were all others' and the edges' probability known.

        argmax_θ Σ_j Σ_{k≠t} log p(A_jtk; θ − θ_k)

    An estimate without this knowledge is hardly closer.

    Args:
        views: J arrays of adjacency matrices, shape (N, T, T).
        angles: True angles, shape (T,).
        edge_probability: Of an edge, given a difference of angles.

    Returns:
        In radians, shape (N, T).
    """
    grid = np.linspace(-np.pi, np.pi, GRID_SIZE, endpoint=False)
    probability = np.clip(np.asarray(edge_probability(grid[:, None] - angles)), 1e-12, 1 - 1e-12)
    present, absent = np.log(probability), np.log1p(-probability)
    edges = sum(np.asarray(view, float) for view in views)
    others = len(views) * (1 - np.eye(len(angles)))
    log_likelihood = edges @ present.T + (others - edges) @ absent.T
    return grid[log_likelihood.argmax(-1)]
