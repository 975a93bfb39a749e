"""Arguments of fits that do not fit: an error that names the argument, before the first step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.inference import Against
from rpm_jax.networks import CNN, MLP, GraphNetwork, InputConvex, PointwiseMLP
from rpm_jax.train import Adam

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 2)
VIEWS = two_views(0, size=8)
PRIOR = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)), learnable=True)
MODEL = rpm.RPM(PRIOR, rpm.factors.per_view(MLP((3,))))
TIMES = np.arange(3.0)


def fit(**options):
    return rpm.fit(**{"model": MODEL, "views": VIEWS, "key": KEY, "num_steps": 2, **options})


def sweep(**options):
    return rpm.fit_seeds(**{"model": MODEL, "views": VIEWS, "keys": KEYS, "num_steps": 2, **options})


def scheduled(schedule):
    return Adam(schedule=schedule)


def halved(params, data, fraction):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float16), params)


def summed(params, data, fraction):
    return jax.tree.map(jnp.sum, params)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": rpm.RPM}, TypeError, "model must be a model .* got the class RPM; make an instance of it"),
        ({"model": MLP()}, TypeError, "model must be a model such as rpm_jax.RPM.*, got MLP"),
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
        ({"objective": 3}, TypeError, r"objective must be rpm_jax.train.Bound\(...\), a loss .*, got 3"),
        ({"objective": rpm.train.Bound}, TypeError, "objective must be an instance, got the class Bound"),
        (
            {"objective": lambda p, b, d, key: rpm.bound(MODEL, p, b, d)},
            TypeError,
            r"objective must return one real .*float64\[8\]",
        ),
        (
            {"objective": lambda p, b, d, key: None},
            TypeError,
            "objective must return one real number for a batch.*got None",
        ),
        (
            {"objective": lambda p, b, d, key: 1},
            TypeError,
            "objective must return one real number for a batch.*got int",
        ),
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
            {"optimizer": scheduled(lambda step: jnp.ones(3))},
            TypeError,
            "schedule must map the number of a step to one number",
        ),
        (
            {"optimizer": scheduled(lambda step: None)},
            TypeError,
            "schedule must map the number of a step to one number",
        ),
        (
            {"optimizer": scheduled(lambda step: 1 / step)},
            ValueError,
            "schedule must give .* got inf at step 0",
        ),
        (
            {"optimizer": scheduled(lambda step: 0.5 - step)},
            ValueError,
            "schedule must give .* got -0.5 at step 1",
        ),
        ({"components": np.ones(2)}, TypeError, "components must be an rpm_jax Feed such as .* got array"),
        ({"components": rpm.feeds.Queue}, TypeError, "components must be an instance, got the class Queue"),
        ({"freeze": 3}, TypeError, "freeze must be a tuple or list of names, got 3"),
        ({"freeze": (3,)}, ValueError, "freeze: name must be one of .*got 3"),
        (
            {"warm_start": rpm.WarmStart},
            TypeError,
            r"warm_start must be an instance, got the class WarmStart",
        ),
        ({"stopping": rpm.EarlyStopping}, TypeError, "stopping must be an instance"),
        (
            {"held_out": (VIEWS[0], VIEWS[1][:, :1])},
            ValueError,
            r"held_out\[1\] must have shape \(n, 2\) like the data of the fit, got \(8, 1\)",
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
        ({"model": rpm.RPM}, TypeError, "model must be a model .* got the class RPM"),
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
        (lambda: Adam(0.1), TypeError, "optimizer.learning_rates must map groups to rates.*, got 0.1"),
        (
            lambda: Adam({"prior": "fast"}),
            TypeError,
            r"optimizer.learning_rates\['prior'\] must be a number, got 'fast'",
        ),
        (lambda: Adam({"prior": True}), TypeError, r"learning_rates\['prior'\] must be a number, got True"),
        (lambda: Adam({"prior": np.ones(2)}), TypeError, r"learning_rates\['prior'\] must be a number"),
        (lambda: Adam(schedule=3), ValueError, "schedule must be one of 'cosine', 'constant', got 3"),
        (lambda: rpm.EarlyStopping(1, "a"), TypeError, "min_delta .*must be a number, got 'a'"),
        (lambda: rpm.EarlyStopping(1, np.nan), ValueError, "min_delta .*must be at least 0"),
        (lambda: rpm.EarlyStopping(0), ValueError, "patience must be a positive integer, got 0"),
        (lambda: rpm.WarmStart(-1), ValueError, "warm_start.match_posterior must be a number of steps"),
        (lambda: rpm.train.Bound("no"), TypeError, "objective.em must be True or False, got 'no'"),
        (lambda: rpm.train.Bound(beta=-1), ValueError, "objective.beta must be a finite number of at least"),
        (lambda: rpm.train.Bound(beta="a"), ValueError, "objective.beta must be a finite number .*got 'a'"),
        (lambda: rpm.train.alternate(), ValueError, "alternate must have at least one turn"),
        (
            lambda: rpm.train.alternate(("prior", 0)),
            ValueError,
            "alternate: steps of a turn must be a positive integer, got 0",
        ),
        (lambda: rpm.train.Alternation((("prior",),)), TypeError, "a turn is a pair"),
        (lambda: rpm.train.Alternation(3), TypeError, "alternate: turns must be pairs .*got 3"),
        (lambda: Against("test"), ValueError, "against .* must be one of 'train', 'given', 'both'"),
        (lambda: Against(num_steps=-1), ValueError, "num_steps must be a positive integer, got -1"),
        (lambda: Against(learning_rate=np.nan), ValueError, "must be positive and finite, got nan"),
        (lambda: rpm.feeds.queue(0), ValueError, "length must be a positive integer, got 0"),
        (lambda: rpm.feeds.random_subset(2.5), ValueError, "size must be a positive integer, got 2.5"),
        (lambda: rpm.train.ImportanceWeighted(MODEL, 0), ValueError, "num_samples must be a positive"),
        (lambda: rpm.train.ScoreMatching(MODEL), TypeError, "ScoreMatching is not defined for RPM"),
        (lambda: MLP(8), TypeError, "MLP: hidden must be a sequence of positive integers, .* got 8"),
        (lambda: MLP((0,)), ValueError, "MLP: hidden, .* must be a positive integer, got 0"),
        (lambda: PointwiseMLP((3, 2.5)), ValueError, "PointwiseMLP: hidden, .* positive integer, got 2.5"),
        (lambda: MLP((3,), 0), ValueError, "MLP: num_outputs must be a positive integer, got 0"),
        (lambda: MLP((3,), activation="relu"), TypeError, "MLP: activation must be a function .* got 'relu'"),
        (lambda: MLP((3,), zero_start="no"), TypeError, "MLP: zero_start must be True or False, got 'no'"),
        (lambda: CNN(channels=3), TypeError, "CNN: channels must be a sequence of positive integers"),
        (lambda: CNN(kernel_size=0), ValueError, "CNN: kernel_size must be a positive integer"),
        (
            lambda: GraphNetwork(num_rounds=0),
            ValueError,
            "GraphNetwork: num_rounds must be a positive integer, got 0",
        ),
        (lambda: InputConvex((-1,)), ValueError, "InputConvex: hidden, .* positive integer, got -1"),
        (
            lambda: rpm.RPM(PRIOR, MODEL.factors, pooled="no"),
            TypeError,
            "pooled must be True or False, got 'no'",
        ),
        (
            lambda: rpm.RPM(rpm.priors.Static, MODEL.factors),
            TypeError,
            "prior must be an instance, got the class",
        ),
        (
            lambda: rpm.RPM(PRIOR, type(MODEL.factors)),
            TypeError,
            "factors must satisfy .*FactorSpec .* got NetworkFactors: call it",
        ),
        (
            lambda: rpm.RPM(PRIOR, MODEL.factors, rpm.posteriors.Conjugate),
            TypeError,
            "posterior must satisfy .* got Conjugate: call it, as in posteriors.conjugate",
        ),
        (lambda: rpm.factors.per_view(MLP), TypeError, "network must be an instance, got the class MLP"),
        (
            lambda: rpm.factors.per_view(MLP(), standardise="no"),
            ValueError,
            "standardise must be True, False or 'robust', got 'no'",
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
    for components in (rpm.feeds.minibatch(), rpm.feeds.queue(3)):
        with pytest.raises(ValueError, match=r"log_weights: 4 of 8 data have weight 0.*batch_size=4"):
            fit(log_weights=weights, batch_size=4, components=components)
    assert fit(log_weights=weights, batch_size=5, components=rpm.feeds.minibatch()).history.skipped == 0
