"""Missing values of a view: by all paths of states, by quadrature for Gaussian latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.one_latent import KEY, NEW, TRAIN, grid_densities, model, params
from support import init, two_views

import rpm_jax as rpm
from rpm_jax.generation import impute

SITES, SIZE = 3, 8


def chain(pooled=False, views=None):
    """A hidden Markov model of two views, with the data of its fit."""
    views = two_views(0, size=SIZE, sites=SITES) if views is None else views
    own = rpm.RPM(
        rpm.priors.hidden_markov(3, SITES, stickiness=2.0),
        rpm.factors.per_view(rpm.networks.PointwiseMLP((4,))),
        pooled=pooled,
    )
    data = rpm.as_data(views)
    return rpm.Fitted(own, init(own, KEY, data), data)


@pytest.mark.parametrize("pooled", [False, True])
def test_states_by_enumeration(pooled):
    """E[x | X] by all paths: the view's other sites and the other view, at the missing entries alone."""
    fitted = chain(pooled)
    views = two_views(1, size=2, sites=SITES)
    mask = np.ones((2, 2, SITES), bool)
    mask[0, 1, 1] = mask[1, 1, 0] = mask[1, 0, 2] = mask[1, 1, 2] = False
    data = rpm.as_data(views, mask)
    got = impute(fitted, data, 1)
    np.testing.assert_array_equal(got.missing, ~mask[:, 1])
    np.testing.assert_array_equal(got.values[mask[:, 1]], views[1][mask[:, 1]])
    np.testing.assert_array_equal(got.standard_deviation[mask[:, 1]], 0.0)
    ratios = rpm.inference.log_ratios(fitted, data).logits.sum(1)  # (n, T, K)
    prior = fitted.model.prior_of(fitted.params)
    train = np.asarray(fitted.data.views[1])
    of_states = rpm.generation.component_log_weights(
        fitted, np.broadcast_to(np.arange(3)[:, None], (3, SITES))
    )[:, :, 1]  # (K, M, T)
    for n in range(2):
        for t in np.flatnonzero(~mask[n, 1]):
            total = np.zeros(3)
            for path in np.ndindex(3, 3, 3):
                log_joint = prior.initial[path[0]] + sum(
                    prior.transition[path[s], path[s + 1]] for s in (0, 1)
                )
                log_joint = log_joint + sum(ratios[n, s, path[s]] for s in range(SITES))
                total[path[t]] += np.exp(log_joint)
            weights = (total / total.sum()) @ np.exp(of_states[:, :, t])
            np.testing.assert_allclose(np.exp(got.log_weights[n, :, t]), weights, atol=1e-12)
            stored = train.ravel() if pooled else train[:, t]
            mean = weights @ stored
            np.testing.assert_allclose(got.values[n, t], mean, atol=1e-12)
            deviation = np.sqrt(weights @ (stored - mean) ** 2)
            np.testing.assert_allclose(got.standard_deviation[n, t], deviation, atol=1e-7)
    draws = np.asarray(got.sample(KEY, (4000,)))
    assert draws.shape == (4000, 2, SITES)
    np.testing.assert_array_equal(draws[:, mask[:, 1]], np.broadcast_to(views[1][mask[:, 1]], (4000, 3)))
    assert np.isin(draws[:, 0, 1].astype(np.float32), train.astype(np.float32)).all()
    np.testing.assert_allclose(draws.mean(0), got.values, atol=0.1)
    np.testing.assert_allclose(got.posterior.mean, rpm.inference.infer(fitted, data).mean, atol=1e-12)


