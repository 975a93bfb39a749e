import io
import subprocess
import sys

import jax
import numpy as np
import pytest

from rpm_jax import plots
from rpm_jax.datasets import poisson_balls, textured_balls


@pytest.fixture(scope="module")
def balls():
    return poisson_balls(jax.random.key(0), num_sequences=7, num_steps=12, num_pixels=5)


def labels(axes):
    return axes.get_legend_handles_labels()[1]


def assert_saves(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")
    assert len(stream.getvalue()) > 5000


def assert_same_points(line, x, y):
    np.testing.assert_allclose(line.get_xdata(), x)
    np.testing.assert_allclose(line.get_ydata(), y)


def test_bouncing_balls_draws_data_truth_and_posterior(balls):
    deviation = np.full(balls.latent.shape, 0.1)
    figure = plots.bouncing_balls(balls.stacked, balls.times, balls.latent, balls.latent + 0.05, deviation)
    *panels, bar = figure.axes
    assert len(panels) == 5
    assert bar.get_ylabel() == "pixel"
    for n, axes in enumerate(panels):
        np.testing.assert_allclose(axes.images[0].get_array(), balls.stacked[n].T)
        assert axes.images[0].origin == "lower"
        assert sorted(labels(axes)) == ["posterior mean", "true latent", "± 2 sd"]
        truth, mean = axes.lines
        assert_same_points(truth, balls.times, balls.latent[n])
        assert_same_points(mean, balls.times, balls.latent[n] + 0.05)
        band = axes.collections[0].get_paths()[0].vertices
        np.testing.assert_allclose(band[:, 1].max(), np.max(balls.latent[n]) + 0.25, rtol=1e-5)
    assert panels[-1].get_xlabel() == "time"
    assert len(figure.legends) == 1
    assert_saves(figure)


def test_pixels_stand_at_their_positions(balls):
    left, right, bottom, top = plots.bouncing_balls(balls.stacked, balls.times).axes[0].images[0].get_extent()
    centres = bottom + (np.arange(5) + 0.5) * (top - bottom) / 5
    np.testing.assert_allclose(centres, np.linspace(-1, 1, 5))
    steps = left + (np.arange(12) + 0.5) * (right - left) / 12
    np.testing.assert_allclose(steps, balls.times, atol=1e-6)


def test_bouncing_balls_without_latents(balls):
    figure = plots.bouncing_balls(balls.stacked, balls.times, max_sequences=2)
    assert len(figure.axes) == 3
    assert not figure.axes[0].lines
    assert not figure.legends
    figure = plots.bouncing_balls(balls.stacked, balls.times, mean=balls.latent, max_sequences=100)
    assert len(figure.axes) == 8
    assert labels(figure.axes[0]) == ["posterior mean"]
    assert not figure.axes[0].collections
    assert_saves(figure)


def test_outliers_do_not_rule_the_grey_scale():
    images = np.array(textured_balls(jax.random.key(0), num_sequences=5).stacked)
    images[0, 0, 0] = 1000.0
    image = plots.bouncing_balls(images, np.linspace(0, 1, 50)).axes[0].images[0]
    assert image.get_clim()[1] < 10


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 1), (2, 1, 3)])
def test_the_smallest_images_are_drawn(shape):
    assert_saves(plots.bouncing_balls(np.ones(shape), np.linspace(0, 1, shape[1])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": np.ones((7, 12))}, r"views must have shape \(N, T, J\), got \(7, 12\)"),
        ({"times": np.ones(3)}, r"times must have shape \(T,\) with T = 12, got \(3,\)"),
        ({"latent": np.ones((7, 3))}, r"latent must have shape \(N, T\) with N = 7, T = 12, got \(7, 3\)"),
        ({"mean": np.ones((7, 12, 1))}, r"mean must have shape \(N, T\) with .*, got \(7, 12, 1\)"),
        ({"standard_deviation": np.ones((7, 12))}, r"standard_deviation needs a mean"),
        ({"max_sequences": 0}, r"max_sequences must be a positive integer, got 0"),
    ],
)
def test_bouncing_balls_names_what_does_not_fit(balls, change, message):
    arguments = {"views": balls.stacked, "times": balls.times} | change
    with pytest.raises(ValueError, match=rf"bouncing_balls: {message}"):
        plots.bouncing_balls(**arguments)


def noisy_history(num_seeds, num_steps=2000):
    generator = np.random.default_rng(0)
    steps = np.arange(num_steps)
    trend = -100 * np.exp(-steps / 100) - 50
    return steps, trend, trend + 5 * generator.normal(size=(num_seeds, num_steps))


def test_one_seed_is_drawn_raw_and_smoothed():
    steps, trend, train = noisy_history(1)
    figure = plots.bound_history(steps, train[0], steps[::100], trend[::100])
    (axes,) = figure.axes
    raw, smooth, held_out = axes.lines
    assert_same_points(raw, steps, train[0])
    assert raw.get_alpha() < 0.5
    assert len(smooth.get_xdata()) <= plots.NUM_SMOOTHED
    error = np.abs(smooth.get_ydata() - trend[smooth.get_xdata().astype(int)])[20:]
    assert error.max() < 4.0
    assert_same_points(held_out, steps[::100], trend[::100])
    assert labels(axes) == ["train", "held out"]
    assert axes.get_xlabel() == "step"
    assert "nats" in axes.get_ylabel()
    assert_saves(figure)


