"""Pictures of sequences: what is drawn is what was given."""

import io
import sys
from types import SimpleNamespace

import matplotlib.colors
import numpy as np
import pytest

from rpm_jax import plots

N, J, T, K = 4, 2, 9, 3
TIMES = np.linspace(0, 2, T)


@pytest.fixture(scope="module")
def mean():
    return np.cumsum(np.random.default_rng(0).normal(size=(N, T, K)), axis=1)


def labels(axes):
    return axes.get_legend_handles_labels()[1]


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def named(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def assert_saves(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")
    assert len(stream.getvalue()) > 5000


def test_latents_with_truth_and_factors(mean):
    deviation, truth = np.full(mean.shape, 0.5), mean + 0.1
    own = mean[:, None] + np.array([-1.0, 1.0])[:, None, None]
    own[0, 1, 3] = np.nan
    figure = plots.latents_over_time(
        TIMES, mean, deviation, truth=truth, factor_means=own, names="abc", max_sequences=2
    )
    assert len(figure.axes) == 2 * K
    panels = np.array(figure.axes).reshape(K, 2)
    for k in range(K):
        for n in range(2):
            axes = panels[k, n]
            np.testing.assert_array_equal(named(axes, "posterior mean").get_ydata(), mean[n, :, k])
            np.testing.assert_array_equal(named(axes, "truth").get_ydata(), truth[n, :, k])
            np.testing.assert_array_equal(named(axes, "factor 2").get_ydata(), own[n, 1, :, k])
            band = axes.collections[0].get_paths()[0].vertices[:, 1]
            np.testing.assert_allclose(band.max(), mean[n, :, k].max() + 1)
    assert [axes.get_ylabel() for axes in panels[:, 0]] == ["a", "b", "c"]
    assert panels[0, 1].get_title() == "sequence 2"
    colours = {named(panels[0, 0], label).get_color() for label in ("factor 1", "factor 2", "posterior mean")}
    assert len(colours) == 3
    assert texts(figure.legends[0]) == labels(panels[0, 0])
    assert_saves(figure)


def test_steps_are_shaded():
    shaded = np.zeros((1, 9), bool)
    shaded[0, 3:5] = True
    axes = plots.latents_over_time(TIMES, ONES[:1, :, :1], ONES[:1, :, :1], shaded=shaded, shade="gone").axes
    (marked,) = [each for each in axes[0].collections if each.get_label() == "gone"]
    across = marked.get_paths()[0].vertices[:, 0]
    assert (across.min(), across.max()) == (TIMES[3], TIMES[4])


def test_latents_alone_and_with_many_factors(mean):
    (axes,) = plots.latents_over_time(TIMES, mean[:1, :, :1]).axes
    assert labels(axes) == ["posterior mean"]
    assert not axes.collections
    own = np.repeat(mean[:, None], 9, axis=1)
    own[:, 0] = 1e6
    figure = plots.latents_over_time(TIMES, mean, factor_means=own)
    *panels, bar = figure.axes
    assert bar.get_ylabel() == "view $j$"
    assert len(panels) == 3 * K
    assert labels(panels[0]) == ["factors", "posterior mean"]
    assert all(axes.get_ylim()[1] < 100 for axes in panels)
    assert_saves(figure)


@pytest.mark.parametrize("size", [2, 3])
def test_trajectories_are_coloured_by_time(mean, size):
    points = mean[..., :size]
    figure = plots.trajectories(points, points + 1, times=TIMES, max_sequences=2)
    true, found, bar = figure.axes
    assert (true.get_title(), found.get_title()) == ("truth", "recovered")
    assert bar.get_ylabel() == "time"
    for axes, values in ((true, points + 1), (found, points)):
        (lines,) = axes.collections
        segments = np.array(lines._segments3d if size == 3 else lines.get_segments())
        expected = np.stack([values[:2, :-1], values[:2, 1:]], axis=2).reshape(-1, 2, size)
        np.testing.assert_allclose(segments, expected)
        np.testing.assert_allclose(lines.get_array(), np.tile((TIMES[1:] + TIMES[:-1]) / 2, 2))
        assert lines.get_clim() == (0.0, 2.0)
        assert axes.get_xlim()[0] <= points[:2, :, 0].min()
        assert axes.get_xlim()[1] >= points[:2, :, 0].max() + 1
    assert_saves(figure)
    alone = plots.trajectories(points)
    assert len(alone.axes) == 2
    assert not alone.axes[0].get_title()


def test_factors_mixture_and_prior_over_time():
    generator = np.random.default_rng(0)
    means, deviations = generator.normal(size=(20, J, T)), generator.uniform(0.5, 1.5, (20, J, T))
    prior = np.zeros(T), np.full(T, 2.0)
    figure = plots.factors_over_time(TIMES, *prior, means, deviations, at=6, max_factors=5)
    panels = np.array(figure.axes).reshape(J, 2)
    assert "1.5" in panels[0, 1].get_title()
    draws = means + deviations * generator.normal(size=(4000, 1, 1, 1))
    for j, (left, right) in enumerate(panels):
        mixture = named(left, "mixture ± 2 sd").get_ydata()
        np.testing.assert_allclose(mixture, means[:, j].mean(0))
        upper = max(
            left.lines, key=lambda line: np.mean(line.get_ydata()) if line.get_linestyle() == "--" else -9
        )
        np.testing.assert_allclose(
            (upper.get_ydata() - mixture) / 2, draws[:, :, j].reshape(-1, T).std(0), rtol=0.05
        )
        curves = [line.get_xydata() for line in right.lines]
        assert len(curves) == 5 + 2
        for curve in curves:
            assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(1, abs=0.06)
        grid, density = curves[-1].T
        expected = np.exp(-0.5 * ((grid[:, None] - means[:, j, 6]) / deviations[:, j, 6]) ** 2)
        expected = (expected / deviations[:, j, 6] / np.sqrt(2 * np.pi)).mean(1)
        np.testing.assert_allclose(density, expected)
    assert_saves(figure)


def test_missing_factors_leave_the_mixture():
    means, deviations = np.zeros((3, 1, T)), np.ones((3, 1, T))
    means[0, 0, :4] = deviations[0, 0, :4] = np.nan
    means[1:] = 2.0
    figure = plots.factors_over_time(TIMES, np.zeros(T), np.ones(T), means, deviations, at=0)
    left, right = figure.axes
    mixture = named(left, "mixture ± 2 sd").get_ydata()
    np.testing.assert_allclose(mixture[:4], 2.0)
    np.testing.assert_allclose(mixture[4:], 4 / 3)
    assert len(right.lines) == 1 + 2 + 1
    assert_saves(figure)


def test_states_in_the_order_of_the_true_ones():
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(4), (2, T))
    true = generator.integers(0, 3, (2, T))
    figure = plots.hidden_states(shares, true, assignment=[2, -1, 0, 1], names="xyz", times=TIMES)
    *panels, bar = figure.axes
    assert bar.get_ylabel() == "probability"
    for n, axes in enumerate(panels):
        np.testing.assert_array_equal(axes.images[0].get_array(), shares[n][:, [2, 3, 0, 1]].T)
        assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "y", "z", "unmatched"]
        (wrong,) = axes.lines
        best = shares[n][:, [2, 3, 0, 1]].argmax(1)
        np.testing.assert_array_equal(wrong.get_xdata(), TIMES[best != true[n]])
        np.testing.assert_array_equal(axes.patches[0].get_data().values, true[n])
    assert texts(figure.legends[0]) == ["true state", "most probable is another"]
    assert_saves(figure)
    own = plots.hidden_states(shares, max_sequences=1)
    np.testing.assert_array_equal(own.axes[0].images[0].get_array(), shares[0].T)
    assert not own.legends
    assert_saves(own)


