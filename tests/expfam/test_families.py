"""Properties of exponential families, swept over all of them.

Every family comes with an integration rule over its values, so that normalisation, moments, entropies and
divergences are all checked against the density itself.
"""

import dataclasses
import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats

from rpm_jax import expfam
from rpm_jax.expfam import (
    Beta,
    Categorical,
    DiagonalGaussian,
    Dirichlet,
    Gamma,
    Gaussian,
    KnownCovarianceGaussian,
    Poisson,
    VonMises,
)

COVARIANCE = np.array([[0.8, 0.3], [0.3, 0.6]])
FIRST = np.array([[0.5, -1.0], [0.2, 0.4], [-0.7, 1.3]])
SECOND = np.array([[1.5, 2.0], [3.0, 1.2], [1.7, 4.5]])
MATRICES = np.array([[[1.0, 0.2], [0.2, 0.7]], [[0.9, -0.3], [-0.3, 0.5]], [[0.6, 0.1], [0.1, 1.4]]])


def line(width, count):
    points = np.linspace(-width, width, count)
    return points, np.full(count, points[1] - points[0])


def pairs(points, weights):
    """The product rule for two independent values."""
    grid = np.stack(np.meshgrid(points, points, indexing="ij"), axis=-1).reshape(-1, 2)
    return grid, np.outer(weights, weights).ravel()


def real_pairs():
    return pairs(*line(9.0, 111))


def positive_pairs():
    points, weights = line(5.0, 201)
    z = np.exp(2.0 * np.sinh(0.6 * points) - 3.0)
    return pairs(z, z * weights * 1.2 * np.cosh(0.6 * points))


def unit():
    points, weights = line(4.0, 121)
    z = scipy.special.expit(2.0 * np.sinh(points))
    inside = (z > 1e-300) & (1.0 - z > 0.0)
    return z[inside], (z * (1.0 - z) * weights * 2.0 * np.cosh(points))[inside]


def simplex():
    grid, weights = pairs(*unit())
    first, second = grid[:, 0], (1.0 - grid[:, 0]) * grid[:, 1]
    return np.stack([first, second, (1.0 - first) * (1.0 - grid[:, 1])], axis=-1), weights * (1.0 - first)


def angle_pairs():
    points = -np.pi + 2.0 * np.pi * np.arange(1, 65) / 64
    return pairs(points, np.full(64, 2.0 * np.pi / 64))


@dataclasses.dataclass
class Case:
    """Two batches of three members, an integration rule (points, weights) and scipy's log-density."""

    family: expfam.ExponentialFamily
    other: expfam.ExponentialFamily
    rule: tuple
    scipy_log_prob: object


def gaussian_log_prob(family, z):
    covariance = np.broadcast_to(COVARIANCE, (3, 2, 2))
    if isinstance(family, Gaussian):
        covariance = np.linalg.inv(-2.0 * family.eta2)
    laws = [scipy.stats.multivariate_normal(m, c) for m, c in zip(family.mean(), covariance, strict=True)]
    return np.stack([law.logpdf(z[:, i]) for i, law in enumerate(laws)], axis=-1)


def dirichlet_log_prob(family, z):
    z = z / z.sum(axis=-1, keepdims=True)
    laws = [scipy.stats.dirichlet(concentration) for concentration in np.asarray(family.concentration)]
    return np.stack([law.logpdf(z[:, i].T) for i, law in enumerate(laws)], axis=-1)


def summed(log_prob):
    return lambda family, z: log_prob(family, z).sum(axis=-1)


