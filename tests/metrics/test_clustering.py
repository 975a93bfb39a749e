import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from rpm_jax.metrics import (
    confusion_matrix,
    match_proportions,
    match_states,
    matched_accuracy,
    matched_proportions_error,
    mutual_information,
    normalised_mutual_information,
    states_in_use,
    transition_error,
)

SCORES = [confusion_matrix, match_states, matched_accuracy, mutual_information, normalised_mutual_information]


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def noisy_states(generator, num_labels, num_states, num_points=60):
    labels = generator.integers(0, num_labels, num_points)
    labels[:num_labels] = np.arange(num_labels)
    other = generator.integers(0, num_states, num_points)
    other[-1] = num_states - 1
    names = generator.permutation(max(num_labels, num_states))[labels] % num_states
    return labels, np.where(generator.random(num_points) < 0.5, names, other)


def best_by_trying_all(labels, states, num_labels, num_states):
    """Over all one-to-one assignments, by enumeration."""
    size = max(num_labels, num_states)
    return max(np.mean(np.array(p)[states] == labels) for p in itertools.permutations(range(size)))


@pytest.mark.parametrize(("num_labels", "num_states"), [(4, 4), (3, 5), (5, 3), (1, 3), (3, 1)])
def test_the_matching_is_the_best_there_is(generator, num_labels, num_states):
    for _ in range(5):
        labels, states = noisy_states(generator, num_labels, num_states)
        matching = match_states(labels, states, num_labels, num_states)
        np.testing.assert_allclose(
            matching.accuracy, best_by_trying_all(labels, states, num_labels, num_states), rtol=1e-12
        )
        expected = sklearn_metrics.confusion_matrix(labels, states, labels=range(max(num_labels, num_states)))
        assert np.array_equal(matching.confusion, expected[:num_labels, :num_states])
        assert np.array_equal(matching.confusion, confusion_matrix(labels, states, num_labels, num_states))
        matched = np.asarray(matching.assignment)[np.asarray(matching.assignment) >= 0]
        assert len(set(matched)) == len(matched) <= min(num_labels, num_states)
        assert matching.assignment.shape == (num_states,)
        np.testing.assert_allclose(matched_accuracy(labels, states), matching.accuracy, rtol=1e-12)
        np.testing.assert_allclose(
            matched_accuracy(labels, states, matching.assignment), matching.accuracy, rtol=1e-12
        )


def test_a_renamed_labelling_is_perfect():
    labels = np.array([[0, 1, 2], [2, 1, 0]])
    states = np.array([4, 0, 2])[labels]
    matching = match_states(labels, states, num_states=6)
    assert matching.accuracy == 1
    assert matching.assignment.tolist() == [1, -1, 2, -1, 0, -1]


def test_a_state_is_matched_with_no_label_that_it_never_meets():
    # Greedy would match state 0 with label 0 (3 points); the best total is 2 + 2.
    confusion = np.array([[3, 2], [2, 0]])
    pairs = np.array([(i, s) for i, s in np.ndindex(2, 2) for _ in range(confusion[i, s])])
    assert match_states(pairs[:, 0], pairs[:, 1]).assignment.tolist() == [1, 0]
    matching = match_states([0, 0, 1], [0, 0, 0], num_labels=2, num_states=2)
    assert matching.assignment.tolist() == [0, -1]
    np.testing.assert_allclose(matching.accuracy, 2 / 3)


def test_the_assignment_of_other_data_is_kept():
    assignment = match_states([0, 1, 2, 0], [2, 1, 0, 2]).assignment
    assert matched_accuracy([0, 0, 2], [2, 0, 0], assignment) == pytest.approx(2 / 3)
    assert matched_accuracy([0, 0, 2], [2, 1, 1], [-1, -1, 0]) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match=r"matched_accuracy: states must be less than 3.*got 3"):
        matched_accuracy([0, 1], [2, 3], assignment)


