"""Every public specification is a value: it equals its like, pickles, copies, prints, and is passed to `jit`.

The public modules are walked, so that a class that is new there and has no example here fails.
"""

import copy
import dataclasses
import pickle
import subprocess
import sys

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpm_jax as rpm
from rpm_jax import (
    auxiliaries,
    copulas,
    factors,
    feeds,
    inference,
    marginals,
    model,
    networks,
    outputs,
    posteriors,
    priors,
    train,
)
from rpm_jax._record import is_record
from rpm_jax.expfam import Categorical, DiagonalGaussian
from rpm_jax.priors import kernels, solvers

NORMAL = DiagonalGaussian(np.zeros(2), np.full(2, -0.5))
TIMES = np.linspace(0.0, 1.0, 4)
MLP = networks.PointwiseMLP([3, 3], activation=jnp.tanh)


class Constant:
    """A distribution of another library."""

    def log_prob(self, x):
        return 0.0 * x

    def cdf(self, x):
        return x


EXAMPLES = {
    priors.Fixed: lambda: priors.fixed(priors.Static(NORMAL)),
    priors.LearnableStatic: lambda: priors.static(NORMAL, learnable=True),
    priors.LearnableGaussianProcess: lambda: priors.gaussian_process(
        TIMES, 0.9 * kernels.RBF() + kernels.White(0.1), num_latents=2, mean="free"
    ),
    priors.LearnableGaussianProcessOfTimes: lambda: priors.gaussian_process(
        num_sites=np.int64(30), kernel="matern32", mean="constant"
    ),
    priors.LearnableMixedGaussianProcess: lambda: priors.mixed_gaussian_process(
        TIMES, ["matern32", kernels.Cosine(2.0)], mixing=[[1, 2]]
    ),
    priors.MixedGaussianProcess: lambda: priors.MixedGaussianProcess(
        np.zeros(1), np.ones((1, 1)), np.ones((2, 1, 1)), np.zeros((1, 1, 1)), np.ones((1, 1, 1))
    ),
    priors.LearnableJointGaussianProcess: lambda: priors.joint_gaussian_process(TIMES, "matern32"),
    priors.LearnableTridiagonalGaussianProcess: lambda: priors.tridiagonal_gaussian_process(3),
    priors.InputDrivenHiddenMarkov: lambda: priors.hidden_markov(2, 3, inputs=MLP),
    priors.InputTable: lambda: priors.InputTable(3),
    priors.LearnableHiddenMarkov: lambda: priors.hidden_markov(2, 3, initial=np.array([0.3, 0.7])),
    priors.LearnableLinearGaussian: lambda: priors.linear_gaussian(
        2, 3, start=np.diag([0.5, 0.5]), varies=["transition"]
    ),
    priors.LearnableDrivenLinearGaussian: lambda: priors.driven_linear_gaussian(
        priors.linear_gaussian(2, 3), MLP, matrix="additive"
    ),
    priors.LearnableDirichletTopics: lambda: priors.dirichlet_topics(3, 4, symmetric=True),
    priors.Static: lambda: priors.Static(NORMAL),
    priors.RelativePrior: lambda: priors.RelativePrior(priors.Static(NORMAL), priors.Static(NORMAL).sites()),
    priors.Independent: lambda: priors.Independent(NORMAL, 3),
    priors.GaussianProcess: lambda: priors.GaussianProcess.from_covariance(np.zeros(2), np.eye(2)),
    priors.InducingGaussianProcess: lambda: priors.InducingGaussianProcess(
        jnp.zeros((2, 4)), kernels.RBF(), {}, jnp.asarray(TIMES), jnp.asarray(TIMES[:2])
    ),
    priors.MarkovGaussianProcess: lambda: priors.MarkovGaussianProcess(
        np.zeros((1, 2)), np.ones((1, 2, 1, 1)), np.zeros((1, 1, 1, 1)), np.ones((1, 1, 1, 1))
    ),
    solvers.Dense: solvers.dense,
    solvers.Inducing: lambda: solvers.inducing(3, learned=True),
    solvers.Markov: solvers.markov,
    priors.HiddenMarkov: lambda: priors.HiddenMarkov(np.zeros(2), np.zeros((2, 2)), 3),
    priors.LinearGaussian: lambda: priors.LinearGaussian(
        np.zeros(2), np.eye(2), 0.5 * np.eye(2), np.zeros(2), np.eye(2), num_sites=3
    ),
    priors.DirichletCategorical: lambda: priors.DirichletCategorical(np.ones(3), 4),
    kernels.RBF: lambda: kernels.RBF([0.5, 1], fixed=["lengthscale"]),
    kernels.Matern: lambda: kernels.Matern(1.5, np.float32(0.5)),
    kernels.Cosine: lambda: kernels.Cosine(24, fixed=["period"]),
    kernels.DampedOscillation: lambda: kernels.DampedOscillation(24),
    kernels.Periodic: lambda: kernels.Periodic(24),
    kernels.RationalQuadratic: lambda: kernels.RationalQuadratic(0.3),
    kernels.White: lambda: kernels.White(0.1),
    kernels.Sum: lambda: kernels.RBF() + kernels.White(),
    kernels.Product: lambda: kernels.RBF() * kernels.Matern(0.5),
    kernels.Scaled: lambda: 2 * kernels.RBF(),
    kernels.On: lambda: kernels.on(kernels.RBF(), 0, 2),
    networks.MLP: lambda: networks.MLP([8], activation=nn.silu),
    networks.PointwiseMLP: lambda: networks.PointwiseMLP([20, 20]),
    networks.CNN: lambda: networks.CNN([4], [8], num_outputs=np.int64(2)),
    networks.GraphNetwork: lambda: networks.GraphNetwork([5]),
    networks.InputConvex: lambda: networks.InputConvex([5, 5]),
    networks.Conv: lambda: networks.Conv(3, (2, 2)),
    networks.Standardised: lambda: networks.standardised(nn.Sequential([nn.Dense(3), nn.relu, nn.Dense(2)])),
    networks.CombinedViews: lambda: networks.stacked(MLP),
    factors.SharedPrecisionFactors: lambda: factors.per_view(MLP, precision="shared"),
    factors.NetworkFactors: lambda: factors.per_view([MLP, networks.MLP()], kind="scaled"),
    factors.LogPartitionFactors: lambda: factors.shared(
        MLP, 2, kind="unnormalised", log_partition=networks.InputConvex()
    ),
    outputs.SharedPrecisionOutputs: lambda: outputs.SharedPrecisionOutputs(np.zeros((2, 1, 1))),
    outputs.SiteOutputs: outputs.SiteOutputs,
    outputs.DiagonalPrecision: outputs.DiagonalPrecision,
    posteriors.Conjugate: posteriors.conjugate,
    posteriors.Exact: posteriors.exact,
    posteriors.Saturated: lambda: posteriors.saturated(output=outputs.DiagonalPrecision()),
    posteriors.Amortized: lambda: posteriors.amortized(networks.concatenated(networks.MLP())),
    auxiliaries.PosteriorMarginals: auxiliaries.posterior,
    auxiliaries.Exact: auxiliaries.exact,
    auxiliaries.Shifted: lambda: auxiliaries.shifted(networks.stacked(MLP)),
    auxiliaries.Free: auxiliaries.free,
    copulas.Clayton: lambda: copulas.Clayton(2.0, 3),
    copulas.Gaussian: lambda: copulas.Gaussian(copulas.equicorrelation(0.5)),
    copulas.Student: lambda: copulas.Student(copulas.equicorrelation(0.5), 4.0),
    copulas.JointDistribution: lambda: copulas.joint(
        copulas.Gaussian(copulas.equicorrelation(0.5)), [marginals.Normal(), marginals.Exponential(2.0)]
    ),
    marginals.Normal: lambda: marginals.Normal(1.0, 2.0),
    marginals.Exponential: lambda: marginals.Exponential(2.0),
    marginals.KernelDensity: lambda: marginals.kernel_density(np.array([0.0, 1.0, 3.0])),
    marginals.Completed: lambda: marginals.as_marginal(marginals.Completed(CONSTANT)),
    feeds.Full: feeds.full,
    feeds.Minibatch: feeds.minibatch,
    feeds.RandomSites: lambda: feeds.random_sites(8, feeds.random_subset(2)),
    feeds.Queue: lambda: feeds.queue(np.int64(512)),
    feeds.Subset: lambda: feeds.random_subset(64),
    train.Adam: lambda: train.Adam({"networks": 1, "prior": np.float32(0.5)}, "constant"),
    train.Alternation: lambda: train.alternate(("networks", 50), (["prior", "rows"], 20)),
    train.Bound: lambda: train.Bound(em=True, beta=1),
    train.BoundObjective: lambda: train.BoundObjective(states(), feeds.queue(3), train.Bound(beta=jnp.tanh)),
    train.EarlyStopping: lambda: train.EarlyStopping(patience=3, min_delta=1),
    train.HeldOut: lambda: train.HeldOut((np.ones((3, 1)), np.ones((3, 2))), against="both"),
    train.ImportanceWeighted: lambda: train.ImportanceWeighted(gaussian(), 5),
    train.MaximisePrior: lambda: train.maximise_prior(chain(), pseudo_count=1),
    train.ScoreMatching: lambda: train.ScoreMatching(implicit(), jnp.tanh),
    train.SlicedScoreMatching: lambda: train.SlicedScoreMatching(implicit(), 2),
    train.WarmStart: lambda: train.WarmStart(match_posterior=100),
    inference.Against: lambda: inference.Against("both", num_steps=10, learning_rate=1),
    model.RPM: lambda: gaussian(posterior=posteriors.saturated(), pooled=True),
    model.JointRPM: lambda: model.JointRPM(STATES, networks.concatenated(networks.MLP([3])), combinations=4),
    model.LocalLatentRPM: lambda: model.LocalLatentRPM(STATES, factors.per_view(MLP), [1, 2]),
    model.LocalOutputs: lambda: model.LocalOutputs(2),
    model.ImplicitRPM: lambda: implicit(),
    model.Fitted: lambda: model.Fitted(states(), {"prior": {"logits": np.ones(2)}}, (np.ones((3, 1)),)),
}  # fmt: skip
"""For every public class of the modules below one of its instances, made anew by each call."""

