"""Cross-validation by whole sequences: steps of one are too alike for some to be held out from the others."""

import numpy as np


def sequence_folds(function: str, num_sequences: int, num_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The sequences to fit and those held out, for each fold; every sequence is held out once.

    Which goes where is drawn once and for all: neighbours are alike where an experiment drifts, and every
    second one where two conditions alternate.

    Args:
        function: For messages.
        num_sequences: N.
        num_folds: F, at most N folds are made.

    Returns:
        F pairs of indices.

    Raises:
        ValueError: For fewer than two folds or sequences.
    """
    if isinstance(num_folds, bool) or not isinstance(num_folds, int | np.integer) or num_folds < 2:
        raise ValueError(f"{function}: num_folds must be an integer of at least 2, got {num_folds!r}")
    if num_sequences < 2:
        raise ValueError(
            f"{function}: at least 2 sequences are needed, one to fit and one held out, got {num_sequences}; "
            "cut a long one by rpm_jax.windows(views, length)"
        )
    order = np.random.default_rng(0).permutation(num_sequences)
    fold = order % min(num_folds, num_sequences)
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(fold.max() + 1)]
