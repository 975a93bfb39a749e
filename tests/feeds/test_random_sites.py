"""Pairs of a datum and a site, drawn at random for pooled mixtures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, feed_bound, feed_state, init

import rpm_jax as rpm
from rpm_jax import feeds
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.normalizers import OwnShare, with_own_component

KEY = jax.random.key(0)
NORMAL = DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1))
FACTORS = rpm.factors.per_view(rpm.networks.PointwiseMLP((2,), activation=jnp.tanh))


def model(sites, **options):
    return rpm.RPM(rpm.priors.fixed(rpm.priors.Independent(NORMAL, sites)), FACTORS, pooled=True, **options)


def data(size, sites, mask=None, log_weights=None):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(size, sites, 1))
    return rpm.as_data(tuple(z + 0.3 * rng.normal(size=z.shape) for _ in range(2)), mask, log_weights)


def some_missing(size, sites):
    mask = np.random.default_rng(1).random((size, 2, sites)) < 0.7
    mask[:, :, 0] = True
    return mask


CASES = {
    "one trajectory": (1, 9, None),
    "missing": (2, 6, some_missing(2, 6)),
}


@pytest.mark.parametrize("case", ["missing", pytest.param("one trajectory", marks=pytest.mark.slow)])
def test_all_pairs_are_the_whole(case):
    """Bound and gradient of a draw of all pairs, or of more than there are, are those of all components."""
    size, sites, mask = CASES[case]
    own, whole = model(sites), data(size, sites, mask)
    params = init(own, KEY, whole)
    feed = feeds.random_sites(size * sites + 5)
    state = feed_state(own, params, whole, feed)

    @jax.jit
    def drawn(params):
        terms, _ = rpm.model.batch_terms(own, params, whole.all(), whole, feed, state)
        return terms.bound.sum(), terms.bound

    @jax.jit
    def everything(params):
        each = rpm.bound(own, params, whole.all(), whole)
        return each.sum(), each

    (_, got), slope = jax.value_and_grad(drawn, has_aux=True)(params)
    (_, expected), own_slope = jax.value_and_grad(everything, has_aux=True)(params)
    np.testing.assert_allclose(got, expected, rtol=1e-11)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), slope, own_slope)


@pytest.mark.parametrize("weighted", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_mixtures_are_unbiased(weighted):
    """The mean of F̂ over many draws, at the tilt of each datum, is F; own factors have their own weight."""
    size, sites = 2, 4
    mask = some_missing(size, sites)
    rng = np.random.default_rng(2)
    own = model(sites)
    whole = data(size, sites, mask, rng.normal(size=size) if weighted else None)
    params = init(own, KEY, whole)
    feed = feeds.random_sites(3)
    seen = own.recognise(params, whole.all())
    tilts = DiagonalGaussian(rng.normal(size=(size, 2, sites, 1)), -rng.random((size, 2, sites, 1)))

    def integral(mixture):
        components = mixture.components
        values = rpm.normalizers.log_tilted_mixture(
            rpm.normalizers.as_components(components.natural),
            tilts,
            mask=components.mask,
            log_weights=components.log_weights,
        )
        if mixture.own is None:
            return jnp.exp(values)
        log_own = (seen.natural + tilts).log_partition() - seen.natural.log_partition()
        return jnp.exp(with_own_component(values, log_own, mixture.own))

    def draw(key):
        rows = feeds.with_weights_among_themselves(whole.all(), whole)
        source, _ = feed.source((key, ()), seen, rows, whole, None)
        mixture = own.mixture(params, source)
        # Means are over draws that hold some other component.
        return integral(mixture), (mixture.own.drawn.sum((0, 2)) > 0)[None, :, None] & (mixture.own.drawn < 1)

    values, known = jax.jit(jax.vmap(draw))(jax.random.split(KEY, 4000))
    number = known.sum(0)
    mean = jnp.sum(jnp.where(known, values, 0), 0) / number
    error = jnp.sqrt(jnp.sum(jnp.where(known, (values - mean) ** 2, 0), 0)) / number
    exact = integral(own.mixture(params, feeds.Lazy(whole)))
    assert np.all(np.abs(mean - exact)[mask] < 4.5 * error[mask] + 1e-12)
    assert np.all(number[mask] > 2000)


def test_own_component():
    """By hand: w f + (1 − w)(mean of the others drawn); all of it in float32 where f rules."""
    log_f, others = jnp.array(3.0), jnp.array([0.5, -1.0])
    for drawn in (0, 1, 2):
        terms = jnp.concatenate([jnp.full(drawn, log_f), others])
        got = with_own_component(
            jax.nn.logsumexp(terms) - np.log(len(terms)),
            log_f,
            OwnShare(jnp.array(0.01), jnp.array(drawn / len(terms))),
        )
        expected = np.log(0.01 * np.exp(3.0) + 0.99 * np.exp(others).mean())
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    alone = with_own_component(log_f, log_f, OwnShare(jnp.array(0.01), jnp.array(1.0)))
    assert alone == log_f
    single = [jnp.asarray(x, jnp.float32) for x in (50.0 - np.log(1000.0), 50.0, 1e-4, 1e-3)]
    value, slope = jax.value_and_grad(lambda d, f: with_own_component(d, f, OwnShare(*single[2:])))(
        *single[:2]
    )
    assert abs(value - (50.0 + np.log(1e-4))) < 0.1
    assert np.isfinite(slope)


def test_default_draws_and_says_so():
    """Below the stated number of terms all components, above it a draw; a fit with it goes up."""
    few, many = data(1, 50), data(1, 4200)
    assert model(50).default_feed(few, 1) == feeds.full()
    with pytest.warns(RuntimeWarning, match=r"N·T = 1·4200 components would have 2e\+07 terms .* 1024"):
        feed = model(4200).default_feed(many, 1)
    assert feed == feeds.random_sites(1024)
    with pytest.warns(RuntimeWarning, match="of=Subset"):
        assert model(400).default_feed(data(100, 400), 32) == feeds.random_sites(
            1024, feeds.random_subset(32)
        )
    longest = data(1, 100_000)
    with pytest.warns(RuntimeWarning, match="256 of them are drawn"):
        assert model(100_000).default_feed(longest, 1) == feeds.random_sites(256)
    fit = rpm.fit(model(50), few, key=KEY, num_steps=20, components=feeds.random_sites(20))
    assert fit.history.train[-1] > fit.history.train[0]
    assert fit.history.skipped == 0


def test_subset_of_a_subset():
    """Pairs of a batch and other data: the batch's own factors count as in the whole."""
    own, whole = model(3), data(6, 3)
    params = init(own, KEY, whole)
    feed = feeds.random_sites(1000, feeds.random_subset(100))
    state = feed_state(own, params, whole, feed)
    batch = whole.batch(np.arange(2))
    got, _ = feed_bound(own, params, batch, whole, feed, state)
    # Many draws of many data: close to all of them.
    np.testing.assert_allclose(got, bound(own, params, batch, whole), atol=0.15)