CONSTANT = Constant()
STATES = priors.static(Categorical(np.zeros(2)), learnable=True)


def gaussian(**options):
    return model.RPM(priors.static(NORMAL), factors.per_view(MLP), **options)


def states():
    return model.RPM(STATES, factors.per_view(MLP))


def chain():
    return model.RPM(priors.hidden_markov(2, 3), factors.per_view(MLP))


def implicit():
    return model.ImplicitRPM(priors.static(NORMAL), factors.per_view(MLP), [marginals.Normal()] * 2)


NO_SPECIFICATIONS = {
    priors.GaussianProcessPosterior,
    priors.InducingPosterior,
    priors.MarkovGaussianProcessPosterior,
    priors.MixedGaussianProcessPosterior,
    priors.HiddenMarkovPosterior,
    priors.LinearGaussianPosterior,
    priors.DirichletCategoricalPosterior,
    priors.SitePosterior,
    priors.TransitionCounts,
    priors.Future,
    priors.Step,
    kernels.MarkovForm,
    factors.Recognition,
    copulas.Probabilities,
    feeds.Held,
    feeds.Lazy,
    feeds.QueueState,
    feeds.Spread,
    train.Checkpoint,
    train.Fit,
    train.History,
    train.Moment,
    train.Progress,
    train.Sweep,
    train.TrainState,
    model.Components,
    model.Factors,
    model.Inferred,
    model.Mixture,
    model.Posteriors,
    model.Terms,
}
"""Results, not what a model is made of."""