CASES = {
    "Beta": Case(
        Beta.from_concentrations(SECOND, SECOND[::-1]),
        Beta.from_concentrations(SECOND[::-1], SECOND + 1.0),
        pairs(*unit()),
        summed(lambda f, z: scipy.stats.beta(f.eta1 + 1, f.eta2 + 1).logpdf(z)),
    ),
    "Categorical": Case(
        Categorical(FIRST @ np.ones((2, 4)) * np.arange(4.0)),
        Categorical(SECOND @ np.cos(np.arange(8.0)).reshape(2, 4)),
        (np.arange(4), np.ones(4)),
        lambda f, z: np.log(np.asarray(f.probabilities))[np.arange(3), z],
    ),
    "DiagonalGaussian": Case(
        DiagonalGaussian(FIRST, -0.5 * SECOND),
        DiagonalGaussian(FIRST[::-1], -0.4 * SECOND[::-1]),
        real_pairs(),
        summed(lambda f, z: scipy.stats.norm(f.mean(), np.sqrt(f.variance())).logpdf(z)),
    ),
    "Dirichlet": Case(
        Dirichlet.from_concentration(np.concatenate([SECOND, 0.5 * SECOND[::-1, :1]], axis=-1)),
        Dirichlet.from_concentration(np.concatenate([SECOND[::-1, :1], SECOND], axis=-1)),
        simplex(),
        dirichlet_log_prob,
    ),
    "Gamma": Case(
        Gamma.from_shape_and_rate(SECOND, np.exp(FIRST)),
        Gamma.from_shape_and_rate(SECOND[::-1], np.exp(-FIRST)),
        positive_pairs(),
        summed(lambda f, z: scipy.stats.gamma(f.eta1 + 1, scale=-1 / f.eta2).logpdf(z)),
    ),
    "Gaussian": Case(
        Gaussian(FIRST, -MATRICES),
        Gaussian(FIRST[::-1], -0.7 * MATRICES[::-1]),
        real_pairs(),
        gaussian_log_prob,
    ),
    "KnownCovarianceGaussian": Case(
        KnownCovarianceGaussian(FIRST, COVARIANCE),
        KnownCovarianceGaussian(0.5 - FIRST, COVARIANCE),
        real_pairs(),
        gaussian_log_prob,
    ),
    "Poisson": Case(
        Poisson.from_rate(SECOND),
        Poisson.from_rate(2.0 * SECOND[::-1]),
        pairs(np.arange(50.0), np.ones(50)),
        summed(lambda f, z: scipy.stats.poisson(f.rate).logpmf(z)),
    ),
    "VonMises": Case(
        VonMises.from_direction_and_concentration(FIRST, SECOND),
        VonMises.from_direction_and_concentration(-FIRST, 0.3 * SECOND),
        angle_pairs(),
        summed(lambda f, z: scipy.stats.vonmises(f.concentration, loc=f.mean()).logpdf(z)),
    ),
}


def join(statistics, batch_ndim=1):
    """Natural parameters or statistics as one vector for each member."""
    return jnp.concatenate([jnp.reshape(s, (*s.shape[:batch_ndim], -1)) for s in statistics], axis=-1)


def split(vector, like):
    """The inverse of `join` for one vector: arrays shaped as the parameters of one member of `like`."""
    shapes = [p.shape[1:] for p in like.natural_parameters]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return tuple(
        part.reshape(shape) for part, shape in zip(jnp.split(vector, ends[:-1]), shapes, strict=True)
    )


@jax.jit
def evaluate(family, other):
    """What the formulas of a family say, for a batch of shape (3,)."""

    def log_partition(vector):
        return family.replace(split(vector, family)).log_partition()

    def mean(vector):
        return join(family.replace(split(vector, family)).mean_parameters(), 0)

    def natural(vector):
        return join(type(family).from_mean(split(vector, family), **family.shared).natural_parameters, 0)

    eta, mu = join(family.natural_parameters), join(family.mean_parameters())
    direction = join(other.natural_parameters)
    inverse, natural_change = jax.vmap(lambda m, d: jax.jvp(natural, (m,), (d,)))(mu, direction)
    step = 1e-5
    above, below = jax.vmap(jax.vmap(log_partition))(eta + step * jnp.stack([direction, -direction]))
    return {
        "slope": (above - below) / (2 * step),
        "log_partition": family.log_partition(),
        "mean": mu,
        "gradient": jax.vmap(jax.grad(log_partition))(eta),
        "forward": jax.vmap(lambda e, d: jax.jvp(log_partition, (e,), (d,))[1])(eta, direction),
        "direction": direction,
        "hessian": jax.vmap(jax.jacfwd(jax.grad(log_partition)))(eta),
        "mean_change": jax.vmap(lambda e, d: jax.jvp(mean, (e,), (d,))[1])(eta, direction),
        "back": jax.vmap(mean)(inverse),
        "natural": inverse,
        "natural_change": natural_change,
        "inverse_jacobian": jax.vmap(jax.jacrev(natural))(mu),
        "entropy": family.entropy(),
        "divergence": family.kl_divergence(other),
        "self_divergence": family.kl_divergence(family),
        "bregman": (family - other).dot(family.mean_parameters())
        - family.log_partition()
        + other.log_partition(),
    }


