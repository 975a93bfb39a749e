"""States of the pendulum from latents, by kernel ridge regression on the training films."""

from collections.abc import Callable

import numpy as np

NUM_POINTS = 1000
GRID = {"alpha": [1e-2, 1e-1, 1.0], "gamma": [0.05, 0.2, 0.5]}


def state_regression(latents: np.ndarray, states: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Kernel ridge regression of states on latents, standardised, with ridge and width by cross-validation.

    Args:
        latents: Shape (N, T, K).
        states: Shape (N, T, D).

    Returns:
        A function from latents (..., K) to states (..., D).
    """
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import GridSearchCV
    from threadpoolctl import threadpool_limits

    inputs, target = (values.reshape(-1, values.shape[-1]).astype(float) for values in (latents, states))
    rows = np.unique(np.linspace(0, len(inputs) - 1, min(NUM_POINTS, len(inputs))).round().astype(int))
    centre, scale = inputs.mean(0), np.maximum(inputs.std(0), 1e-12)
    offset, unit = target.mean(0), np.maximum(target.std(0), 1e-12)
    search = GridSearchCV(KernelRidge(kernel="rbf"), GRID, cv=3)
    # Small matrices: its threads wait for each other longer than they work.
    with threadpool_limits(1):
        search.fit((inputs[rows] - centre) / scale, (target[rows] - offset) / unit)

    def predict(values: np.ndarray) -> np.ndarray:
        flat = (values.reshape(-1, values.shape[-1]) - centre) / scale
        return (offset + unit * search.predict(flat)).reshape(*values.shape[:-1], -1)

    return predict
