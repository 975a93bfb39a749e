"""How well discrete states agree with labels: a model finds states in an order of its own.

Sizes: N points, L labels, S states. States are matched one to one with labels where a score needs it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from rpm_jax._arrays import to_numpy
from rpm_jax._checks import is_concrete, require_positive_integer

UNMATCHED = -1
"""The label of a state that is matched with none."""


class Matching(NamedTuple):
    """States matched one to one with labels, so that as many points as possible agree.

    Attributes:
        accuracy: The share of the points whose state is matched with their label, a scalar.
        assignment: The label of each state, shape (S,); −1 where a state has none.
        confusion: How many points have label l and state s, shape (L, S).
    """

    accuracy: Array
    assignment: Array
    confusion: Array


def confusion_matrix(
    labels: ArrayLike, states: ArrayLike, num_labels: int | None = None, num_states: int | None = None
) -> Array:
    """How many points have each label and each state.

        C_ls = #{n: label_n = l, state_n = s}

    Under `jit` both numbers must be given; a point beyond them is then left out.

    Args:
        labels: True labels 0, 1, ..., of any shape.
        states: Recovered states 0, 1, ..., of the same shape.
        num_labels: L; by default the largest label and one.
        num_states: S; by default the largest state and one.

    Returns:
        Whole numbers, shape (L, S).

    Raises:
        TypeError: If labels or states are no integers.
        ValueError: If their shapes differ, they are empty, or one is negative or too large.
    """
    return _confusion("confusion_matrix", labels, states, num_labels, num_states)


def match_states(
    labels: ArrayLike, states: ArrayLike, num_labels: int | None = None, num_states: int | None = None
) -> Matching:
    """Match states with labels one to one, so that the accuracy is as large as it can be.

        maximise Σ_s C[a(s), s] over one-to-one a;   accuracy = Σ_s C[a(s), s] / N

    With more states than labels some states are left over, with fewer some labels. A state is matched
    with no label that it never occurs with.

    Args:
        labels: True labels 0, 1, ..., of any shape.
        states: Recovered states 0, 1, ..., of the same shape.
        num_labels: L; by default the largest label and one.
        num_states: S; by default the largest state and one.

    Returns:
        The accuracy, the label of each state and the counts.

    Raises:
        TypeError: If labels or states are no integers.
        ValueError: If their shapes differ, they are empty, or one is negative or too large.

    References:
        Kuhn, "The Hungarian method for the assignment problem", Naval Research Logistics 1955.
    """
    return _match("match_states", labels, states, num_labels, num_states)


def matched_accuracy(labels: ArrayLike, states: ArrayLike, assignment: ArrayLike | None = None) -> Array:
    """The share of the points whose state is matched with their label.

    Args:
        labels: True labels 0, 1, ..., of any shape.
        states: Recovered states 0, 1, ..., of the same shape.
        assignment: The label of each state, shape (S,), −1 for none, such as `Matching.assignment` of the
            training data; by default the best one for these points.

    Returns:
        A scalar between 0 and 1.

    Raises:
        TypeError: If labels, states or assignment are no integers.
        ValueError: If shapes differ, something is empty or negative, or a state is not in `assignment`.
    """
    name = "matched_accuracy"
    if assignment is None:
        return _match(name, labels, states).accuracy
    label_of_state = _integers(name, "assignment", assignment, least=UNMATCHED)
    if label_of_state.ndim != 1:
        raise ValueError(f"{name}: assignment must have shape (S,), got {label_of_state.shape}")
    true, found = _pair(name, labels, states, None, label_of_state.size)
    return jnp.mean(label_of_state[found] == true, dtype=float)


def mutual_information(
    labels: ArrayLike, states: ArrayLike, num_labels: int | None = None, num_states: int | None = None
) -> Array:
    """What the states tell about the labels, in nats, from the relative frequencies.

        I = Σ_ls p_ls log(p_ls / (p_l p_s)),   p_ls = C_ls / N

    It needs no matching; of few points it is too large by about (L − 1)(S − 1) / 2N.

    Args:
        labels: True labels 0, 1, ..., of any shape.
        states: Recovered states 0, 1, ..., of the same shape.
        num_labels: L; by default the largest label and one.
        num_states: S; by default the largest state and one.

    Returns:
        A scalar between 0 and the smaller of the two entropies.

    Raises:
        TypeError: If labels or states are no integers.
        ValueError: If their shapes differ, they are empty, or one is negative or too large.
    """
    return _information(_confusion("mutual_information", labels, states, num_labels, num_states))[0]


def normalised_mutual_information(
    labels: ArrayLike, states: ArrayLike, num_labels: int | None = None, num_states: int | None = None
) -> Array:
    """The mutual information by the mean of the entropies of labels and states.

        2 I / (H(labels) + H(states)),   1 where both are constant

    Args:
        labels: True labels 0, 1, ..., of any shape.
        states: Recovered states 0, 1, ..., of the same shape.
        num_labels: L; by default the largest label and one.
        num_states: S; by default the largest state and one.

    Returns:
        A scalar between 0 (independent) and 1 (one to one).

    Raises:
        TypeError: If labels or states are no integers.
        ValueError: If their shapes differ, they are empty, or one is negative or too large.
    """
    name = "normalised_mutual_information"
    information, entropy = _information(_confusion(name, labels, states, num_labels, num_states))
    constant = entropy == 0
    return jnp.where(constant, 1.0, information / jnp.where(constant, 1.0, entropy))


def states_in_use(states: ArrayLike, threshold: float = 0.01) -> Array:
    """How many states occur more often than a threshold.

    Args:
        states: Either integers, the states themselves, of any shape; or floats, the posterior
            probabilities of S states, shape (..., S), whose mean counts.
        threshold: The share of the points that a state must exceed.

    Returns:
        A whole number, a scalar.

    Raises:
        TypeError: If `states` holds neither integers nor floats.
        ValueError: If it is empty, holds something negative, or probabilities that do not sum to 1.
    """
    name = "states_in_use"
    if not (isinstance(threshold, int | float) and 0 <= threshold < 1):
        raise ValueError(f"{name}: threshold must lie in [0, 1), got {threshold!r}")
    values = jnp.asarray(states)
    if jnp.issubdtype(values.dtype, jnp.floating):
        _require_distributions(name, "states", values)
        shares = jnp.mean(values.reshape(-1, values.shape[-1]), axis=0)
    else:
        found = _integers(name, "states", values, least=0).reshape(-1)
        shares = jnp.bincount(found, length=int(found.max()) + 1) / found.size
    return jnp.sum(shares > threshold)


def match_proportions(proportions: ArrayLike, recovered: ArrayLike) -> Array:
    """Match the columns of recovered proportions with the true ones, closest in absolute differences.

    Args:
        proportions: The truth, shape (N, L), rows that sum to 1.
        recovered: Such as posterior means, shape (N, S).

    Returns:
        The true column of each recovered one, shape (S,); −1 where it has none.

    Raises:
        ValueError: If the shapes do not match or a row is no distribution.
    """
    true, found = _proportions("match_proportions", proportions, recovered)
    # A pair left unmatched is compared with nothing: what a match saves is counted from there.
    alone = true.sum(0)[:, None] + found.sum(0)[None, :]
    together = np.abs(true[:, :, None] - found[:, None, :]).sum(0)
    return jnp.asarray(_assign(alone - together))


def matched_proportions_error(
    proportions: ArrayLike, recovered: ArrayLike, assignment: ArrayLike | None = None
) -> Array:
    """The mean absolute error of recovered proportions after their columns are matched.

        1/(NL) [ Σ_n Σ_l |p_nl − Σ_{s: a(s) = l} r_ns| + Σ_n Σ_{s: a(s) = −1} r_ns ]

    A true column that nothing is matched with is compared with 0, and so is an unmatched recovered one.

    Args:
        proportions: The truth, shape (N, L), rows that sum to 1.
        recovered: Such as posterior means, shape (N, S).
        assignment: The true column of each recovered one, shape (S,), −1 for none, such as
            `Matching.assignment` of the topics; by default that of `match_proportions`.

    Returns:
        A scalar between 0 and 2/L.

    Raises:
        TypeError: If `assignment` holds no integers.
        ValueError: If the shapes do not match or a row is no distribution.
    """
    name = "matched_proportions_error"
    true, found = _proportions(name, proportions, recovered)
    if assignment is None:
        assignment = match_proportions(true, found)
    matched = _assignment_matrix(name, assignment, found.shape[1], true.shape[1])
    error = np.abs(true - found @ matched).sum() + found[:, matched.sum(1) == 0].sum()
    return jnp.asarray(error / true.size, float)


def transition_error(transition: ArrayLike, recovered: ArrayLike, assignment: ArrayLike) -> Array:
    """The mean total-variation distance between the rows of two transition matrices.

        1/L Σ_l ½ [ Σ_m |P_lm − R_{s(l) s(m)}| + Σ_{s: a(s) = −1} R_{s(l) s} ]

    where s(l) is the state matched with l.

    What the model moves to states without a label counts as wrong (R to a missing s(m) is 0), and a
    label that no state is matched with counts 1.

    Args:
        transition: The truth P, [l, m] from l to m, shape (L, L), rows that sum to 1.
        recovered: R, of states, shape (S, S).
        assignment: The label of each state, shape (S,), −1 for none; no label twice.

    Returns:
        A scalar between 0 and 1.

    Raises:
        TypeError: If `assignment` holds no integers.
        ValueError: If the shapes do not match, a row is no distribution, or a label is assigned twice.
    """
    name = "transition_error"
    true, found = np.asarray(transition, float), np.asarray(recovered, float)
    for argument, matrix in (("transition", true), ("recovered", found)):
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
            raise ValueError(f"{name}: {argument} must be a square matrix, got shape {matrix.shape}")
        _require_distributions(name, argument, matrix)
    matched = _assignment_matrix(name, assignment, found.shape[0], true.shape[0])
    if (matched.sum(0) > 1).any():
        label = int(np.argmax(matched.sum(0)))
        states = np.flatnonzero(matched[:, label]).tolist()
        raise ValueError(f"{name}: assignment must name no label twice, got {label} for states {states}")
    rows = matched.T @ found
    distance = 0.5 * (np.abs(true - rows @ matched).sum(1) + rows[:, matched.sum(1) == 0].sum(1))
    return jnp.asarray(np.where(matched.sum(0) == 0, 1.0, distance).mean(), float)


def _match(
    function: str,
    labels: ArrayLike,
    states: ArrayLike,
    num_labels: int | None = None,
    num_states: int | None = None,
) -> Matching:
    confusion = _confusion(function, labels, states, num_labels, num_states)
    counts = np.asarray(confusion)
    assignment = _assign(counts, allowed=counts > 0)
    matched = assignment != UNMATCHED
    agreeing = counts[assignment[matched], np.flatnonzero(matched)].sum()
    return Matching(jnp.asarray(agreeing / counts.sum(), float), jnp.asarray(assignment), confusion)


def _assign(gain: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
    """The row of each column that together gain most, one to one; −1 for a column without one."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(gain, maximize=True)
    assignment = np.full(gain.shape[1], UNMATCHED, np.int32)
    assignment[columns] = rows if allowed is None else np.where(allowed[rows, columns], rows, UNMATCHED)
    return assignment


