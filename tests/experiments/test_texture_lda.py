"""Textures by latent Dirichlet allocation: one tiny run, its files, options that do not fit, the scores."""

import itertools
import json
import shlex

import jax
import numpy as np
import pytest

import rpm_jax as rpm
from experiments import _cli, _texture_scores, texture_lda
from experiments._options import OptionError
from experiments._texture_options import Options
from experiments._texture_scores import Recovered

TINY = shlex.split(
    "-N 6 --num-held-out 6 -T 4 -S 2 -K 3 --patch-size 6 --channels 2 --kernel-size 3 --hidden 3 "
    "--num-steps 3 --seeds 2 --quiet"
)
FILES = [
    "arrays.npz",
    "bound.png",
    "checkpoints",
    "config.json",
    "confusion.png",
    "metrics.json",
    "patches.png",
    "proportions.png",
]
SCORES = [
    f"{name}_{part}"
    for name in ("accuracy", "mutual_information", "proportions_error", "proportions_correlation")
    for part in ("train", "heldout")
]


def read(directory, name):
    return json.loads((directory / name).read_text("utf-8"))


def parsed(*arguments):
    return _cli.parse(Options, "texture_lda", None, [*TINY, *arguments], None, texture_lda.check)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("textures") / "run"
    assert texture_lda.main([*TINY, "--baselines", "--output", str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def sets():
    options = parsed("-N", "30", "-T", "5", "-S", "3", "--patch-size", "10", "--noise", "0.1")
    return options, texture_lda.load(options)


# A run.


def test_all_files_are_written(done):
    assert sorted(path.name for path in done.iterdir()) == FILES
    for name in FILES:
        if name.endswith(".png"):
            content = (done / name).read_bytes()
            assert content.startswith(b"\x89PNG")
            assert len(content) > 3000


def test_the_run_is_chosen_by_the_bound(done):
    metrics = read(done, "metrics.json")
    chosen = int(np.argmax(metrics["per_seed"]["bound_train"]))
    assert metrics["chosen_seed"] == chosen
    names = [*SCORES, "bound_train", "bound_heldout", "topics_in_use", "concentration"]
    names += ["iterations_train", "iterations_heldout", "residual_train", "residual_heldout"]
    for name in names:
        assert len(metrics["per_seed"][name]) == 2
        assert metrics[name] == metrics["per_seed"][name][chosen]
    assert metrics["steps"] == 3
    assert metrics["steps_skipped"] == 0
    assert metrics["iterations_train"] >= 1
    assert 1 <= metrics["topics_in_use"] <= 3
    assert metrics["accuracy_heldout_median"] == np.median(metrics["per_seed"]["accuracy_heldout"])
    assert metrics["seconds"] > 0
    assert np.isfinite(metrics["bound_heldout"])


def test_scores_follow_from_the_arrays(done):
    metrics, arrays = read(done, "metrics.json"), np.load(done / "arrays.npz")
    states, topics = arrays["probabilities"].argmax(-1), arrays["topics"]
    matchings = itertools.permutations([0, 1, -1])
    best = max(np.mean(np.array(matching)[states] == topics) for matching in matchings)
    assert metrics["accuracy_train"] == pytest.approx(best)
    assignment = arrays["assignment"]
    held_out = assignment[arrays["probabilities_heldout"].argmax(-1)] == arrays["topics_heldout"]
    assert metrics["accuracy_heldout"] == pytest.approx(held_out.mean())

    true, found = arrays["proportions_heldout"], arrays["recovered_proportions_heldout"]
    matched = np.stack([found[:, assignment == label].sum(1) for label in range(2)], axis=1)
    error = np.abs(true - matched).sum() + found[:, assignment < 0].sum()
    assert metrics["proportions_error_heldout"] == pytest.approx(error / true.size)
    expected = np.corrcoef(true.ravel(), matched.ravel())[0, 1]
    assert metrics["proportions_correlation_heldout"] == pytest.approx(expected)


def test_arrays(done):
    arrays = np.load(done / "arrays.npz")
    shapes = {name: arrays[name].shape for name in arrays}
    assert shapes == {
        "examples": (2, 6, 6),
        "confusion": (2, 3),
        "assignment": (3,),
        "bound_train": (2, 3),
        "bound_heldout": (2, 1),
        "bound_heldout_steps": (1,),
        "views": (6, 4, 6, 6),
        "views_heldout": (6, 4, 6, 6),
        "topics": (6, 4),
        "topics_heldout": (6, 4),
        "proportions": (6, 2),
        "proportions_heldout": (6, 2),
        "probabilities": (6, 4, 3),
        "probabilities_heldout": (6, 4, 3),
        "recovered_proportions": (6, 3),
        "recovered_proportions_heldout": (6, 3),
    }
    assert all(np.isfinite(arrays[name]).all() for name in arrays)
    for name in ("proportions", "probabilities", "recovered_proportions_heldout"):
        np.testing.assert_allclose(arrays[name].sum(-1), 1.0, rtol=1e-6)


def test_baselines_have_the_same_scores(done):
    found = read(done, "metrics.json")["baselines"]
    assert sorted(found) == ["power_spectra", "principal_components"]
    for scores in found.values():
        assert set(scores) == {*SCORES, "topics_in_use"}
        assert 0 <= scores["accuracy_heldout"] <= 1


@pytest.mark.slow
def test_the_same_seeds_give_the_same_numbers(done, tmp_path, capsys):
    assert texture_lda.main([*TINY, "--no-figures", "--output", str(tmp_path)]) == 0
    again, before = read(tmp_path, "metrics.json"), read(done, "metrics.json")
    for metrics in (again, before):
        metrics.pop("seconds")
    before.pop("baselines")
    assert again == before
    assert not (tmp_path / "patches.png").exists()
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert printed.startswith(f"texture_lda (seed {before['chosen_seed']} of 2 by bound): held-out accuracy ")
    for words in (
        "all seeds ",
        "error of the proportions ",
        "counts of true textures ",
        "bound ",
        "seconds ",
    ):
        assert words in printed


def test_the_checkpoint_is_the_chosen_fit(done):
    params, metadata = rpm.train.load_checkpoint(done / "checkpoints" / "fit")
    options = _cli.from_file(Options, "texture_lda", done / "config.json")
    assert options.recorded() == parsed("--baselines").recorded()
    assert metadata["options"] == read(done, "config.json")["options"]
    assert metadata["seed"] == read(done, "metrics.json")["chosen_seed"]
    arrays = np.load(done / "arrays.npz")
    fitted = rpm.Fitted(texture_lda.build_model(options), params, (arrays["views"],))
    posterior = rpm.inference.posterior(fitted)
    np.testing.assert_allclose(posterior.mean, arrays["probabilities"], atol=1e-8)


# Options.


def test_channels_of_a_perceptron_are_refused():
    with pytest.raises(OptionError, match="--channels does not go together with --network mlp"):
        _cli.parse(
            Options, "texture_lda", None, ["--network", "mlp", "--channels", "3"], None, texture_lda.check
        )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--no-pooled", "--symmetric"],
        ["--kind", "unnormalised", "--no-learn-concentration", "--tolerance", "0.01"],
        ["--kind", "scaled", "--max-iterations", "7"],
    ],
)
def test_every_model_can_be_chosen(arguments):
    options = parsed(*arguments)
    model = texture_lda.build_model(options)
    views = (jax.ShapeDtypeStruct((6, 4, 6, 6), float),)
    params = jax.eval_shape(model.init, jax.random.key(0), views)
    bound = jax.eval_shape(
        lambda p, d: rpm.bound(model, p, d.batch(np.arange(2)), d), params, rpm.Data(views)
    )
    assert bound.shape == (2,)
    shape = {"--symmetric": (), "--no-learn-concentration": None}
    expected = next((shape[name] for name in arguments if name in shape), (3,))
    assert getattr(params["prior"].get("log_concentration"), "shape", None) == expected
    prior = model.prior.apply(model.prior.init(jax.random.key(0)))
    np.testing.assert_allclose(prior.concentration, 10.0)
    assert prior.num_sites == 4
    assert prior.max_iterations == (7 if "7" in arguments else 200)
    assert prior.tolerance == (0.01 if "--tolerance" in arguments else None)


