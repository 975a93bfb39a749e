"""Markov forms of kernels: their covariances, gradients, and noise of short steps in single precision."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.priors import kernels
from rpm_jax.priors.kernels import RBF, Cosine, DampedOscillation, MarkovForm, Matern, Periodic, White, on
from rpm_jax.priors.kernels._erlang import distributions

TIMES = np.cumsum([0.0, 0.3, 1e-3, 2.0, 0.07, 30.0, 0.5])


class Wiener:
    """A kernel from outside of the package that is not stationary: k(x, y) = σ² (1 + min(x, y))."""

    num_states = 1

    def init(self, locations):
        return {"log_variance": jnp.zeros((), locations.dtype)}

    def covariance(self, params, x, y=None):
        return jnp.exp(params["log_variance"]) * (1.0 + jnp.minimum(x[:, None], x if y is None else y))

    def markov(self, params, times):
        variance = jnp.exp(params["log_variance"])
        steps = jnp.diff(times)[:, None, None]
        return MarkovForm(
            variance * (1.0 + times)[:, None, None], jnp.ones_like(steps), variance * steps, jnp.ones(1)
        )


STATES = {
    "matern12": (Matern(0.5, 0.3), 1),
    "matern32": (Matern(1.5, 0.3), 2),
    "matern52": (Matern(2.5, (0.8,)), 3),
    "white": (White(0.4), 1),
    "cosine": (Cosine(1.3), 2),
    "oscillation": (DampedOscillation(1.3, 0.7), 2),
    "slow oscillation": (DampedOscillation(1e3, 2.0), 2),
    "hardly damped oscillation": (DampedOscillation(0.9, 1e4), 2),
    "sum": (0.7 * Matern(1.5, 0.3) + White(0.2) + DampedOscillation(2.0), 5),
    "rough oscillation": (Matern(0.5, 2.0) * Cosine(1.3), 2),
    "product": ((Matern(1.5, 1.0) + White(0.1)) * (0.3 * DampedOscillation(2.0, 1.0)), 6),
    "Wiener": (Wiener(), 1),
    "products of what is not stationary": (Wiener() * Matern(1.5, 0.5) * Wiener(), 2),
}


def dense(form):
    """hᵀ A_t−1 ⋯ A_s P_s h for all pairs of times."""
    num_times = len(form.covariance)
    rows = []
    for s in range(num_times):
        state = form.covariance[s] @ form.observation
        row = [jnp.zeros(())] * s + [form.observation @ state]
        for transition in form.transition[s:]:
            state = transition @ state
            row.append(form.observation @ state)
        rows.append(jnp.stack(row))
    upper = jnp.stack(rows)
    return upper + jnp.triu(upper, 1).T


@jax.jit
def compare(kernel_of, params, times):
    """The covariance from form and formula, each with gradients of a function of it."""
    kernel = kernel_of()

    def value(covariance):
        return jnp.sum(
            jnp.sin(covariance + jnp.arange(covariance.size).reshape(covariance.shape))
        ), covariance

    def of_form(params, times):
        return value(dense(kernel.markov(params, times)))

    def of_formula(params, times):
        return value(kernel.covariance(params, times))

    return tuple(jax.value_and_grad(f, (0, 1), has_aux=True)(params, times) for f in (of_form, of_formula))


@pytest.mark.parametrize("name", STATES)
def test_form_and_formula_are_the_same(name):
    kernel, size = STATES[name]
    assert isinstance(kernel, kernels.MarkovKernel)
    params = kernel.init(jnp.asarray(TIMES))
    ((_, got), got_gradients), ((_, expected), gradients) = compare(
        jax.tree_util.Partial(lambda: kernel), params, TIMES
    )
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.max(expected))
    chex.assert_trees_all_close(got_gradients, gradients, rtol=1e-9, atol=1e-9)
    form = kernel.markov(params, jnp.asarray(TIMES))
    assert kernels.num_states(kernel) == size == form.observation.shape[0]
    moved = form.transition @ form.covariance[:-1] @ np.swapaxes(form.transition, 1, 2)
    scale = np.max(form.covariance)
    np.testing.assert_allclose(moved + form.noise, form.covariance[1:], rtol=0, atol=1e-13 * scale)
    assert np.all(np.linalg.eigvalsh(form.noise) >= -1e-15 * scale)


@pytest.mark.parametrize("name", [name for name in STATES if "Wiener" not in name and "not" not in name])
def test_short_and_long_steps_in_single_precision(name):
    """Steps of 10⁻⁴ to 100: noise relative to itself, which is 10⁻²¹ of the covariance for some."""
    kernel, _ = STATES[name]
    steps = np.logspace(-4, 2, 61)

    @jax.jit
    @jax.vmap
    def noise(step):
        times = jnp.stack([jnp.zeros_like(step), step])
        form = kernel.markov(kernel.init(times[:1]), times)
        return form.noise[0], form.transition[0]

    for_double, double_transition = noise(jnp.asarray(steps.astype(np.float32), jnp.float64))
    single, transition = noise(jnp.asarray(steps, jnp.float32))
    assert single.dtype == np.float32
    deviation = np.sqrt(np.diagonal(for_double, axis1=1, axis2=2))
    scale = deviation[:, :, None] * deviation[:, None, :]
    # A kernel's own numbers, rounded to single precision, turn phases of 100 periods by 10⁻⁵.
    tolerance = 1e-4 if "oscillation" in name or name in ("cosine", "sum", "product") else 5e-6
    assert np.all(np.abs(single - for_double) <= tolerance * scale)
    np.testing.assert_allclose(transition, double_transition, rtol=0, atol=tolerance)


def test_shares_of_waiting_times():
    """Against sums of all terms, in which nothing cancels."""
    x = np.concatenate([np.logspace(-6, 1, 40), [2.999999, 3.000001]])
    for n, got in enumerate(distributions(5, jnp.asarray(x)), 1):
        term = np.exp(-x) * x**n / np.prod(np.arange(1.0, n + 1))
        expected = np.zeros_like(x)
        for k in range(n, n + 80):
            expected += term
            term = term * x / (k + 1)
        np.testing.assert_allclose(got, expected, rtol=5e-15)


@pytest.mark.parametrize(
    ("kernel", "formula"),
    [
        (Cosine(1.3), lambda d: np.cos(2 * np.pi * d / 1.3)),
        (
            DampedOscillation(1.3, 0.7),
            lambda d: (
                np.exp(-d / 0.7)
                * (np.cos(2 * np.pi * d / 1.3) + 1.3 / (2 * np.pi * 0.7) * np.sin(2 * np.pi * d / 1.3))
            ),
        ),
        (DampedOscillation(1e7, 0.7), lambda d: (1 + d / 0.7) * np.exp(-d / 0.7)),
    ],
)
def test_oscillations(kernel, formula):
    others = np.array([0.2, 0.5])
    for y in (None, others):
        distance = np.abs(TIMES[:, None] - (TIMES if y is None else y))
        got = kernel.covariance(kernel.init(jnp.asarray(TIMES)), TIMES, y)
        np.testing.assert_allclose(got, formula(distance), rtol=0, atol=1e-12)
    grid = np.stack([TIMES, TIMES[::-1]], axis=-1)
    on_one = on(kernel, 1)
    np.testing.assert_allclose(
        on_one.covariance(on_one.init(grid), grid), kernel.covariance(kernel.init(TIMES), TIMES[::-1])
    )


def test_oscillator_of_the_physicists():
    """Celerite's kernel of quality Q: cos(ηω_0 d) + sin(ηω_0 d)/(2ηQ) under exp(−ω_0 d/(2Q))."""
    natural, quality = 3.0, 4.0
    ratio = np.sqrt(1 - 1 / (4 * quality**2))
    kernel = DampedOscillation(2 * np.pi / (ratio * natural), 2 * quality / natural)
    angle = ratio * natural * TIMES
    expected = np.exp(-natural * TIMES / (2 * quality))
    expected = expected * (np.cos(angle) + np.sin(angle) / (2 * ratio * quality))
    params = kernel.init(TIMES)
    np.testing.assert_allclose(kernel.covariance(params, TIMES)[0], expected, rtol=0, atol=1e-12)