@jax.jit
def integrate(family, other, points, weights):
    """The same from the density, by the integration rule."""
    points = points[:, None]
    log_prob = family.log_prob(points)
    mass = jnp.exp(log_prob) * weights[:, None]
    # Where the density underflows its logarithm may be infinite.
    log_prob = jnp.where(mass > 0, log_prob, 0.0)
    other_log_prob = jnp.where(mass > 0, other.log_prob(points), 0.0)
    statistics = join(family.sufficient_statistics(points), 2)
    statistics = jnp.broadcast_to(statistics, (*mass.shape, statistics.shape[-1]))
    mean = jnp.einsum("mb,mbd->bd", mass, statistics)
    centred = statistics - mean
    return {
        "total": jnp.sum(mass, axis=0),
        "mean": mean,
        "covariance": jnp.einsum("mb,mbd,mbe->bde", mass, centred, centred),
        "entropy": -jnp.sum(mass * log_prob, axis=0),
        "divergence": jnp.sum(mass * (log_prob - other_log_prob), axis=0),
    }


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request):
    return CASES[request.param]


@pytest.fixture(scope="module")
def formulas(case):
    return jax.tree.map(np.asarray, evaluate(case.family, case.other))


@pytest.fixture(scope="module")
def integrals(case):
    points, weights = case.rule
    return jax.tree.map(
        np.asarray, integrate(case.family, case.other, jnp.asarray(points), jnp.asarray(weights))
    )


def test_all_families_are_swept():
    families = {
        name
        for name in expfam.__all__
        if isinstance(getattr(expfam, name), type)
        and issubclass(getattr(expfam, name), expfam.ExponentialFamily)
    }
    assert families - {"ExponentialFamily"} == set(CASES)


def test_gradient_of_the_log_partition_is_the_mean(formulas):
    np.testing.assert_allclose(formulas["gradient"], formulas["mean"], rtol=1e-12, atol=1e-12)
    expected = np.sum(formulas["mean"] * formulas["direction"], axis=-1)
    np.testing.assert_allclose(formulas["forward"], expected, rtol=1e-12)


def test_log_partition_agrees_with_its_gradient(formulas):
    """By central differences: the gradient has a rule of its own, which the value must match."""
    np.testing.assert_allclose(formulas["slope"], formulas["forward"], rtol=1e-7, atol=1e-7)


def test_hessian_of_the_log_partition_is_the_covariance(formulas, integrals):
    np.testing.assert_allclose(formulas["hessian"], integrals["covariance"], rtol=1e-8, atol=1e-8)
    change = np.einsum("bde,be->bd", formulas["hessian"], formulas["direction"])
    np.testing.assert_allclose(formulas["mean_change"], change, rtol=1e-10, atol=1e-10)
    assert np.all(np.linalg.eigvalsh(formulas["hessian"]) > -1e-12)


def test_mean_parameters_are_expectations(formulas, integrals):
    np.testing.assert_allclose(formulas["mean"], integrals["mean"], rtol=1e-9, atol=1e-9)


def test_from_mean_inverts_mean_parameters(case, formulas):
    np.testing.assert_allclose(formulas["back"], formulas["mean"], rtol=1e-12, atol=1e-12)
    natural = join(case.family.natural_parameters)
    if isinstance(case.family, Categorical):
        natural = natural - case.family.log_partition()[:, None]
    np.testing.assert_allclose(formulas["natural"], natural, rtol=1e-10, atol=1e-10)


def test_derivative_of_from_mean_inverts_the_information(formulas):
    """As H J H = H, which also holds where the parametrisation is redundant and H singular."""
    hessian, inverse = formulas["hessian"], formulas["inverse_jacobian"]
    np.testing.assert_allclose(hessian @ inverse @ hessian, hessian, rtol=1e-9, atol=1e-9)
    change = np.einsum("bde,be->bd", inverse, formulas["direction"])
    np.testing.assert_allclose(formulas["natural_change"], change, rtol=1e-10, atol=1e-10)


def test_densities_are_normalised(integrals):
    np.testing.assert_allclose(integrals["total"], 1.0, rtol=0, atol=1e-10)


def test_entropy_is_the_expected_surprise(formulas, integrals):
    np.testing.assert_allclose(formulas["entropy"], integrals["entropy"], rtol=1e-9, atol=1e-9)


