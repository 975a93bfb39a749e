"""The benchmarks that measure the library alone: refused options, tables and figures of tiny runs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import (
    _figure,
    _normalizer_worker,
    _processes,
    _profile_pieces,
    devices,
    factorisation,
    normalizer,
    precision,
    profile,
    shared_precision,
    sweep,
)
from benchmarks._operations import count_operations
from benchmarks._torchrpm_cases import Case

OTHER_FAMILIES = sorted({*_normalizer_worker.FAMILIES} - {"DiagonalGaussian"})
MODULES = {
    "normalizer": normalizer,
    "sweep": sweep,
    "devices": devices,
    "factorisation": factorisation,
    "profile": profile,
    "precision": precision,
    "shared_precision": shared_precision,
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("normalizer --rounds 0", "--rounds must be at least 1, got 0"),
        ("precision --num-sites 0", "--num-sites must be at least 1, got 0"),
        ("normalizer --sizes 1000 63", "--sizes must be at least 64, got 63"),
        ("normalizer --block-sizes 0", "--block-sizes must be at least 1, got 0"),
        ("normalizer --families Beta", "invalid choice: 'Beta'"),
        ("sweep --seeds 4 0", "--seeds must be at least 1, got 0"),
        ("sweep --seconds 0", "--seconds must be at least 0.01, got 0.0"),
        ("sweep --cases cnn", "invalid choice: 'cnn'"),
        ("devices --devices -1", "--devices must be at least 0, got -1"),
        ("devices --num-sequences 7", "--num-sequences must be at least 8, got 7"),
        ("factorisation --sizes 0", "--sizes must be at least 1, got 0"),
        ("factorisation --tasks solve", "invalid choice: 'solve'"),
        ("shared_precision --families beta", "invalid choice: 'beta'"),
        ("profile --rounds 0", "--rounds must be at least 1, got 0"),
        ("profile --cases static", "invalid choice: 'static'"),
    ],
)
def test_options_that_do_not_fit(arguments, message, capsys):
    name, *options = arguments.split()
    with pytest.raises(SystemExit) as leaving:
        MODULES[name].main(options)
    assert leaving.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["normalizer", "sweep"])
def test_figures_need_matplotlib(name, monkeypatch, capsys):
    monkeypatch.setattr(_figure.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        MODULES[name].main(["--figure", "some.png"])
    assert "--figure needs matplotlib, which is not installed; run: pip install" in capsys.readouterr().err


@pytest.mark.parametrize(
    "family", ["DiagonalGaussian", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHER_FAMILIES)]
)
def test_plain_bound_is_the_bound(family):
    streamed, plain = (_normalizer_worker.of_bound(family, way, 7, 3) for way in ("streamed", "plain"))
    values, gradients = zip(
        *(jax.jit(function)(*arguments) for function, arguments, _ in (streamed, plain)), strict=True
    )
    np.testing.assert_allclose(*values, rtol=1e-4)
    for ours, other in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-3, atol=1e-5)
    assert streamed[2] == 7 * 2 * 4


def test_normalizer_in_tables_and_figure(tmp_path, monkeypatch, capsys):
    class FakeWorker:
        def __init__(self, module, environment):
            assert module == "benchmarks._normalizer_worker"

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def ask(self, **request):
            if request["size"] == 70:
                raise normalizer.WorkerError("no memory")
            return {"median_ms": 1.5, "peak_mib": 100.0}

    monkeypatch.setattr(normalizer, "Worker", FakeWorker)
    report, figure = tmp_path / "normalizer.json", tmp_path / "normalizer.png"
    options = "--sizes 64 128 --plain-sizes 64 70 --block-sizes 8 --block-data 99 --families Gamma --rounds 1"
    assert normalizer.main([*options.split(), "--json", str(report), "--figure", str(figure)]) == 1
    printed = capsys.readouterr()
    assert printed.err == "plain, N = 70: no memory\n"
    assert [line.split()[:5] for line in printed.out.splitlines()[1:]] == [
        ["size", "streamed", "DiagonalGaussian", "64", "-"],
        ["size", "streamed", "DiagonalGaussian", "128", "-"],
        ["size", "plain", "DiagonalGaussian", "64", "-"],
        ["size", "plain", "DiagonalGaussian", "70", "-"],
        ["block", "mixture", "DiagonalGaussian", "99", "-"],
        ["block", "mixture", "DiagonalGaussian", "99", "8"],
        ["family", "streamed", "Gamma", "100000", "-"],
    ]
    assert len(json.loads(report.read_text())["results"]) == 7
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_normalizer_in_processes(capsys):
    options = "--sizes 100 --plain-sizes 100 --block-sizes 16 --block-data 100 --family-data 64 --rounds 1"
    assert normalizer.main([*options.split(), "--batch-size", "8", "--families", "Gaussian"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


def tiny_case():
    views = tuple(jnp.asarray(np.random.default_rng(j).normal(size=(6, 1))) for j in range(2))
    return sweep.Case(_normalizer_worker.make_model("DiagonalGaussian"), views, 3, 2)


@pytest.mark.slow
def test_seeds_are_timed_from_look_to_look():
    assert 0 < sweep.seconds_per_seed_step(tiny_case(), 2, 0.0) < 1


def test_sweep(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sweep.CASES, "cnn-8-64", tiny_case)
    monkeypatch.setattr(sweep, "seconds_per_seed_step", lambda case, seeds, seconds: 0.01 / (1 + seeds))
    figure = tmp_path / "sweep.png"
    options = "--cases cnn-8-64 --seeds 1 2 --rounds 1 --seconds 0.01 --figure"
    assert sweep.main([*options.split(), str(figure)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["cnn-8-64", "6", "1", "6", "200", "200", "1.00"],
        ["cnn-8-64", "6", "2", "12", "200", "300", "1.50"],
    ]
    assert lines[3].startswith("cnn-8-64: at once, 1.50 times as fast")
    assert figure.exists()


def test_conclusion_names_the_faster_way():
    def row(name, seeds, rate, ratio):
        return {"name": name, "seeds": seeds, "all_inputs": 10 * seeds, "vmap_rate": rate, "ratio": ratio}

    rows = [row("a", 1, 9.0, 1.0), row("a", 2, 5.0, 0.5), row("a", 4, 6.0, 0.6)]
    rows += [row("b", 2, 5.0, 1.5), row("b", 4, 4.0, 1.2)]
    first, second = sweep.conclusion(rows)
    assert first.startswith("a: one by one; 4 seeds at once, the best number of those, reach 0.60")
    assert second == "b: at once, 1.50 times as fast as one by one with 2 seeds, 20 inputs"


def test_devices_take_turns(monkeypatch, tmp_path, capsys):
    class FakeWorker:
        def __init__(self, module, *arguments, environment):
            self.devices, *fixed = map(int, arguments)
            assert fixed == [20, 4]
            assert environment["XLA_FLAGS"] == f"--some {_processes.HOST_DEVICES}={max(1, self.devices)}"

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def ask(self, steps=0, finish=False):
            seconds = 0.01 * (1 + self.devices) * steps
            return {"steps": steps, "seconds": seconds, "processor_seconds": seconds, "peak_mib": 50.0}

    monkeypatch.setattr(devices, "Worker", FakeWorker)
    monkeypatch.setenv("XLA_FLAGS", f"{_processes.HOST_DEVICES}=3 --some")
    options = "--devices 0 1 3 --num-sequences 20 --batch-size 4 --rounds 2 --steps 5"
    assert devices.main([*options.split(), "--json", str(tmp_path / "devices.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [[line.split()[i] for i in (0, 1, 3, 6)] for line in lines[1:4]] == [
        ["0", "no", "10.00", "1.00"],
        ["1", "yes", "20.00", "2.00"],
        ["3", "no", "40.00", "4.00"],
    ]
    assert "share the same" in lines[4]
    assert "more devices than cores show the overhead" in lines[4]


@pytest.mark.slow
def test_devices_in_processes(capsys):
    options = "--devices 0 2 --num-sequences 20 --batch-size 4 --rounds 1 --steps 4"
    assert devices.main(options.split()) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_factorisation(tmp_path, capsys):
    path = tmp_path / "factorisation.json"
    options = f"--sizes 2 3 --rounds 1 --work 200 --json {path}"
    assert factorisation.main(options.split()) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    results = json.loads(path.read_text())["results"]
    assert [(row["task"], row["size"], row["number"]) for row in results] == [
        ("inverse", 2, 25),
        ("inverse", 3, 7),
        ("product", 2, 25),
        ("product", 3, 7),
    ]


def test_shared_precision(tmp_path, capsys):
    path = tmp_path / "shared.json"
    options = f"--sizes 2 --components 7 --batch 2 --views 1 --sites 2 --rounds 1 --json {path}"
    assert shared_precision.main(options.split()) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    results = json.loads(path.read_text())["results"]
    assert [(row["family"], row["size"]) for row in results] == [("diagonal", 2), ("full", 2)]


def test_factorisations_that_differ_are_not_timed(monkeypatch, capsys):
    tasks = {"inverse": (factorisation.lapack_inverse, factorisation.lapack_product)}
    monkeypatch.setattr(factorisation, "TASKS", tasks)
    monkeypatch.setattr(factorisation, "largest_difference", lambda *_: float("nan"))
    assert factorisation.main(["--tasks", "inverse", "--sizes", "2", "--rounds", "1", "--work", "8"]) == 1
    assert "inverse, K = 2: the results differ by nan" in capsys.readouterr().err


def test_operations_in_loops_count_as_often_as_they_run():
    matrix = jnp.ones((4, 4))

    def loop(matrix):
        return jax.lax.fori_loop(0, 5, lambda i, total: total @ matrix, matrix)

    assert count_operations(lambda a: a @ a, matrix) == 2 * 4**3
    assert count_operations(jax.jit(loop), matrix) >= 5 * 2 * 4**3
    assert count_operations(jax.jit(loop), matrix) < 5 * 2 * 4**3 + 50
    assert count_operations(lambda a: jnp.sum(a + 1.0), matrix) == 16 + 16
    assert count_operations(lambda a: a.T.reshape(-1), matrix) == 0


def profiled_parts(monkeypatch, capsys):
    peaks = [{"cores": 2, "gigaflop_per_second": 50.0, "gigabytes_per_second": 5.0}]
    monkeypatch.setattr(profile, "measure_peaks", lambda size, length: peaks)
    assert profile.main(["--cases", "cnn-64", "--rounds", "1", "--seconds", "0.001"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[4:]]
    assert rows[0][4] == "1.00"
    assert all(float(row[6]) >= 0 for row in rows)
    return [row[1] for row in rows]


def test_profile(monkeypatch, capsys):
    vector = jnp.ones(100)
    pieces = [_profile_pieces.Piece(name, lambda x: x + 1.0, (vector,)) for name in ("step", "networks")]
    monkeypatch.setattr(profile, "pieces_of", lambda case: pieces)
    assert profiled_parts(monkeypatch, capsys) == ["step", "networks"]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["temporal", "static", "discrete"])
def test_profile_of_models(family, monkeypatch, capsys):
    sizes = ("images", 6, 2, 3) if family == "discrete" else ("textures", 12, 3, 4, 10)
    monkeypatch.setitem(_profile_pieces.PROFILED, "cnn-64", Case("tiny", family, *sizes))
    parts = profiled_parts(monkeypatch, capsys)
    assert parts == ["step", "networks", "mixture", "posterior", "optimiser"]


@pytest.mark.slow
def test_networks_on_streamed_data_are_those_on_held_data(monkeypatch):
    """Blocks of data whose factors are made when they are asked for give the same total."""
    from rpm_jax.model import _blocks

    case = Case("tiny", "temporal", "textures", 12, 3, 4, 10)
    networks = _profile_pieces.pieces_of(case)[1]
    held, _ = jax.jit(networks.function)(*networks.arguments)
    monkeypatch.setattr(_blocks, "STREAMED_INPUTS", 1)
    streamed, _ = jax.jit(lambda *arguments: networks.function(*arguments))(*networks.arguments)
    np.testing.assert_allclose(streamed, held, rtol=1e-4)


@pytest.mark.slow
def test_peaks_in_processes():
    peaks = profile.measure_peaks(64, 1000)
    assert all(peak["gigaflop_per_second"] > 0 < peak["gigabytes_per_second"] for peak in peaks)


def test_precision_of_one_row_of_each_table():
    words, one, two = next(precision.members())
    row = precision.measure_family(words, one, two)
    assert row["family"] == "DiagonalGaussian"
    assert max(row[name] for name in ("A", "mean", "entropy", "KL", "log p")) < 1e-5
    assert row["draws"] < 5
    process = precision.measure_process(20, 32.0, 100.0)
    assert process["log_normalizer"] < 1e-6
    assert process["mean"] < 1e-3
    assert abs(process["draws"]) < 0.3
    prior = precision.measure_prior(*next(precision.prior_cases()))
    assert max(prior[name] for name in ("log_normalizer", "mean", "gradient")) < 1e-5
