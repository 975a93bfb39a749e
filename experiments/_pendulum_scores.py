"""R² by kernel ridge regression; to be replaced by `rpm_jax.metrics.kernel_ridge_r2` once that is merged."""

import numpy as np

NUM_POINTS = 1000


def kernel_ridge_r2(latent: np.ndarray, recovered: np.ndarray, fit_fraction: float) -> np.ndarray:
    """R² of each dimension of the truth on the sequences after the first ones, which are fitted.

    Args:
        latent: The truth, shape (N, T, D).
        recovered: Shape (N, T, K).
        fit_fraction: The part of the sequences that is fitted.

    Returns:
        Shape (D,).
    """
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import GridSearchCV

    num_fit = int(len(latent) * fit_fraction + 1e-9)
    inputs, target = (
        [part.reshape(-1, part.shape[-1]) for part in np.split(values, [num_fit])]
        for values in (recovered, latent)
    )
    rows = np.unique(np.linspace(0, len(inputs[0]) - 1, min(NUM_POINTS, len(inputs[0]))).round().astype(int))
    centre, scale = inputs[0].mean(0), np.maximum(inputs[0].std(0), 1e-12)
    offset, unit = target[0].mean(0), np.maximum(target[0].std(0), 1e-12)
    grid = {"alpha": [1e-2, 1e-1, 1.0], "gamma": [0.05, 0.2, 0.5]}
    search = GridSearchCV(KernelRidge(kernel="rbf"), grid, cv=3)
    search.fit((inputs[0][rows] - centre) / scale, (target[0][rows] - offset) / unit)
    found = offset + unit * search.predict((inputs[1] - centre) / scale)
    around = ((target[1] - target[1].mean(0)) ** 2).sum(0)
    return 1 - ((target[1] - found) ** 2).sum(0) / around
