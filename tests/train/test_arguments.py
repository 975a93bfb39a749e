"""Arguments of fits that do not fit: an error that names the argument, before the first step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.networks import CNN, MLP, GraphNetwork, InputConvex, PointwiseMLP

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 2)
VIEWS = two_views(0, size=8)
PRIOR = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)), learnable=True)
MODEL = rpm.RPM(PRIOR, rpm.factors.per_view(MLP((3,))))
SATURATED = rpm.RPM(PRIOR, rpm.factors.per_view(MLP((3,))), rpm.posteriors.saturated())
TIMES = np.arange(3.0)


def fit(**options):
    return rpm.fit(**{"model": MODEL, "views": VIEWS, "key": KEY, "num_steps": 2, **options})


def sweep(**options):
    return rpm.fit_seeds(**{"model": MODEL, "views": VIEWS, "keys": KEYS, "num_steps": 2, **options})


def halved(params, data, fraction):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float16), params)


def summed(params, data, fraction):
    return jax.tree.map(jnp.sum, params)


class Unhashable:
    __hash__ = None

    def __call__(self, params, batch, data):
        return jnp.zeros(())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": rpm.RPM}, TypeError, r"model must be an instance, got the class RPM; call it: RPM\("),
        ({"model": MLP()}, TypeError, "model must be an rpm_jax.RPM, .* got MLP"),
        (
            {"learning_rates": 0.1},
            TypeError,
            "learning_rates must be a mapping from groups to rates, got 0.1",
        ),
        (
            {"learning_rates": {"prior": "fast"}},
            TypeError,
            r"learning_rates\['prior'\] must be a number, got 'fast'",
        ),
        (
            {"learning_rates": {"prior": True}},
            TypeError,
            r"learning_rates\['prior'\] must be a number, got True",
        ),
        ({"learning_rates": {"prior": np.ones(2)}}, TypeError, r"learning_rates\['prior'\] must be a number"),
        ({"callback": 3}, TypeError, "callback must be a function of a Progress, got 3"),
        ({"update": 3}, TypeError, "update must be a function of .*, got 3"),
        ({"update": lambda p, d, f: None}, TypeError, r"update must return parameters like .*, got None"),
        (
            {"update": summed},
            TypeError,
            r"update .*: params\['factors'\].* must be float64\[.*\], got float64\[\]",
        ),
        ({"update": halved}, TypeError, r"update .*must be float64\[.*\], got float16\["),
        ({"update": lambda p, d, f: (p,)}, TypeError, "update must return parameters like .*, got tuple"),
        ({"loss": 3}, TypeError, "loss must be a function of .*, got 3"),
        ({"loss": Unhashable()}, TypeError, "loss must be hashable.*got Unhashable"),
        (
            {"loss": lambda p, b, d: MODEL.bound(p, b, d)},
            TypeError,
            r"loss must return one real .*float64\[8\]",
        ),
        ({"loss": lambda p, b, d: None}, TypeError, "loss must return one real number for a batch.*got None"),
        ({"loss": lambda p, b, d: 1}, TypeError, "loss must return one real number for a batch.*got int"),
        ({"em": "no"}, TypeError, "em must be True or False, got 'no'"),
        ({"replacement": 1}, TypeError, "replacement must be True or False, got 1"),
        ({"progress": "yes"}, TypeError, "progress must be True or False, got 'yes'"),
        (
            {"optimizer": optax.lbfgs()},
            TypeError,
            r"optimizer must be an optax optimiser.*such as optax.lbfgs\(\)",
        ),
        (
            {"optimizer": optax.GradientTransformation},
            TypeError,
            "optimizer must be an instance, got the class",
        ),
        (
            {"schedule": lambda step: jnp.ones(3)},
            TypeError,
            "schedule must map the number of a step to one number",
        ),
        ({"schedule": lambda step: None}, TypeError, "schedule must map the number of a step to one number"),
        ({"schedule": lambda step: 1 / step}, ValueError, "schedule must give .* got inf at step 0"),
        ({"schedule": lambda step: 0.5 - step}, ValueError, "schedule must give .* got -0.5 at step 1"),
        ({"schedule": 3}, ValueError, "schedule must be one of 'cosine', 'constant', got 3"),
        ({"components": np.ones(2)}, ValueError, "components .*must be one of"),
        ({"freeze": 3}, TypeError, "freeze must be a tuple or list of names, got 3"),
        ({"freeze": (3,)}, ValueError, "freeze: name must be one of .*got 3"),
        (
            {"warm_start": rpm.WarmStart},
            TypeError,
            r"warm_start must be an instance, got the class WarmStart",
        ),
        ({"early_stopping": rpm.EarlyStopping}, TypeError, "early_stopping must be an instance"),
        (
            {"early_stopping": rpm.EarlyStopping(1, "a")},
            TypeError,
            "stopping.min_delta must be a number, got 'a'",
        ),
        ({"early_stopping": rpm.EarlyStopping(1, np.nan)}, ValueError, "min_delta must be at least 0"),
        (
            {"held_out": (VIEWS[0], VIEWS[1][:, :1])},
            ValueError,
            r"held_out: views\[1\] must have .*\(n, 2\), got \(8, 1\)",
        ),
    ],
)
def test_fit(options, error, message):
    with pytest.raises(error, match=message) as caught:
        fit(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"keys": 3}, TypeError, "keys must be random keys, one per run, .* got 3"),
        ({"keys": [3, 4]}, TypeError, "keys must be random keys"),
        ({"keys": []}, TypeError, "keys must be random keys"),
        ({"keys": KEYS[:0]}, ValueError, "keys must hold at least one key"),
        ({"hyperparameters": [1, 2]}, TypeError, "hyperparameters must be a mapping .* got list"),
        (
            {"hyperparameters": {"prior": ["a", "b"]}},
            TypeError,
            r"hyperparameters\['prior'\] must be an array of",
        ),
        (
            {"hyperparameters": {"prior": [1.0, np.nan]}},
            ValueError,
            r"hyperparameters\['prior'\] must be finite",
        ),
        (
            {"hyperparameters": {"prior": [1.0, -1.0]}},
            ValueError,
            r"must be one learning rate of at least 0 per key",
        ),
        (
            {"hyperparameters": {"rate": np.ones(2)}, "optimizer": lambda rate: None},
            TypeError,
            "optimizer: the function of hyperparameters must return an optax optimiser, got NoneType",
        ),
        ({"stacked_data": 1}, TypeError, "stacked_data must be True or False, got 1"),
        ({"seeds_at_once": 1.5}, ValueError, "seeds_at_once must be a positive integer, got 1.5"),
        ({"model": rpm.RPM}, TypeError, "model must be an instance"),
        ({"update": summed}, TypeError, "update must return parameters like"),
    ],
)
def test_fit_seeds(options, error, message):
    with pytest.raises(error, match=message):
        sweep(**options)


def test_keys_in_a_list():
    listed, stacked = sweep(keys=list(KEYS)), sweep()
    np.testing.assert_array_equal(listed.bound, stacked.bound)
    old = sweep(keys=[jax.random.PRNGKey(0), jax.random.PRNGKey(1)])
    assert old.size == 2


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MLP(8), TypeError, r"MLP: hidden must be a tuple .* got 8; one layer is \(8,\)"),
        (lambda: MLP((0,)), ValueError, "MLP: every number of hidden must be a positive integer, got 0"),
        (lambda: PointwiseMLP((3, 2.5)), ValueError, "PointwiseMLP: every number of hidden .* got 2.5"),
        (lambda: MLP((3,), 0), ValueError, "MLP: num_outputs must be a positive integer, got 0"),
        (lambda: MLP((3,), activation="relu"), TypeError, "MLP: activation must be a function .* got 'relu'"),
        (lambda: MLP((3,), zero_start="no"), TypeError, "MLP: zero_start must be True or False, got 'no'"),
        (lambda: CNN(channels=3), TypeError, "CNN: channels must be a tuple"),
        (lambda: CNN(kernel_size=0), ValueError, "CNN: kernel_size must be a positive integer"),
        (
            lambda: GraphNetwork(num_rounds=0),
            ValueError,
            "GraphNetwork: num_rounds must be a positive integer, got 0",
        ),
        (lambda: InputConvex((-1,)), ValueError, "InputConvex: every number of hidden"),
        (
            lambda: rpm.RPM(PRIOR, MODEL.factor_spec, pooled="no"),
            TypeError,
            "pooled must be True or False, got 'no'",
        ),
        (
            lambda: rpm.RPM(rpm.priors.Static, MODEL.factor_spec),
            TypeError,
            "prior must be an instance, got the class",
        ),
        (
            lambda: rpm.RPM(PRIOR, type(MODEL.factor_spec)),
            TypeError,
            "factors must be an instance, got the class",
        ),
        (
            lambda: rpm.RPM(PRIOR, MODEL.factor_spec, rpm.posteriors.Conjugate),
            TypeError,
            "posterior must be an inst",
        ),
        (lambda: rpm.factors.per_view(MLP), TypeError, "network must be an instance, got the class MLP"),
        (
            lambda: rpm.factors.per_view(MLP(), standardise="no"),
            TypeError,
            "standardise must be True or False",
        ),
        (lambda: rpm.posteriors.amortized(MLP), TypeError, "network must be an instance"),
        (
            lambda: rpm.priors.static(PRIOR.initial, learnable="no"),
            TypeError,
            "learnable must be True or False",
        ),
        (
            lambda: rpm.priors.gaussian_process(TIMES, learnable=0),
            TypeError,
            "learnable must be True or False, got 0",
        ),
        (
            lambda: rpm.priors.hidden_markov(2, 3, learnable="no"),
            TypeError,
            "learnable must be True or False",
        ),
        (
            lambda: rpm.priors.hidden_markov(2, 3, parallel=1),
            TypeError,
            "parallel must be True or False, got 1",
        ),
    ],
)
def test_parts(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_rows_of_new_data():
    params = jax.jit(SATURATED.init)(KEY, rpm.as_data(VIEWS))
    with pytest.raises(ValueError, match="num_steps must be a positive integer, got -1"):
        SATURATED.infer(params, VIEWS, data=VIEWS, num_steps=-1)
    with pytest.raises(ValueError, match="learning_rate must be positive and finite, got nan"):
        SATURATED.evaluate(params, VIEWS, data=VIEWS, learning_rate=np.nan)


# What is mended instead of refused.


def test_initial_parameters_of_another_precision():
    """They take the type that the model's own would have; whole numbers too."""
    start = jax.jit(MODEL.init)(KEY, rpm.as_data(VIEWS))
    half = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), start)
    result = fit(params=half)
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(result.params))
    whole = jax.tree.map(lambda leaf: np.ones(leaf.shape, int), start)
    assert np.isfinite(fit(params=whole).bound)
    words = jax.tree.map(lambda leaf: np.ones(leaf.shape, complex), start)
    with pytest.raises(TypeError, match=r"params.* must be real numbers, got dtype complex128"):
        fit(params=words)


def test_what_a_callback_was_shown_may_be_kept():
    """The next steps leave it alone."""
    seen = []
    result = fit(num_steps=6, steps_per_call=2, callback=seen.append)
    values = [np.asarray(progress.params["prior"]["unconstrained"]) for progress in seen]
    assert len({value.tobytes() for value in values}) == 3
    np.testing.assert_array_equal(values[-1], result.params["prior"]["unconstrained"])


def test_minibatches_of_weight_zero_only():
    """F_j over the batch would have no component."""
    weights = np.where(np.arange(8) < 4, 0.0, -np.inf)
    for components in ("batch", rpm.normalizers.queue(3)):
        with pytest.raises(ValueError, match=r"log_weights: 4 of 8 data have weight 0.*batch_size=4"):
            fit(log_weights=weights, batch_size=4, components=components)
    assert fit(log_weights=weights, batch_size=5, components="batch").history.skipped == 0