MODULES = (
    priors,
    kernels,
    solvers,
    networks,
    factors,
    outputs,
    posteriors,
    auxiliaries,
    copulas,
    marginals,
    feeds,
    model,
    inference,
    train,
)


def public_classes():
    for module in MODULES:
        for name, value in vars(module).items():
            own = isinstance(value, type) and value.__module__.startswith(module.__name__)
            if own and not name.startswith("_") and not getattr(value, "_is_protocol", False):
                yield value


def test_every_public_class_has_an_example():
    assert set(public_classes()) - NO_SPECIFICATIONS == set(EXAMPLES)
    for kind, make in EXAMPLES.items():
        assert type(make()) is kind


def by_name(kinds):
    return [pytest.param(kind, id=f"{kind.__module__}.{kind.__name__}") for kind in kinds]


@pytest.mark.parametrize("kind", by_name(EXAMPLES))
def test_specifications_are_values(kind):
    first, second = EXAMPLES[kind](), EXAMPLES[kind]()
    assert first == second
    assert hash(first) == hash(second)
    assert first != object()
    for other in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first), copy.copy(first)):
        assert type(other) is kind
        if kind is not marginals.Completed or other.distribution is CONSTANT:
            assert other == first
            assert hash(other) == hash(first)
    assert repr(first).startswith(kind.__name__)
    assert " at 0x" not in repr(first) or kind is marginals.Completed


