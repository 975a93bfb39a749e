"""Score matching against explicit second derivatives and known minimisers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import FAMILIES

from rpm_jax.objectives import (
    implicit_log_likelihood,
    score_matching,
    sliced_score_matching,
    view_score_matching,
)
from rpm_jax.priors import Static

KEY = jax.random.key(0)


def smooth_views(size, widths, seed=0):
    return tuple(jax.random.normal(jax.random.key(seed + j), (size, width)) for j, width in enumerate(widths))


def implicit_density(name, widths, seed=0):
    """Features and log p of an implicit model of the family with random tanh networks of views (n, d_j)."""
    natural = FAMILIES[name]
    prior = Static(natural)
    outputs = natural.num_unconstrained
    networks = []
    for j, width in enumerate(widths):
        keys = jax.random.split(jax.random.key(100 + seed + j))
        networks.append(
            (
                jax.random.normal(keys[0], (width, 4)) / np.sqrt(width),
                0.5 * jax.random.normal(keys[1], (4, outputs)),
            )
        )

    def features(views):
        raw = [jnp.tanh(x @ a) @ b for x, (a, b) in zip(views, networks, strict=True)]
        factors = natural.potential(jnp.stack(raw, axis=1))[..., None] + prior.sites()
        return factors, jnp.stack([-0.5 * jnp.sum(x**2, axis=1) for x in views], axis=1)

    def log_density(features):
        factors, log_marginals = features
        return implicit_log_likelihood(prior, factors) + log_marginals.sum(1)

    return features, log_density


def whole_density(name, widths):
    features, log_density = implicit_density(name, widths)
    return lambda views: log_density(features(views))


def explicit(log_density, views):
    """½ ‖∇ log p‖² + tr ∇² log p of one datum after another, from the whole Hessian."""
    widths = [view.shape[1] for view in views]
    joined = jnp.concatenate(views, axis=1)

    def of_one(row):
        parts = jnp.split(row[None], np.cumsum(widths)[:-1], axis=1)
        return log_density(tuple(parts))[0]

    score = jax.vmap(jax.grad(of_one))(joined)
    hessian = jax.vmap(jax.hessian(of_one))(joined)
    return 0.5 * jnp.sum(score**2, axis=1) + jnp.trace(hessian, axis1=1, axis2=2)


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("DiagonalGaussian", (3, 3, 3)),
        pytest.param("Gaussian", (1, 2), marks=pytest.mark.slow),
        pytest.param("VonMises", (3,), marks=pytest.mark.slow),
    ],
)
def test_equals_the_explicit_form(name, widths):
    """Any family, J and dim(x_j)."""
    views = smooth_views(4, widths)
    features, log_density = implicit_density(name, widths)
    whole = lambda views: log_density(features(views))  # noqa: E731
    want = jax.jit(lambda views: explicit(whole, views))(views)
    got = jax.jit(lambda views: score_matching(whole, views))(views)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)
    got = jax.jit(lambda views: view_score_matching(features, log_density, views))(views)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_gradient_equals_that_of_the_explicit_form():
    """Reverse over forward over reverse."""
    views = smooth_views(2, (1, 1))
    features, log_density = implicit_density("DiagonalGaussian", (1, 1))

    def scaled(scale):
        return lambda views: features(tuple(scale * x for x in views))

    def by_views(scale):
        return view_score_matching(scaled(scale), log_density, views).sum()

    def whole(loss):
        return lambda scale: loss(lambda views: log_density(scaled(scale)(views)), views).sum()

    want, *others = (jax.jit(jax.grad(f))(0.9) for f in (whole(explicit), whole(score_matching), by_views))
    np.testing.assert_allclose(others, want, rtol=1e-9)


def test_sliced_is_unbiased():
    """The mean over all sign vectors that a projection can take is the exact value."""
    views = smooth_views(1, (2, 1))
    log_density = whole_density("DiagonalGaussian", (2, 1))
    sliced = jax.jit(lambda key: sliced_score_matching(log_density, views, key, num_projections=4)[0])
    values = jax.jit(jax.vmap(sliced))(jax.random.split(KEY, 2000))
    exact = jax.jit(lambda views: score_matching(log_density, views))(views)[0]
    assert jnp.std(values) > 1e-3
    assert abs(jnp.mean(values) - exact) < 4 * jnp.std(values) / np.sqrt(2000)


def test_more_projections_vary_less():
    views = smooth_views(500, (3, 3))

    def log_density(views):
        return jnp.sum(jnp.cos(views[0] * views[1]) + jnp.cos(views[0]) * views[0][:, ::-1], axis=1)

    @jax.jit
    def mean_squares():
        exact = score_matching(log_density, views)
        drawn = [sliced_score_matching(log_density, views, KEY, num_projections=m) for m in (1, 16)]
        return [jnp.mean((values - exact) ** 2) for values in drawn]

    errors = mean_squares()
    assert 10 < errors[0] / errors[1] < 25


def test_sliced_is_exact_for_diagonal_hessians():
    """And each datum has projections of its own, which leave no trace there."""
    x = jax.random.normal(KEY, (6, 50))

    def log_density(x):
        return jnp.sum(jnp.cos(x), axis=1)

    got, exact = jax.jit(
        lambda x: (sliced_score_matching(log_density, x, KEY), score_matching(log_density, x))
    )(x)
    x = np.asarray(x)
    np.testing.assert_allclose(got, 0.5 * (np.sin(x) ** 2).sum(1) - np.cos(x).sum(1), rtol=1e-12)
    np.testing.assert_allclose(got, exact, rtol=1e-12)


def test_images_and_float32():
    """Views of several axes keep their type."""
    x = {"image": jnp.ones((3, 4, 4), jnp.float32), "number": jnp.zeros(3, jnp.float32)}

    def log_density(x):
        return -0.5 * jnp.sum(x["image"] ** 2, axis=(1, 2)) - x["number"] ** 2

    got = score_matching(log_density, x)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, 0.5 * 16 - 16 - 2.0)


def test_finds_a_gaussian():
    """The minimiser for log p = −½ (x − m)ᵀ P (x − m) is the sample mean and inverse covariance."""
    x = np.random.default_rng(0).normal(size=(500, 2)) @ np.array([[1.0, 0.0], [0.6, 0.5]]) + 1.0
    mean, precision = x.mean(0), np.linalg.inv(np.cov(x.T, bias=True))

    def loss(parameters):
        mean, precision = parameters

        def log_density(x):
            return -0.5 * jnp.einsum("ni,ij,nj->n", x - mean, precision, x - mean)

        return score_matching(log_density, x).mean()

    slope = jax.jit(jax.grad(loss))((mean, precision))
    assert all(np.abs(leaf).max() < 1e-10 for leaf in jax.tree.leaves(slope))


def test_weight_at_a_boundary():
    """Exponential data: without a weight the best rate is 0; with h(x) = x it is 1 / mean(x)."""
    x = np.random.default_rng(0).exponential(size=(100, 1))

    def slope(rate, **options):
        return jax.grad(lambda r: score_matching(lambda x: -r * x[:, 0], x, **options).mean())(rate)

    def slope_of_squares(loss, *key):
        return jax.grad(lambda r: loss(lambda x: -r * x[:, 0] ** 2, x, *key, weight=jnp.sin).mean())(0.3)

    @jax.jit
    def slopes():
        return (
            slope(0.0),
            slope(1.0 / x.mean(), weight=lambda x: x),
            slope_of_squares(sliced_score_matching, KEY),
            slope_of_squares(score_matching),
        )

    plain, weighted, sliced, exact = slopes()
    np.testing.assert_allclose(plain, 0.0)
    np.testing.assert_allclose(weighted, 0.0, atol=1e-12)
    np.testing.assert_allclose(sliced, exact, rtol=1e-12)


def test_weight_of_views():
    """Views of different widths, entry by entry."""
    views = smooth_views(4, (1, 3))
    features, log_density = implicit_density("DiagonalGaussian", (1, 3))
    weight = lambda views: tuple(1.0 + j + jnp.sin(x) for j, x in enumerate(views))  # noqa: E731
    want, got = jax.jit(
        lambda views: (
            score_matching(lambda views: log_density(features(views)), views, weight=weight),
            view_score_matching(features, log_density, views, weight=weight),
        )
    )(views)
    np.testing.assert_allclose(got, want, rtol=1e-10)
    with pytest.raises(TypeError, match=r"arrays of shape \(N, J, ...\) = \(4, 2, ...\)"):
        view_score_matching(lambda views: views[1], lambda x: x.sum(1), views)


def test_weight_by_the_divergence_it_stands_for():
    """½ h s² + h ∂s + h' s = ½ h s² + ∂(h s), by hand for s = −2 r x, h = x²."""
    x = jnp.linspace(0.1, 2.0, 7)[:, None]
    got = score_matching(lambda x: -0.7 * x[:, 0] ** 2, x, weight=jnp.square)
    s, h = -1.4 * x[:, 0], x[:, 0] ** 2
    np.testing.assert_allclose(got, 0.5 * h * s**2 + 3 * x[:, 0] ** 2 * -1.4, rtol=1e-12)


@pytest.mark.parametrize("loss", [score_matching, lambda *a, **k: sliced_score_matching(*a, KEY, **k)])
def test_errors(loss):
    x = jnp.ones((3, 2))
    with pytest.raises(TypeError, match=r"shape \(3,\), got \(3, 2\); jax.vmap"):
        loss(lambda x: -(x**2), x)
    with pytest.raises(TypeError, match="floating-point numbers"):
        loss(lambda x: x.sum(1), jnp.ones((3, 2), int))
    with pytest.raises(TypeError, match="weight must give a number for every entry"):
        loss(lambda x: x.sum(1), x, weight=lambda x: x[:, 0])
    with pytest.raises(ValueError, match="num_projections must be a positive integer, got 0"):
        sliced_score_matching(lambda x: x.sum(1), x, KEY, num_projections=0)