def test_mutual_information_is_that_of_scikit_learn(generator):
    for num_labels, num_states in [(4, 4), (2, 5), (6, 3)]:
        labels, states = noisy_states(generator, num_labels, num_states)
        expected = sklearn_metrics.mutual_info_score(labels, states)
        np.testing.assert_allclose(mutual_information(labels, states, 6, 5), expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            normalised_mutual_information(labels, states, 6, 5),
            sklearn_metrics.normalized_mutual_info_score(labels, states),
            rtol=1e-12,
            atol=1e-14,
        )


def test_mutual_information_at_its_ends():
    labels = np.repeat(np.arange(4), 5)
    assert mutual_information(labels, 0 * labels) == 0
    np.testing.assert_allclose(mutual_information(labels, 3 - labels), np.log(4), rtol=1e-12)
    assert mutual_information(labels, np.tile(np.arange(5), 4)) == pytest.approx(0, abs=1e-15)
    assert normalised_mutual_information(labels, 3 - labels) == pytest.approx(1)
    assert normalised_mutual_information(0 * labels, 0 * labels) == 1


def test_under_jit(generator):
    labels, states = noisy_states(generator, 3, 4)
    compiled = jax.jit(lambda labels, states: mutual_information(labels, states, 3, 4))
    np.testing.assert_allclose(compiled(labels, states), mutual_information(labels, states), rtol=1e-12)
    with pytest.raises(ValueError, match="confusion_matrix: num_labels must be given under jit"):
        jax.jit(confusion_matrix)(labels, states)
    count = jax.jit(lambda labels, states: confusion_matrix(labels, states, 2, 2))
    assert count(jnp.array([0, 1, 1, 5]), jnp.array([1, -1, 1, 0])).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("labels", "states", "error", "message"),
    [
        ([0.0, 1.0], [0, 1], TypeError, r"labels must be integers, got float.*argmax"),
        ([0, 1], [True, False], TypeError, r"states must be integers, got bool"),
        ([0, -1], [0, 1], ValueError, r"labels must be at least 0, got -1"),
        ([0, 1], [0, 1, 1], ValueError, r"must have the same shape, got \(2,\) and \(3,\)"),
        (np.zeros(0, int), np.zeros(0, int), ValueError, r"labels must not be empty"),
    ],
)
def test_labels_and_states_are_checked(score, labels, states, error, message):
    with pytest.raises(error, match=rf"{score.__name__}: .*{message}"):
        score(labels, states)


def test_numbers_of_labels_and_states_are_checked():
    with pytest.raises(ValueError, match=r"match_states: labels must be less than 2, .*got 2"):
        match_states([0, 2], [0, 1], num_labels=2)
    with pytest.raises(ValueError, match="confusion_matrix: num_states must be a positive integer, got 0"):
        confusion_matrix([0, 1], [0, 1], num_states=0)


def test_states_in_use():
    states = np.repeat([0, 2, 5], [90, 9, 1])
    assert states_in_use(states) == 2
    assert states_in_use(states, 0.0) == 3
    assert states_in_use(states.reshape(10, 10), 0.5) == 1
    probabilities = np.array([[[0.5, 0.5, 0.0], [0.6, 0.395, 0.005]]])
    assert states_in_use(probabilities) == 2
    assert states_in_use(probabilities, 0.001) == 3
    with pytest.raises(ValueError, match=r"states_in_use: threshold must lie in \[0, 1\), got 1.5"):
        states_in_use(states, 1.5)
    with pytest.raises(ValueError, match=r"states_in_use: .*sum to 1, got .*sums from 2 to 2"):
        states_in_use(np.ones((3, 2)))