def test_a_gaussian_latent_by_quadrature():
    own, p = model(), params()
    mask = np.array([[True, False]] * 4 + [[True, True]])

    @jax.jit
    def expected(p):
        log_f, log_mixture, log_prior = grid_densities(own, p, NEW)
        log_train, _, _ = grid_densities(own, p, TRAIN)
        posterior = jax.nn.softmax(log_prior[:, None] + log_f[..., 0] - log_mixture[:, None, 0], axis=0)
        conditional = jnp.exp(log_train[..., 1] - log_mixture[:, None, 1]) / 12
        return jnp.einsum("gn,gm->nm", posterior, conditional) @ TRAIN[1]

    fitted = rpm.Fitted(own, p, TRAIN)
    got = impute(fitted, rpm.as_data(NEW, mask), 1, key=KEY, num_samples=20_000)
    np.testing.assert_allclose(got.values[:4], expected(p)[:4], atol=0.02)
    np.testing.assert_array_equal(got.values[4], NEW[1][4])
    # The data of the fit: nothing is missing, and nothing changes.
    np.testing.assert_array_equal(impute(fitted, None, 0, key=KEY, num_samples=5).values, TRAIN[0])


def test_cells_of_stored_values_and_what_is_refused():
    """Stored values without a cell do not count for it; new ones are whole, or missing."""
    rng = np.random.default_rng(0)
    views = [rng.normal(size=(SIZE, SITES, 2)) for _ in range(2)]
    views[0][0, 0, 1] = np.nan
    data = rpm.as_data(views, missing="cells")
    fitted = chain(views=data)
    whole = [np.nan_to_num(view) for view in views]
    mask = np.ones((SIZE, 2, SITES), bool)
    mask[:, 0, 0] = False
    got = impute(fitted, rpm.as_data(whole, mask), 0)
    weights = np.exp(got.log_weights[:, :, 0])
    by_hand = weights[:, 1:] @ whole[0][1:, 0, 1] / weights[:, 1:].sum(1)
    np.testing.assert_allclose(got.values[:, 0, 1], by_hand, atol=1e-12)
    with pytest.raises(ValueError, match=r"cells missing at sites .* datum and site \(0, 0\)"):
        impute(fitted, data, 0)
    with pytest.raises(ValueError, match=r"view must be one of the views 0\.\.1, got 2"):
        impute(fitted, None, 2)
    with pytest.raises(ValueError, match="key: this model's predictions draw latents"):
        impute(rpm.Fitted(model(), params(), TRAIN), None, 0)
    joint = rpm.JointRPM(rpm.priors.hidden_markov(3, SITES), rpm.networks.stacked(rpm.networks.MLP((3,))))
    with pytest.raises(TypeError, match=r"impute needs p\(x_i \| Z\) of single views .* got JointRPM"):
        impute(rpm.Fitted(joint, {}, data), None, 0)


def test_long_sequences_use_q_as_it_is():
    """Over 40 sites draws have no importance weights: E_q[p(x_it | z_t)], by quadrature."""
    sites = 40
    views = two_views(0, size=SIZE, sites=sites)
    own = rpm.RPM(rpm.priors.linear_gaussian(1, sites), rpm.factors.per_view(rpm.networks.PointwiseMLP((4,))))
    data = rpm.as_data(views)
    fitted = rpm.Fitted(own, init(own, KEY, data), data)
    mask = np.ones((SIZE, 2, sites), bool)
    mask[:3, 1, 5:9] = False
    hidden = data._replace(mask=jnp.asarray(mask))
    got = impute(fitted, hidden, 1, key=KEY, num_samples=1000)
    points, weights = np.polynomial.hermite_e.hermegauss(40)
    q = rpm.inference.infer(fitted, hidden)
    latents = (q.mean[0] + q.standard_deviation[0] * points[:, None, None]).astype(float)
    of_points = np.exp(rpm.generation.component_log_weights(fitted, latents)[:, :, 1])  # (points, N, T)
    expected = np.einsum("p,pmt,mt->t", weights / weights.sum(), of_points, views[1])
    np.testing.assert_allclose(got.values[0, 5:9], expected[5:9], atol=0.04)
    one = impute(fitted, hidden, 1, key=KEY, num_samples=100, importance=True)
    assert not np.allclose(one.values[0, 5:9], expected[5:9], atol=1e-4)
