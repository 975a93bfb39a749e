"""Two views of one latent, static or along a sequence, and densities of a scalar latent on a grid."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from support import init, two_views

import rpm_jax as rpm
from rpm_jax.expfam import Categorical, DiagonalGaussian

KEY = jax.random.key(3)
TRAIN, NEW = (jax.tree.map(jnp.asarray, two_views(seed, size)) for seed, size in ((0, 12), (1, 5)))
GRID = np.linspace(-8.0, 8.0, 801)


def network():
    """A small network of a view."""
    return rpm.networks.MLP((6,))


@functools.cache
def model(posterior="conjugate", prior="gaussian", **options):
    """A model by the names of its posterior strategy and prior."""
    priors = {
        "gaussian": lambda: rpm.priors.Static(DiagonalGaussian(jnp.zeros(1), jnp.full(1, -0.5))),
        "categorical": lambda: rpm.priors.Static(Categorical(jnp.zeros(3))),
        "process": lambda: rpm.priors.gaussian_process(jnp.arange(4.0)),
    }
    strategy = None if posterior is None else getattr(rpm.posteriors, posterior)()
    net = network() if prior != "process" else rpm.networks.PointwiseMLP((4,))
    return rpm.RPM(priors[prior](), rpm.factors.per_view(net, 2), strategy, **options)


@functools.cache
def params(posterior="conjugate", prior="gaussian", size=12, **options):
    """Initial parameters of `model` with these arguments."""
    own = model(posterior, prior, **options)
    views = TRAIN if prior != "process" else two_views(0, size, sites=4)
    return init(own, KEY, rpm.as_data(views))


def grid_densities(own, p, views):
    """(log f_j(z|x_j) of some data, log F_j(z) over TRAIN, log p(z)) on GRID, from densities alone."""
    sites = own.prior_of(p).sites()
    log_f, train = (
        own.recognise(p, rpm.as_data(v).all()).natural.log_prob(GRID[:, None, None, None, None])
        for v in (views, TRAIN)
    )
    log_mixture = jax.nn.logsumexp(train, axis=1) - np.log(train.shape[1])
    return log_f[..., 0], log_mixture[..., 0], sites[0].log_prob(GRID[:, None])
