"""The inner bound against integrals, and its invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import FAMILIES, SCALAR_FAMILIES, matern32, random_potentials, rbf

from rpm_jax import normalizers
from rpm_jax.expfam import stack
from rpm_jax.objectives import inner_bound
from rpm_jax.priors import GaussianProcess, Static

# One site: every quantity by an integral over z.

DATA, VIEWS = 4, 2


KINDS = ("conjugate", "conjugate_auxiliary", "given", "given_auxiliary")


@jax.jit
def integrate(natural, factors, potentials, auxiliary, points, weights):
    """The bound and, from densities alone, what it should be and what it bounds, for all four kinds."""
    prior = Static(natural)
    sites = prior.sites()
    points = points[:, None, None]
    log_factors = factors[..., 0].log_prob(points)
    log_mixture = jax.nn.logsumexp(log_factors, axis=1, keepdims=True) - np.log(DATA)
    log_joint = natural.log_prob(points)[..., 0] + jnp.sum(log_factors - log_mixture, axis=-1)
    statistics = natural.sufficient_statistics(points)
    log_w = jax.nn.logsumexp(log_joint, axis=0, b=weights[:, None])

    def expectation(mass, values):
        return jnp.sum(jnp.where(mass > 0, mass * jnp.where(mass > 0, values, 0.0), 0.0), axis=0)

    def one(potentials, auxiliary):
        bound = inner_bound(prior, factors, factors, potentials=potentials, auxiliary=auxiliary)
        log_q = (sites + potentials)[..., 0].log_prob(points[:, 0])
        mass = jnp.exp(log_q) * weights[:, None]
        exact = expectation(mass, log_joint - log_q)
        # Jensen's inequality with exp⟨δ, t⟩, δ = ξ − η0:
        # E_q[log F] = E_q[log F exp⟨δ, t⟩/q] + E_q[log q − ⟨δ, t⟩] ≤ log ∫ F exp⟨δ, t⟩ + ...
        tilt = (auxiliary - sites)[..., 0].dot(statistics)
        log_integral = jax.nn.logsumexp(log_mixture + tilt, axis=0, b=weights[:, None, None])
        surprise = log_q[..., None] - tilt - log_mixture
        gap = log_integral + expectation(jnp.broadcast_to(mass[..., None], surprise.shape), surprise)
        return bound, exact - jnp.sum(gap, axis=-1), exact

    conjugate = (factors - sites).sum(-2)
    choices = [(lam, xi) for lam in (conjugate, potentials) for xi in (None, auxiliary)]
    choices = [
        (lam, (sites + lam)[:, None].broadcast_to((DATA, VIEWS, 1)) if xi is None else xi)
        for lam, xi in choices
    ]
    lam, xi = (stack(column) for column in zip(*choices, strict=True))
    # By index: a known covariance has no axis to map over.
    return *jax.vmap(lambda i: one(lam[i], xi[i]))(jnp.arange(4)), log_w


@pytest.fixture(scope="module", params=SCALAR_FAMILIES)
def integrals(request):
    natural, rule = SCALAR_FAMILIES[request.param]
    shape = (DATA, VIEWS, 1)
    factors, auxiliary = (natural + random_potentials(seed, natural, shape) for seed in (1, 3))
    potentials = random_potentials(2, natural, (DATA, 1))
    arguments = jax.tree.map(jnp.asarray, (natural, factors, potentials, auxiliary, *rule))
    return jax.tree.map(np.asarray, integrate(*arguments))


@pytest.mark.parametrize("kind", KINDS)
def test_bound_is_its_definition(integrals, kind):
    bound, expected, _, _ = integrals
    index = KINDS.index(kind)
    assert bound[index].shape == (DATA,)
    np.testing.assert_allclose(bound[index], expected[index], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_bound_is_below_the_exact_values(integrals, kind):
    bound, _, exact, log_w = integrals
    index = KINDS.index(kind)
    assert np.all(bound[index] < exact[index])
    assert np.all(exact[index] < log_w + 1e-9)


# Several sites: a Gaussian process, two latents, three views.

SITES, SEQUENCES, CHANNELS = 3, 6, 3
SHAPE = (SEQUENCES, CHANNELS, SITES)


@jax.jit
def example():
    times = jnp.linspace(0.0, 1.0, SITES)
    covariance = jnp.stack([rbf(times, 9.0), matern32(times, 0.5)])
    prior = GaussianProcess.from_covariance(jnp.ones((2, SITES)), covariance)
    sites = prior.sites()
    factors = sites + random_potentials(1, sites, SHAPE)
    auxiliary = sites + random_potentials(3, sites, SHAPE)
    return prior, factors, random_potentials(2, sites, (SEQUENCES, SITES)), auxiliary


PRIOR, FACTORS, POTENTIALS, AUXILIARY = example()
RNG = np.random.default_rng(0)
MASK = RNG.uniform(size=SHAPE) < 0.7
LOG_SCALE = RNG.normal(size=SHAPE)
UNIFORM = np.full(SHAPE, -np.log(SEQUENCES))


@jax.jit
def value(prior, factors, mixture, **options):
    return inner_bound(prior, factors, mixture, **options)


@jax.jit
def compiled(prior, factors, mixture, options):
    """Values, and gradients of their sum: one program for all tests with the same shapes."""

    def total(prior, factors, mixture):
        values = inner_bound(prior, factors, mixture, **options)
        return jnp.sum(values), values

    (_, values), gradients = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)(
        prior, factors, mixture
    )
    return values, gradients


@jax.jit
def minus_log_partition(family):
    return -family.log_partition()


def general(factors, mixture, *, mask=None, log_scale=None, mixture_log_scale=None, log_weights=UNIFORM):
    """With every option given as an array; what the defaults are is tested once, below."""
    shape = factors.batch_shape
    mask = np.ones(shape, bool) if mask is None else mask
    log_scale = minus_log_partition(factors) if log_scale is None else log_scale
    if mixture_log_scale is None:
        mixture_log_scale = minus_log_partition(mixture)
    log_weights = np.broadcast_to(log_weights, shape)
    options = {
        "mask": mask,
        "mixture_mask": mask,
        "log_scale": log_scale,
        "mixture_log_scale": mixture_log_scale,
        "log_weights": log_weights,
    }
    return compiled(PRIOR, factors, mixture, options)


@pytest.fixture(scope="module")
def plain():
    return value(PRIOR, FACTORS, FACTORS)


def close(got, expected, tolerance=1e-10):
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(g, e, rtol=tolerance, atol=tolerance)


def test_defaults(plain):
    """Normalised factors, uniform weights, nothing missing; conjugate potentials, ξ = ηq."""
    close(general(FACTORS, FACTORS)[0], plain)

    @jax.jit
    def explicit():
        potentials = (FACTORS - PRIOR.sites()).sum(-2)
        auxiliary = PRIOR.condition(potentials).sites[:, None].broadcast_to(SHAPE)
        return inner_bound(PRIOR, FACTORS, FACTORS, potentials=potentials, auxiliary=auxiliary)

    close(explicit(), plain)


def test_form_of_divergences(plain):
    """With ξ = ηq the bound is −KL(q‖p) + Σ_jt [log Γ_jt − KL(q‖q g_jt)], as for the RP-GSSM."""

    @jax.jit
    def expected():
        potentials = FACTORS - PRIOR.sites()
        posterior = PRIOR.condition(potentials.sum(-2))
        marginals = posterior.sites
        divergence = potentials.sum(-2).dot(marginals.mean_parameters()).sum(-1) - posterior.log_normalizer
        every = marginals[:, None, None] + potentials  # q^n g^m, (n, m, J, T)
        log_responsibility = every.log_partition() - FACTORS.log_partition()
        log_gamma = jnp.einsum("nnjt->njt", jax.nn.log_softmax(log_responsibility, axis=1))
        log_gamma = log_gamma + jnp.log(SEQUENCES)
        terms = log_gamma - marginals[:, None].kl_divergence(marginals[:, None] + potentials)
        return -divergence + jnp.sum(terms, axis=(-2, -1))

    close(plain, expected())


def test_a_constant_log_scale_of_a_view_drops_out():
    """Adding c_jt to h of the factors and of the components changes neither values nor gradients."""
    shift = np.arange(float(CHANNELS * SITES)).reshape(CHANNELS, SITES)
    first, second = (
        general(FACTORS, FACTORS, log_scale=h, mixture_log_scale=h) for h in (LOG_SCALE, LOG_SCALE + shift)
    )
    close(first, second)
    other = general(FACTORS, FACTORS, log_scale=0 * LOG_SCALE, mixture_log_scale=0 * LOG_SCALE)
    assert np.all(np.abs(first[0] - other[0]) > 1e-3)


def test_log_scale_enters_as_it_should():
    """A larger h of a factor alone raises its bound by as much; of the components alone it lowers it."""
    base, _ = general(FACTORS, FACTORS, log_scale=LOG_SCALE, mixture_log_scale=LOG_SCALE)
    higher, _ = general(FACTORS, FACTORS, log_scale=LOG_SCALE + 0.3, mixture_log_scale=LOG_SCALE)
    close(higher, base + 0.3 * CHANNELS * SITES)
    lower, _ = general(FACTORS, FACTORS, log_scale=LOG_SCALE, mixture_log_scale=LOG_SCALE + 0.2)
    close(lower, base - 0.2 * CHANNELS * SITES)


def test_integer_weights_are_repeated_data():
    weights = np.array([1, 2, 0, 3, 0, 0])
    repeated, _ = general(FACTORS, FACTORS[np.repeat(np.arange(SEQUENCES), weights)])
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights / weights.sum())
    weighted, gradients = general(FACTORS, FACTORS, log_weights=log_weights[:, None, None])
    close(weighted, repeated)
    for leaf in jax.tree.leaves(gradients):
        assert np.all(np.isfinite(leaf))
    np.testing.assert_array_equal(gradients[2].eta1[2], 0.0)  # a component of weight zero
    close(value(PRIOR, FACTORS, FACTORS, log_weights=log_weights), repeated)


def test_pooled_sites():
    """A mixture over data and sites (T = 1), or shared by the views (J = 1): as if repeated."""
    pooled = FACTORS.moveaxis(2, 1).reshape((SEQUENCES * SITES, CHANNELS, 1))
    repeated = pooled.broadcast_to((SEQUENCES * SITES, CHANNELS, SITES))
    close(value(PRIOR, FACTORS, pooled), value(PRIOR, FACTORS, repeated))
    shared = FACTORS[:, :1]
    close(value(PRIOR, FACTORS, shared), value(PRIOR, FACTORS, shared.broadcast_to(SHAPE)))


def log_partition(eta1, eta2):
    return np.sum(-0.25 * eta1**2 / eta2 - 0.5 * np.log(-2.0 * eta2), axis=-1)


def by_hand(n, mask):
    """The bound of a datum where view-times are missing, term by term over what there is, in numpy."""
    f1, f2 = (np.asarray(p) for p in FACTORS.natural_parameters)
    s1, s2 = (np.asarray(p) for p in PRIOR.sites().natural_parameters)
    lam1, lam2 = (np.sum((f - s)[n] * mask[n][..., None], axis=0) for f, s in ((f1, s1), (f2, s2)))
    covariance, prior_mean = np.asarray(PRIOR.covariance), np.asarray(PRIOR.mean)
    total, mean, variance = 0.0, np.zeros((SITES, 2)), np.zeros((SITES, 2))
    for k in range(2):
        prior_precision = np.linalg.inv(covariance[k])
        precision = prior_precision - 2 * np.diag(lam2[:, k])
        joint = np.linalg.inv(precision)
        mean[:, k] = joint @ (prior_precision @ prior_mean[k] + lam1[:, k])
        variance[:, k] = np.diag(joint)
        shift = mean[:, k] - prior_mean[k]
        ratio = prior_precision @ joint
        total -= 0.5 * (
            np.trace(ratio) - SITES - np.linalg.slogdet(ratio)[1] + shift @ prior_precision @ shift
        )
    second = mean**2 + variance
    q1, q2 = mean / variance, -0.5 / variance
    for j, t in np.argwhere(mask[n]):
        present = np.flatnonzero(mask[:, j, t])
        a = log_partition(f1[present, j, t] + q1[t] - s1[t], f2[present, j, t] + q2[t] - s2[t])
        terms = a - log_partition(f1[present, j, t], f2[present, j, t])
        upper = np.log(np.mean(np.exp(terms))) + s1[t] @ mean[t] + s2[t] @ second[t]
        upper -= log_partition(q1[t], q2[t])
        own = f1[n, j, t] @ mean[t] + f2[n, j, t] @ second[t] - log_partition(f1[n, j, t], f2[n, j, t])
        total += own - upper
    return total


def test_mask_removes_view_times(plain):
    got, _ = general(FACTORS, FACTORS, mask=MASK)
    for n in range(SEQUENCES):
        np.testing.assert_allclose(got[n], by_hand(n, MASK), rtol=1e-10)
        np.testing.assert_allclose(plain[n], by_hand(n, np.ones_like(MASK)), rtol=1e-10)


def test_a_masked_view_is_a_removed_view():
    mask = np.ones(SHAPE, bool)
    mask[:, 1] = False
    kept = np.array([0, 2])
    masked, gradients = general(FACTORS, FACTORS, mask=mask)
    removed, expected = general(FACTORS[:, kept], FACTORS[:, kept], log_weights=UNIFORM[:, kept])
    close(masked, removed)
    close(gradients[0], expected[0], 1e-8)
    for got, other in zip(gradients[1:], expected[1:], strict=True):
        close(got[:, kept], other, 1e-8)
        for leaf in jax.tree.leaves(got[:, 1]):
            np.testing.assert_array_equal(leaf, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_masked_does_not_matter(bad):
    """Neither for values nor for gradients, be it NaN."""
    parameters = (np.where(MASK[..., None], p, bad) for p in FACTORS.natural_parameters)
    spoiled = FACTORS.replace(tuple(parameters))
    scale = np.where(MASK, LOG_SCALE, bad)
    clean = general(FACTORS, FACTORS, log_scale=LOG_SCALE, mixture_log_scale=LOG_SCALE, mask=MASK)
    dirty = general(spoiled, spoiled, log_scale=scale, mixture_log_scale=scale, mask=MASK)
    close(dirty, clean)
    for leaf in jax.tree.leaves(dirty[1][1].where(~MASK)):
        np.testing.assert_array_equal(leaf, 0.0)
    assert np.all(np.isfinite(general(spoiled, spoiled, mask=MASK)[0]))


def test_a_fully_masked_datum_is_worth_nothing():
    mask = np.ones(SHAPE, bool)
    mask[2] = False
    got, gradients = general(FACTORS, FACTORS, mask=mask)
    np.testing.assert_allclose(got[2], 0.0, atol=1e-12)
    log_weights = np.where(np.arange(SEQUENCES) == 2, -np.inf, -np.log(SEQUENCES - 1))[:, None, None]
    others = np.arange(SEQUENCES) != 2
    close(got[others], general(FACTORS, FACTORS, log_weights=log_weights)[0][others])
    assert np.all([np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients)])


def test_a_view_time_nobody_has():
    """No component is left: its terms leave the bound, nothing is NaN."""
    mask = np.ones(SHAPE, bool)
    mask[:, 1, 2] = False
    got, gradients = general(FACTORS, FACTORS, mask=mask)
    np.testing.assert_allclose(got[0], by_hand(0, mask), rtol=1e-10)
    assert np.all([np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients)])


def test_one_view_and_one_component_of_which_the_bound_knows_the_best_auxiliary():
    """F = f, so log w = 0; at q = p the bound gets there with ξ = η0 + ηq − η."""
    single = FACTORS[:1, :1]
    zero = POTENTIALS.zeros()[:1]
    sites = PRIOR.sites()
    best = sites + sites - single
    np.testing.assert_allclose(value(PRIOR, single, single, potentials=zero, auxiliary=best), 0.0, atol=1e-12)
    worse = value(PRIOR, single, single, potentials=zero, auxiliary=best + 0.3 * (single - sites))
    assert worse[0] < -1e-3


def test_batch_axes(plain):
    """No batch axis, and vmap over priors."""
    np.testing.assert_allclose(value(PRIOR, FACTORS[1], FACTORS), plain[1], rtol=1e-12)
    priors = GaussianProcess(np.stack([PRIOR.mean, 0 * PRIOR.mean]), np.stack([PRIOR.covariance] * 2))
    got = jax.jit(jax.vmap(lambda p: inner_bound(p, FACTORS[None], FACTORS)))(priors)
    close(got[0, 0], plain)
    assert np.all(np.abs(got[1] - got[0]) > 1e-3)


def test_forward_and_reverse_gradients():
    """Both modes, through everything at once, against differences."""

    def scalar(inputs):
        covariance, factors, potentials, auxiliary, log_weights, log_scale = inputs
        prior = GaussianProcess(PRIOR.mean, 0.5 * (covariance + jnp.swapaxes(covariance, -1, -2)))
        values = inner_bound(
            prior,
            factors,
            factors,
            potentials=potentials,
            auxiliary=auxiliary,
            log_weights=jax.nn.log_softmax(log_weights),
            log_scale=log_scale,
            mixture_log_scale=log_scale,
            mask=MASK,
            mixture_mask=MASK,
        )
        return jnp.sum(jnp.sin(values))

    inputs = (PRIOR.covariance, FACTORS, POTENTIALS, AUXILIARY, np.arange(6.0) / 5, LOG_SCALE)
    direction = jax.tree.map(lambda x: 0.1 * RNG.normal(size=x.shape), inputs)

    @jax.jit
    def evaluate(inputs):
        forward = jax.jvp(scalar, (inputs,), (direction,))[1]
        products = jax.tree.map(jnp.vdot, jax.grad(scalar)(inputs), direction)
        return scalar(inputs), forward, sum(jax.tree.leaves(products))

    step = 1e-5
    above, below = (
        evaluate(jax.tree.map(lambda x, d, s=s: x + s * step * d, inputs, direction))[0] for s in (1, -1)
    )
    for got in evaluate(inputs)[1:]:
        np.testing.assert_allclose(got, (above - below) / (2 * step), rtol=1e-6)


def test_components_object_in_place_of_arrays(plain):
    class Halves:
        """Components that are made when asked for."""

        size = SEQUENCES

        def block(self, start, length):
            return normalizers.Block(FACTORS[start : start + length])

    close(jax.jit(lambda: inner_bound(PRIOR, FACTORS, Halves()))(), plain)


def test_single_precision_stays():
    arguments = {
        "prior": PRIOR,
        "factors": FACTORS,
        "mixture": FACTORS,
        "potentials": POTENTIALS,
        "auxiliary": AUXILIARY,
        "log_scale": LOG_SCALE,
        "mixture_log_scale": LOG_SCALE,
        "log_weights": UNIFORM[:, 0, 0],
        "mask": MASK,
        "mixture_mask": MASK,
    }
    narrow = jax.tree.map(lambda x: x if x.dtype == bool else jnp.asarray(x, jnp.float32), arguments)
    got = value(**narrow)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, value(**arguments), rtol=1e-4, atol=1e-4)


# Errors.


def other_family(shape):
    return FAMILIES["Gamma"].broadcast_to(shape)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"factors": other_family(SHAPE)},
            TypeError,
            "factors must be natural parameters of the prior's sites, DiagonalGaussian, got Gamma",
        ),
        ({"mixture": other_family(SHAPE)}, TypeError, "mixture must be natural parameters .* got Gamma"),
        (
            {"potentials": other_family((SEQUENCES, SITES))},
            TypeError,
            "potentials must be natural .* got Gamma",
        ),
        ({"auxiliary": other_family(SHAPE)}, TypeError, "auxiliary must be natural .* got Gamma"),
        ({"factors": np.zeros(SHAPE)}, TypeError, "factors must be .* got ndarray"),
        (
            {"factors": FACTORS[..., :2]},
            ValueError,
            r"factors must have batch shape \(..., J, T\) with T = 3 .* got \(6, 3, 2\)",
        ),
        ({"factors": FACTORS[0, 0]}, ValueError, r"factors must have batch shape .* got \(3,\)"),
        (
            {"mixture": FACTORS[0]},
            ValueError,
            r"mixture must have batch shape \(N, J, T\) = \(N, 3, 3\).* got \(3, 3\)",
        ),
        ({"mixture": FACTORS[:, :2]}, ValueError, r"mixture must have batch shape .* got \(6, 2, 3\)"),
        (
            {"potentials": POTENTIALS[0]},
            ValueError,
            r"potentials must have batch shape \(6, 3\) .* got \(3,\)",
        ),
        (
            {"auxiliary": AUXILIARY[:, :2]},
            ValueError,
            r"auxiliary must have batch shape \(6, 3, 3\) .* got \(6, 2, 3\)",
        ),
        (
            {"mask": MASK[:, :2]},
            ValueError,
            r"mask must have the factors' batch shape \(6, 3, 3\), got \(6, 2, 3\)",
        ),
        ({"mixture_mask": MASK[:, :2]}, ValueError, r"mixture_mask must have .*got \(6, 2, 3\)"),
        ({"log_weights": np.zeros(4)}, ValueError, r"log_weights must have .*got \(4,\)"),
        ({"log_scale": np.zeros((6, 3))}, ValueError, r"log_scale must have .*got \(6, 3\)"),
        (
            {"mixture_log_scale": np.zeros((4, 3, 3))},
            ValueError,
            r"mixture_log_scale must have .*got \(4, 3, 3\)",
        ),
    ],
)
def test_errors(change, error, message):
    arguments = {"prior": PRIOR, "factors": FACTORS, "mixture": FACTORS, **change}
    with pytest.raises(error, match=message):
        jax.eval_shape(functools.partial(inner_bound, **arguments))