def test_several_seeds_are_thin_and_their_median_bold():
    steps, trend, train = noisy_history(3)
    held_out = trend[::100] + np.array([[-1.0], [0.0], [4.0]])
    figure = plots.bound_history(steps, train, steps[::100], held_out)
    (axes,) = figure.axes
    assert len(axes.lines) == 2 * (3 + 1)
    widths = [line.get_linewidth() for line in axes.lines]
    assert min(widths[3], widths[7]) > 2 * max(widths[:3] + widths[4:7])
    assert_same_points(axes.lines[7], steps[::100], trend[::100])
    assert labels(axes) == ["train", "held out"]
    assert "3 seeds" in axes.get_title()
    assert_saves(figure)


def test_a_seed_that_diverged_does_not_spoil_the_others():
    steps, trend, train = noisy_history(3)
    train[1, 500:] = np.nan
    train[2, 1000:] = -np.inf
    (axes,) = plots.bound_history(steps, train).axes
    median = axes.lines[-1].get_ydata()
    assert np.isfinite(median).all()
    assert abs(median[-1] - trend[-1]) < 4.0
    assert labels(axes) == ["train"]
    assert_saves(plots.bound_history(steps, np.full(steps.size, np.nan)))


def test_steep_first_steps_do_not_flatten_the_rest():
    steps, trend, train = noisy_history(1)
    train[0, :5] = -1e6
    (axes,) = plots.bound_history(steps, train).axes
    assert -200 < axes.get_ylim()[0] < trend[200]
    assert axes.get_ylim()[1] > train.max()


def test_short_histories():
    assert_saves(plots.bound_history([0, 1], [-2.0, -1.0]))
    assert_saves(plots.bound_history([3], [-2.0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1]], [1.0]), r"steps must have shape \(S,\), got \(1, 1\)"),
        (([1, 2], [1.0]), r"train must have shape \(S,\) or \(seeds, S\) with S = 2, got \(1,\)"),
        (([1], [[[1.0]]]), r"train must have shape .* got \(1, 1, 1\)"),
        (([1], [1.0], [1]), r"held_out_steps and held_out come together"),
        (
            ([1], [1.0], [1, 2], [1.0]),
            r"held_out must have shape \(H,\) or \(seeds, H\) with H = 2, got \(1,\)",
        ),
    ],
)
def test_bound_history_names_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=rf"bound_history: {message}"):
        plots.bound_history(*arguments)


def densities(num_views):
    grid = np.linspace(-4, 4, 50)
    means = np.linspace(-0.5, 0.5, num_views)[:, None]
    return grid, np.exp(-0.5 * grid**2), np.exp(-0.5 * (grid - means) ** 2)


def test_few_mixtures_have_names():
    grid, prior, mixtures = densities(3)
    figure = plots.prior_against_mixtures(grid, prior, mixtures)
    (axes,) = figure.axes
    assert labels(axes) == ["prior $p(z)$", "$F_{1}(z)$", "$F_{2}(z)$", "$F_{3}(z)$"]
    for line, density in zip(axes.lines, [prior, *mixtures], strict=True):
        assert_same_points(line, grid, density)
    assert len({line.get_color() for line in axes.lines}) == 4
    assert_saves(figure)


@pytest.mark.parametrize("num_views", [7, 10, 40])
def test_many_mixtures_have_a_scale(num_views):
    grid, prior, mixtures = densities(num_views)
    figure = plots.prior_against_mixtures(grid, prior, mixtures)
    axes, bar = figure.axes
    assert len(axes.lines) == num_views + 1
    assert labels(axes) == ["prior $p(z)$", "mixtures $F_j(z)$"]
    assert bar.get_ylabel() == "view $j$"
    assert len({tuple(line.get_color()) for line in axes.lines[1:]}) == num_views
    assert_saves(figure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0]], [1.0], [[1.0]]), r"grid must have shape \(G,\), got \(1, 1\)"),
        (([1.0, 2.0], [1.0], [[1.0]]), r"prior_density must have shape \(G,\) with G = 2, got \(1,\)"),
        (([1.0], [1.0], [1.0]), r"mixture_densities must have shape \(J, G\) with G = 1, got \(1,\)"),
        (([1.0], [1.0], [[1.0, 2.0]]), r"mixture_densities must have shape .* got \(1, 2\)"),
    ],
)
def test_prior_against_mixtures_names_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=rf"prior_against_mixtures: {message}"):
        plots.prior_against_mixtures(*arguments)


def test_without_matplotlib_the_message_says_what_to_install(balls, monkeypatch):
    for module in [m for m in sys.modules if m.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    grid, prior, mixtures = densities(2)
    for draw in (
        lambda: plots.bouncing_balls(balls.stacked, balls.times),
        lambda: plots.bound_history([0, 1], [0.0, 1.0]),
        lambda: plots.prior_against_mixtures(grid, prior, mixtures),
    ):
        with pytest.raises(ImportError, match=r'pip install "rpm_jax\[experiments\]"'):
            draw()


def test_neither_pyplot_nor_an_early_import():
    program = (
        "import io, sys, rpm_jax.plots as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        "p.bound_history([0, 1], [0.0, 1.0]).savefig(io.BytesIO(), format='png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