def _information(confusion: Array) -> tuple[Array, Array]:
    """The mutual information and the mean of the two entropies."""
    joint = confusion / jnp.sum(confusion)
    rows, columns = jnp.sum(joint, axis=1), jnp.sum(joint, axis=0)
    entropies = [-jnp.sum(_times_log(p)) for p in (rows, columns, joint)]
    return jnp.maximum(entropies[0] + entropies[1] - entropies[2], 0.0), 0.5 * (entropies[0] + entropies[1])


def _times_log(probability: Array) -> Array:
    return probability * jnp.log(jnp.where(probability > 0, probability, 1.0))


def _confusion(
    function: str, labels: ArrayLike, states: ArrayLike, num_labels: int | None, num_states: int | None
) -> Array:
    true, found = _pair(function, labels, states, num_labels, num_states)
    sizes = []
    for argument, size, values in (("num_labels", num_labels, true), ("num_states", num_states, found)):
        if size is None and not is_concrete(values):
            raise ValueError(f"{function}: {argument} must be given under jit, got None")
        sizes.append(int(values.max()) + 1 if size is None else size)
    # Under jit numbers too large fall outside; those too small would count from the end.
    inside = (true >= 0) & (found >= 0)
    return jnp.zeros(sizes, jnp.int32).at[true, found].add(inside.astype(jnp.int32), mode="drop")


