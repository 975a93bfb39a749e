"""One long trajectory, N = 1, with defaults: each kind of chain finds the latents, with F_j over time."""

import warnings

import jax
import numpy as np
import pytest

import rpm_jax as rpm
from rpm_jax.model import _rpm

STEPS = 400


def of_states(rng):
    """A sticky walk among three states, and two views of it."""
    stay = rng.random(STEPS) < 0.9
    states = np.zeros(STEPS, int)
    for t in range(1, STEPS):
        states[t] = states[t - 1] if stay[t] else rng.integers(3)
    return states, [np.eye(3)[states] + 0.5 * rng.normal(size=(STEPS, 3)) for _ in range(2)]


def of_numbers(transition, rng):
    """A stationary chain with the invariant law N(0, I), and three views of it."""
    size = len(transition)
    root = np.linalg.cholesky(np.eye(size) - transition @ transition.T)
    z = [rng.normal(size=size)]
    for _ in range(STEPS - 1):
        z.append(transition @ z[-1] + root @ rng.normal(size=size))
    z = np.stack(z)
    views = [np.tanh(z @ rng.normal(size=(size, 4))) + 0.3 * rng.normal(size=(STEPS, 4)) for _ in range(3)]
    return z, views


def fitted(prior, views, num_steps):
    model = rpm.RPM(prior, rpm.factors.per_view(rpm.networks.PointwiseMLP((10,))), pooled=True)
    views = tuple(view[None] for view in views)
    fit = rpm.fit(model, views, key=jax.random.key(0), num_steps=num_steps, steps_per_call=num_steps)
    assert fit.history.skipped == 0
    return fit


def test_states():
    """All of F_j, which needs no draw: nothing is warned of."""
    states, views = of_states(np.random.default_rng(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fitted(rpm.priors.hidden_markov(3, STEPS), views, 150)
    found = np.argmax(fit.posterior().mean[0], axis=-1)
    counts = np.zeros((3, 3))
    np.add.at(counts, (found, states), 1)
    # Each state found is one of the true ones.
    assert len(set(counts.argmax(axis=1))) == 3
    assert counts.max(axis=1).sum() > 0.9 * STEPS


PRIORS = {
    "Markov Gaussian process": (
        rpm.priors.gaussian_process(np.arange(STEPS) / 10, "matern12"),
        np.array([[0.95]]),
        150,
    ),
    "linear Gaussian": (
        rpm.priors.linear_gaussian(2, STEPS),
        0.98 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]),
        300,
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "linear Gaussian" else name for name in PRIORS],
)
def test_numbers(name, monkeypatch):
    """Some of F_j, drawn for every step as where all of it is too much."""
    prior, transition, num_steps = PRIORS[name]
    monkeypatch.setattr(_rpm, "MOST_POOLED_TERMS", STEPS * 100)
    monkeypatch.setattr(_rpm, "POOLED_SITES", (10, 1024))
    z, views = of_numbers(transition, np.random.default_rng(0))
    with pytest.warns(RuntimeWarning, match=r"N·T = 1·400 components .*: 100 of them are drawn"):
        fit = fitted(prior, views, num_steps)
    mean = np.asarray(fit.posterior().mean)[0]
    design = np.concatenate([mean, np.ones((STEPS, 1))], axis=1)
    residual = z - design @ np.linalg.lstsq(design, z, rcond=None)[0]
    assert np.all(1 - np.var(residual, axis=0) / np.var(z, axis=0) > 0.8)
    if name == "linear Gaussian":
        eigenvalues = np.linalg.eigvals(np.asarray(fit.prior.transition))
        assert np.abs(eigenvalues - 0.98 * np.exp(0.3j)).min() < 0.05
