import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import datasets

from rpm_jax.datasets import hold_out, load_digits

KEY = jax.random.key(0)


def test_digits_are_those_of_scikit_learn():
    digits = load_digits()
    expected = datasets.load_digits()
    assert digits.images.shape == (1797, 8, 8)
    assert digits.images.dtype == jnp.float32
    assert digits.labels.dtype == jnp.int32
    assert np.array_equal(np.asarray(digits.images) * 16, expected.images)
    assert np.array_equal(digits.labels, expected.target)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'load_digits needs scikit-learn: pip install "rpm_jax\[experi'):
        load_digits()


def test_hold_out_keeps_the_shares_of_the_labels():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [30, 20, 7]))
    images = np.arange(57.0)[:, None, None] * np.ones((1, 2, 2))
    stay, out = hold_out(KEY, images, labels, 0.3)
    assert np.bincount(out.labels).tolist() == [9, 6, 0, 2]
    assert np.bincount(stay.labels).tolist() == [21, 14, 0, 5]
    numbers = [np.asarray(part.images[:, 0, 0]).astype(int) for part in (stay, out)]
    assert sorted(np.concatenate(numbers).tolist()) == list(range(57))
    for part, number in zip((stay, out), numbers, strict=True):
        assert np.array_equal(part.labels, labels[number])
        assert (np.diff(number) > 0).all()


def test_hold_out_is_random_and_determined_by_its_key():
    labels = np.zeros(40, int)
    images = np.arange(40.0)
    first, again, other = (hold_out(jax.random.key(seed), images, labels, 0.5)[1] for seed in (0, 0, 1))
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


@pytest.mark.parametrize(
    ("key", "labels", "fraction", "error", "message"),
    [
        (0, [0, 1], 0.5, TypeError, "key must be a random key"),
        (KEY, [0.0, 1.0], 0.5, TypeError, "labels must be integers, got float64"),
        (KEY, [0, 1, 2], 0.5, ValueError, r"same N > 0, got \(2, 3, 3\) and \(3,\)"),
        (KEY, [0, -1], 0.5, ValueError, "labels must be at least 0, got -1"),
        (KEY, [0, 1], 1.0, ValueError, "fraction must lie between 0 and 1, both excluded, got 1.0"),
        (KEY, [0, 1], 0.1, ValueError, "fraction 0.1 of 2 images with 2 labels holds out 0 and leaves 2"),
    ],
)
def test_arguments_are_checked(key, labels, fraction, error, message):
    with pytest.raises(error, match=f"hold_out: {message}|hold_out: .*{message}"):
        hold_out(key, np.zeros((2, 3, 3)), labels, fraction)
