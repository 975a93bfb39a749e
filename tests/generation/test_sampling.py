"""Latents and data from a model."""

import jax
import numpy as np
import pytest
from cases.sequences import (
    KEY,
    MODELS,
    SITES,
    SIZE,
    VIEWS,
    initial,
)
from support import recognise

import rpm_jax as rpm


@pytest.fixture(scope="module")
def params():
    return initial()


@pytest.fixture(scope="module")
def draws(params):
    model, p = MODELS["conjugate"], params["conjugate"]
    draw = rpm.generation.sample(rpm.Fitted(model, p, VIEWS), KEY, (10_000,))
    return draw, rpm.generation.component_log_weights(rpm.Fitted(model, p, VIEWS), draw.latents)


def test_component_weights(params, draws):
    """log p(x_j^n | z_t), against densities."""
    draw, log_weights = draws
    assert draw.latents.shape == (10_000, SITES, 1)
    assert log_weights.shape == (10_000, SIZE, 2, SITES)
    np.testing.assert_allclose(np.exp(log_weights).sum(1), 1.0, rtol=1e-10)
    model = MODELS["conjugate"]
    factors = recognise(model, params["conjugate"], VIEWS.all()).natural
    z = draw.latents[:5, None, None]
    log_density = factors.log_prob(z)
    expected = log_density - jax.nn.logsumexp(log_density, axis=1, keepdims=True)
    np.testing.assert_allclose(log_weights[:5], expected, rtol=1e-8, atol=1e-8)


def test_drawn_indices_follow_the_weights(draws):
    draw, log_weights = draws
    assert draw.indices.shape == (10_000, 2, SITES)
    probabilities = np.exp(log_weights)
    hits = np.asarray(draw.indices)[:, None] == np.arange(SIZE)[:, None, None]
    deviation = np.sqrt(np.sum(probabilities * (1 - probabilities), axis=0))
    assert np.abs(np.sum(hits - probabilities, axis=0) / deviation).max() < 5


def test_drawn_latents_follow_the_prior(params, draws):
    z = np.asarray(draws[0].latents)[..., 0]
    covariance = MODELS["conjugate"].prior_of(params["conjugate"]).covariance[0]
    assert np.abs(z.mean(0)).max() < 5 / np.sqrt(10_000)
    assert np.abs(z.T @ z / 10_000 - covariance).max() < 5 * np.sqrt(2 / 10_000)


def test_mixture_density_integrates_to_one(params):
    """F_jt is a density over z, weighted and with missing components too."""
    points = np.linspace(-12, 12, 2001)
    latents = np.broadcast_to(points[:, None, None], (2001, SITES, 1))
    mask = np.random.default_rng(0).uniform(size=(SIZE, 2, SITES)) < 0.7
    for data in (VIEWS, rpm.as_data(VIEWS, mask, np.arange(8.0))):
        log_density = rpm.generation.mixture_log_density(
            rpm.Fitted(MODELS["conjugate"], params["conjugate"], data), latents
        )
        assert log_density.shape == (2001, 2, SITES)
        np.testing.assert_allclose(np.exp(log_density).sum(0) * (points[1] - points[0]), 1.0, rtol=1e-6)
