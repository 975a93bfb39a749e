import io
import re

import numpy as np
import pytest

from rpm_jax import plots
from rpm_jax.plots._densities import density_holding

X, Y = np.linspace(0.0, 1.0, 5), np.linspace(-1.0, 1.0, 4)
MAPS = np.stack([np.outer(X, Y + 2.0), np.ones((5, 4))])


def assert_saves(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")


def legend(axes):
    return axes.get_legend_handles_labels()[1]


def test_density_maps_share_a_scale_and_the_contours_of_the_first():
    figure = plots.density_maps(X, Y, MAPS, ["true", "flat"], points=[[0.5, 0.0]])
    left, right, bar = figure.axes
    for axes, values in zip((left, right), MAPS, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), values.T)
        assert axes.images[0].origin == "lower"
        assert axes.images[0].get_extent() == [0.0, 1.0, -1.0, 1.0]
        levels = axes.collections[0].levels
        assert set(levels) == {density_holding(MAPS[0], share) for share in (0.5, 0.9)}
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0.0, np.quantile(MAPS[0], 0.995))
    assert (left.get_title(), right.get_title()) == ("true", "flat")
    assert (left.get_xlabel(), left.get_ylabel()) == ("$x_1$", "$x_2$")
    assert (len(left.lines), len(right.lines)) == (1, 0)
    assert bar.get_ylabel() == "density"
    assert_saves(figure)


def test_a_flat_reference_has_no_contours():
    figure = plots.density_maps(X, Y, MAPS[1:])
    assert not figure.axes[0].collections
    assert_saves(figure)


def test_level_that_holds_a_share():
    assert density_holding(np.array([[4.0, 1.0], [3.0, 2.0]]), 0.5) == 3.0
    assert density_holding(np.array([4.0, 1.0, 3.0, 2.0]), 0.95) == 1.0


def test_factor_moments():
    moments = {"a": [(X, X + 1), (Y, Y + 2)], "b": [(2 * X, X + 2), (-Y, Y + 3)]}
    figure = plots.factor_moments([X, Y], moments)
    rows = np.array(figure.axes).reshape(2, 2)
    for j, values in enumerate((X, Y)):
        for i, pairs in enumerate(moments.values()):
            for row in range(2):
                line = rows[row, j].lines[i]
                np.testing.assert_allclose(line.get_xdata(), values)
                np.testing.assert_allclose(line.get_ydata(), pairs[j][row])
    assert rows[1, 0].get_ylim()[0] == 0
    assert legend(rows[0, 0]) == ["a", "b"]
    assert [axes.get_title() for axes in rows[0]] == ["view 1", "view 2"]
    assert_saves(figure)


def test_factor_states_are_in_the_order_of_the_first_view():
    # State 1 stands for small values of the first view, state 0 for large ones.
    first = np.stack([X, 1 - X], axis=1)
    figure = plots.factor_states([X, Y], [first, np.full((4, 2), 0.5)])
    left, right = figure.axes
    lowest = left.collections[0].get_paths()[0].vertices
    at_start = lowest[np.isclose(lowest[:, 0], 0.0), 1]
    assert at_start.max() == pytest.approx(1.0)
    assert len(right.collections) == 2
    assert left.get_ylim() == (0.0, 1.0)
    assert_saves(figure)


def test_mixtures_by_model_tell_states_from_densities():
    states = np.arange(3), [0.2, 0.3, 0.5], [[0.1, 0.4, 0.5], [0.3, 0.3, 0.4]]
    figure = plots.mixtures_by_model({"normal": (X, X, [X, 2 * X]), "discrete": states})
    left, right = figure.axes
    assert legend(left) == ["prior $p(z)$", "$F_{1}(z)$", "$F_{2}(z)$"]
    np.testing.assert_allclose(left.lines[2].get_ydata(), 2 * X)
    assert [bar.get_height() for bar in right.patches] == [0.2, 0.3, 0.5]
    np.testing.assert_allclose(right.lines[1].get_ydata(), states[2][0])
    assert [line.get_linestyle() for line in (left.lines[1], right.lines[1])] == ["-", "None"]
    assert (left.get_xlabel(), right.get_xlabel()) == ("latent $z$", "state $k$")
    assert [axes.get_title() for axes in figure.axes] == ["normal", "discrete"]
    assert_saves(figure)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda: plots.density_maps(X, Y, MAPS[:, :3]),
            "densities must have shape (M, G, H) with G = 5",
        ),
        (lambda: plots.density_maps(X[:1], Y, MAPS[:, :1]), "first must be at least two values, got 1"),
        (lambda: plots.density_maps(X, Y, MAPS, ["a"]), "titles must be 2 names, got 1"),
        (lambda: plots.density_maps(X, Y, MAPS, points=X), "points must have shape (N, 2)"),
        (lambda: plots.factor_moments([X], {}), "moments must be of 1 to 7 models"),
        (
            lambda: plots.factor_moments([X], {"a": [(X, X + 1)] * 2}),
            "moments['a'] must be of 1 views",
        ),
        (lambda: plots.factor_moments([X], {"a": [(X, X)]}), "moments['a'][0] must have positive variances"),
        (
            lambda: plots.factor_moments([X], {"a": [(Y, X)]}),
            "moments['a'][0] must have shape (G,)",
        ),
        (lambda: plots.factor_states([X], []), "probabilities must be of as many views as values"),
        (
            lambda: plots.factor_states([X], [MAPS[0, :2]]),
            "probabilities[0] must have shape (G, K)",
        ),
        (lambda: plots.mixtures_by_model({}), "models must be of at least one model, got none"),
        (lambda: plots.mixtures_by_model({"a": (X, Y, [X])}), "prior_density of models['a'] must have shape"),
    ],
)
def test_what_does_not_fit(draw, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        draw()
