"""Models of two views of short sequences, one for each posterior strategy, and a static one with rows."""

import functools

import jax
import numpy as np
from support import init, two_views

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.networks import MLP, PointwiseMLP, stacked

KEY = jax.random.key(0)
SIZE, SITES = 8, 2
VIEWS = rpm.as_data(two_views(0, size=SIZE, sites=SITES))
NEW = rpm.as_data(two_views(1, size=5, sites=SITES))
PRIOR = rpm.priors.gaussian_process(np.arange(SITES) / 2.0)
FACTORS = rpm.factors.per_view(PointwiseMLP((3,)))

MODELS = {
    "conjugate": rpm.RPM(PRIOR, FACTORS),
    "amortized": rpm.RPM(PRIOR, FACTORS, rpm.posteriors.amortized(stacked(PointwiseMLP((3,))))),
    "saturated": rpm.RPM(PRIOR, FACTORS, rpm.posteriors.saturated(), rpm.auxiliaries.shifted()),
}
STATIC = rpm.RPM(
    rpm.priors.static(DiagonalGaussian(np.array([0.3]), np.array([-0.7])), learnable=True),
    rpm.factors.per_view(MLP((3,))),
    rpm.posteriors.saturated(),
)
STATIC_VIEWS = rpm.as_data(two_views(2, size=SIZE))


@functools.cache
def initial():
    """Initial parameters of each of `MODELS`."""
    return {name: init(model, KEY, VIEWS) for name, model in MODELS.items()}
