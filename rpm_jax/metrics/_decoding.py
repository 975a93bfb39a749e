"""Behaviour decoded from latents, trial by trial, each by a regression that has not seen it."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax._arrays import as_floating, to_numpy
from rpm_jax._checks import require_choice
from rpm_jax._folds import sequence_folds

REGRESSORS = ("ridge", "logistic", "mlp")
INNER_FOLDS = 3
PENALTIES = tuple(10.0**power for power in range(-3, 4))
MLP_PENALTIES = (1e-3, 1e-1)
HIDDEN = (64,)
MLP_ITERATIONS = 200


class Decoding(NamedTuple):
    """What regressions made of latents that they had not seen, and scores of it.

    Scores of a trial are NaN where they are not defined: R² and correlation of a constant behaviour or a
    single number, accuracy of a regression, errors of a classification.

    Attributes:
        prediction: Of the behaviour's shape; NaN, or −1 for classes, at masked steps.
        mean_squared_error: Of each trial, shape (N,) or (N, D).
        r2: Of each trial, around its own mean, shape (N,) or (N, D).
        correlation: Of each trial, shape (N,) or (N, D).
        accuracy: The share of each trial's steps whose class is right, shape (N,).
        overall_r2: Over the points of all trials, shape () or (D,); NaN for classes.
        overall_accuracy: Over the points of all trials, shape (); NaN for regressions.
    """

    prediction: NDArray
    mean_squared_error: NDArray
    r2: NDArray
    correlation: NDArray
    accuracy: NDArray
    overall_r2: NDArray
    overall_accuracy: NDArray


def decoding(
    behaviour: ArrayLike,
    latents: ArrayLike,
    *,
    regressor: Any = "ridge",
    num_folds: int = 5,
    mask: ArrayLike | None = None,
) -> Decoding:
    """How well behaviour can be read off latents, by regressions that have not seen the trial.

    Trials are divided into folds, and those of each are predicted by a regression of all others, which
    chooses the strength of its penalty by a cross-validation of its own, over whole trials too. Latents are
    standardised.

    Args:
        behaviour: A number or class at every step, shape (N, T); several numbers, (N, T, D); or one number or
            class of each trial, (N,), which is then decoded from the latents of all its steps. Classes are
            integers.
        latents: Such as posterior means, shape (N, T, K).
        regressor: "ridge", "logistic" (for classes), "mlp" (a perceptron with 64 hidden units), or any
            regressor or classifier of scikit-learn, which is fitted as it is.
        num_folds: Of the trials.
        mask: Boolean (N, T), or (N,) for one value of each trial, False where the behaviour is missing;
            None: nowhere.

    Returns:
        Predictions and scores.

    Raises:
        ImportError: If scikit-learn is missing.
        TypeError: For a regressor that scikit-learn has not made, or classes that are no integers.
        ValueError: If the shapes do not match, there are fewer than two trials, or a number is not finite.
    """
    name = "decoding"
    try:
        from sklearn.base import is_classifier
    except ImportError as error:
        raise ImportError(f'{name} needs scikit-learn: pip install "rpm_jax[experiments]"') from error
    if isinstance(regressor, str):
        require_choice(f"{name}: regressor", regressor, REGRESSORS)
    elif not (hasattr(regressor, "fit") and hasattr(regressor, "predict")) or isinstance(regressor, type):
        raise TypeError(
            f"{name}: regressor must be one of {', '.join(map(repr, REGRESSORS))}, or an estimator of "
            f"scikit-learn, got {regressor!r}"
        )
    classes = regressor == "logistic" if isinstance(regressor, str) else is_classifier(regressor)
    target = to_numpy(f"{name}: behaviour", behaviour)
    inputs = np.asarray(as_floating(f"{name}: latents", latents), float)
    _check_shapes(name, target, inputs)
    if classes and (target.dtype.kind not in "biu" or target.ndim == 3):
        raise TypeError(
            f"{name}: classes must be integers of shape (N, T) or (N,), got {target.dtype} of shape "
            f"{target.shape}; regressors of numbers are 'ridge' and 'mlp'"
        )
    known = _known(name, mask, target)
    _check_finite(name, target, inputs, known)
    folds = sequence_folds(name, len(inputs), num_folds)

    by_trial = target.ndim == 1
    features = inputs.reshape(len(inputs), 1, -1) if by_trial else inputs
    steps = known[:, None] if by_trial else known
    wanted = target.reshape(*steps.shape, -1)
    found = np.full(wanted.shape, -1 if classes else np.nan, int if classes else float)
    trial = np.broadcast_to(np.arange(len(inputs))[:, None], steps.shape)
    for fit, held_out in folds:
        seen, asked = (steps & np.isin(trial, part) for part in (fit, held_out))
        if asked.any():
            estimator = _estimator(name, regressor, trial[seen])
            values = wanted[seen]
            estimator.fit(features[seen], values[:, 0] if values.shape[1] == 1 else values)
            found[asked] = estimator.predict(features[asked]).reshape(-1, wanted.shape[-1])
    return _scored(target, wanted, found, steps, classes)


def _check_shapes(name: str, target: NDArray, inputs: NDArray) -> None:
    fits = inputs.ndim == 3 and 1 <= target.ndim <= 3 and inputs.size and target.size
    if not fits or target.shape[:2] != inputs.shape[: min(target.ndim, 2)]:
        raise ValueError(
            f"{name}: behaviour must have shape (N, T), (N, T, D) or (N,) and latents (N, T, K), not empty, "
            f"got {target.shape} and {inputs.shape}"
        )


def _known(name: str, mask: ArrayLike | None, target: NDArray) -> NDArray:
    shape = target.shape[:2]
    if mask is None:
        return np.ones(shape, bool)
    known = np.asarray(mask)
    if known.dtype != bool or known.shape != shape:
        raise ValueError(
            f"{name}: mask must be boolean of shape {shape}, got {known.dtype} of shape {known.shape}"
        )
    if not known.any():
        raise ValueError(f"{name}: mask must be True somewhere, got False everywhere")
    return known


def _check_finite(name: str, target: NDArray, inputs: NDArray, known: NDArray) -> None:
    used = inputs[known] if known.ndim == inputs.ndim - 1 else inputs
    for argument, values in (("behaviour", target[known]), ("latents", used)):
        if not np.isfinite(values.astype(float)).all():
            raise ValueError(
                f"{name}: {argument} must be finite where it is not masked, got NaN or infinite numbers"
            )


def _estimator(name: str, regressor: Any, trials: NDArray) -> Any:
    """An unfitted estimator that chooses its penalty over whole trials."""
    from sklearn.base import clone
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not isinstance(regressor, str):
        return clone(regressor)
    perceptron = MLPRegressor(
        hidden_layer_sizes=HIDDEN,
        solver="lbfgs",
        max_iter=MLP_ITERATIONS,
        max_fun=100 * MLP_ITERATIONS,
        random_state=0,
    )
    base, grid = {
        "ridge": (Ridge(), {"ridge__alpha": PENALTIES}),
        "logistic": (
            LogisticRegression(max_iter=1000),
            {"logisticregression__C": [1 / penalty for penalty in PENALTIES]},
        ),
        "mlp": (
            TransformedTargetRegressor(perceptron, transformer=StandardScaler()),
            {"transformedtargetregressor__regressor__alpha": MLP_PENALTIES},
        ),
    }[regressor]
    pipeline = make_pipeline(StandardScaler(), base)
    own = np.unique(trials)
    if len(own) < 2:
        return pipeline
    return GridSearchCV(
        pipeline,
        grid,
        cv=[
            (np.flatnonzero(np.isin(trials, own[fit])), np.flatnonzero(np.isin(trials, own[held_out])))
            for fit, held_out in sequence_folds(name, len(own), INNER_FOLDS)
        ],
        scoring=None if regressor == "logistic" else "neg_mean_squared_error",
    )


def _scored(target: NDArray, wanted: NDArray, found: NDArray, steps: NDArray, classes: bool) -> Decoding:
    """Scores by trial, and over all points."""
    per_trial = (len(target), *target.shape[2:])
    nothing = np.full(per_trial, np.nan)
    prediction = found.reshape(target.shape)
    if classes:
        right = np.where(steps, (wanted == found)[..., 0], False)
        accuracy = _ratio(right.sum(1), steps.sum(1))
        overall = _ratio(right.sum(), steps.sum())
        return Decoding(
            prediction, nothing, nothing, nothing, accuracy, np.full(target.shape[2:], np.nan), overall
        )
    seen = steps[..., None]
    true, estimate = (np.where(seen, values, 0.0) for values in (wanted.astype(float), found))
    number = seen.sum(1)
    centred = [np.where(seen, v - _ratio(v.sum(1), number)[:, None], 0.0) for v in (true, estimate)]
    squares = ((true - estimate) ** 2).sum(1)
    spread, spread_found = ((values**2).sum(1) for values in centred)
    product = (centred[0] * centred[1]).sum(1)
    around = np.where(seen, true - true.sum((0, 1)) / number.sum(0), 0.0)
    overall = 1.0 - _ratio(squares.sum(0), (around**2).sum((0, 1)))
    error, r2 = _ratio(squares, number), 1.0 - _ratio(squares, spread)
    correlation = _ratio(product, np.sqrt(spread * spread_found))
    return Decoding(
        prediction,
        error.reshape(per_trial),
        r2.reshape(per_trial),
        correlation.reshape(per_trial),
        np.full(len(target), np.nan),
        overall.reshape(target.shape[2:]),
        np.asarray(np.nan),
    )


def _ratio(numerator: NDArray, denominator: NDArray) -> NDArray:
    """The quotient, NaN where there is nothing to divide by."""
    denominator = np.broadcast_to(denominator, np.shape(numerator))
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)