def test_forecasts_fan_out_from_the_last_time(mean):
    observed, came = mean[0, :6], mean[0, 6:]
    deviation = np.array([0.5, 1.0, 2.0])[:, None] * np.ones(K)
    figure = plots.forecast_fan(TIMES[:6], observed, TIMES[6:], came + 1, deviation, truth=came)
    assert len(figure.axes) == K
    for k, axes in enumerate(figure.axes):
        np.testing.assert_array_equal(named(axes, "observed").get_ydata(), observed[:, k])
        np.testing.assert_array_equal(named(axes, "forecast").get_ydata()[1:], came[:, k] + 1)
        np.testing.assert_array_equal(named(axes, "what came").get_xdata(), TIMES[5:])
        for band, width in zip(axes.collections, (1.959964, 1.281552, 0.6744898), strict=True):
            edge = band.get_paths()[0].vertices
            at_last = edge[np.isclose(edge[:, 0], TIMES[-1]), 1]
            np.testing.assert_allclose(at_last.max() - at_last.min(), 2 * width * 2.0, rtol=1e-6)
            at_start = edge[np.isclose(edge[:, 0], TIMES[5]), 1]
            np.testing.assert_allclose(at_start, observed[-1, k])
    assert texts(figure.legends[0])[:3] == ["95 %", "80 %", "50 %"]
    assert_saves(figure)
    assert "what came" not in labels(
        plots.forecast_fan([0], observed[:1], [1], came[:1], deviation[:1]).axes[0]
    )


