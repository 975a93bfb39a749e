import json
import shlex

import jax
import numpy as np
import pytest

import rpm_jax as rpm
from experiments import _bouncing_balls, _cli, poisson_balls, textured_balls

TINY = ["-N", "4", "-T", "6", "-J", "2", "--num-steps", "3", "--hidden", "3", "--quiet"]
FILES = [
    "arrays.npz",
    "bound.png",
    "checkpoints",
    "config.json",
    "metrics.json",
    "mixtures.png",
    "observations.png",
]
NUMBERS = {
    "r2",
    "r2_torchrpm",
    "r2_heldout",
    "r2_torchrpm_heldout",
    "bound_train",
    "bound_heldout",
    "seconds",
    "seconds_fit",
    "lengthscale",
    "steps",
}
PNG = b"\x89PNG"


def read(directory, name):
    return json.loads((directory / name).read_text("utf-8"))


class Done:
    """A run, and what it computed, for runs that fail on purpose without computing it again."""

    def __init__(self, directory, capsys):
        self.directory = directory
        self.computed = {}
        with pytest.MonkeyPatch.context() as patch:
            for name in ("fit_all", "recover"):
                patch.setattr(_bouncing_balls, name, self.remembering(name))
            self.status = poisson_balls.main([*TINY, "--output", str(directory)])
        self.printed = capsys

    def remembering(self, name):
        function = getattr(_bouncing_balls, name)

        def wrapped(*arguments):
            self.computed[name] = function(*arguments)
            return self.computed[name]

        return wrapped

    def again(self, patch, arguments):
        for name, value in self.computed.items():
            patch.setattr(_bouncing_balls, name, lambda *_, value=value: value)
        return poisson_balls.main([*TINY, *arguments])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return Done(tmp_path_factory.mktemp("runs") / "first", None)


def test_all_files_are_written(done):
    assert done.status == 0
    assert sorted(path.name for path in done.directory.iterdir()) == FILES
    for name in FILES:
        if name.endswith(".png"):
            content = (done.directory / name).read_bytes()
            assert content.startswith(PNG)
            assert len(content) > 5000


def test_metrics(done):
    metrics = read(done.directory, "metrics.json")
    assert set(metrics) >= NUMBERS
    assert all(isinstance(metrics[name], int | float) for name in NUMBERS)
    assert metrics["steps"] == 3
    assert metrics["steps_skipped"] == 0
    assert metrics["seconds"] > metrics["seconds_fit"] > 0
    arrays = np.load(done.directory / "arrays.npz")
    expected = rpm.metrics.torchrpm_r2(arrays["latent"], arrays["posterior_mean"])
    np.testing.assert_allclose(metrics["r2_torchrpm"], expected)
    expected = rpm.metrics.linear_r2(arrays["heldout_latent"], arrays["heldout_posterior_mean"])
    np.testing.assert_allclose(metrics["r2_heldout"], expected)


def test_arrays(done):
    arrays = np.load(done.directory / "arrays.npz")
    assert {name: arrays[name].shape for name in arrays} == {
        "views": (4, 6, 2),
        "latent": (4, 6),
        "locations": (2,),
        "times": (6,),
        "posterior_mean": (4, 6, 1),
        "posterior_sd": (4, 6, 1),
        "heldout_views": (4, 6, 2),
        "heldout_latent": (4, 6),
        "heldout_posterior_mean": (4, 6, 1),
        "heldout_posterior_sd": (4, 6, 1),
        "bound_train": (3,),
        "bound_train_steps": (3,),
        "bound_heldout": (1,),
        "bound_heldout_steps": (1,),
    }
    assert all(np.isfinite(arrays[name]).all() for name in arrays)
    assert (arrays["posterior_sd"] > 0).all()
    assert not np.array_equal(arrays["latent"], arrays["heldout_latent"])


def test_config_says_what_was_run(done):
    config = read(done.directory, "config.json")
    assert config["experiment"] == "poisson_balls"
    assert config["options"]["num_sequences"] == 4
    assert config["options"]["num_steps"] == 3
    assert config["options"]["hidden"] == [3]
    assert config["options"]["learning_rate"] is None
    assert config["library_defaults"]["learning_rate"] == rpm.train.LEARNING_RATES["networks"]
    assert "num_steps" not in config["library_defaults"]
    assert {"python", "jax", "jaxlib", "flax", "optax", "numpy", "rpm_jax"} <= set(config["versions"])
    assert config["versions"]["jax"] == jax.__version__
    assert {"commit", "modified", "date", "device"} <= set(config)
    assert shlex.split(config["command"])[:3] == ["python", "-m", "experiments.poisson_balls"]


