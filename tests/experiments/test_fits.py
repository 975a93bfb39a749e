"""What all fits share: their data, their arguments, the best of several seeds, and what is kept of them."""

import json

import jax
import numpy as np
import pytest

import rpm_jax as rpm
from experiments import _cli, _fits, _output
from experiments._graph_options import Options as GraphOptions
from experiments._options import OptionError
from experiments._texture_options import Options as TextureOptions
from experiments.textured_balls import Options as BallOptions


def parsed(kind, arguments=""):
    return _cli.parse(kind, "any", None, ["--quiet", *arguments.split()])


@pytest.mark.parametrize(
    ("kind", "arguments", "expected"),
    [
        (BallOptions, "", {}),
        (GraphOptions, "", {"num_steps": 500, "batch_size": 25, "components": rpm.feeds.minibatch()}),
        (TextureOptions, "", {"num_steps": 500, "batch_size": 25}),
        (
            TextureOptions,
            "--num-steps 3 --batch-size 3 --learning-rate 0.2 --prior-learning-rate 0.1 --schedule constant "
            "--components data --em",
            {
                "num_steps": 3,
                "batch_size": 3,
                "optimizer": rpm.train.Adam({"networks": 0.2, "prior": 0.1}, "constant"),
                "components": rpm.feeds.full(),
                "objective": rpm.train.Bound(em=True),
            },
        ),
        (
            BallOptions,
            "--row-learning-rate 2 --replacement",
            {"optimizer": rpm.train.Adam({"rows": 2.0}), "replacement": True},
        ),
    ],
)
def test_only_what_was_given_is_passed_on(kind, arguments, expected):
    default = None if kind is BallOptions else 25
    found = _fits.arguments(parsed(kind, arguments), 30, default_batch=default)
    assert found == {**expected, "progress": False}


def test_an_experiments_own_arguments_come_before_the_librarys_and_after_those_given():
    own = {"num_steps": 7, "components": rpm.feeds.full(), "learning_rates": {"prior": 0.5, "networks": 0.5}}
    given = _fits.arguments(parsed(BallOptions, "--learning-rate 0.1 --components batch"), 30, **own)
    assert given == {
        "num_steps": 7,
        "components": rpm.feeds.minibatch(),
        "optimizer": rpm.train.Adam({"prior": 0.5, "networks": 0.1}),
        "progress": False,
    }


def test_a_default_batch_is_no_larger_than_the_data():
    assert _fits.arguments(parsed(GraphOptions), 3, default_batch=4)["batch_size"] == 3


@pytest.mark.parametrize(("arguments", "steps"), [("--batch-size 8", 10), ("", 5), ("--batch-size 30", 5)])
def test_epochs_are_passes_over_the_data(arguments, steps):
    options = parsed(BallOptions, f"--epochs 5 {arguments}")
    assert _fits.arguments(options, 20, most=256)["num_steps"] == steps


def test_progress_is_shown_unless_quiet():
    assert _fits.arguments(_cli.parse(GraphOptions, "any", None, []), 9)["progress"] is True


def test_data_are_drawn_by_the_options_of_their_names():
    options = parsed(BallOptions, "-N 3 -T 5 -J 2 --width 0.4 --data-seed 4")
    arguments = {"renamed": {"num_steps": "sequence_length"}}
    train, held_out = _fits.draw(rpm.datasets.textured_balls, options.data, "num_sequences", 2, **arguments)
    assert (train.latent.shape, held_out.latent.shape) == ((3, 5), (2, 5))
    both = rpm.datasets.textured_balls(
        _fits.data_key(4), num_sequences=5, num_steps=5, num_pixels=2, width=0.4
    )
    np.testing.assert_array_equal(both.latent[:3], train.latent)
    other, _ = _fits.draw(rpm.datasets.textured_balls, options.data, "num_sequences", 2, seed=5, **arguments)
    assert not np.array_equal(other.latent, train.latent)
    few, _ = _fits.draw(rpm.datasets.textured_balls, options.data, 1, 4, num_steps=6)
    assert few.latent.shape == (1, 6)
    bad = parsed(BallOptions, "--noise-variance 2")
    with pytest.raises(OptionError, match=r"^--noise-variance must"):
        _fits.draw(rpm.datasets.textured_balls, bad.data, "num_sequences", 2, **arguments)


def test_keys_of_data_and_model_differ():
    keys = [jax.random.key_data(key(3)).tolist() for key in (_fits.data_key, _fits.model_key, jax.random.key)]
    assert len(set(map(str, keys))) == 3


def fit(bound):
    history = rpm.train.History(
        train=np.array([0.0, bound]),
        held_out=np.array([bound]),
        held_out_steps=np.array([2]),
        skipped=1,
        stopped="finished",
    )
    return rpm.train.Fit(None, {"a": np.float32(bound)}, None, history, bound)


def test_the_best_of_several_seeds(tmp_path):
    runs = _fits.runs_of([fit(b) for b in (1.0, float("nan"), 3.0, 2.0)])
    assert runs.chosen == 2
    assert runs.best.bound == 3.0
    assert runs.num_steps == 2
    np.testing.assert_array_equal(runs.curves[:, 1], [1.0, np.nan, 3.0, 2.0])
    assert runs.histories()["bound_heldout"].shape == (4, 1)
    assert _fits.scores(runs.best) == {"bound_train": 3.0, "steps_skipped": 1}
    assert np.isnan(_fits.bound_held_out(runs.best))
    scores = [{"a": 1.0}, {"a": 7.0}, {"a": 2.0}, {"a": 3.0}]
    assert runs.metrics(scores, ["a"]) == {
        "a": 2.0,
        "medians": {"a": 2.5},
        "per_seed": {"a": [1.0, 7.0, 2.0, 3.0]},
        "chosen_seed": 2,
    }
    runs.save(_output.Files(tmp_path, {"experiment": "any"}))
    params, metadata = rpm.train.load_checkpoint(tmp_path / "checkpoints" / "fit")
    assert (float(params["a"]), metadata) == (3.0, {"experiment": "any", "seed": 2})
    stacked = rpm.train.load_checkpoint(tmp_path / "checkpoints" / "all_seeds").params["a"]
    np.testing.assert_array_equal(stacked, [1.0, np.nan, 3.0, 2.0])
    runs.save(_output.Files(tmp_path, {"experiment": "any"}), "other")
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"fit", "all_seeds", "other_fit", "other_all_seeds"}
    assert json.loads((tmp_path / "checkpoints" / "fit" / "metadata.json").read_text())["params"]


def test_seeds_that_all_failed_still_choose_one():
    assert _fits.runs_of([fit(float("nan"))] * 2).chosen == 0


def test_stacks():
    np.testing.assert_array_equal(_fits.stack([{"a": [1, 2]}, {"a": [3, 4]}])["a"], [[1, 2], [3, 4]])
    (first, second) = _fits.stack_views([(np.zeros(2), np.ones(3)), (np.ones(2), np.ones(3))])
    assert (first.shape, second.shape) == ((2, 2), (2, 3))
