import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.datasets import digit_chains, ring_transition

KEY = jax.random.key(0)
LABELS = np.array([2, 0, 1, 0, 2, 2])
IMAGES = np.arange(6)[:, None, None] + np.zeros((6, 2, 3))


def test_images_have_the_labels_of_the_chain():
    chains = digit_chains(KEY, IMAGES, LABELS, num_sequences=50, num_steps=40)
    assert chains.views.shape == (50, 40, 2, 3)
    np.testing.assert_array_equal(LABELS[np.asarray(chains.indices)], chains.states)
    np.testing.assert_array_equal(chains.views[..., 0, 0], chains.indices)
    # All images of a label are alike.
    counts = np.bincount(np.asarray(chains.indices).ravel(), minlength=6)
    for label in range(3):
        own = counts[label == LABELS]
        assert (np.abs(own - own.mean()) < 5 * np.sqrt(own.mean())).all()


def test_steps_follow_the_transition():
    transition = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [0.3, 0.0, 0.7]])
    chains = digit_chains(
        KEY, IMAGES, LABELS, num_sequences=2000, num_steps=5, transition=transition, initial=[0.5, 0.5, 0.0]
    )
    np.testing.assert_allclose(chains.transition, transition)
    states, counts = np.asarray(chains.states), np.zeros((3, 3))
    np.add.at(counts, (states[:, :-1], states[:, 1:]), 1)
    totals = counts.sum(1, keepdims=True)
    error = 5 * np.sqrt(transition * (1 - transition) / totals)
    assert (np.abs(counts / totals - transition) <= error + 1e-12).all()
    share = np.bincount(states[:, 0], minlength=3) / 2000
    assert share[2] == 0
    assert abs(share[0] - 0.5) < 5 * np.sqrt(0.25 / 2000)


def test_transitions_on_a_ring():
    ring = np.asarray(ring_transition(5, forward=2, width=0.5))
    np.testing.assert_allclose(ring.sum(1), 1)
    weights = np.exp(-np.array([0, 1, 4, 4, 1]) / 0.5)
    np.testing.assert_allclose(ring[0], np.roll(weights, 2) / weights.sum())
    np.testing.assert_allclose(ring[4], np.roll(ring[0], 4))
    np.testing.assert_allclose(ring.sum(0), 1)  # uniform is stationary
    default = digit_chains(KEY, IMAGES, LABELS, num_sequences=1, num_steps=1)
    np.testing.assert_allclose(default.transition, ring_transition(3))
    np.testing.assert_allclose(default.initial, 1 / 3)


def test_split_and_key():
    chains = digit_chains(KEY, IMAGES, LABELS, num_sequences=4, num_steps=3)
    again = digit_chains(KEY, IMAGES, LABELS, num_sequences=4, num_steps=3)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, chains, again))
    first, rest = chains.split(3)
    assert [len(first.views), len(rest.states), len(rest.indices)] == [3, 1, 1]
    np.testing.assert_array_equal(rest.transition, chains.transition)
    with pytest.raises(ValueError, match=r"DigitChains.split: num_first must .*got 4"):
        chains.split(4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "digit_chains: num_steps must be a positive integer, got 0"),
        ({"labels": LABELS + 1}, "digit_chains: labels must be 0 to 3, .*got none of label 0"),
        ({"transition": np.eye(2)}, r"digit_chains: transition must have shape \(3, 3\), got \(2, 2\)"),
        ({"transition": np.ones((3, 3))}, "digit_chains: transition must be probabilities that sum to 1"),
        ({"initial": [1.5, -0.5, 0.0]}, "digit_chains: initial must be probabilities that sum to 1"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        digit_chains(KEY, IMAGES, **{"labels": LABELS, **options})


def test_the_width_of_a_ring_is_checked():
    with pytest.raises(ValueError, match="ring_transition: width must be positive and finite, got 0"):
        ring_transition(3, width=0)
