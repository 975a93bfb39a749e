"""Decoders that are regressors of scikit-learn."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._record import record


@record
class ScikitLearnRegressor:
    """A regressor of scikit-learn; make it by `scikit_learn`.

    Attributes:
        estimator: Unfitted; it is cloned for every fit.
        candidates: Parameters of it, pairs of names and values.
    """

    estimator: Any
    candidates: tuple[tuple[tuple[str, Any], ...], ...]

    def fit(
        self, inputs: Array, values: Array, weights: Array, loss: Any, candidate: Any, key: Any
    ) -> Callable[[Array], Array]:
        """The estimator's own fit; the loss only chooses and scores. As `Regressor.fit` says."""
        from sklearn.base import clone

        rows = np.asarray(weights) > 0
        targets = np.asarray(values)[rows]
        estimator = clone(self.estimator).set_params(**dict(candidate))
        estimator.fit(np.asarray(inputs)[rows], targets[:, 0] if targets.shape[1] == 1 else targets)
        return ScikitLearnPredictor(estimator)


@record
class ScikitLearnPredictor:
    """A fitted estimator.

    Attributes:
        estimator: Of scikit-learn.
    """

    estimator: Any

    def __call__(self, inputs: Array) -> Array:
        """Means (m, D) of latents (m, K)."""
        means = self.estimator.predict(np.asarray(inputs))
        return jnp.asarray(np.asarray(means).reshape(len(inputs), -1), inputs.dtype)


def scikit_learn(estimator: Any, grid: Mapping[str, Sequence[Any]] | None = None) -> ScikitLearnRegressor:
    """A regressor of scikit-learn, such as `sklearn.linear_model.Ridge()` or a pipeline.

    Args:
        estimator: Unfitted.
        grid: Values of some of its parameters to choose from in all combinations, such as
            {"alpha": [0.1, 1, 10]}; None: as it is.

    Raises:
        TypeError: For what is no regressor.
        ValueError: For parameters that it does not have, or without values.
    """
    import itertools

    methods = ("fit", "predict", "get_params")
    if isinstance(estimator, type) or not all(hasattr(estimator, method) for method in methods):
        raise TypeError(f"estimator must be a regressor of scikit-learn, got {estimator!r}")
    from sklearn.base import is_classifier

    if is_classifier(estimator):
        raise TypeError(
            f"estimator must be a regressor, got the classifier {type(estimator).__name__}; for zeros and "
            'ones take a network with loss="bernoulli", and for classes rpm_jax.metrics.decoding'
        )
    grid = {name: tuple(values) for name, values in (grid or {}).items()}
    unknown = [name for name in grid if name not in estimator.get_params()]
    if unknown or not all(grid.values()):
        raise ValueError(
            f"grid must give at least one value to parameters of {type(estimator).__name__}, got {grid!r}"
        )
    combinations = itertools.product(*grid.values())
    return ScikitLearnRegressor(
        estimator, tuple(tuple(zip(grid, values, strict=True)) for values in combinations)
    )