def test_config_goes_round(done):
    kind = poisson_balls.EXPERIMENT.options
    read_back = _cli.from_file(kind, "poisson_balls", done.directory / "config.json")
    assert read_back.recorded() == _cli.parse(kind, "poisson_balls", None, TINY).recorded()
    overridden = _cli.parse(
        kind, "poisson_balls", None, ["--config", str(done.directory / "config.json"), "-T", "9"]
    )
    assert overridden.data.sequence_length == 9
    assert overridden.data.num_sequences == 4
    assert overridden.run.output is None


def test_the_checkpoint_is_the_fit(done):
    params, metadata = rpm.train.load_checkpoint(done.directory / "checkpoints" / "fit")
    assert metadata["options"] == read(done.directory, "config.json")["options"]
    arrays = np.load(done.directory / "arrays.npz")
    options = _cli.from_file(
        poisson_balls.EXPERIMENT.options, "poisson_balls", done.directory / "config.json"
    )
    model = _bouncing_balls.build_model(options, arrays["times"])
    views = tuple(arrays["views"][..., j] for j in range(2))
    np.testing.assert_allclose(
        rpm.inference.posterior(rpm.Fitted(model, params, views)).mean, arrays["posterior_mean"]
    )


def test_one_line_is_printed(done, monkeypatch, tmp_path, capsys):
    assert done.again(monkeypatch, ["--no-figures", "--output", str(tmp_path / "second")]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    for word in (
        "r2 ",
        "r2_torchrpm ",
        "bound_train ",
        "bound_heldout ",
        "seconds ",
        str(tmp_path / "second"),
    ):
        assert word in printed.out
    assert printed.err == ""
    assert not (tmp_path / "second" / "bound.png").exists()


def test_a_failing_figure_loses_nothing(done, monkeypatch, tmp_path, capsys):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_bouncing_balls, "draw_observations", full)
    assert done.again(monkeypatch, ["--output", str(tmp_path)]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [n for n in FILES if n != "observations.png"]
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "error: --output: " in printed
    assert "observations.png was not written: No space left on device" in printed


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_loses_nothing(done, monkeypatch, tmp_path, capsys, interruption):
    def interrupt(_):
        raise interruption

    monkeypatch.setattr(_bouncing_balls, "draw_observations", interrupt)
    if interruption is KeyboardInterrupt:
        assert done.again(monkeypatch, ["--output", str(tmp_path)]) == 130
        assert "interrupted" in capsys.readouterr().err
    else:
        with pytest.raises(RuntimeError):
            done.again(monkeypatch, ["--output", str(tmp_path)])
    assert read(tmp_path, "metrics.json").keys() >= NUMBERS
    names = ["arrays.npz", "checkpoints", "config.json", "metrics.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_full_disk_while_writing_leaves_the_earlier_files(done, monkeypatch, tmp_path, capsys):
    assert done.again(monkeypatch, ["--no-figures", "--output", str(tmp_path)]) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        assert done.again(monkeypatch, ["--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("No space left on device") == 7
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before


def test_an_interrupted_fit_leaves_an_earlier_run_as_it_was(done, monkeypatch, tmp_path):
    assert done.again(monkeypatch, ["--no-figures", "--output", str(tmp_path)]) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_bouncing_balls, "fit_all", interrupt)
    assert poisson_balls.main([*TINY, "--output", str(tmp_path)]) == 130
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before
    assert poisson_balls.main([*TINY, "--output", str(tmp_path / "fresh")]) == 130
    assert [path.name for path in (tmp_path / "fresh").iterdir()] == ["config.json"]


def test_unwritable_output(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert poisson_balls.main([*TINY, "--output", str(tmp_path / "file" / "run")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "error: --output: cannot write to" in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.slow
def test_static(tmp_path):
    arguments = [*TINY, "--static", "--unnormalised", "--output", str(tmp_path)]
    assert poisson_balls.main(arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    arrays = np.load(tmp_path / "arrays.npz")
    assert arrays["posterior_mean"].shape == arrays["heldout_posterior_sd"].shape == (4, 6, 1)
    assert np.isfinite(read(tmp_path, "metrics.json")["bound_train"])
    assert read(tmp_path, "config.json")["options"]["static"] is True


# Models of every combination of options, without a fit.


def parsed(*arguments):
    return _cli.parse(textured_balls.EXPERIMENT.options, "textured_balls", None, [*TINY, *arguments])


@pytest.mark.parametrize("static", [(), ("--static",)])
@pytest.mark.parametrize("posterior", ["conjugate", "amortized", "saturated"])
@pytest.mark.parametrize(
    "auxiliary",
    [
        ("posterior",),
        ("shifted",),
        ("free",),
        ("shifted", "--auxiliary-amortized"),
        ("free", "--auxiliary-amortized"),
    ],
)
def test_every_strategy_can_be_chosen(static, posterior, auxiliary):
    options = parsed(*static, "--posterior", posterior, "--auxiliary", *auxiliary)
    model = _bouncing_balls.build_model(options, np.linspace(0, 1, 6))
    if posterior == "amortized":  # what the other posteriors have is in these: networks of all views that fit
        views = (jax.ShapeDtypeStruct((4, 6), float),) * 2
        params = jax.eval_shape(model.init, jax.random.key(0), views)
        bound = jax.eval_shape(
            lambda p, d: rpm.bound(model, p, d.batch(np.arange(3)), d), params, rpm.Data(views)
        )
        assert bound.shape == (3,)
    groups = {"conjugate": "none", "amortized": "networks", "saturated": "rows"}
    assert model.posterior.group == groups[posterior]
    auxiliary_groups = {1: "none" if auxiliary[0] == "posterior" else "rows", 2: "networks"}
    assert model.auxiliary.group == auxiliary_groups[len(auxiliary)]


def test_nothing_is_passed_on_that_was_not_given():
    options = _cli.parse(textured_balls.EXPERIMENT.options, "textured_balls", None, ["--quiet"])
    assert _bouncing_balls.fit_arguments(options) == {"progress": False}
    model = _bouncing_balls.build_model(options, np.linspace(0, 1, 6))
    assert model.factors == rpm.factors.per_view(rpm.networks.PointwiseMLP())


def test_what_was_given_is_passed_on():
    options = parsed(
        *shlex.split(
            "--batch-size 3 --learning-rate 0.1 --row-learning-rate 0.2 --warm-start-bound 7 "
            "--early-stopping 2 --schedule constant --components batch --replacement --em"
        )
    )
    assert _bouncing_balls.fit_arguments(options) == {
        "num_steps": 3,
        "batch_size": 3,
        "optimizer": rpm.train.Adam({"networks": 0.1, "rows": 0.2}, "constant"),
        "warm_start": rpm.WarmStart(bound=7),
        "stopping": rpm.EarlyStopping(patience=2),
        "components": rpm.feeds.minibatch(),
        "replacement": True,
        "objective": rpm.train.Bound(em=True),
        "progress": False,
    }


@pytest.mark.parametrize(
    ("option", "kernel"),
    [
        (["--bandwidth", "7"], rpm.priors.kernels.rbf_from_bandwidth(7.0)),
        (["--kernel", "matern32", "--lengthscale", "0.3"], rpm.priors.kernels.Matern(1.5, 0.3)),
    ],
)
@pytest.mark.parametrize("static", [(), ("--static",)])
def test_kernels(option, kernel, static):
    times = np.linspace(0, 1, 6)
    params = _bouncing_balls.build_model(parsed(*option, *static), times).prior.init(jax.random.key(0))
    np.testing.assert_allclose(
        jax.tree.leaves(params["kernel"])[0].squeeze(), jax.tree.leaves(kernel.init(times))[0]
    )


def test_seeds_of_data_and_model_are_apart():
    def latent(*arguments, seed=0):
        return _bouncing_balls.sample(rpm.datasets.textured_balls, parsed(*arguments), seed)[0].latent

    np.testing.assert_array_equal(latent("--data-seed", "3"), latent("--data-seed", "1", seed=2))
    np.testing.assert_array_equal(latent(), latent("--model-seed", "3"))
    assert not np.array_equal(latent(), latent("--data-seed", "3"))