@pytest.mark.parametrize("kind", by_name(kind for kind in EXAMPLES if is_record(EXAMPLES[kind]())))
def test_records_are_arguments_of_compiled_functions(kind):
    """Two that are equal but for the values of their arrays share one program."""
    chex.clear_trace_counter()
    compiled = jax.jit(chex.assert_max_traces(lambda spec: jax.tree.leaves(spec), n=1))
    first = EXAMPLES[kind]()
    compiled(first)
    compiled(jax.tree.map(lambda leaf: leaf + 1, EXAMPLES[kind]()))
    assert not any(isinstance(leaf, int | float | str) for leaf in jax.tree.leaves(first))


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (priors.gaussian_process(TIMES), {"times": TIMES[::-1]}, "times must be strictly increasing"),
        (priors.gaussian_process(TIMES), {"kernel": "gaussian"}, "kernel must be one of"),
        (priors.gaussian_process(TIMES), {"mean": "linear"}, "mean must be one of"),
        (priors.joint_gaussian_process(TIMES), {"jitter": -1}, "jitter must be finite and at least 0"),
        (priors.tridiagonal_gaussian_process(3), {"coupling": np.nan}, "coupling must be finite"),
        (priors.hidden_markov(2, 3), {"initial": np.ones(2)}, "initial must hold probabilities"),
        (priors.hidden_markov(2, 3), {"num_sites": 0}, "num_sites must be a positive integer, got 0"),
        (kernels.RBF(), {"lengthscale": -1}, "lengthscale must be positive"),
    ],
)
def test_what_is_replaced_is_checked(spec, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(spec, **changes)


def test_no_class_of_the_middle_inherits_from_another():
    """Every record is final: no methods from a tower of parents."""
    for kind in public_classes():
        if getattr(kind, "__is_record__", False):
            assert kind.__mro__[1:] == (object,)
            with pytest.raises(TypeError, match="is a record, and final"):
                type("Child", (kind,), {})


def test_specifications_are_legible():
    spec = priors.gaussian_process(TIMES.astype(np.float32), kernels.RBF(0.1) + kernels.White(0.1))
    assert repr(spec) == (
        "LearnableGaussianProcess(\n"
        "  times=float32[4],\n"
        "  kernel=Sum(kernels=(RBF(lengthscale=0.1), White(variance=0.1))),\n"
        "  solver=Dense(),\n"
        ")"
    )
    assert repr(factors.per_view(MLP, 10)) == (
        "NetworkFactors(networks=(PointwiseMLP(hidden=(3, 3), activation=tanh),), num_views=10)"
    )
    assert repr(auxiliaries.shifted()) == "Shifted()"


def test_equal_networks_are_equal_whatever_sequence_their_units_come_in():
    same = [networks.PointwiseMLP(units) for units in ((20, 20), [20, 20], np.array([20, 20]), range(20, 21))]
    assert same[0] == same[1] == same[2]
    assert hash(same[0]) == hash(same[1]) == hash(same[2])
    assert same[3].hidden == (20,)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: networks.MLP(8), TypeError, "MLP: hidden must be a sequence of positive integers, .* got 8"),
        (lambda: networks.MLP((0,)), ValueError, "MLP: hidden, .* must be a positive integer, got 0"),
        (lambda: networks.CNN(channels=10), TypeError, "CNN: channels must be a sequence of positive"),
        (lambda: networks.PointwiseMLP("20"), TypeError, "PointwiseMLP: hidden must be a sequence"),
        (
            lambda: networks.MLP(num_outputs=0),
            ValueError,
            "MLP: num_outputs must be a positive integer, got 0",
        ),
    ],
)
def test_networks_check_their_sizes(build, error, message):
    with pytest.raises(error, match=message):
        build()


