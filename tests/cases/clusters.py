"""Views of one of three states, and a model with that many."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from support import init

import rpm_jax as rpm
from rpm_jax.expfam import Categorical
from rpm_jax.factors import per_view
from rpm_jax.networks import MLP

KEY = jax.random.key(0)
STATES = 3
PRIOR = rpm.priors.static(Categorical(np.array([0.3, 0.0, -0.4])), learnable=True)


def clustered_views(seed=0, size=12, num_views=2):
    """Views of one of three states, with noise."""
    rng = np.random.default_rng(seed)
    z = rng.integers(0, STATES, size)
    return tuple(
        np.eye(STATES)[z] @ rng.normal(size=(STATES, 2)) + 0.1 * rng.normal(size=(size, 2))
        for _ in range(num_views)
    )


VIEWS = clustered_views()
DATA = rpm.as_data(VIEWS)
EVERYTHING = DATA.batch(jnp.arange(DATA.size))
MODEL = rpm.RPM(PRIOR, per_view(MLP((4,))))


@functools.cache
def initial():
    """Initial parameters of `MODEL`."""
    return init(MODEL, KEY, DATA)
