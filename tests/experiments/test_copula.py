"""Pairs with a known density: one tiny run, its files, options that do not fit, the scores."""

import json
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

import rpm_jax as rpm
from experiments import _cli, _fits, copula
from experiments._copula_grid import divergence, log_independent, quantile_grid
from experiments._copula_options import Options
from experiments._copula_truth import LinkedPair
from rpm_jax import copulas, marginals

TINY = shlex.split(
    "-N 12 --num-held-out 8 -K 3 --hidden 2 --num-steps 2 --batch-size 8 --seeds 2 --correlation 0.5 -0.5 "
    "--variants gaussian discrete implicit --quiet"
)
FILES = [
    "arrays.npz",
    "checkpoints",
    "config.json",
    "densities.png",
    "factors.png",
    "metrics.json",
    "mixtures.png",
    "states.png",
]
VARIANTS = ("gaussian", "discrete", "implicit")


def read(directory, name):
    return json.loads((directory / name).read_text("utf-8"))


def parsed(*arguments):
    return _cli.parse(Options, "copula", None, [*TINY, *arguments], None, copula.check)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("copula") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copula, "NUM_DRAWN", 6)
        patch.setattr(copula, "NUM_NODES", 8)
        assert copula.main([*TINY, "--output", str(directory)]) == 0
    return directory


# A run.


def test_all_files_are_written(done):
    assert sorted(path.name for path in done.iterdir()) == FILES
    for name in FILES:
        if name.endswith(".png"):
            assert (done / name).read_bytes().startswith(b"\x89PNG")


def test_medians_of_every_variant(done):
    truths = read(done, "metrics.json")["truths"]
    assert [truth["correlation"] for truth in truths] == [0.5, -0.5]
    for truth in truths:
        assert truth["mutual_information"] == pytest.approx(-0.5 * np.log(0.75))
        assert 0 < truth["kl_independent"] < truth["mutual_information"]
        assert tuple(truth["variants"]) == VARIANTS
        for found in truth["variants"].values():
            for name in copula.SCORED:
                assert found[name] == np.median(found["per_seed"][name])
                assert len(found["per_seed"][name]) == 2
            assert found["kl"] > 0
            assert found["kl_kernel_density"] > 0
            error = np.array(found["per_seed"]["mutual_information"]) - truth["mutual_information"]
            np.testing.assert_allclose(found["per_seed"]["mutual_information_error"], error)
            information = np.array(found["per_seed"]["log_likelihood_heldout"])
            information = information - found["per_seed"]["log_integral"]
            np.testing.assert_allclose(found["per_seed"]["mutual_information"], information)
        gaussian, discrete = truth["variants"]["gaussian"], truth["variants"]["discrete"]
        assert gaussian["log_integral"] == discrete["log_integral"] == 0.0
        assert truth["variants"]["implicit"]["log_integral"] != 0.0
        assert gaussian["bound_heldout"] < gaussian["log_likelihood_heldout"]
        assert discrete["bound_heldout"] == discrete["log_likelihood_heldout"]


def test_arrays(done):
    arrays = dict(np.load(done / "arrays.npz"))
    assert arrays["train"].shape == (12, 2)
    assert arrays["density_gaussian"].shape == arrays["density_true"].shape == (6, 6)
    assert arrays["mean_gaussian"].shape == arrays["variance_implicit"].shape == (2, 6)
    np.testing.assert_allclose(arrays["states_discrete"].sum(-1), 1.0)
    np.testing.assert_allclose(arrays["mixtures_discrete"].sum(-1), 1.0)
    cell = np.diff(arrays["latent_gaussian"])[0]
    np.testing.assert_allclose(cell * arrays["mixtures_gaussian"].sum(-1), 1.0)
    x1, x2 = arrays["x1"], arrays["x2"]
    pair = copulas.joint(
        copulas.Gaussian(copulas.equicorrelation(0.5)),
        [marginals.Exponential(1.0), marginals.Exponential(0.5)],
    )
    expected = np.exp(pair.log_prob((x1[2:3], x2[4:5])))
    np.testing.assert_allclose(arrays["density_true"][2, 4], expected)


def test_scores_follow_from_the_checkpoint(done):
    """The implicit model's density, by its parameters, at what is drawn and held out."""
    params, _ = rpm.train.load_checkpoint(done / "checkpoints" / "implicit")
    params = jax.tree.map(lambda leaf: leaf[0], params)
    arrays = dict(np.load(done / "arrays.npz"))
    options = parsed()
    model = copula.build("implicit", options.model, copula.true_pairs(options)[0.5].marginals).model
    pairs = (arrays["x1"][:, None], arrays["x2"][:, None])
    np.testing.assert_allclose(
        np.diag(arrays["density_implicit"]), np.exp(model.log_density(params, pairs)), rtol=1e-6
    )
    held_out = tuple(arrays["held_out"].T[..., None])
    found = read(done, "metrics.json")["truths"][0]["variants"]["implicit"]["per_seed"]
    assert found["log_likelihood_heldout"][0] == pytest.approx(
        float(model.log_ratio(params, held_out).mean())
    )


# Options.