def test_divergence(formulas, integrals):
    np.testing.assert_allclose(formulas["divergence"], integrals["divergence"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(formulas["divergence"], formulas["bregman"], rtol=1e-10)
    np.testing.assert_allclose(formulas["self_divergence"], 0.0, rtol=0, atol=1e-13)
    assert np.all(formulas["divergence"] > 0)


COUNT = 20_000


@jax.jit
def draw(family, key):
    z = family.sample(key, (COUNT,))
    statistics = join(family.sufficient_statistics(z), 2)
    generic = expfam.ExponentialFamily.log_prob(family, z[:5])
    return z, jnp.mean(statistics, axis=0), family.log_prob(z[:5]), generic, family.mean(), family.variance()


@pytest.fixture(scope="module")
def samples(case):
    return jax.tree.map(np.asarray, draw(case.family, jax.random.key(0)))


def test_log_prob(case, samples):
    """The families' own formulas equal scipy's, and ⟨η, t(z)⟩ − A(η) + log χ(z)."""
    z, _, own, generic, _, _ = samples
    np.testing.assert_allclose(own, case.scipy_log_prob(case.family, z[:5]), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(own, generic, rtol=1e-10, atol=1e-10)


def test_samples_match_moments(case, formulas, samples):
    z, mean, *_ = samples
    event = () if isinstance(case.family, Categorical) else (case.rule[0].shape[-1],)
    assert z.shape == (COUNT, 3, *event)
    error = np.sqrt(np.diagonal(formulas["hessian"], axis1=1, axis2=2) / COUNT)
    assert np.all(np.abs(mean - formulas["mean"]) < 4.5 * error + 1e-12)


def test_mean_and_variance(case, samples):
    z, _, _, _, mean, variance = samples
    if isinstance(case.family, VonMises):
        np.testing.assert_allclose(variance, 1.0 - np.mean(np.cos(z - mean), axis=0), atol=0.02)
        np.testing.assert_allclose(np.mean(np.sin(z - mean), axis=0), 0.0, atol=0.02)
        return
    if isinstance(case.family, Categorical):
        z = np.eye(4)[z]
    assert np.all(np.abs(np.mean(z, axis=0) - mean) < 4.5 * np.sqrt(variance / COUNT))
    np.testing.assert_allclose(np.var(z, axis=0), variance, rtol=0.1)


# Potentials and unconstrained parameters.


@jax.jit
def move(family, raw):
    """A potential added to the members, and the member and numbers that `raw` maps to and back."""
    member = family[0].from_unconstrained(raw)
    return (
        (family + family[0].potential(raw)).is_valid(),
        member.is_valid(),
        member.unconstrained(),
        family[0].potential(raw).unconstrained_potential(),
    )


def test_potentials_keep_members_valid(case):
    @hypothesis.given(arrays(np.float64, case.family.num_unconstrained, elements=floats(-30.0, 30.0)))
    def check(raw):
        moved, mapped, *_ = move(case.family, raw)
        assert np.all(moved)
        assert mapped

    check()


def test_unconstrained_numbers_round_trip(case):
    @hypothesis.given(arrays(np.float64, case.family.num_unconstrained, elements=floats(-3.0, 3.0)))
    def check(raw):
        *_, member, potential = move(case.family, raw)
        np.testing.assert_allclose(member, raw, atol=1e-7)
        np.testing.assert_allclose(potential, raw, atol=1e-7)

    check()


def test_members_round_trip(case):
    @jax.jit
    def again(family):
        return family.from_unconstrained(family.unconstrained())

    back = again(case.family)
    for actual, expected in zip(back.natural_parameters, case.family.natural_parameters, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-7)


INVALID = [
    Beta.from_concentrations([0.0], [1.0]),
    Categorical([-np.inf, -np.inf]),
    Categorical([np.nan, 0.0]),
    Categorical([np.inf, 0.0]),
    DiagonalGaussian([0.0], [0.0]),
    Dirichlet.from_concentration([1.0, -0.5]),
    Gamma.from_shape_and_rate([0.0], [1.0]),
    Gamma.from_shape_and_rate([1.0], [0.0]),
    Gaussian([0.0, 0.0], -np.array([[1.0, 2.0], [2.0, 1.0]])),
    KnownCovarianceGaussian([np.inf, 0.0], np.eye(2)),
    KnownCovarianceGaussian([0.0, 0.0], -np.eye(2)),
    Poisson([np.inf]),
    VonMises([[np.nan, 0.0]]),
]


@pytest.mark.parametrize("family", INVALID, ids=lambda family: type(family).__name__)
def test_invalid_members(family):
    assert not family.is_valid()


def test_valid_members(case):
    assert np.all(case.family.is_valid())
    assert case.family.is_valid().shape == (3,)


# Arithmetic and batches.


def assert_same(actual, expected):
    """Compare a family with a function of the arrays of another."""
    for a, e in zip(actual.natural_parameters, expected, strict=True):
        np.testing.assert_array_equal(a, e)
    if "covariance" in actual.shared:
        np.testing.assert_array_equal(actual.covariance, COVARIANCE)


def test_arithmetic(case):
    family, other = case.family, case.other
    p = [np.asarray(a) for a in family.natural_parameters]
    q = [np.asarray(b) for b in other.natural_parameters]
    scale = np.array([1.0, -2.0, 0.5])
    keep = np.array([True, False, True])
    each = [s.reshape(3, *[1] * (a.ndim - 1)) for a in p for s in (scale,)]
    assert_same(family + other, [a + b for a, b in zip(p, q, strict=True)])
    assert_same(family - other, [a - b for a, b in zip(p, q, strict=True)])
    assert_same(-family, [-a for a in p])
    assert_same(2.0 * family, [2.0 * a for a in p])
    assert_same(family * scale, [a * s for a, s in zip(p, each, strict=True)])
    assert_same(family.where(keep), [np.where((s != -2.0), a, 0.0) for a, s in zip(p, each, strict=True)])
    assert_same(family.zeros(), [np.zeros_like(a) for a in p])
    dot = sum(np.sum((a * b).reshape(3, -1), axis=-1) for a, b in zip(p, q, strict=True))
    np.testing.assert_allclose(family.dot(other.natural_parameters), dot, rtol=1e-12)


def test_batch_operations(case):
    family = expfam.stack([case.family, case.other])
    p = [np.asarray(a) for a in family.natural_parameters]
    assert family.batch_shape == (2, 3)
    for axis in (0, 1, -1, -2, (0, -1)):
        axes = tuple(np.arange(2)[np.atleast_1d(axis)])
        for actual, a in zip(family.sum(axis).natural_parameters, p, strict=True):
            np.testing.assert_allclose(actual, np.sum(a, axis=axes), rtol=1e-14, atol=1e-15)
    assert_same(family.reshape((3, 2)), [a.reshape(3, 2, *a.shape[2:]) for a in p])
    assert_same(family.reshape((-1,)), [a.reshape(6, *a.shape[2:]) for a in p])
    rows = np.concatenate([a.reshape(2, 3, -1) for a in p], axis=-1)
    np.testing.assert_array_equal(family.as_vectors(), rows)
    assert_same(family.moveaxis(-1, 0), [np.swapaxes(a, 0, 1) for a in p])
    assert_same(case.family.broadcast_to((2, 3)), [np.broadcast_to(a[:1], a.shape) for a in p])
    assert_same(expfam.stack([case.family, case.other], axis=-1), [np.swapaxes(a, 0, 1) for a in p])
    both = [np.concatenate([a[0], a[1]]) for a in p]
    assert_same(expfam.concatenate([case.family, case.other]), both)
    assert_same(expfam.concatenate([case.family, case.other], axis=-1), both)


INDICES = {
    "integer": 0,
    "negative": -1,
    "slice": slice(None, None, -1),
    "none": None,
    "ellipsis": Ellipsis,
    "ellipsis_integer": (Ellipsis, 1),
    "ellipsis_none": (Ellipsis, None),
    "slice_integer": (slice(1), 2),
    "array": np.array([1, 0, 1]),
    "array_later": (slice(None), np.array([2, 0])),
    "boolean": (slice(None), np.array([True, False, True])),
    "empty": slice(0, 0),
}


def test_indexing(case):
    family = expfam.stack([case.family, case.other])
    rank = next(iter(family.natural_ranks.values()))
    for index in INDICES.values():
        tail = (slice(None),) * rank
        first = np.asarray(family.natural_parameters[0])
        items = index if isinstance(index, tuple) else (index,)
        full = items if any(item is Ellipsis for item in items) else (*items, Ellipsis)
        picked = family[index]
        np.testing.assert_array_equal(picked.natural_parameters[0], first[(*full, *tail)])
        # The batch shape alone is indexed, alike for all natural parameters.
        assert picked.batch_shape == np.empty((2, 3))[index].shape
        if isinstance(family, KnownCovarianceGaussian):
            np.testing.assert_array_equal(picked.covariance, COVARIANCE)


def test_transforms_equal_plain(case, formulas):
    def log_partition(family):
        return family.log_partition()

    family = case.family
    np.testing.assert_allclose(log_partition(family), formulas["log_partition"], rtol=1e-13)
    axes = jax.tree.map(lambda _: 0, family)
    if isinstance(family, KnownCovarianceGaussian):
        axes = jax.tree_util.tree_map_with_path(lambda path, _: 0 if path[0].name == "eta" else None, family)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(log_partition), in_axes=(axes,)))(family)
    np.testing.assert_allclose(values, formulas["log_partition"], rtol=1e-13)
    mean = join(gradients.natural_parameters)
    np.testing.assert_allclose(mean, formulas["mean"], rtol=1e-12, atol=1e-14)


def test_known_covariance_has_a_derivative():
    eta = FIRST[0]
    gradient = jax.grad(lambda covariance: KnownCovarianceGaussian(eta, covariance).log_partition())(
        COVARIANCE
    )
    np.testing.assert_allclose(gradient, 0.5 * np.outer(eta, eta))


@functools.partial(jax.jit, static_argnames="invert")
def everything(family, other, z, *, invert=False):
    natural = {}
    if invert:
        inverse = type(family).from_mean(family.mean_parameters(), **family.shared)
        natural = {"log_partition_of_inverse": inverse.log_partition()}
    return natural | {
        "log_partition": family.log_partition(),
        "mean_parameters": family.mean_parameters(),
        "entropy": family.entropy(),
        "divergence": family.kl_divergence(other),
        "log_prob": family.log_prob(z),
        "unconstrained": family.unconstrained(),
    }


def test_single_precision(case, samples):
    def single(array):
        return jnp.asarray(array, jnp.float32) if jnp.issubdtype(array.dtype, jnp.floating) else array

    def double(array):
        return array.astype(jnp.float64) if array.dtype == jnp.float32 else array

    low_arguments = jax.tree.map(single, (case.family, case.other, jnp.asarray(samples[0][0])))
    high_arguments = jax.tree.map(double, low_arguments)
    drawn = jax.eval_shape(lambda family: family.sample(jax.random.key(0)), low_arguments[0])
    assert drawn.dtype == low_arguments[2].dtype
    low = everything(*low_arguments, invert=True)
    high = everything(*high_arguments)
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(low))
    if not isinstance(case.family, Categorical):
        high["log_partition_of_inverse"] = high["log_partition"]
    for name in high:
        for a, b in zip(jax.tree.leaves(low[name]), jax.tree.leaves(high[name]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=name)


LARGE = 1e4 * SECOND
CONCENTRATED = {
    "Beta": (Beta.from_concentrations(LARGE, LARGE[::-1]), Beta.from_concentrations(LARGE, LARGE)),
    "Dirichlet": (
        Dirichlet.from_concentration(np.concatenate([LARGE, LARGE[:, :1]], axis=-1)),
        Dirichlet.from_concentration(np.concatenate([LARGE, LARGE[:, 1:]], axis=-1)),
    ),
    "Gamma": (Gamma.from_shape_and_rate(LARGE, LARGE / 3), Gamma.from_shape_and_rate(LARGE, LARGE / 2.9)),
    "Poisson": (Poisson.from_rate(LARGE), Poisson.from_rate(LARGE * 1.05)),
    "VonMises": (
        VonMises.from_direction_and_concentration(FIRST, LARGE),
        VonMises.from_direction_and_concentration(FIRST + 0.05, LARGE / 2),
    ),
}


@pytest.mark.parametrize("name", CONCENTRATED)
def test_single_precision_of_concentrated_members(name):
    """Densities, entropies and divergences of sharp members would cancel if written naively."""
    family, other = jax.tree.map(lambda a: a.astype(jnp.float32), CONCENTRATED[name])
    doubles = jax.tree.map(lambda a: a.astype(jnp.float64), (family, other))
    z = draw(doubles[0], jax.random.key(0))[0][0]
    single = z.astype(jnp.float32) if jnp.issubdtype(z.dtype, jnp.floating) else z
    low = everything(family, other, single, invert=True)
    high = everything(*doubles, single.astype(z.dtype))
    np.testing.assert_allclose(low["entropy"], high["entropy"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(low["divergence"], high["divergence"], rtol=1e-4)
    np.testing.assert_allclose(low["log_prob"], high["log_prob"], rtol=1e-3, atol=5e-3)


def test_empty_batch(case, samples):
    result = everything(case.family[:0], case.other[:0], jnp.asarray(samples[0][0, :0]), invert=True)
    for name in ("log_partition", "log_partition_of_inverse", "entropy", "divergence", "log_prob"):
        assert result[name].shape == (0,)
    assert [m.shape for m in result["mean_parameters"]] == [
        p[:0].shape for p in case.family.natural_parameters
    ]
