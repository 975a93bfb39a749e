"""Arguments that do not fit are refused before anything is computed; each message is read."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import init, recognise

import rpm_jax as rpm
from rpm_jax import expfam, priors
from rpm_jax.objectives import inner_bound

KEY = jax.random.key(0)
TIMES = jnp.linspace(0, 1, 4)
VIEWS = tuple(jax.random.normal(key, (6, 4)) for key in jax.random.split(KEY, 3))
NETWORK = rpm.networks.PointwiseMLP((4,))
MODEL = rpm.RPM(priors.gaussian_process(TIMES), rpm.factors.per_view(NETWORK))
PARAMS = init(MODEL, KEY, rpm.as_data(VIEWS))
PRIOR = priors.GaussianProcess.from_covariance(jnp.zeros(4), jnp.eye(4))


def gaussians(*shape):
    return expfam.DiagonalGaussian(jnp.ones(shape), -jnp.ones(shape))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"mask": np.ones((6, 3, 4), int)}, TypeError, "mask must be boolean.*int"),
        ({"mixture_mask": np.ones((6, 3, 4))}, TypeError, "mixture_mask must be boolean.*float"),
        (
            {"factors": gaussians(6, 3, 4, 2)},
            ValueError,
            r"factors must have the event shapes.*\(1,\).*\(2,\)",
        ),
        ({"mixture": gaussians(6, 3, 4, 3)}, ValueError, "mixture must have the event shapes"),
        ({"log_scale": np.ones((6, 3, 4))}, ValueError, "go together.*got only log_scale"),
        ({"log_weights": np.zeros((6, 3, 2))}, ValueError, r"log_weights must have shape.*got \(6, 3, 2\)"),
    ],
)
def test_objective(change, error, message):
    arguments = {"prior": PRIOR, "factors": gaussians(6, 3, 4, 1), "mixture": gaussians(6, 3, 4, 1), **change}
    with pytest.raises(error, match=message):
        inner_bound(**arguments)


def test_masked_auxiliary_leaves_no_nan():
    mask = jnp.ones((6, 3, 4), bool).at[0, 0, 0].set(False)

    def total(scale):
        auxiliary = gaussians(6, 3, 4, 1) * scale
        auxiliary = auxiliary.replace((auxiliary.eta1.at[0, 0, 0].set(jnp.nan), auxiliary.eta2))
        factors = gaussians(6, 3, 4, 1)
        return inner_bound(PRIOR, factors, factors, auxiliary=auxiliary, mask=mask).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(1.0)
    assert np.isfinite(value)
    assert np.isfinite(gradient)


def loss(params, batch, data, key):
    return 0.0


def fit_with(options):
    options = options() if callable(options) else options
    return rpm.fit(**{"model": MODEL, "views": VIEWS, "key": KEY, "num_steps": 1, **options})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"key": 0}, TypeError, r"key must be a random key such as jax.random.key\(0\), got 0"),
        ({"key": jax.random.split(KEY, 2)}, TypeError, "key must be a random key"),
        (
            lambda: {"optimizer": rpm.train.Adam({"networks": -1.0})},
            ValueError,
            "networks.*must be positive and finite, got -1.0",
        ),
        (
            lambda: {"optimizer": rpm.train.Adam({"network": 1.0})},
            ValueError,
            "must be one of 'networks', 'prior', 'rows'",
        ),
        (
            {"optimizer": optax.adam},
            TypeError,
            "an optax optimiser such as optax.adam",
        ),
        (lambda: {"optimizer": rpm.train.Adam(schedule="linear")}, ValueError, "optimizer.schedule"),
        (lambda: {"optimizer": rpm.train.Adam(0.1)}, TypeError, "must map groups to rates"),
        ({"stopping": 5}, TypeError, "stopping must be an rpm_jax EarlyStopping, got 5"),
        (
            lambda: {"stopping": rpm.EarlyStopping(0)},
            ValueError,
            "patience must be a positive integer, got 0",
        ),
        (
            lambda: {"stopping": rpm.EarlyStopping(1, -1.0)},
            ValueError,
            r"stopping.min_delta \(in nats\) must be",
        ),
        ({"warm_start": 200}, TypeError, "warm_start must be an rpm_jax WarmStart, got 200"),
        (lambda: {"warm_start": rpm.WarmStart(-1)}, ValueError, "match_posterior must be a number of steps"),
        (
            {"components": rpm.feeds.minibatch(), "batch_size": 1},
            ValueError,
            "F_j over the minibatch needs at least 2 components, got 1",
        ),
        ({"objective": loss, "components": rpm.feeds.full()}, ValueError, "components"),
        ({"views": tuple(view[:1] for view in VIEWS)}, ValueError, "at least 2 components, got 1"),
        ({"log_weights": np.full(6, np.nan)}, ValueError, "log_weights must be finite.*6 NaN"),
        ({"log_weights": np.full(6, -np.inf)}, ValueError, "one of them finite.*6 −inf"),
        ({"views": tuple(view[:, :3] for view in VIEWS)}, ValueError, r"prior's 4 sites on axis 1.*\(6, 3\)"),
    ],
)
def test_fit(options, error, message):
    with pytest.raises(error, match=message):
        fit_with(options)


def test_initial_parameters():
    with pytest.raises(ValueError, match=r"params must have the structure of model\.init"):
        rpm.fit(MODEL, VIEWS, key=KEY, num_steps=1, params={"prior": PARAMS["prior"]})
    saturated = rpm.RPM(MODEL.prior, MODEL.factors, rpm.posteriors.saturated())
    rows = init(saturated, KEY, rpm.as_data(tuple(view[:3] for view in VIEWS)))
    with pytest.raises(ValueError, match=r"posterior.*must have shape \(6, 4, 2\).*got \(3, 4, 2\)"):
        rpm.fit(saturated, VIEWS, key=KEY, num_steps=1, params=rows)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"hyperparameters": {"network": np.ones(2)}},
            ValueError,
            "must be one of 'networks', 'prior', 'rows'",
        ),
        ({"hyperparameters": {"networks": np.ones(3)}}, ValueError, "one value per key, first axis 2"),
        (
            {"hyperparameters": {"rate": np.ones(2)}, "optimizer": optax.adam(1e-3)},
            TypeError,
            "need an optimizer that is a function",
        ),
        ({"keys": KEY}, ValueError, "keys must have shape"),
        ({"bach_size": 2}, TypeError, "no option.*bach_size"),
        ({"stacked_data": True}, ValueError, r"views\[0\] must have shape \(seeds, N, ...\) with 2 seeds"),
    ],
)
def test_fit_seeds(options, error, message):
    arguments = {"keys": jax.random.split(KEY, 2), "num_steps": 1, **options}
    with pytest.raises(error, match=message):
        rpm.fit_seeds(MODEL, VIEWS, **arguments)


def test_keys_of_the_old_type_are_taken():
    old = rpm._checks.as_keys("key", jax.random.PRNGKey(3), 0)
    assert jax.random.key_data(old).tolist() == jax.random.key_data(jax.random.key(3)).tolist()


def test_model():
    with pytest.raises(TypeError, match=r"got the network PointwiseMLP.*factors.per_view\(network\)"):
        rpm.RPM(MODEL.prior, NETWORK)
    with pytest.raises(TypeError, match="prior must be a prior"):
        rpm.RPM(NETWORK, MODEL.factors)
    unequal = priors.GaussianProcess.from_covariance(jnp.zeros(4), jnp.diag(jnp.arange(1.0, 5.0)))
    with pytest.raises(ValueError, match=r"pooled=True.*same marginal at every site"):
        rpm.RPM(unequal, MODEL.factors, pooled=True)
    invalid = priors.Static(expfam.DiagonalGaussian(jnp.zeros(2), jnp.ones(2)))
    with pytest.raises(ValueError, match="not in the domain of their family"):
        rpm.RPM(invalid, MODEL.factors)
    with pytest.raises(ValueError, match=r"latents must end in the shape \(4, 1\).*got \(8, 4\)"):
        rpm.generation.component_log_weights(rpm.Fitted(MODEL, PARAMS, VIEWS), jnp.zeros((8, 4)))


def test_priors():
    with pytest.raises(ValueError, match="bandwidth must be positive and finite, got -3"):
        priors.kernels.rbf_from_bandwidth(-3)
    with pytest.raises(ValueError, match="lengthscale must be positive and finite, got 0"):
        priors.kernels.Matern(0.5, 0)
    with pytest.raises(ValueError, match="precision must be positive definite"):
        priors.GaussianProcess.from_precision(jnp.zeros(2), jnp.diag(jnp.asarray([1.0, -1.0])))
    with pytest.raises(ValueError, match="covariance must be symmetric"):
        priors.GaussianProcess.from_covariance(jnp.zeros(2), jnp.asarray([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="jitter must be finite and at least 0, got -1"):
        priors.joint_gaussian_process(TIMES, jitter=-1)


def test_statistics_of_inputs_are_not_learned():
    groups = MODEL.groups(PARAMS)
    (factors,) = groups["factors"]
    assert set(jax.tree.leaves(factors["statistics"])) == {"none"}
    assert set(jax.tree.leaves(factors["network"])) == {"networks"}
    optimizer = optax.adamw(0.1, weight_decay=1.0)
    fit = rpm.fit(MODEL, VIEWS, key=KEY, params=PARAMS, num_steps=2, optimizer=optimizer)
    start = PARAMS["factors"][0]["statistics"]
    for a, b in zip(
        jax.tree.leaves(fit.params["factors"][0]["statistics"]), jax.tree.leaves(start), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_missing_entries_stay_out_of_the_statistics():
    far = tuple(view + 100 for view in VIEWS)
    mask = np.ones((6, 3), bool)
    mask[:3, 0] = False
    data = rpm.as_data(
        tuple(np.where(np.arange(6)[:, None] < 3, np.nan, far[0]) if j == 0 else far[j] for j in range(3)),
        mask,
    )
    statistics = init(MODEL, KEY, data)["factors"][0]["statistics"]
    np.testing.assert_allclose(statistics["mean"][0, 0], np.mean(far[0][3:]), rtol=1e-6)
    assert statistics["scale"][0, 0] < 2


def test_images_at_every_site_are_seen_one_by_one():
    images = tuple(jax.random.normal(key, (2, 4, 6, 6)) for key in jax.random.split(KEY, 2))
    model = rpm.RPM(
        MODEL.prior,
        rpm.factors.per_view(rpm.networks.CNN(channels=(2,), hidden=(3,), kernel_size=3)),
    )
    params = init(model, KEY, rpm.as_data(images))
    factors, swapped = (
        recognise(model, params, rpm.as_data(views).all())
        for views in (images, tuple(image[:, ::-1] for image in images))
    )
    assert factors.natural.batch_shape == (2, 2, 4)
    np.testing.assert_allclose(swapped.potentials.eta1, factors.potentials.eta1[:, :, ::-1], rtol=1e-6)


def test_auxiliary_tables_start_at_the_posterior():
    for strategy, tolerance in ((rpm.auxiliaries.free(), 1e-6), (rpm.auxiliaries.shifted(), 0.1)):
        model = rpm.RPM(MODEL.prior, MODEL.factors, rpm.posteriors.saturated(), strategy)
        data = rpm.as_data(VIEWS)
        inferred = rpm.inference.inferred(rpm.Fitted(model, init(model, KEY, data), data))
        marginals = inferred.posterior.sites[:, None]
        np.testing.assert_allclose(
            inferred.auxiliary.eta2, jnp.broadcast_to(marginals.eta2, (6, 3, 4, 1)), rtol=tolerance
        )