def test_a_perceptron_can_be_chosen():
    options = _cli.parse(Options, "texture_lda", None, ["--network", "mlp", "--hidden", "4", "5"])
    factors = texture_lda.build_model(options).factors
    assert factors == rpm.factors.per_view(rpm.networks.MLP((4, 5)))


def test_data_seeds_and_model_seeds_are_apart():
    def views(*arguments):
        return texture_lda.load(parsed(*arguments))[0].views

    np.testing.assert_array_equal(views(), views("--model-seed", "3"))
    assert not np.array_equal(views(), views("--data-seed", "3"))


# Scores.


def truth(part, order):
    """What is known to those who know everything, topics renamed."""
    topics = np.argsort(order)[np.asarray(part.topics)]
    return Recovered(topics, np.asarray(part.proportions)[:, order])


def test_the_truth_has_the_best_scores(sets):
    _, data = sets
    scores = texture_lda.score(data, tuple(truth(part, [2, 0, 1]) for part in data))
    for part, true in zip(("train", "heldout"), data, strict=True):
        assert scores[f"accuracy_{part}"] == 1.0
        assert scores[f"proportions_error_{part}"] == pytest.approx(0.0, abs=1e-12)
        assert scores[f"proportions_correlation_{part}"] == pytest.approx(1.0)
        counts = np.bincount(np.asarray(true.topics).ravel())
        shares = counts[counts > 0] / counts.sum()
        assert scores[f"mutual_information_{part}"] == pytest.approx(-np.sum(shares * np.log(shares)))
    assert scores["topics_in_use"] == 3


