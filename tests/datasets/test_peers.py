import jax
import numpy as np
import pytest

from rpm_jax.datasets import peers

KEY = jax.random.key(0)
COUNTS = [6, 3, 0, 9]


@pytest.fixture
def labels():
    return np.random.default_rng(0).permutation(np.repeat(np.arange(4), COUNTS))


@pytest.fixture
def images(labels):
    return np.arange(float(len(labels)))[:, None, None] * np.ones((1, 2, 3))


def check(found, images, labels, num_views):
    """What holds of all peers: J different images of one label."""
    indices = np.asarray(found.indices)
    assert indices.shape == (len(found.labels), num_views)
    assert len(found.views) == num_views
    assert np.array_equal(labels[indices], np.repeat(np.asarray(found.labels)[:, None], num_views, axis=1))
    assert all(len(set(row)) == num_views for row in indices.tolist())
    for view, index in zip(found.views, indices.T, strict=True):
        assert np.array_equal(view, images[index])


@pytest.mark.parametrize("num_views", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_with_reuse_every_image_is_in_every_view_once(images, labels, num_views, seed):
    found = peers(jax.random.key(seed), images, labels, num_views)
    check(found, images, labels, num_views)
    for column in np.asarray(found.indices).T:
        assert sorted(column.tolist()) == list(range(len(labels)))


@pytest.mark.parametrize("num_views", [1, 2, 4])
def test_without_reuse_an_image_is_used_once(images, labels, num_views):
    found = peers(KEY, images, labels, num_views, reuse=False)
    check(found, images, labels, num_views)
    assert len(set(np.asarray(found.indices).ravel().tolist())) == found.indices.size
    expected = [count // num_views for count in COUNTS]
    assert np.bincount(found.labels, minlength=4).tolist() == expected


@pytest.mark.parametrize("reuse", [True, False])
def test_shares(images, labels, reuse):
    found = peers(KEY, images, labels, 2, shares=[2, 0, 0, 1], reuse=reuse)
    check(found, images, labels, 2)
    assert np.bincount(found.labels, minlength=4).tolist() == ([6, 0, 0, 3] if reuse else [3, 0, 0, 1])


def test_an_even_share_of_each_label(images, labels):
    found = peers(KEY, images, labels, 2, shares=[0.1, 0.1, 0.0, 0.1])
    assert np.bincount(found.labels).tolist() == [3, 3, 0, 3]
    # The images that are used are all in both views.
    assert np.array_equal(*np.sort(np.asarray(found.indices), axis=0).T)


def test_a_number_of_sets(images, labels):
    found = peers(KEY, images, labels, 3, num_sets=6)
    check(found, images, labels, 3)
    assert np.bincount(found.labels).tolist() == [2, 1, 0, 3]
    found = peers(KEY, images, labels, 2, num_sets=5, shares=[1, 1, 0, 1])
    assert sorted(np.bincount(found.labels).tolist()) == [0, 1, 2, 2]


def test_the_order_is_random_and_determined_by_the_key(images, labels):
    first, again, other = (peers(jax.random.key(seed), images, labels) for seed in (0, 0, 1))
    assert np.array_equal(first.indices, again.indices)
    assert not np.array_equal(first.indices, other.indices)
    assert (np.diff(np.asarray(first.labels)) < 0).any()


def test_partners_are_uniform():
    """Image 0's partner is any of the four others equally often."""
    labels = np.zeros(5, int)
    partners = np.zeros(5)
    for seed in range(400):
        indices = np.asarray(peers(jax.random.key(seed), labels, labels).indices)
        partners[indices[indices[:, 0] == 0, 1]] += 1
    assert partners[0] == 0
    assert np.abs(partners[1:] - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_views": 4}, r"at least num_views = 4 images, got 3 of label 1; leave the label out"),
        ({"num_views": 0}, r"num_views must be a positive integer, got 0"),
        (
            {"num_views": 10, "reuse": False},
            r"some label must have at least num_views = 10 images, got \[6 3",
        ),
        (
            {"num_sets": 19},
            r"at most 18 sets have the shares .* where the labels have \[6 3 0 9\], got num_sets 19",
        ),
        ({"num_sets": 10, "shares": [2, 0, 0, 1]}, r"at most 9 sets have the shares"),
        ({"shares": [1, 1, 1, 1]}, r"at most 0 sets"),
        ({"shares": [1, 1]}, r"one non-negative number for each of labels 0 to 3, not all 0, got \[1. 1.\]"),
        ({"shares": [1, -1, 1, 1]}, r"shares must be one non-negative number"),
        ({"shares": [0, 0, 0, 0]}, r"not all 0, got"),
    ],
)
def test_what_cannot_be_had(images, labels, options, message):
    with pytest.raises(ValueError, match=f"peers: .*{message}"):
        peers(KEY, images, labels, **options)


def test_shares_make_the_whole(images, labels):
    whole = peers(KEY, images, labels)
    parts = [peers(KEY, images, labels, share=(part, 4)) for part in range(4)]
    for of_parts, of_whole in zip(zip(*parts, strict=True), whole, strict=True):
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *of_parts)
        jax.tree.map(np.testing.assert_array_equal, joined, of_whole)
    with pytest.raises(ValueError, match=r"share must be \(p, P\) with 0 <= p < P, got \(4, 4\)"):
        peers(KEY, images, labels, share=(4, 4))


def test_it_is_not_jitted():
    with pytest.raises(TypeError, match=r"peers: .*can't be jitted"):
        jax.jit(lambda key: peers(key, np.zeros(4), np.zeros(4, int)))(KEY)