class Scaled(nn.Module):
    """A user's own network, with a default that does not pickle."""

    features: int = 2
    scale: float = 1.0
    kernel_init: object = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, inputs):
        return self.scale * nn.Dense(self.features, kernel_init=self.kernel_init)(inputs)


def test_networks_of_ones_own_keep_their_defaults():
    spec = factors.per_view(Scaled(3))
    for other in (pickle.loads(pickle.dumps(spec)), copy.deepcopy(spec)):
        assert other == spec
        assert other.networks[0].module.kernel_init is Scaled.kernel_init


def test_networks_are_told_apart_by_their_types():
    """1 and 1.0, or NamedTuples of different classes, are equal in Python but not one computation."""
    import typing

    class First(typing.NamedTuple):
        outputs: int

        def init(self, key, inputs):
            return {}

        def apply(self, params, inputs):
            return jnp.full((len(inputs), self.outputs), 1.0)

    class Second(typing.NamedTuple):
        outputs: int

        def init(self, key, inputs):
            return {}

        def apply(self, params, inputs):
            return jnp.full((len(inputs), self.outputs), 2.0)

    assert First(4) == Second(4)
    spec = factors.per_view([First(4), Second(4)], standardise=False)
    sites = priors.Static(NORMAL).sites()
    views = (jnp.zeros((3, 1)), jnp.zeros((3, 1)))
    potentials = spec.apply(spec.init(jax.random.key(0), views, sites), views, sites).potentials
    np.testing.assert_array_equal(potentials.eta1[:, 0], 1.0)
    np.testing.assert_array_equal(potentials.eta1[:, 1], 2.0)


@rpm._record.record
class Table:
    """A network that holds an array, which under `jit` is a traced leaf."""

    values: jax.Array

    def init(self, key, inputs):
        del key
        return {"weight": jnp.ones(())}

    def apply(self, params, inputs):
        return params["weight"] * jnp.broadcast_to(self.values, (len(inputs), len(self.values)))


def test_networks_that_hold_arrays_give_one_result_inside_and_outside_of_jit():
    tables = [Table(jnp.arange(4.0)), Table(jnp.arange(4.0)), Table(jnp.ones(4))]
    spec = factors.per_view(tables, standardise=False)
    sites = priors.Static(NORMAL).sites()
    views = (jnp.zeros((3, 1)),) * 3
    params = spec.init(jax.random.key(0), views, sites)
    outside = spec.apply(params, views, sites).potentials.eta1
    inside = jax.jit(lambda spec, params: spec.apply(params, views, sites).potentials.eta1)(spec, params)
    np.testing.assert_array_equal(outside, inside)
    np.testing.assert_array_equal(outside[0, :, 0], [[0, 1], [0, 1], [1, 1]])


def test_pickles_are_read_by_another_process(tmp_path):
    path = tmp_path / "specs.pickle"
    specs = [make() for kind, make in EXAMPLES.items() if kind is not marginals.Completed]
    path.write_bytes(pickle.dumps(specs))
    program = f"import pickle; print(len(pickle.load(open({str(path)!r}, 'rb'))))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == str(len(specs)), done.stderr


def test_statics_of_families_and_priors_are_compared_with_their_types():
    """`num_sites` of 1 and True are one tuple to Python."""
    first, second = (priors.Independent(NORMAL, 3), priors.Independent(NORMAL, 3))
    object.__setattr__(second, "num_sites", 3.0)
    assert first != second
    assert jax.tree.structure(first) != jax.tree.structure(second)
    assert Categorical(np.zeros(2)) == Categorical(np.zeros(2))
    assert Categorical(np.zeros(2)) != Categorical(np.ones(2))