@pytest.mark.parametrize(("num_labels", "num_states"), [(3, 3), (3, 5), (4, 2)])
def test_proportions_are_matched_as_well_as_can_be(generator, num_labels, num_states):
    true = generator.dirichlet(np.ones(num_labels), 6)
    found = generator.dirichlet(np.ones(num_states), 6)
    size = max(num_labels, num_states)
    padded = [np.pad(p, [(0, 0), (0, size - p.shape[1])]) for p in (true, found)]
    errors = [
        np.abs(padded[0] - padded[1][:, list(order)]).sum() / true.size
        for order in itertools.permutations(range(size))
    ]
    np.testing.assert_allclose(matched_proportions_error(true, found), min(errors), rtol=1e-12)
    assignment = match_proportions(true, found)
    assert (np.asarray(assignment) >= 0).sum() == min(num_labels, num_states)
    np.testing.assert_allclose(matched_proportions_error(true, found, assignment), min(errors), rtol=1e-12)


def test_proportions_in_another_order(generator):
    true = generator.dirichlet(np.ones(4), 8)
    order = np.array([2, 0, 3, 1])
    assert match_proportions(true, true[:, order]).tolist() == order.tolist()
    assert matched_proportions_error(true, true[:, order]) == pytest.approx(0, abs=1e-15)
    assert matched_proportions_error([[1.0, 0.0]], [[0.0, 1.0]], [0, 1]) == pytest.approx(1)
    # Two states that share a topic count together.
    assert matched_proportions_error([[0.6, 0.4]], [[0.3, 0.4, 0.3]], [0, 1, 0]) == pytest.approx(0)
    with pytest.raises(ValueError, match=r"match_proportions: .* shapes \(N, L\) and \(N, S\), got"):
        match_proportions(true, true[:3])
    with pytest.raises(ValueError, match=r"recovered must hold probabilities that sum to 1"):
        match_proportions(true, 2 * true)


def test_transition_error_by_hand():
    true = np.array([[0.5, 0.5, 0.0], [0.2, 0.5, 0.3], [0.0, 1.0, 0.0]])
    order = np.array([2, 0, 1])
    renamed = true[np.ix_(order, order)]
    assert transition_error(true, renamed, order) == pytest.approx(0, abs=1e-15)
    moved = true.copy()
    moved[0] = [0.4, 0.4, 0.2]
    assert transition_error(true, moved, [0, 1, 2]) == pytest.approx(0.2 / 3)


def test_transition_error_of_states_without_a_label():
    true = np.array([[0.5, 0.5], [0.5, 0.5]])
    recovered = np.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    # Row 0 loses a quarter to the third state, whose own row counts for nothing.
    assert transition_error(true, recovered, [0, 1, -1]) == pytest.approx(0.25 / 2)
    # Label 1 has no state: 1. Row 0 moves half to states without a label: ½.
    assert transition_error(true, recovered, [0, -1, -1]) == pytest.approx((1 + 0.5) / 2)
    assert transition_error(true, recovered, [-1, -1, -1]) == 1


@pytest.mark.parametrize(
    ("assignment", "error", "message"),
    [
        ([0, 0], ValueError, r"no label twice, got 0 for states \[0, 1\]"),
        ([0, 1, -1], ValueError, r"one label for each of 2 states, got shape \(3,\)"),
        ([0, 2], ValueError, r"assignment must be less than 2, got 2"),
        ([0, -2], ValueError, r"assignment must be at least -1, got -2"),
        ([0.0, 1.0], TypeError, r"assignment must be integers, got float64"),
    ],
)
def test_assignments_are_checked(assignment, error, message):
    with pytest.raises(error, match=f"transition_error: {message}|{message}"):
        transition_error(np.eye(2), np.eye(2), assignment)


def test_transition_matrices_are_checked():
    with pytest.raises(ValueError, match=r"transition_error: recovered must be a square matrix, got shape"):
        transition_error(np.eye(2), np.ones((2, 3)) / 3, [0, 1])
    with pytest.raises(ValueError, match=r"of transition must hold probabilities that sum to 1"):
        transition_error(2 * np.eye(2), np.eye(2), [0, 1])
