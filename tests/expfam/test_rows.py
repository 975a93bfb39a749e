"""Rows of families that share a field: taken, joined and stored without touching it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import FAMILIES

from rpm_jax.expfam import map_rows


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_of_every_family(name):
    """What `map_rows` takes and joins is what the family's own indexing gives, next to arrays and None."""
    family = FAMILIES[name].broadcast_to((5, 2)) * jnp.arange(1.0, 6.0)[:, None]
    tree = (family, {"scale": jnp.arange(10.0).reshape(5, 2)}, None)
    head, tail = (map_rows(lambda leaf, s=part: leaf[s], tree) for part in (slice(2), slice(2, None)))
    joined = map_rows(lambda *parts: jnp.concatenate(parts), head, tail)
    stored = map_rows(lambda old, new: old.at[2:].set(new), tree, tail)
    for got, expected in ((head, family[:2]), (tail, family[2:]), (joined, family), (stored, family)):
        assert got[0].batch_shape == expected.batch_shape
        for a, b in zip(jax.tree.leaves(got[0]), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(joined[1]["scale"], tree[1]["scale"])
    assert joined[2] is None


def test_shared_fields_have_their_own_function():
    family = FAMILIES["KnownCovarianceGaussian"].broadcast_to((5,))
    stacked = jax.lax.map(lambda scale: family * scale, jnp.arange(3.0))
    assert stacked.covariance.shape == (3, 2, 2)
    merged = map_rows(lambda leaf: leaf.reshape(15, 2), stacked, shared=lambda leaf: leaf[0])
    np.testing.assert_array_equal(merged.covariance, family.covariance)
    np.testing.assert_array_equal(merged.eta, np.repeat(np.arange(3.0), 5)[:, None] * family.eta[0])
