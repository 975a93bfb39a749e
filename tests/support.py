"""Examples that several tests share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from rpm_jax import expfam
from rpm_jax._jit import jit

COVARIANCE = np.array([[0.8, 0.3], [0.3, 0.6]])

FAMILIES = {
    "Beta": expfam.Beta.from_concentrations(np.array([1.5, 2.0]), np.array([2.5, 1.2])),
    "Categorical": expfam.Categorical(np.array([0.3, -0.8, 0.5])),
    "DiagonalGaussian": expfam.DiagonalGaussian(np.array([0.4, -0.3]), np.array([-0.5, -0.8])),
    "Dirichlet": expfam.Dirichlet.from_concentration(np.array([1.2, 0.7, 2.0])),
    "Gamma": expfam.Gamma.from_shape_and_rate(np.array([1.5, 2.5]), np.array([0.8, 1.7])),
    "Gaussian": expfam.Gaussian(np.array([0.4, -0.3]), np.array([[-0.6, 0.2], [0.2, -0.5]])),
    "KnownCovarianceGaussian": expfam.KnownCovarianceGaussian(np.array([0.4, -0.3]), COVARIANCE),
    "Poisson": expfam.Poisson.from_rate(np.array([1.5, 0.7])),
    "VonMises": expfam.VonMises(np.array([[0.4, 0.9], [-0.3, 0.2]])),
}
"""One member of every family, without batch axes."""


def rbf(times, bandwidth):
    """exp(−γ (t − t')²), shape (T, T)."""
    return jnp.exp(-bandwidth * (times[:, None] - times[None, :]) ** 2)


def matern32(times, lengthscale):
    """(1 + √3 d) exp(−√3 d), d = |t − t'|/ℓ, shape (T, T)."""
    scaled = np.sqrt(3.0) * jnp.abs(times[:, None] - times[None, :]) / lengthscale
    return (1.0 + scaled) * jnp.exp(-scaled)


def _line():
    points = np.linspace(-12.0, 12.0, 1201)
    return points[:, None], np.full(1201, points[1] - points[0])


def _half_line():
    x = np.linspace(-12.0, 6.0, 1201)
    return np.exp(x)[:, None], np.exp(x) * (x[1] - x[0])


def _interval():
    x = np.linspace(-25.0, 25.0, 1201)
    z = 1.0 / (1.0 + np.exp(-x))
    return z[:, None], z * (1.0 - z) * (x[1] - x[0])


def _circle():
    points = -np.pi + 2.0 * np.pi * np.arange(1, 257) / 256
    return points[:, None], np.full(256, 2.0 * np.pi / 256)


SCALAR_FAMILIES = {
    "Beta": (FAMILIES["Beta"].replace((np.array([0.5]), np.array([1.5]))), _interval()),
    "Categorical": (FAMILIES["Categorical"], (np.arange(3), np.ones(3))),
    "DiagonalGaussian": (expfam.DiagonalGaussian(np.array([0.4]), np.array([-0.6])), _line()),
    "Gamma": (expfam.Gamma.from_shape_and_rate(np.array([1.5]), np.array([0.8])), _half_line()),
    "Gaussian": (expfam.Gaussian(np.array([0.4]), np.array([[-0.6]])), _line()),
    "KnownCovarianceGaussian": (
        expfam.KnownCovarianceGaussian(np.array([0.4]), np.array([[0.7]])),
        _line(),
    ),
    "Poisson": (expfam.Poisson.from_rate(np.array([1.5])), (np.arange(200.0)[:, None], np.ones(200))),
    "VonMises": (expfam.VonMises(np.array([[0.4, 0.9]])), _circle()),
}
"""Members with one-dimensional values, each with an integration rule (points, weights)."""


@functools.partial(jax.jit, static_argnums=2)
def random_potentials(seed, sites, batch_shape, scale=1.0):
    """Valid random potentials of the family of `sites`, of batch shape `batch_shape`."""
    raw = jax.random.normal(jax.random.key(seed), (*batch_shape, sites.num_unconstrained))
    return sites.potential(scale * raw)


def rows(family):
    """The natural parameters of every member as one vector."""
    leading = len(family.batch_shape)
    parts = [p.reshape(*p.shape[:leading], -1) for p in family.natural_parameters]
    return jnp.concatenate(parts, axis=-1)


def two_views(seed=0, size=16, sites=None):
    """Two views of one latent: (N, 2) each, or for sequences (N, T)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(size, 1 if sites is None else sites))
    if sites is not None:
        z = np.cumsum(z, axis=1) / np.sqrt(1 + np.arange(sites))
    signs = np.array([1.0, -0.5]) if sites is None else 1.0
    first = np.tanh(z) * signs + 0.2 * rng.normal(size=(size, 2 if sites is None else sites))
    second = 0.8 * z * signs + 0.2 * rng.normal(size=first.shape)
    return first, second


@jit
def init(model, key, data):
    """Initial parameters; equal models share a program."""
    return model.init(key, data)


@jit
def recognise(model, params, batch):
    """The factors of a batch."""
    return model.recognise(params, batch)


@jit
def bound(model, params, batch, data):
    """The bound of each datum of a batch, F_j over all data."""
    return rpm.bound(model, params, batch, data)


@jit
def feed_bound(model, params, batch, data, feed, state=()):
    """The bound of each datum of a batch with a feed's components, and the feed's next state."""
    terms, state = rpm.model.batch_terms(model, params, batch, data, feed, state)
    return terms.bound, state


def feed_state(model, params, data, feed, key=None):
    """A feed's state before the first step."""
    own = recognise(model, params, data.batch(np.zeros(1, int)))
    return feed.init(jax.random.key(0) if key is None else key, own, data)


def minibatch_bound(model, params, batch, data):
    """The bound of each datum of a batch, F_j over the batch."""
    return feed_bound(model, params, batch, data, rpm.feeds.minibatch())[0]