def test_oscillations_are_damped_over_a_period_by_default():
    kernel = DampedOscillation(2.0)
    assert kernel.init(TIMES) == {"log_period": np.log(2.0), "log_lengthscale": np.log(2.0)}
    np.testing.assert_allclose(
        kernel.covariance({}, TIMES), DampedOscillation(2.0, 2.0).covariance({}, TIMES), rtol=1e-14
    )


@pytest.mark.parametrize("kernel", [RBF(), Periodic(2.0), Matern(0.5) + RBF(), 2.0 * RBF(), RBF() * White()])
def test_kernels_without_form(kernel):
    assert kernels.num_states(kernel) is None
    with pytest.raises(ValueError, match=r"kernel: .*(RBF|Periodic).* has no Markov form; Matern, Cosine"):
        kernels.form_of(kernel, kernel.init(TIMES), TIMES)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Cosine(0), "Cosine: period must be positive and finite, got 0"),
        (lambda: Cosine(None), "Cosine: period must be positive and finite, got None"),
        (lambda: DampedOscillation(None), "DampedOscillation: period must be positive and finite, got None"),
        (lambda: DampedOscillation(1.0, -1.0), "DampedOscillation: lengthscale must be positive and finite"),
        (
            lambda: Cosine(1.0).covariance({}, np.zeros((3, 2))),
            "Cosine: a kernel in time, got locations in 2 dimensions; name the one of time",
        ),
        (
            lambda: Matern(0.5, (1.0, 2.0)).markov({"log_lengthscale": jnp.zeros(2)}, jnp.arange(3.0)),
            "a process in Markov form has times of shape (T,) and one length scale, got shapes (3,) and (2,)",
        ),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()