def test_merged_topics_are_seen(sets):
    _, data = sets
    merged = []
    for part in data:
        topics, proportions = np.asarray(part.topics), np.asarray(part.proportions)
        joined = np.stack([proportions[:, 0] + proportions[:, 1], proportions[:, 2]], axis=1)
        merged.append(Recovered(np.maximum(topics, 1) - 1, joined))
    scores = texture_lda.score(data, tuple(merged))
    shares = [np.mean(np.asarray(data[0].topics) == topic) for topic in (0, 1)]
    assert scores["accuracy_train"] == pytest.approx(1 - min(shares))
    assert scores["topics_in_use"] == 2
    # The smaller of the two is compared with nothing, the larger one with both.
    lost = np.asarray(data[0].proportions)[:, int(np.argmin(shares))]
    assert scores["proportions_error_train"] == pytest.approx(2 * lost.sum() / (3 * len(lost)))


def test_constant_proportions_have_no_correlation():
    assert np.isnan(_texture_scores.correlation(np.eye(3), np.full((3, 3), 1 / 3)))


def test_counting_true_textures(sets):
    _, data = sets
    topics, proportions = np.asarray(data[1].topics), np.asarray(data[1].proportions)
    counts = np.stack([np.sum(topics == label, axis=1) for label in range(3)], axis=1) / topics.shape[1]
    scores = texture_lda.true_counts(data)
    expected = np.mean(np.abs(counts - proportions))
    assert scores["proportions_error_heldout_of_true_textures"] == pytest.approx(expected)
    expected = np.corrcoef(counts.ravel(), proportions.ravel())[0, 1]
    assert scores["proportions_correlation_heldout_of_true_textures"] == pytest.approx(expected)


def test_spectra_forget_shifts():
    patches = np.random.default_rng(0).normal(size=(4, 6, 6))
    spectra = _texture_scores.spectra(patches)
    assert spectra.shape == (4, 6 * 4)
    np.testing.assert_allclose(
        _texture_scores.spectra(np.roll(patches, (2, 3), (1, 2)) + 5.0), spectra, atol=1e-12
    )
    assert np.abs(spectra[0] - spectra[1]).max() > 0.1


def test_spectra_tell_textures_apart_and_pixels_do_not(sets):
    found = texture_lda.baselines(*sets)
    assert found["power_spectra"]["accuracy_heldout"] > 0.9
    assert found["power_spectra"]["proportions_error_heldout"] < 0.15
    assert found["principal_components"]["accuracy_heldout"] < 0.8