def _pair(
    function: str, labels: ArrayLike, states: ArrayLike, num_labels: int | None, num_states: int | None
) -> tuple[Array, Array]:
    pair = []
    for argument, values, size in (("labels", labels, num_labels), ("states", states, num_states)):
        array = _integers(function, argument, values, least=0)
        if size is not None:
            require_positive_integer(f"{function}: num_{argument}", size)
            if is_concrete(array) and int(array.max()) >= size:
                raise ValueError(
                    f"{function}: {argument} must be less than {size}, the number of {argument}, "
                    f"got {int(array.max())}"
                )
        pair.append(array)
    if pair[0].shape != pair[1].shape:
        raise ValueError(
            f"{function}: labels and states must have the same shape, got {pair[0].shape} and {pair[1].shape}"
        )
    return pair[0].reshape(-1), pair[1].reshape(-1)


def _integers(function: str, argument: str, values: Any, least: int) -> Array:
    name = f"{function}: {argument}"
    array: Any = values if isinstance(values, Array) else to_numpy(name, values)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"{function}: {argument} must be integers, got {array.dtype}; "
            f"of probabilities take jnp.argmax(probabilities, axis=-1)"
        )
    if not array.size:
        raise ValueError(f"{function}: {argument} must not be empty, got shape {array.shape}")
    if is_concrete(array) and int(array.min()) < least:
        raise ValueError(f"{function}: {argument} must be at least {least}, got {int(array.min())}")
    largest = np.iinfo(jax.dtypes.canonicalize_dtype(np.int64)).max
    if is_concrete(array) and int(array.max()) > largest:
        raise ValueError(
            f"{function}: {argument} must be at most {largest}, got {int(array.max())}; number them anew, "
            "numpy.unique(values, return_inverse=True)[1]"
        )
    return jnp.asarray(array)


