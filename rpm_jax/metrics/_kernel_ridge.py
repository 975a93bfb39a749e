"""What recovered latents tell of the truth by a curved map: kernel ridge regression."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from rpm_jax._checks import require_positive_integer
from rpm_jax._folds import sequence_folds
from rpm_jax.metrics._regression import checked_latents, num_sequences_to_fit, r2_of

RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
LENGTH_SCALES = (0.5, 1.0, 2.0, 4.0)


def kernel_ridge_r2(
    latent: ArrayLike,
    recovered: ArrayLike,
    *,
    fit_fraction: float = 0.5,
    ridges: Sequence[float] = RIDGES,
    length_scales: Sequence[float] = LENGTH_SCALES,
    num_folds: int = 3,
    max_points: int = 1000,
    per_dimension: bool = False,
) -> Array:
    """R² of the true latent given the recovered ones by kernel ridge regression, on other sequences.

        k(a, b) = exp(−‖a − b‖² / 2ℓ²),   ẑ = k(·, A)(k(A, A) + α I)⁻¹ z

    of scikit-learn, on recovered latents and truths that are standardised by the points fitted. Ridge α and
    length scale ℓ are those with the highest R² in a cross-validation over whole sequences of the part that
    is fitted; the others are scored, as by `linear_r2`. It is the score of a latent that is recovered up to
    a smooth bijection, and never much below `linear_r2`.

    Args:
        latent: The truth, shape (N, T) or (N, T, D).
        recovered: Posterior means, shape (N, T, K).
        fit_fraction: The part of the sequences that is fitted, at least two; the rest is scored.
        ridges: Values of α to choose from.
        length_scales: Values of ℓ to choose from, in standard deviations of the recovered latents.
        num_folds: Of the cross-validation.
        max_points: Fit evenly spread points where there are more than so many; the cost grows with its cube.
        per_dimension: Whether R² is that of each dimension of the truth, shape (D,).

    Returns:
        A scalar, or shape (D,); NaN or −∞ where the scored truth is constant.

    Raises:
        ImportError: If scikit-learn is missing.
        ValueError: If the shapes do not match, fewer than two sequences are left to fit or none to score, or
            a value to choose from is not positive.
    """
    name = "kernel_ridge_r2"
    try:
        from sklearn.kernel_ridge import KernelRidge
        from sklearn.model_selection import GridSearchCV
    except ImportError as error:
        raise ImportError(f'{name} needs scikit-learn: pip install "rpm_jax[experiments]"') from error
    target, inputs = (np.asarray(values, float) for values in checked_latents(name, latent, recovered))
    for argument, values in (("ridges", ridges), ("length_scales", length_scales)):
        if not len(values) or not all(value > 0 for value in values):
            raise ValueError(f"{name}: {argument} must be positive numbers, got {tuple(values)!r}")
    require_positive_integer(f"{name}: max_points", max_points)
    num_fit = num_sequences_to_fit(name, target.shape[0], fit_fraction, num_scored=1)
    folds = sequence_folds(name, num_fit, num_folds)

    size = num_fit * target.shape[1]
    kept = np.unique(np.linspace(0, size - 1, min(size, max_points)).round().astype(int))
    sequence = np.repeat(np.arange(num_fit), target.shape[1])[kept]
    features, outputs = (values[:num_fit].reshape(size, -1)[kept] for values in (inputs, target))
    centre, scale = features.mean(0), _scale(features)
    offset, unit = outputs.mean(0), _scale(outputs)
    splits = [tuple(np.flatnonzero(np.isin(sequence, part)) for part in fold) for fold in folds]
    grid = {"alpha": list(ridges), "gamma": [0.5 / length**2 for length in length_scales]}
    search = GridSearchCV(
        KernelRidge(kernel="rbf"), grid, cv=[fold for fold in splits if all(len(part) for part in fold)]
    )
    search.fit((features - centre) / scale, (outputs - offset) / unit)
    scored = inputs[num_fit:].reshape(-1, inputs.shape[-1])
    found = offset + unit * search.predict((scored - centre) / scale)
    return r2_of(jnp.asarray(target[num_fit:].reshape(found.shape)), jnp.asarray(found), per_dimension)


def _scale(values: np.ndarray) -> np.ndarray:
    deviation = values.std(0)
    return np.where(deviation > 0, deviation, 1.0)
