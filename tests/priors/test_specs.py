"""Priors with learnable parameters."""

import dataclasses
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import priors
from rpm_jax.priors import kernels

TIMES = np.array([0.0, 0.1, 0.35, 0.4, 1.0])
DATES = np.datetime64("2024-01-01T00:00:00") + (1000 * TIMES).astype("timedelta64[s]")
KEY = jax.random.key(0)
DISTANCE = np.abs(TIMES[:, None] - TIMES)


def rbf(lengthscale):
    return np.exp(-0.5 * (DISTANCE / lengthscale) ** 2)


@pytest.mark.parametrize("name", ["rbf", "matern12", "matern32", "matern52"])
def test_kernels_by_name_are_learned_as_logarithms(name):
    """The parameter is the logarithm of the length scale; the initial one comes from the times' spacing."""
    spec = priors.gaussian_process(TIMES, name, num_latents=3)
    params = spec.init(KEY)
    assert list(params) == ["kernel"]
    log_scale = params["kernel"]["log_lengthscale"]
    assert log_scale.shape == (3,)
    assert log_scale.dtype == np.float64
    scale = np.median(np.diff(TIMES)) * np.sqrt(1.25)
    np.testing.assert_allclose(log_scale, np.log(scale), rtol=1e-12)
    process = jax.jit(spec.apply)(jax.tree.map(lambda x: x + np.arange(3.0), params))
    assert process.mean.shape == (3, 5)
    covariance = jax.jit(kernels.as_kernel(name).covariance)
    for k in range(3):
        expected = covariance({"log_lengthscale": np.log(scale) + k}, TIMES)
        np.testing.assert_allclose(process.covariance[k], expected, rtol=1e-12)
    np.testing.assert_array_equal(process.mean, 0.0)


def test_initial_scales_may_be_given():
    for kernel, scale in ((kernels.rbf_from_bandwidth(8.0), 0.25), (kernels.Matern(1.5, 0.3), 0.3)):
        (log_scale,) = priors.gaussian_process(TIMES, kernel).init(KEY)["kernel"].values()
        np.testing.assert_allclose(log_scale, [np.log(scale)], rtol=1e-12)


class Linear:
    """A kernel from outside of the package."""

    def init(self, locations):
        return {"weights": jnp.ones(2, locations.dtype)}

    def covariance(self, params, x, y=None):
        return params["weights"][0] + params["weights"][1] * jnp.outer(x, x if y is None else y)


def test_a_kernel_of_ones_own():
    spec = priors.gaussian_process(TIMES, Linear(), num_latents=2)
    params = spec.init(KEY)
    assert params["kernel"]["weights"].shape == (2, 2)
    np.testing.assert_allclose(spec.apply(params).covariance[1], 1 + np.outer(TIMES, TIMES), rtol=1e-14)
    spec = priors.gaussian_process(TIMES, Linear() + kernels.RBF(0.5))
    expected = 1 + np.outer(TIMES, TIMES) + rbf(0.5)
    np.testing.assert_allclose(spec.apply(spec.init(KEY)).covariance[0], expected, rtol=1e-14)


def test_a_process_whose_kernel_has_nothing_to_learn():
    kernel = kernels.RBF(0.3, fixed=("lengthscale",))
    spec = priors.gaussian_process(TIMES, kernel, num_latents=2)
    assert spec.init(KEY) == {"kernel": {}}
    process = spec.apply(spec.init(KEY))
    np.testing.assert_allclose(process.covariance, np.stack([rbf(0.3)] * 2), rtol=1e-13)


def test_processes_over_space_and_time():
    """A separable kernel over a grid is the Kronecker product of its factors."""
    hours, places = np.array([0.0, 1.0, 5.0]), np.array([10.0, 12.0])
    grid = np.stack(np.meshgrid(hours, places, indexing="ij"), axis=-1).reshape(-1, 2)
    kernel = kernels.on(kernels.Periodic(24.0, 2.0), 0) * kernels.on(kernels.Matern(0.5, 3.0), 1)
    spec = priors.gaussian_process(grid, kernel)
    process = jax.jit(lambda: spec.apply(spec.init(KEY)))()
    assert process.sites().batch_shape == (6,)
    over_time = np.exp(-0.5 * (24 / np.pi / 2 * np.sin(np.pi * (hours[:, None] - hours) / 24)) ** 2)
    over_space = np.exp(-np.abs(places[:, None] - places) / 3)
    np.testing.assert_allclose(process.covariance[0], np.kron(over_time, over_space), rtol=1e-12)
    joint = priors.joint_gaussian_process(grid, kernel, jitter=0.0)
    np.testing.assert_allclose(
        jax.jit(lambda: joint.apply(joint.init(KEY)).natural.covariance())(),
        process.covariance[0],
        atol=1e-10,
    )


@pytest.mark.parametrize(("mean", "size"), [("constant", 1), ("free", 5)])
def test_learnable_mean(mean, size):
    spec = priors.gaussian_process(TIMES, mean=mean, num_latents=2)
    params = spec.init(KEY)
    assert params["mean"].shape == (2, size)
    shift = np.arange(2.0 * size).reshape(2, size)
    process = spec.apply({**params, "mean": params["mean"] + shift})
    np.testing.assert_array_equal(process.mean, np.broadcast_to(shift, (2, 5)))