def test_what_does_not_fit():
    whole = data(2, 3)
    plain = rpm.RPM(rpm.priors.fixed(rpm.priors.Independent(NORMAL, 3)), FACTORS)
    states = rpm.RPM(rpm.priors.hidden_markov(2, 3), FACTORS, pooled=True)
    for other, message in ((plain, "this model has pooled=False"), (states, "leave components out")):
        with pytest.raises(ValueError, match=message):
            rpm.fit(other, whole, key=KEY, num_steps=1, components=feeds.random_sites(4))
    with pytest.raises(TypeError, match="of must be a feed whose components are held"):
        rpm.fit(model(3), whole, key=KEY, num_steps=1, components=feeds.random_sites(4, feeds.full()))
    with pytest.raises(ValueError, match="size must be a positive integer, got 0"):
        feeds.random_sites(0)


@pytest.mark.slow
def test_every_seed_draws_its_own():
    """A sweep of a padded data set is the fits one by one."""
    trials = [np.random.default_rng(n).normal(size=(length, 1)) for n, length in enumerate((4, 2, 5))]
    padded = rpm.from_sequences([(trial, trial + 0.1) for trial in trials])
    keys = jax.random.split(KEY, 2)
    options = {"num_steps": 5, "components": feeds.random_sites(4)}
    sweep = rpm.fit_seeds(model(5), padded, keys=keys, **options)
    one = rpm.fit(model(5), padded, key=keys[1], **options)
    np.testing.assert_allclose(sweep.history.train[1], one.history.train, rtol=1e-6)
    assert [len(mean) for mean in rpm.unpad(sweep.run(1).posterior().mean, sweep.run(1))] == [4, 2, 5]