def test_curves_of_a_sweep():
    generator = np.random.default_rng(0)
    train = np.cumsum(generator.uniform(size=(3, 50)), axis=1)
    held_out = train[:, ::10] - 1
    history = SimpleNamespace(train=train, held_out_steps=np.arange(0, 50, 10) + 1, held_out=held_out)
    (axes,) = plots.sweep_curves(SimpleNamespace(history=history, best_index=lambda: 1)).axes
    assert labels(axes) == ["a run", "run 1, chosen", "a run, held out", "run 1, chosen, held out"]
    best = named(axes, "run 1, chosen, held out")
    np.testing.assert_array_equal(best.get_ydata(), held_out[1])
    assert best.get_linestyle() == "--"
    assert best.get_color() == named(axes, "run 1, chosen").get_color()
    assert len(axes.lines) == 6
    history.held_out_steps, history.held_out = np.zeros(0), np.zeros((3, 0))
    figure = plots.sweep_curves(SimpleNamespace(history=history, best_index=lambda: 1))
    assert labels(figure.axes[0]) == ["a run", "run 1, chosen"]
    assert_saves(figure)
    with pytest.raises(ValueError, match="learning_curves: held_out must be of 3 runs as curves are, got 2"):
        plots.learning_curves(train, held_out_steps=[1, 2], held_out=np.ones((2, 2)))
    with pytest.raises(ValueError, match="learning_curves: held_out_steps and held_out come together"):
        plots.learning_curves(train, held_out_steps=[1, 2])


def test_colours_are_those_of_a_palette(mean):
    """Factors that few readers confuse: no colour of a factor is the posterior's."""
    own = np.repeat(mean[:, None], 6, axis=1)
    axes = plots.latents_over_time(TIMES, mean, factor_means=own).axes[0]
    shades = [matplotlib.colors.to_hex(line.get_color()) for line in axes.lines]
    assert len(set(shades)) == 7


ONES = np.ones((2, T, K))


@pytest.mark.parametrize(
    ("function", "arguments", "options", "message"),
    [
        (
            "latents_over_time",
            (TIMES, np.ones((2, T))),
            {},
            r"mean must have shape \(N, T, K\), got \(2, 9\)",
        ),
        ("latents_over_time", (TIMES[1:], ONES), {}, r"times must have shape \(T,\) with T = 9, got \(8,\)"),
        ("latents_over_time", (TIMES, ONES), {"truth": ONES[:1]}, r"truth must have shape .* N = 2, T = 9"),
        ("latents_over_time", (TIMES, ONES), {"factor_means": ONES}, r"factor_means must .* \(N, J, T, K\)"),
        ("latents_over_time", (TIMES, ONES), {"shaded": ONES}, r"shaded must have shape \(N, T\) with N = 2"),
        ("latents_over_time", (TIMES, ONES), {"names": "ab"}, r"names must be 3 names, got 2"),
        ("latents_over_time", (TIMES, ONES), {"max_sequences": 0}, r"max_sequences must be a positive"),
        ("trajectories", (np.ones((2, T, 4)),), {}, r"points must have K = 2 or 3 .* got K = 4"),
        ("trajectories", (ONES, ONES[..., :2]), {}, r"truth must have shape .* K = 3, got \(2, 9, 2\)"),
        ("factors_over_time", (TIMES, TIMES, -TIMES, ONES, ONES), {}, r"factor_mean must have shape"),
        (
            "factors_over_time",
            (TIMES, TIMES, TIMES + 1, np.ones((2, J, T)), np.zeros((2, J, T))),
            {},
            r"factor_deviation must be positive, got 0",
        ),
        (
            "factors_over_time",
            (TIMES, TIMES, TIMES + 1, np.ones((2, J, T)), np.ones((2, J, T))),
            {"at": T},
            r"at must be the index of one of the 9 times, got 9",
        ),
        ("hidden_states", (ONES, np.full((2, T), 3)), {}, r"states must be below S = 3 .* got 3"),
        (
            "hidden_states",
            (ONES,),
            {"assignment": [0, 0, 1]},
            r"assignment must give each true state to at",
        ),
        ("hidden_states", (ONES, np.ones((2, 3), int)), {}, r"states must have shape .* T = 9, got"),
        (
            "forecast_fan",
            ([0, 1], np.ones((2, 1)), [1], *2 * (np.ones((1, 1)),)),
            {},
            r"forecast_times must come",
        ),
        (
            "forecast_fan",
            ([0], np.ones((1, 1)), [1], *2 * (np.ones((1, 1)),)),
            {"levels": (95,)},
            r"levels must lie between 0 and 1",
        ),
    ],
)
def test_messages_name_what_does_not_fit(function, arguments, options, message):
    with pytest.raises(ValueError, match=f"^{function}: {message}"):
        getattr(plots, function)(*arguments, **options)


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    for module in [m for m in sys.modules if m.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (
        lambda: plots.latents_over_time(TIMES, ONES),
        lambda: plots.trajectories(ONES),
        lambda: plots.hidden_states(ONES),
    ):
        with pytest.raises(ImportError, match=r'pip install "rpm_jax\[experiments\]"'):
            draw()