@pytest.mark.parametrize(
    "build",
    [
        lambda learnable: priors.gaussian_process(TIMES, learnable=learnable),
        lambda learnable: priors.tridiagonal_gaussian_process(5, learnable=learnable),
        lambda learnable: priors.joint_gaussian_process(TIMES, learnable=learnable),
    ],
)
def test_fixed_or_learnable(build):
    """Fixed priors have no parameters and are those that the learnable ones start from."""
    learnable, fixed = build(True), build(False)
    assert fixed.init(KEY) == {}
    start = learnable.apply(learnable.init(KEY))
    for got, expected in zip(jax.tree.leaves(fixed.apply({})), jax.tree.leaves(start), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("a", "b"), [(0.4, -1.0), (-2.0, 0.7), (1.0, -50.0)])
def test_tridiagonal_precision(a, b):
    spec = priors.tridiagonal_gaussian_process(5, num_latents=2, log_diagonal=a, coupling=b)
    params = spec.init(KEY)
    assert params["log_diagonal"].shape == params["coupling"].shape == (2,)
    process = spec.apply(params)
    neighbours = np.eye(5, k=1) + np.eye(5, k=-1)
    precision = np.exp(a) * (np.eye(5) + 0.5 * np.tanh(b) * neighbours)
    for k in range(2):
        np.testing.assert_allclose(process.covariance[k] @ precision, np.eye(5), atol=1e-10)
    np.testing.assert_array_equal(process.mean, 0.0)


def test_joint_process():
    """One Gaussian site over all times; its builder adds jitter and says so."""
    spec = priors.joint_gaussian_process(TIMES, jitter=1e-3)
    prior = spec.apply(spec.init(KEY))
    assert prior.sites().batch_shape == (1,)
    expected = rbf(np.median(np.diff(TIMES)) * np.sqrt(1.25)) + 1e-3 * np.eye(5)
    np.testing.assert_allclose(prior.natural.covariance(), expected, rtol=0, atol=1e-12)


def test_single_precision_times_make_single_precision_priors():
    for spec in (
        priors.gaussian_process(TIMES.astype(np.float32), mean="free"),
        priors.joint_gaussian_process(TIMES.astype(np.float32)),
    ):
        params = spec.init(KEY)
        for leaf in jax.tree.leaves((params, jax.eval_shape(spec.apply, params))):
            assert leaf.dtype == np.float32


def test_integer_times_are_fine():
    assert priors.gaussian_process(np.arange(4)).init(KEY)["kernel"]["log_lengthscale"].dtype == np.float64


def test_specifications_are_arguments_of_compiled_functions():
    """Times are leaves: other times of the same number compile nothing, and have gradients."""
    chex.clear_trace_counter()

    def build(spec):
        return jnp.sum(spec.apply(spec.init(KEY)).covariance)

    compiled = jax.jit(chex.assert_max_traces(build, n=1))
    for times in (TIMES, 3.0 * TIMES + 7.0, DATES):
        spec = priors.gaussian_process(times, kernels.RBF(0.3) + kernels.Matern(0.5))
        np.testing.assert_allclose(compiled(spec), build(spec), rtol=1e-12)
    spec = priors.gaussian_process(TIMES, "matern52")
    gradient = jax.grad(build)(spec)
    assert isinstance(gradient, priors.LearnableGaussianProcess)
    chex.assert_tree_all_finite(gradient)
    moved = jax.jit(lambda times: build(dataclasses.replace(spec, times=times)))
    np.testing.assert_allclose(moved(TIMES + 1.0), build(spec), rtol=1e-12)


def test_one_time():
    spec = priors.gaussian_process(np.zeros(1))
    np.testing.assert_array_equal(spec.apply(spec.init(KEY)).covariance, [[[1.0]]])


@pytest.mark.parametrize("build", [priors.gaussian_process, priors.joint_gaussian_process])
@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.0, 0.5, 0.5], r"strictly increasing, but times[1] = 0.5 is followed by 0.5; sort them"),
        ([0.0, 2.0, 1.0], r"strictly increasing, but times[1] = 2.0 is followed by 1.0"),
        (
            [0.0, np.nan, 1.0],
            r"times must be finite, got 1 NaN or infinite numbers of 3, the first at index (1,)",
        ),
        ([0.0, np.inf], r"times must be finite"),
        ([[[0.0, 1.0]]], r"times must be a vector of at least one time, or locations of shape (T, D), got"),
        ([], r"times must be a vector of at least one time, or locations of shape (T, D), got shape (0,)"),
        (1.0, r"times must be a vector of at least one time, or locations of shape (T, D), got shape ()"),
    ],
)
def test_bad_times(build, times, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(np.array(times))


def test_other_errors():
    with pytest.raises(ValueError, match=r"kernel must be one of 'rbf', 'matern12', .* got 'gaussian'"):
        priors.gaussian_process(TIMES, "gaussian")
    with pytest.raises(ValueError, match="mean must be one of 'zero', 'constant', 'free', got 'linear'"):
        priors.gaussian_process(TIMES, mean="linear")
    with pytest.raises(ValueError, match="num_latents must be a positive integer, got 0"):
        priors.gaussian_process(TIMES, num_latents=0)
    with pytest.raises(ValueError, match=r"num_latents must be a positive integer, got 1.5"):
        priors.tridiagonal_gaussian_process(3, num_latents=1.5)
    with pytest.raises(ValueError, match="num_sites must be a positive integer, got True"):
        priors.tridiagonal_gaussian_process(True)
