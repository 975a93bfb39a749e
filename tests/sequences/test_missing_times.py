"""What view-times that are missing cost: Poisson balls, R² of the latent without 30 % of them."""

import jax
import numpy as np
import pytest

import rpm_jax as rpm


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_poisson_balls_with_missing_times(seed):
    balls = rpm.datasets.poisson_balls(jax.random.key(seed), num_sequences=20, num_steps=50, num_pixels=10)
    model = rpm.RPM(
        rpm.priors.gaussian_process(balls.times, kernel="rbf"),
        rpm.factors.per_view(rpm.networks.PointwiseMLP((20, 20)), num_views=10),
    )
    present = np.random.default_rng(seed).random((20, 10, 50)) > 0.3
    scores = []
    for mask in (None, present):
        fit = rpm.fit(model, balls.views, key=jax.random.key(2), num_steps=500, batch_size=8, mask=mask)
        scores.append(rpm.metrics.linear_r2(balls.latent, fit.posterior().mean))
    assert scores[0] > 0.99
    assert scores[0] - scores[1] < 0.02