def test_nothing_is_passed_on_that_was_not_given():
    def arguments(options, variant):
        return _fits.arguments(options, options.data.num_data, **variant.fit_options)

    options = _cli.parse(Options, "copula", None, ["--quiet"])
    pair = copula.true_pairs(options)[-0.85]
    for name, expected in (
        ("gaussian", {}),
        ("unnormalised", {}),
        ("learned", {}),
        ("convex", {}),
        ("discrete", {}),
        ("implicit", {"batch_size": 250, "components": rpm.feeds.minibatch()}),
    ):
        variant = copula.build(name, options.model, pair.marginals)
        assert arguments(options, variant) == {**expected, "progress": False}
    few = _cli.parse(Options, "copula", None, ["--quiet", "-N", "100"])
    assert arguments(few, variant)["batch_size"] == 100


@pytest.mark.parametrize("kind", ["gaussian", "tanh"])
def test_other_marginals(kind):
    options = _cli.parse(Options, "copula", None, ["--marginals", kind])
    (pair,) = copula.true_pairs(options).values()
    views = pair.sample(jax.random.key(0), (4000,))
    for view, marginal in zip(views, pair.marginals, strict=True):
        probability = np.sort(np.asarray(marginal.cdf(view[:, 0])))
        assert np.abs(probability - np.arange(1, 4001) / 4000).max() < 0.03


# Scores.


def test_divergence_of_two_copulas():
    first, second = np.array([[1.0, 0.6], [0.6, 1.0]]), np.array([[1.0, -0.2], [-0.2, 1.0]])
    inverse = np.linalg.inv(second)
    expected = 0.5 * (np.trace(inverse @ first) - 2 - np.log(np.linalg.det(first) * np.linalg.det(inverse)))
    own = [marginals.Exponential(2.0), marginals.Normal(1.0, 3.0)]
    grid = quantile_grid(own, width=7.0)
    ratios = [
        copula.true_log_ratio(copulas.joint(copulas.Gaussian(jnp.asarray(r)), own), grid.pairs)
        for r in (first, second)
    ]
    found = divergence(grid, *ratios)
    assert found.divergence == pytest.approx(expected, rel=1e-6)
    assert found.mass == pytest.approx(1.0, rel=1e-6)
    # What is not normalised is compared as if it were.
    twice = divergence(grid, ratios[0], ratios[1] + np.log(2.0))
    assert twice.divergence == pytest.approx(expected, rel=1e-6)
    assert twice.mass == pytest.approx(2.0, rel=1e-6)
    # In a rectangle both are restricted to it: never negative, and 0 for the same density.
    inside = quantile_grid(own)
    same = copula.true_log_ratio(copulas.joint(copulas.Gaussian(jnp.asarray(first)), own), inside.pairs)
    assert divergence(inside, same, same).divergence == pytest.approx(0.0, abs=1e-12)
    assert 0 < divergence(inside, same, np.zeros_like(same)).divergence < -0.5 * np.log(1 - 0.36)


def test_the_linked_pair_is_a_density():
    pair = LinkedPair(1.0, 0.4)
    x1, x2 = np.linspace(-7, 7, 93), np.linspace(-3.2, 3.2, 43)
    steps = np.diff(x1)[0], np.diff(x2)[0]
    density = np.exp(pair.log_prob((x1[:, None, None], np.broadcast_to(x2[:, None], (93, 43, 1)))))
    assert density.sum() * np.prod(steps) == pytest.approx(1.0, abs=1e-8)
    margins = []
    for axis, (values, marginal) in enumerate(zip((x1, x2), pair.marginals, strict=True)):
        margins.append(density.sum(1 - axis) * steps[1 - axis])
        np.testing.assert_allclose(margins[axis], np.exp(marginal.log_prob(values)), atol=1e-8)
        total = marginal.cdf(jnp.array([0.7])) + marginal.survival_function(jnp.array([0.7]))
        np.testing.assert_allclose(total, 1.0)
    information = np.sum(density * np.log(density / np.outer(*margins))) * np.prod(steps)
    assert float(pair.mutual_information()) == pytest.approx(information, rel=1e-5)


def test_the_linked_pair_at_a_point():
    pair = LinkedPair(0.7, 0.3)
    z = np.linspace(-8, 8, 20001)
    expected = (
        np.sum(np.exp(norm.logpdf(z, 0, 0.7) + norm.logpdf(0.9, z, 0.3) + norm.logpdf(-0.2, np.tanh(z), 0.3)))
        * np.diff(z)[0]
    )
    found = pair.log_prob((jnp.array([0.9]), jnp.array([-0.2])))
    assert float(found) == pytest.approx(float(np.log(expected)), rel=1e-9)


def test_independent_views():
    own = [marginals.Normal(0.0, 2.0), marginals.Exponential(3.0)]
    pairs = (jnp.array([[0.5], [1.0]]), jnp.array([[0.1], [0.2]]))
    expected = norm.logpdf(pairs[0][:, 0], 0, 2.0) + np.log(3.0) - 3.0 * pairs[1][:, 0]
    np.testing.assert_allclose(log_independent(own, pairs), expected)
