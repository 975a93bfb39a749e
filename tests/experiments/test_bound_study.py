"""The study of the bound: one tiny run, its files, the order of its numbers, options that do not fit."""

import json
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpm_jax as rpm
from experiments import _cli, bound_study
from experiments._bound_study_data import CASES
from experiments._bound_study_models import VARIANTS, build_model, objective_of
from experiments._bound_study_options import Options, check

TINY = shlex.split(
    "-N 6 --hidden 3 --num-steps 3 --num-samples 1 40 --divergence-samples 50 --cases gaussian bimodal "
    "--correlations 0.5 --variants conjugate --quiet"
)
FILES = [
    "arrays.npz",
    "checkpoints",
    "config.json",
    "divergence.png",
    "estimates.png",
    "gap.png",
    "metrics.json",
]


def parsed(*arguments):
    return _cli.parse(Options, "bound_study", None, [*TINY, *arguments], None, check)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("studies") / "run"
    assert bound_study.main([*TINY, "--seeds", "2", "--output", str(directory)]) == 0
    return directory


def test_files_and_shapes(done):
    assert sorted(path.name for path in done.iterdir()) == FILES
    arrays = np.load(done / "arrays.npz")
    # Data sets, variants, seeds, then the rest.
    assert arrays["bound"].shape == (2, 1, 2)
    assert arrays["estimates"].shape == arrays["standard_errors"].shape == (2, 1, 2, 2)
    assert arrays["divergence"].shape == (2, 1, 2, 2)
    assert arrays["bound"].dtype == np.float64
    assert all(np.isfinite(arrays[name]).all() for name in arrays)


def test_numbers_are_ordered_and_add_up(done):
    arrays = np.load(done / "arrays.npz")
    assert (arrays["posterior_gap"] >= 0).all()
    assert (arrays["auxiliary_gap"] >= 0).all()
    gap = arrays["posterior_gap"] + arrays["auxiliary_gap"]
    np.testing.assert_allclose(arrays["log_likelihood"] - arrays["bound"], gap, atol=1e-7)
    metrics = json.loads((done / "metrics.json").read_text("utf-8"))
    assert list(metrics["results"]) == ["Gaussian, correlation 0.5", "bimodal"]
    for d, variants in enumerate(metrics["results"].values()):
        for field in ("bound", "estimates", "divergence"):
            np.testing.assert_allclose(variants["conjugate"][field], np.median(arrays[field][d, 0], axis=0))
    worst = (arrays["bound"][..., None] - arrays["estimates"]) / arrays["standard_errors"]
    assert metrics["excess"]["bound_above_estimate"] == pytest.approx(worst.max())
    assert metrics["excess"]["bound_above_exact_nats"] < 0


def test_checkpoints_give_the_numbers(done):
    params, metadata = rpm.train.load_checkpoint(done / "checkpoints" / "conjugate")
    assert metadata["options"]["variants"] == ["conjugate"]
    options = parsed("--seeds", "2")
    pairs = bound_study.load(options)
    assert [len(pairs), len(pairs[0])] == [2, 2]
    # Of the second seed, the second data set: the last of four.
    own = jax.tree.map(lambda leaf: jnp.asarray(leaf[3], float), params)
    model = build_model(VARIANTS["conjugate"], (3,))
    data = rpm.as_data(pairs[1][1])
    fitted = rpm.Fitted(model, own, data)
    bound = jnp.mean(rpm.inference.evaluate(fitted, data))
    np.testing.assert_allclose(bound, np.load(done / "arrays.npz")["bound"][1, 0, 1], atol=1e-6)


def test_pairs_are_what_they_are_called():
    key = jax.random.key(0)
    first, second = (np.asarray(view)[:, 0] for view in CASES["gaussian"](key, 4000, 0.6))
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0.6, abs=0.05)
    first, second = (np.asarray(view)[:, 0] for view in CASES["bimodal"](key, 4000))
    np.testing.assert_allclose(np.abs(first + second).mean(), 2.0, atol=0.05)
    assert (np.sign(first) == np.sign(second)).mean() > 0.98
    first, second = (np.asarray(view)[:, 0] for view in CASES["tanh"](key, 4000))
    assert np.abs(second).max() < 1.5
    np.testing.assert_allclose(np.std(second - np.tanh(2 * first)), 0.35, atol=0.1)
    first, second = (np.asarray(view)[:, 0] for view in CASES["square"](key, 4000))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert np.corrcoef(first**2, second)[0, 1] > 0.7


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_a_bound(name):
    variant = VARIANTS[name]
    model = build_model(variant, (3,))
    views = (jax.ShapeDtypeStruct((6, 1), float),) * 2
    params = jax.eval_shape(model.init, jax.random.key(0), views)
    bound = jax.eval_shape(
        lambda p, d: rpm.bound(model, p, d.batch(np.arange(2)), d), params, rpm.Data(views)
    )
    assert bound.shape == (2,)
    given = objective_of(variant, model, 7)
    assert (given["objective"].num_samples == 7) if name == "importance" else (given == {})
    assert bool(jax.tree.leaves(params["posterior"])) == (name in ("amortized", "saturated"))
    assert bool(jax.tree.leaves(params["auxiliary"])) == (name in ("shifted", "free"))


@pytest.mark.slow
def test_bounds_estimates_and_exact_values_of_fits(tmp_path):
    """Inner bound ≤ estimate ≤ exact value within 3 standard errors in every model, and 10⁴ draws meet it."""
    variants = " ".join(VARIANTS)
    options = f"-N 60 --num-steps 200 --correlations 0.85 --variants {variants} --no-figures --quiet"
    assert bound_study.main([*shlex.split(options), "--output", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert metrics["excess"]["bound_above_estimate"] < 3.0
    assert metrics["excess"]["estimate_above_exact"] < 3.0
    assert metrics["excess"]["last_estimate_from_exact"] < 3.0
    assert metrics["excess"]["bound_above_exact_nats"] < 0.0
    gaussian, bimodal = (
        metrics["results"][name]["conjugate"] for name in ("Gaussian, correlation 0.85", "bimodal")
    )
    assert abs(gaussian["estimates"][-1] - gaussian["log_likelihood"]) < 0.003
    assert bimodal["posterior_gap"] > 2 * gaussian["posterior_gap"]
