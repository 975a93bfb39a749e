"""The most likely path against all paths."""

import jax
import numpy as np
import pytest
from cases.fitted_sequences import NEW, SITES, fitted, new_data, paths_of
from support import init, two_views

import rpm_jax as rpm
from rpm_jax.forecasting import most_likely_path


@pytest.mark.parametrize("name", ["hidden Markov", "driven hidden Markov"])
def test_all_paths(name):
    """Batched, with missing observations, and inputs of each datum."""
    got = most_likely_path(fitted(name), new_data(name))
    assert got.states.shape == (NEW, SITES)
    for n in range(NEW):
        paths, weights = paths_of(name, n, SITES)
        observed, place = np.unique(paths[:, :SITES], axis=0, return_inverse=True)
        probability = np.bincount(place.ravel(), weights)
        np.testing.assert_array_equal(got.states[n], observed[probability.argmax()])
        np.testing.assert_allclose(got.log_probability[n], np.log(probability.max()), atol=1e-12)
    assert most_likely_path(fitted(name)).states.shape == (6, SITES)


def test_refusals():
    data = rpm.as_data(two_views(0, size=6, sites=SITES))
    network = rpm.networks.PointwiseMLP((3,))

    def question(*parts):
        model = rpm.RPM(*parts)
        return most_likely_path(rpm.Fitted(model, init(model, jax.random.key(0), data), data))

    amortized = rpm.posteriors.amortized(rpm.networks.stacked(network))
    factors = rpm.factors.per_view(network)
    with pytest.raises(TypeError, match=r"needs the exact posterior of a hidden Markov .* got Amortized"):
        question(rpm.priors.hidden_markov(3, SITES), factors, amortized)
    with pytest.raises(TypeError, match=r"needs the exact posterior of a hidden Markov .* got Conjugate"):
        most_likely_path(fitted("linear Gaussian"))
    alike = rpm.priors.Independent(rpm.expfam.Categorical(np.zeros(3)), SITES)
    with pytest.raises(TypeError, match=r"needs a hidden Markov prior, .* got SitePosterior"):
        question(alike, factors)