def _proportions(
    function: str, proportions: ArrayLike, recovered: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    true, found = np.asarray(proportions, float), np.asarray(recovered, float)
    if true.ndim != 2 or found.ndim != 2 or len(true) != len(found) or not true.size or not found.size:
        raise ValueError(
            f"{function}: proportions and recovered must have shapes (N, L) and (N, S), "
            f"got {true.shape} and {found.shape}"
        )
    _require_distributions(function, "proportions", true)
    _require_distributions(function, "recovered", found)
    return true, found


def _assignment_matrix(function: str, assignment: ArrayLike, num_states: int, num_labels: int) -> np.ndarray:
    """[s, l] is 1 where state s has label l, shape (S, L)."""
    values = np.asarray(_integers(function, "assignment", assignment, least=UNMATCHED))
    if values.shape != (num_states,):
        raise ValueError(
            f"{function}: assignment must have one label for each of {num_states} states, "
            f"got shape {values.shape}"
        )
    if values.max() >= num_labels:
        raise ValueError(f"{function}: assignment must be less than {num_labels}, got {values.max()}")
    return (values[:, None] == np.arange(num_labels)).astype(float)


def _require_distributions(function: str, argument: str, values: Any) -> None:
    if not is_concrete(values):
        return
    rows = np.asarray(values, float)
    if not rows.size or not rows.ndim:
        raise ValueError(f"{function}: {argument} must not be empty, got shape {rows.shape}")
    sums = rows.sum(-1)
    if not (rows >= -1e-6).all() or not (np.abs(sums - 1) < 1e-3).all():
        raise ValueError(
            f"{function}: the last axis of {argument} must hold probabilities that sum to 1, "
            f"got numbers from {rows.min():.4g} to {rows.max():.4g} and sums from {sums.min():.4g} "
            f"to {sums.max():.4g}"
        )
