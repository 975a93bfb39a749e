"""Views with missing cells, in every place that data go through."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, init, recognise

import rpm_jax as rpm
from rpm_jax.distinct import distinct_values
from rpm_jax.expfam import Categorical, DiagonalGaussian
from rpm_jax.networks import CNN, MLP, PointwiseMLP, concatenated, stacked

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SIZE = 10
HIDDEN = tuple(RNG.random((SIZE, width)) < 0.2 for width in (3, 4))
COMPLETE = tuple(RNG.normal(size=hidden.shape) for hidden in HIDDEN)
for one in HIDDEN:
    one[0], one[1, 0] = False, True
HIDDEN[0][2] = True
CELLS = tuple(np.where(h, np.nan, v) for h, v in zip(HIDDEN, COMPLETE, strict=True))
STATIC = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
STATES = rpm.priors.static(Categorical(np.array([0.1, -0.3, 0.4])))
MODEL = rpm.RPM(STATIC, rpm.factors.per_view(MLP((3,))))
DATA = rpm.as_data(CELLS, missing="cells")


def test_four_ways_to_say_it():
    """NaN, masked arrays, boolean arrays, records."""
    masked = tuple(np.ma.masked_array(v, h) for v, h in zip(COMPLETE, HIDDEN, strict=True))
    pairs = zip(COMPLETE, HIDDEN, strict=True)
    records = tuple(rpm.Incomplete(jnp.asarray(v), jnp.asarray(~h)) for v, h in pairs)
    ways = (rpm.as_data(masked), rpm.as_data(COMPLETE, tuple(~h for h in HIDDEN)), rpm.as_data(records))
    for data in (*ways, rpm.as_data(DATA)):
        for view, expected, hidden in zip(data.views, DATA.views, HIDDEN, strict=True):
            np.testing.assert_array_equal(view.observed, ~hidden)
            np.testing.assert_array_equal(view.values, expected.values)
        assert data.mask is None


def test_networks_see_means_and_who_is_observed():
    params = init(MODEL, KEY, DATA)
    natural = recognise(MODEL, params, DATA.all()).natural
    for j in range(2):
        own = jax.tree.map(lambda leaf: leaf[0], params["factors"][j])
        observed = ~HIDDEN[j]
        mean, scale = np.nanmean(CELLS[j], axis=0), np.nanstd(CELLS[j], axis=0)
        np.testing.assert_allclose(own["statistics"]["mean"], mean, rtol=1e-12)
        np.testing.assert_allclose(own["statistics"]["scale"], scale, rtol=1e-12)
        inputs = [np.nan_to_num((CELLS[j] - mean) / scale), observed - observed.mean(0)]
        raw = MLP((3,), 2).apply(own["network"], np.concatenate(inputs, axis=1))
        expected = STATIC.apply(STATIC.init(KEY)).sites() + STATIC.apply({}).sites().potential(raw[:, None])
        seen = observed.any(1)
        np.testing.assert_allclose(natural.eta1[seen, j], expected.eta1[seen], rtol=1e-9)


def test_a_view_without_cells_is_missing():
    params = init(MODEL, KEY, DATA)
    factors = recognise(MODEL, params, DATA.all())
    np.testing.assert_array_equal(factors.mask[:, :, 0], np.stack([~h.all(1) for h in HIDDEN], axis=1))
    whole = np.where(np.arange(SIZE)[:, None] < 2, np.nan, COMPLETE[0])
    data = rpm.as_data((whole, COMPLETE[1]), missing="cells")
    assert not any(isinstance(view, rpm.Incomplete) for view in data.views)
    np.testing.assert_array_equal(data.mask, np.stack([np.arange(SIZE) > 1, np.ones(SIZE, bool)], axis=1))


def test_scalars_at_sites_are_a_mask():
    """A sequence of numbers with missing ones is one with missing steps."""
    views = tuple(RNG.normal(size=(SIZE, 4)) for _ in range(2))
    mask = RNG.random((SIZE, 2, 4)) < 0.8
    prior = rpm.priors.gaussian_process(np.arange(4.0))
    model = rpm.RPM(prior, rpm.factors.per_view(PointwiseMLP((3,))))
    hidden = tuple(np.where(mask[:, j], view, np.nan) for j, view in enumerate(views))

    @jax.jit
    def bound(data):
        return rpm.bound(model, model.init(KEY, data), data.batch(jnp.arange(SIZE)), data)

    expected = bound(rpm.as_data(views, mask))
    np.testing.assert_allclose(bound(rpm.as_data(hidden, missing="cells")), expected, rtol=1e-12)


MODELS = {
    "exact": rpm.RPM(STATES, rpm.factors.per_view(MLP((3,)), kind="scaled")),
    "amortized": rpm.RPM(
        STATIC,
        rpm.factors.per_view(MLP((3,)), standardise=False),
        rpm.posteriors.amortized(concatenated(MLP((3,)))),
        rpm.auxiliaries.free(concatenated(MLP((3,)))),
    ),
    "saturated": rpm.RPM(STATIC, rpm.factors.per_view(MLP((3,))), rpm.posteriors.saturated()),
    "log-partition": rpm.RPM(
        STATIC,
        rpm.factors.per_view(MLP((3,)), kind="unnormalised", log_partition=MLP((3,), activation=jnp.tanh)),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        "saturated",
        "exact",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("amortized", "log-partition")),
    ],
)
def test_fit_held_out_infer_and_both(name):
    model = MODELS[name]
    fit = rpm.fit(model, DATA, key=KEY, num_steps=2, batch_size=4, held_out=rpm.train.HeldOut(DATA, "both"))
    assert np.isfinite(fit.bound)
    assert np.isfinite(fit.held_out_bound)
    assert int(fit.history.skipped) == 0
    against = rpm.inference.Against("both", num_steps=2)
    chex.assert_tree_all_finite(fit.infer(COMPLETE, against=against).mean)


@pytest.mark.parametrize(
    "components",
    [
        rpm.feeds.queue(6),
        pytest.param(rpm.feeds.random_subset(3), marks=pytest.mark.slow),
        pytest.param(rpm.feeds.minibatch(), marks=pytest.mark.slow),
    ],
)
def test_less_than_all_data(components):
    fit = rpm.fit(MODEL, DATA, key=KEY, num_steps=2, batch_size=4, components=components)
    assert np.isfinite(fit.bound)
    assert int(fit.history.skipped) == 0


def test_incomplete_data_for_a_model_of_complete_ones():
    """Missing cells are means to it."""
    params = init(MODEL, KEY, rpm.as_data(COMPLETE))
    means = tuple(np.where(h, v.mean(0), v) for h, v in zip(HIDDEN, COMPLETE, strict=True))
    mask = np.stack([~h.all(1) for h in HIDDEN], axis=1)
    got = rpm.inference.infer(rpm.Fitted(MODEL, params, DATA), DATA)
    np.testing.assert_allclose(
        got.mean,
        rpm.inference.infer(
            rpm.Fitted(MODEL, params, rpm.as_data(means, mask)), rpm.as_data(means, mask)
        ).mean,
        rtol=1e-9,
    )


def test_images_get_a_channel():
    images = tuple(RNG.normal(size=(SIZE, 6, 6)) for _ in range(2))
    images[0][1, 2, 3] = np.nan
    model = rpm.RPM(STATES, rpm.factors.per_view(CNN((2,), (3,), kernel_size=3)))
    data = rpm.as_data(images, missing="cells")
    params = init(model, KEY, data)
    shapes = {leaf.shape[-2] for leaf in jax.tree.leaves(params["factors"]) if leaf.ndim == 5}
    assert shapes == {2}
    assert np.isfinite(bound(model, params, data.batch(jnp.arange(SIZE)), data)).all()


def test_networks_of_stacked_views():
    views = tuple(np.where(RNG.random((SIZE, 4)) < 0.2, np.nan, RNG.normal(size=(SIZE, 4))) for _ in range(2))
    prior = rpm.priors.gaussian_process(np.arange(4.0))
    posterior = rpm.posteriors.amortized(stacked(PointwiseMLP((3,))))
    model = rpm.RPM(prior, rpm.factors.per_view(PointwiseMLP((3,))), posterior)
    data = rpm.as_data(views, missing="cells")
    params = init(model, KEY, data)
    np.testing.assert_allclose(
        params["posterior"]["statistics"]["mean"], [np.nanmean(view) for view in views], rtol=1e-12
    )
    assert np.isfinite(bound(model, params, data.batch(jnp.arange(SIZE)), data)).all()


def test_distinct_values_with_missing_cells():
    """A value is what is seen and where; the bound is that of all data as components."""
    views = tuple(np.where(RNG.random((24, 2)) < 0.3, np.nan, RNG.integers(0, 2, (24, 2))) for _ in range(2))
    views[0][:2] = np.nan
    data = rpm.as_data(views, missing="cells")
    model = rpm.RPM(STATES, rpm.factors.per_view(MLP((3,))))
    prepared = model.prepare(data._replace(views=tuple(jnp_repeat(v) for v in data.views)))
    data = prepared._replace(distinct=None)
    assert prepared.distinct is not None
    params = init(model, KEY, data)
    batch = data.batch(jnp.arange(5))
    got, expected = (bound(model, params, batch, source) for source in (prepared, data))
    np.testing.assert_allclose(got, expected, atol=1e-12)


def jnp_repeat(view):
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf] * 4), view)


def test_nan_under_a_mask_keeps_distinct_values():
    counts = RNG.integers(0, 3, (5000, 1)).astype(float)
    mask = RNG.random((5000, 1, 1)) < 0.5
    hidden = np.where(mask[:, 0], counts, np.nan)
    found = distinct_values((hidden,), 1, mask)
    assert found.values[0].shape == (3, 1)


def test_models_of_complete_data_say_so():
    local = rpm.LocalLatentRPM(STATES, rpm.factors.per_view(MLP((3,))), num_local_states=2)
    for model in (local, rpm.JointRPM(STATES, concatenated(MLP((3,))))):
        with pytest.raises(ValueError, match="missing cells"):
            model.init(KEY, DATA)


def recovered(views, latent, key, **options):
    prior = rpm.priors.static(DiagonalGaussian(np.zeros(2), -0.5 * np.ones(2)))
    model = rpm.RPM(prior, rpm.factors.per_view(MLP((32,))))
    data = rpm.as_data(views, **options)
    fit = rpm.fit(model, data, key=key, num_steps=2000, batch_size=50)
    return float(
        rpm.metrics.linear_r2(
            latent[:, None], rpm.inference.posterior(rpm.Fitted(model, fit.params, data)).mean
        )
    )


@pytest.mark.slow
def test_better_than_imputing_the_mean():
    """500 rows, views of 5 and 7 columns, 5 % of the cells missing: R² of the two latent dimensions."""
    scores = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        latent = random.normal(size=(500, 2))
        views = [latent @ random.normal(size=(2, width)) for width in (5, 7)]
        views = [view + 0.5 * random.normal(size=view.shape) for view in views]
        views = [np.where(random.random(view.shape) < 0.05, np.nan, view).astype("f4") for view in views]
        means = [np.where(np.isnan(view), np.nanmean(view, axis=0), view) for view in views]
        mask = np.stack([~np.isnan(view).any(1) for view in views], axis=1)
        key = jax.random.key(seed)
        scores.append(
            (
                recovered(views, latent, key, missing="cells"),
                recovered(means, latent, key),
                recovered(views, latent, key, mask=mask),
            )
        )
    cells, imputed, dropped = np.array(scores).T
    print(
        "cells, imputed, dropped:", np.array(scores).round(3).tolist(), np.mean(scores, 0), np.std(scores, 0)
    )
    assert cells.mean() > imputed.mean() > dropped.mean()
