"""Latents of spikes beside GPFA: rows, scores, what is left out, and the worker's own fits."""

import json
import sys

import numpy as np
import pytest

import rpm_jax as rpm
from benchmarks import _gpfa_elephant, _gpfa_worker, gpfa

SMALL = ["--trials", "4", "--bins", "6", "--neurons", "4", "--groups", "2", "--seeds", "0", "1"]


def test_rows_are_scored_by_the_states(monkeypatch, tmp_path, capsys):
    """A method that knows the states has R² 1, of variants the best counts; medians are over seeds."""
    asked = []

    def latents_of(method, data, python):
        given = np.load(data)
        assert given["counts"].shape == (4, 6, 4)
        asked.append(method)
        states = rpm.datasets.lorenz_spikes(
            gpfa.jax.random.key(len(asked) - 1),
            num_sequences=4,
            num_steps=6,
            num_neurons=4,
            num_groups=2,
            step=0.01,
            base_rate=0.5,
            modulation=0.7,
        ).states
        noise = np.random.default_rng(0).normal(size=states.shape)
        return np.stack([noise, 3.0 - 2.0 * np.asarray(states)]), 2.0 + len(asked)

    monkeypatch.setattr(gpfa, "latents_of", latents_of)
    path = tmp_path / "report.json"
    assert gpfa.main([*SMALL, "--methods", "factor analysis", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["results"]
    assert asked == ["factor analysis"] * 2
    assert [row["seconds"] for row in rows] == [3.0, 4.0, 3.5]
    for row in rows:
        assert [row[key] for key in ("r2_x", "r2_y", "r2_z", "r2")] == pytest.approx([1.0] * 4, abs=1e-6)
    assert "median" in capsys.readouterr().out


def test_elephant_is_left_out_where_it_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(gpfa, "latents_of", lambda *_: pytest.fail("it was run"))
    nowhere = "/nowhere/python"
    assert gpfa.main([*SMALL, "--methods", "elephant GPFA", "--elephant", nowhere]) == 0
    assert f"elephant is not installed for {nowhere}: left out" in capsys.readouterr().err


def test_what_fails_is_said(monkeypatch, capsys):
    monkeypatch.setattr(gpfa, "METHODS", {"factor analysis": "nothing of that name"})
    assert gpfa.main([*SMALL, "--methods", "factor analysis"]) == 1
    assert "nothing of that name failed: " in capsys.readouterr().err


@pytest.mark.parametrize("who", ["process", "factor analysis"])
def test_the_worker_gives_latents_of_all_trials(who, tmp_path, monkeypatch):
    counts = np.random.default_rng(0).poisson(2.0, size=(5, 7, 6)).astype(float)
    data, result = tmp_path / "data.npz", tmp_path / "result.npz"
    np.savez(data, counts=counts, latents=2, groups=2, step=0.1)
    monkeypatch.setattr(_gpfa_worker, "NUM_STEPS", 2)
    monkeypatch.setattr(_gpfa_worker, "NUM_COMPONENTS", 4)
    _gpfa_worker.main(who, str(data), str(result))
    found = np.load(result)
    assert found["latents"].shape == (1 if who == "process" else len(_gpfa_worker.WIDTHS), 5, 7, 2)
    assert np.isfinite(found["latents"]).all()
    assert found["seconds"] > 0


def test_spike_trains_have_the_counts(monkeypatch):
    """Spikes lie in their bins, in order; neo and quantities are replaced by what records the calls."""

    class Unit:
        def __rmul__(self, other):
            return other

    class Quantities:
        ms = Unit()

    class Neo:
        @staticmethod
        def SpikeTrain(seconds, t_stop):  # noqa: N802 (neo's name)
            assert t_stop == 3 * _gpfa_elephant.BIN_MS
            return seconds

    monkeypatch.setitem(sys.modules, "neo", Neo)
    monkeypatch.setitem(sys.modules, "quantities", Quantities)
    counts = np.array([[[0, 2], [3, 0], [1, 1]]])
    (trial,) = _gpfa_elephant.spike_trains(counts)
    edges = _gpfa_elephant.BIN_MS * np.arange(4)
    for neuron, train in enumerate(trial):
        assert (np.diff(train) >= 0).all()
        np.testing.assert_array_equal(np.histogram(train, edges)[0], counts[0, :, neuron])
