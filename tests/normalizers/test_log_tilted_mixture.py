"""The tilted mixture integral against sums and integrals written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from support import FAMILIES, SCALAR_FAMILIES, random_potentials

from rpm_jax import normalizers
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.normalizers import ArrayComponents, as_components, log_tilted_mixture

SIZE, VIEWS, SITES, BATCH = 6, 2, 3, 4
RNG = np.random.default_rng(0)
SHAPE = (SIZE, VIEWS, SITES)
NATURAL = DiagonalGaussian(RNG.normal(size=(*SHAPE, 2)), -0.5 - RNG.gamma(1.0, size=(*SHAPE, 2)))
TILTS = DiagonalGaussian(
    RNG.normal(size=(BATCH, VIEWS, SITES, 2)), -RNG.gamma(1.0, size=(BATCH, VIEWS, SITES, 2))
)
LOG_SCALE = RNG.normal(size=SHAPE)
LOG_WEIGHTS = scipy.special.log_softmax(RNG.normal(size=SIZE))
MASK = RNG.uniform(size=SHAPE) < 0.6
MASK[:, 0, 1] = True
MASK[0] = True


@jax.jit
def value(natural, tilts, log_scale=None, **options):
    return log_tilted_mixture(as_components(natural, log_scale), tilts, **options)


def log_partition(eta1, eta2):
    return np.sum(-0.25 * eta1**2 / eta2 - 0.5 * np.log(-2.0 * eta2), axis=-1)


def direct(log_weights, log_scale=None, mask=None):
    """(BATCH, VIEWS, SITES), by numpy and scipy."""
    eta1, eta2 = (np.asarray(p) for p in NATURAL.natural_parameters)
    delta1, delta2 = (np.asarray(p) for p in TILTS.natural_parameters)
    log_scale = -log_partition(eta1, eta2) if log_scale is None else log_scale
    shifted = log_partition(eta1 + delta1[:, None], eta2 + delta2[:, None])
    weights = np.exp(np.broadcast_to(log_weights, SHAPE))
    if mask is not None:
        weights = np.where(mask, weights, 0.0)
    weights = weights / weights.sum(axis=0)
    return scipy.special.logsumexp(shifted + log_scale, axis=1, b=weights)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, direct(0.0)),
        ({"log_scale": LOG_SCALE}, direct(0.0, LOG_SCALE)),
        ({"log_weights": LOG_WEIGHTS}, direct(LOG_WEIGHTS[:, None, None])),
        ({"mask": MASK}, direct(0.0, mask=MASK)),
        (
            {"log_weights": LOG_WEIGHTS, "mask": MASK, "log_scale": LOG_SCALE},
            direct(LOG_WEIGHTS[:, None, None], LOG_SCALE, MASK),
        ),
        (
            {"log_weights": np.broadcast_to(LOG_WEIGHTS[:, None, None], SHAPE)},
            direct(LOG_WEIGHTS[:, None, None]),
        ),
    ],
)
def test_against_a_sum(options, expected):
    got = value(NATURAL, TILTS, **options)
    assert got.shape == (BATCH, VIEWS, SITES)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("name", SCALAR_FAMILIES)
def test_against_an_integral(name):
    """log ∫ F(z) exp⟨δ, t(z)⟩ dz."""
    member, (points, weights) = SCALAR_FAMILIES[name]
    natural = member + random_potentials(1, member, (SIZE, 1, 1))
    tilts = random_potentials(2, member, (BATCH, 1, 1))

    @jax.jit
    def both(natural, tilts, points, weights):
        log_density = jax.nn.logsumexp(natural[:, 0, 0].log_prob(points[:, None]), axis=1) - jnp.log(SIZE)
        exponent = tilts[:, 0, 0].dot(natural.sufficient_statistics(points[:, None]))
        expected = jax.nn.logsumexp(log_density[:, None] + exponent, axis=0, b=weights[:, None])
        return log_tilted_mixture(as_components(natural), tilts)[:, 0, 0], expected

    got, expected = both(natural, tilts, jnp.asarray(points), jnp.asarray(weights))
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-9)


def test_without_a_tilt_it_is_the_mass():
    """0 for normalised factors, whatever weights and mask."""
    for options in ({}, {"log_weights": LOG_WEIGHTS, "mask": MASK}):
        np.testing.assert_allclose(value(NATURAL, TILTS.zeros(), **options), 0.0, atol=1e-13)


def test_a_masked_component_is_a_removed_one():
    mask = np.ones(SHAPE, bool)
    mask[[1, 4]] = False
    kept = np.array([0, 2, 3, 5])
    got = value(NATURAL, TILTS, mask=mask, log_weights=LOG_WEIGHTS)
    renormalised = scipy.special.log_softmax(LOG_WEIGHTS[kept])
    np.testing.assert_allclose(got, value(NATURAL[kept], TILTS, log_weights=renormalised), rtol=1e-12)


def test_where_no_component_is_left_it_is_that_of_all():
    mask = np.ones(SHAPE, bool)
    mask[:, 1, 2] = False
    np.testing.assert_allclose(value(NATURAL, TILTS, mask=mask), value(NATURAL, TILTS), rtol=1e-12)


def test_weights_of_zero():
    """−inf is a component that is not there, for values and gradients."""
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.array([0.5, 0.0, 0.5, 0.0, 0.0, 0.0]))
    got = value(NATURAL, TILTS, log_weights=log_weights)
    np.testing.assert_allclose(got, value(NATURAL[np.array([0, 2])], TILTS), rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda n: jnp.sum(value(n, TILTS, log_weights=log_weights))))(NATURAL)
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf))
        np.testing.assert_array_equal(leaf[1], 0.0)
        assert np.all(leaf[0] != 0.0)


def test_one_component():
    single = NATURAL[:1]
    got = value(single, TILTS)
    expected = (single + TILTS).log_partition() - single.log_partition()
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_views_and_sites_broadcast():
    """A mixture pooled over sites, or shared by the views."""
    pooled = NATURAL[:, :, :1]
    expected = value(pooled.broadcast_to(SHAPE), TILTS)
    np.testing.assert_allclose(value(pooled, TILTS), expected, rtol=1e-12)
    shared = NATURAL[:, :1]
    np.testing.assert_allclose(value(shared, TILTS), value(shared.broadcast_to(SHAPE), TILTS), rtol=1e-12)


@pytest.mark.parametrize("batch", [(), (2, 2)])
def test_any_batch_axes(batch):
    tilts = TILTS[0] if batch == () else TILTS.reshape((2, 2, VIEWS, SITES))
    expected = value(NATURAL, TILTS).reshape((-1, VIEWS, SITES))
    got = value(NATURAL, tilts)
    assert got.shape == (*batch, VIEWS, SITES)
    np.testing.assert_allclose(got.reshape(-1, VIEWS, SITES), expected[: 1 if batch == () else 4], rtol=1e-12)


def test_gradients():
    """Forward and reverse, of natural parameters, tilts, log-scales and weights, against differences."""
    inputs = (NATURAL, TILTS, LOG_SCALE, LOG_WEIGHTS)
    direction = jax.tree.map(lambda x: 0.1 * RNG.normal(size=x.shape), inputs)

    def scalar(inputs):
        natural, tilts, log_scale, log_weights = inputs
        return jnp.sum(jnp.sin(value(natural, tilts, log_scale, log_weights=log_weights, mask=MASK)))

    @jax.jit
    def evaluate(inputs):
        forward = jax.jvp(scalar, (inputs,), (direction,))[1]
        products = jax.tree.map(jnp.vdot, jax.grad(scalar)(inputs), direction)
        return scalar(inputs), forward, sum(jax.tree.leaves(products))

    step = 1e-5
    moved = [jax.tree.map(lambda x, d, sign=sign: x + sign * step * d, inputs, direction) for sign in (1, -1)]
    difference = (evaluate(moved[0])[0] - evaluate(moved[1])[0]) / (2 * step)
    for got in evaluate(inputs)[1:]:
        np.testing.assert_allclose(got, difference, rtol=1e-7)


def test_far_away_tilts_do_not_overflow():
    far = DiagonalGaussian(TILTS.eta1 + 1e3, TILTS.eta2)
    assert np.all(np.isfinite(value(NATURAL, far)))


class Made:
    """Components that come from a function, not from an array."""

    size = SIZE

    def block(self, start, length):
        return ArrayComponents(NATURAL, jnp.asarray(LOG_SCALE)).block(start, length)


def test_any_components():
    assert isinstance(Made(), normalizers.Components)
    got = jax.jit(lambda: log_tilted_mixture(Made(), TILTS))()
    np.testing.assert_allclose(got, value(NATURAL, TILTS, LOG_SCALE), rtol=1e-12)


def test_blocks_of_arrays():
    components = as_components(NATURAL, LOG_SCALE)
    assert components.size == SIZE
    block = jax.jit(lambda start: components.block(start, 2))(3)
    np.testing.assert_array_equal(block.natural.eta1, NATURAL.eta1[3:5])
    np.testing.assert_array_equal(block.log_scale, LOG_SCALE[3:5])
    assert as_components(NATURAL).block(1, 2).log_scale is None


def test_errors():
    with pytest.raises(TypeError, match=r"mixture must be natural parameters of batch shape .* got ndarray"):
        as_components(np.zeros(SHAPE))
    with pytest.raises(TypeError, match="mixture_log_scale belongs to a mixture of arrays"):
        as_components(Made(), LOG_SCALE)


def test_every_family_has_components():
    for family in FAMILIES.values():
        assert as_components(family.broadcast_to(SHAPE)).block(2, 3).natural.batch_shape == (3, VIEWS, SITES)
