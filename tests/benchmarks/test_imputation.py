"""A group of neurons from the others: rows of every method, and what is known of the group."""

import json
import shlex

import numpy as np
import pytest

import rpm_jax as rpm
from benchmarks import _gpfa_worker, imputation

SMALL = shlex.split("--trials 5 --held-out 2 --bins 6 --neurons 7 --groups 3 --left-out 1 --samples 3")
METHODS = ["--methods", "rpm_jax, chain", "ridge", "ridge, smoothed"]


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(2.0, size=(5, 6, 7)).astype(np.float32)


def test_rows_and_medians(monkeypatch, tmp_path, capsys):
    """The model is fitted to the first trials, and the others are imputed."""

    def mean_counts(fitted, new, num_groups, group, num_samples):
        assert (new.shape, num_groups, group, num_samples) == ((2, 6, 7), 3, 1, 3)
        return np.broadcast_to(fitted[..., 3:5].mean((0, 1)), (2, 6, 2))

    monkeypatch.setattr(_gpfa_worker, "rpm_fit", lambda counts, *_: counts)
    monkeypatch.setattr(imputation, "imputed_counts", mean_counts)
    path = tmp_path / "report.json"
    assert imputation.main([*SMALL, *METHODS, "--seeds", "0", "1", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["results"]
    assert [row["seed"] for row in rows] == [0] * 3 + [1] * 3 + ["median"] * 3
    assert [row["who"] for row in rows] == METHODS[1:] * 3
    for name in ("r2_rates", "r2_counts"):
        values = np.array([row[name] for row in rows]).reshape(3, 3)
        assert (values < 1).all()
        np.testing.assert_allclose(values[2], values[:2].mean(0))
    assert "ridge, smoothed" in capsys.readouterr().out


def test_what_is_imputed_is_not_seen(counts):
    """A change of the group's counts changes nothing, of another group's it does; means lie among counts."""
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP(()), precision="shared")
    model = rpm.RPM(rpm.priors.linear_gaussian(2, 6), factors, pooled=True)
    train = rpm.as_data(_gpfa_worker.views_of(counts[:3], 3))
    params = model.init(imputation.jax.random.key(0), train)
    fitted = rpm.train.Fit(model, params, train, history=None, bound=0.0)
    changed, other = counts.copy(), counts.copy()
    changed[3:, :, 3:5] += 1  # groups of 3, 2 and 2 neurons
    other[3:, :, :3] += 1
    found, same, moved = (
        imputation.imputed_counts(fitted, each[3:], 3, 1, 3) for each in (counts, changed, other)
    )
    assert found.shape == (2, 6, 2)
    np.testing.assert_array_equal(found, same)
    assert not np.allclose(found, moved)
    assert (found >= 0).all()
    assert (found <= counts[:3, :, 3:5].max() + 1e-5).all()


def test_regression_uses_the_other_groups_only():
    """Where counts are what root counts of another group say, ridge regression finds it."""
    random = np.random.default_rng(1)
    counts = random.poisson(3.0, size=(20, 30, 4)).astype(float)
    counts[..., 2] = 2 * np.sqrt(counts[..., 0]) + 1
    counts[..., 3] = 5 - np.sqrt(counts[..., 1])
    found = imputation.regressed_counts(counts[:15], counts[15:], 2, 1)
    np.testing.assert_allclose(found, counts[15:, :, 2:], atol=1e-3)
    assert imputation.r2(counts[15:, :, 2:], found) > 0.999
    smoothed = imputation.regressed_counts(counts[:15], counts[15:], 2, 1, 2.0)
    assert not np.allclose(found, smoothed, atol=0.1)


def test_r2_is_of_all_neurons_together():
    truth = rpm.datasets.lorenz_spikes(imputation.jax.random.key(0), num_sequences=2, num_steps=5).states
    truth = np.asarray(truth)
    assert imputation.r2(truth, truth) == 1
    assert imputation.r2(truth, np.broadcast_to(truth.mean((0, 1)), truth.shape)) == pytest.approx(
        0, abs=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--held-out", "5"], "--held-out must be less than --trials 5"),
        (["--left-out", "3"], "--left-out must be less than --groups 3"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        imputation.main([*SMALL, *arguments])
    assert message in capsys.readouterr().err
