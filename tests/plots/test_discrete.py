import io
import sys

import numpy as np
import pytest

from rpm_jax import plots


def assert_saves(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")
    assert len(stream.getvalue()) > 2000


def shown(axes):
    """The texts in an axes, row by row."""
    return [text.get_text() for text in axes.texts]


def legend(axes):
    return axes.get_legend_handles_labels()[1]


def names(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


COUNTS = np.array([[0, 8, 2], [5, 0, 0]])


def test_confusion_matrices_show_shares_and_counts():
    after = plots.matched_columns(COUNTS, [1, 0, -1])
    figure = plots.confusion_matrices(COUNTS, after, labels=["a", "b"])
    left, right, bar = figure.axes
    np.testing.assert_allclose(left.images[0].get_array(), [[0, 0.8, 0.2], [1, 0, 0]])
    np.testing.assert_allclose(right.images[0].get_array(), [[0.8, 0, 0.2], [0, 1, 0]])
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0.0, 1.0)
    assert shown(left) == ["0", "8", "2", "5", "0", "0"]
    assert shown(right) == ["8", "0", "2", "0", "5", "0"]
    assert names(left.yaxis) == ["a", "b"]
    assert names(left.xaxis) == ["0", "1", "2"]
    assert names(right.xaxis) == ["a", "b", "–"]
    assert (left.get_title(), right.get_title()) == ("before matching", "after matching")
    assert bar.get_ylabel() == "share of the label"
    assert_saves(figure)


def test_large_matrices_have_no_numbers_and_fewer_ticks():
    counts = np.ones((4, 60))
    counts[1] = 0
    figure = plots.confusion_matrices(counts, counts)
    left = figure.axes[0]
    assert not left.texts
    assert names(left.xaxis)[:3] == ["0", "3", "6"]
    np.testing.assert_array_equal(left.images[0].get_array()[1], 0)
    assert_saves(figure)


def test_columns_in_the_order_of_labels():
    np.testing.assert_array_equal(plots.matched_columns(COUNTS, [-1, 0, 1]), [[8, 2, 0], [0, 0, 5]])
    np.testing.assert_array_equal(plots.matched_columns(COUNTS[:, :1], [1]), [[0, 0], [0, 5]])
    np.testing.assert_array_equal(plots.matched_columns([[3, 4]], [-1, -1]), [[0, 3, 4]])


def test_a_pair_of_matrices_has_one_scale():
    true, recovered = np.array([[0.25, 0.75], [0, 1]]), np.array([[0.5, 0.5], [0.1, 0.9]])
    figure = plots.matrix_pair(true, recovered, ("walk", "model"), rows="from", columns="to")
    left, right, bar = figure.axes
    np.testing.assert_array_equal(left.images[0].get_array(), true)
    np.testing.assert_array_equal(right.images[0].get_array(), recovered)
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0.0, 1.0)
    assert shown(right) == ["0.50", "0.50", "0.10", "0.90"]
    assert (left.get_title(), right.get_title()) == ("walk", "model")
    assert (left.get_ylabel(), right.get_xlabel(), bar.get_ylabel()) == ("from", "to", "probability")
    assert_saves(figure)
    assert_saves(plots.matrix_pair(np.zeros((2, 20)), np.zeros((2, 20))))


def tile(figure, row, column, size, gap=1):
    top, left = row * (size + gap), column * (size + gap)
    return figure.axes[0].images[0].get_array()[top : top + size, left : left + size]


IMAGES = np.arange(5)[:, None, None] + np.linspace(0, 0.5, 9).reshape(3, 3)


def test_samples_are_sorted_by_probability():
    states = np.array([1, 0, 1, 1, 0])
    figure = plots.samples_per_state(IMAGES, states, [0.5, 0.9, 0.7, 0.6, 0.8], num_samples=2)
    (axes,) = figure.axes
    for row, members in enumerate([(1, 4), (2, 3)]):
        for column, member in enumerate(members):
            np.testing.assert_array_equal(tile(figure, row, column, 3), IMAGES[member])
    assert axes.images[0].get_array().shape == (7, 7)
    assert names(axes.yaxis) == ["state 0", "state 1"]
    np.testing.assert_array_equal(axes.get_yticks(), [1, 5])
    assert_saves(figure)


def test_samples_with_the_probabilities_of_all_states():
    probabilities = np.array([[0.1, 0.9, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.0, 1.0, 0], [0.9, 0.1, 0]])
    states = probabilities.argmax(1)
    figure = plots.samples_per_state(IMAGES, states, probabilities, titles=["a", "b", "c"])
    np.testing.assert_array_equal(tile(figure, 0, 0, 3), IMAGES[4])
    np.testing.assert_array_equal(tile(figure, 1, 0, 3), IMAGES[3])
    np.testing.assert_array_equal(tile(figure, 1, 2, 3), IMAGES[2])
    assert np.ma.getmaskarray(np.ma.masked_invalid(tile(figure, 2, 0, 3))).all()
    assert names(figure.axes[0].yaxis) == ["a", "b", "c"]


def test_samples_in_colour():
    images = np.random.default_rng(0).uniform(-0.2, 1.2, (4, 3, 2, 3))
    figure = plots.samples_per_state(images, [0, 1, 1, 1], num_samples=3)
    mosaic = figure.axes[0].images[0].get_array()
    assert mosaic.shape == (7, 8, 3)
    np.testing.assert_array_equal(mosaic[4:7, 3:5], np.clip(images[2], 0, 1))
    np.testing.assert_array_equal(mosaic[:3, 3:], 1.0)
    assert_saves(figure)


def test_patches_of_sets():
    patches = np.arange(6.0).reshape(2, 3)[..., None, None] * np.ones((2, 2))
    topics = np.array([[0, 1, 0], [1, 1, 0]])
    figure = plots.patches_by_topic(patches, topics)
    for row, members in enumerate([(0, 2, 5), (1, 3, 4)]):
        for column, member in enumerate(members):
            np.testing.assert_array_equal(tile(figure, row, column, 2), member)
    assert names(figure.axes[0].yaxis) == ["topic 0", "topic 1"]
    probabilities = np.linspace(0.1, 0.6, 6).reshape(2, 3)
    figure = plots.patches_by_topic(patches, topics, probabilities, num_samples=1)
    np.testing.assert_array_equal(tile(figure, 0, 0, 2), 5)
    every_topic = np.stack([probabilities, 1 - probabilities], axis=-1)
    figure = plots.patches_by_topic(patches, topics, every_topic, num_samples=1)
    np.testing.assert_array_equal(tile(figure, 1, 0, 2), 1)
    assert_saves(figure)


def test_learning_curves_highlight_the_chosen_run():
    curves = np.array([[0.0, 1.0, 1.5], [0.0, 1.2, 2.0], [0.0, 0.4, np.nan]])
    figure = plots.learning_curves(curves, best=1, maximum=2.3, label="bound", maximum_label="log K")
    (axes,) = figure.axes
    *others, best, line = axes.lines
    assert len(others) == 2
    np.testing.assert_array_equal(others[0].get_ydata(), curves[0])
    np.testing.assert_array_equal(best.get_ydata(), curves[1])
    np.testing.assert_array_equal(best.get_xdata(), [1, 2, 3])
    assert best.get_linewidth() > 2 * others[0].get_linewidth()
    assert best.get_color() != others[0].get_color()
    np.testing.assert_array_equal(line.get_ydata(), 2.3)
    assert legend(axes) == ["a run", "run 1, chosen", "log K"]
    assert axes.get_ylabel() == "bound"
    assert axes.get_ylim()[1] > 2.3
    assert_saves(figure)


def test_long_learning_curves_are_smoothed():
    generator = np.random.default_rng(0)
    curves = 1.0 + generator.normal(size=(2, 4000))
    figure = plots.learning_curves(curves, steps=np.arange(4000) + 10)
    (axes,) = figure.axes
    assert len(axes.lines) == 2
    assert len(axes.lines[0].get_xdata()) <= plots.NUM_SMOOTHED
    assert np.std(axes.lines[0].get_ydata()) < 0.3
    assert axes.lines[0].get_xdata()[0] == 10
    assert axes.get_legend() is None
    assert_saves(plots.learning_curves([2.0, 3.0]))
    assert_saves(plots.learning_curves([[2.0]]))


@pytest.mark.parametrize(("num_views", "num_axes"), [(2, 1), (9, 2)])
def test_drift(num_views, num_axes):
    steps = np.arange(4)
    masses = np.arange(4.0 * num_views).reshape(4, num_views)
    figure = plots.drift(steps, masses)
    axes = figure.axes[0]
    assert len(figure.axes) == num_axes
    reference, *lines = axes.lines
    np.testing.assert_array_equal(reference.get_ydata(), 0)
    assert len(lines) == num_views
    for j, line in enumerate(lines):
        np.testing.assert_array_equal(line.get_ydata(), masses[:, j])
    few = ["normalised", "view 1", "view 2"]
    assert legend(axes) == (few if num_views == 2 else ["normalised", "views"])
    assert_saves(figure)


def test_topic_proportions():
    generator = np.random.default_rng(0)
    true = generator.dirichlet(np.ones(6), 10)
    recovered = np.column_stack([true[:, :4], generator.random(10), np.full(10, 0.3)])
    figure = plots.topic_proportions(true, recovered)
    assert len(figure.axes) == 6
    for topic, axes in enumerate(figure.axes):
        points = axes.collections[0].get_offsets()
        np.testing.assert_allclose(points, np.column_stack([true[:, topic], recovered[:, topic]]))
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0, 0], [1, 1]])
    assert figure.axes[0].get_title() == "topic 0, r = 1.00"
    r = np.corrcoef(true[:, 4], recovered[:, 4])[0, 1]
    assert figure.axes[4].get_title() == f"topic 4, r = {r:.2f}"
    assert figure.axes[5].get_title() == "topic 5"
    assert figure.get_supxlabel() == "true proportion"
    assert_saves(figure)
    assert len(plots.topic_proportions(np.ones((2, 7)), np.ones((2, 7)), titles=list("abcdefg")).axes) == 7


WALLS = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]], bool)
PLACES = np.array([[1, 1], [1, 2], [1, 3]])
WALK = np.array([[0.5, 0.5, 0.0], [0.25, 0.5, 0.25], [0.0, 0.5, 0.5]])
MODEL = np.array([[0.5, 0.5, 0.0], [0.2, 0.6, 0.2], [0.4, 0.1, 0.5]])


def steps_drawn(axes):
    lines = axes.collections[0]
    return dict(
        zip(
            [tuple(map(tuple, segment)) for segment in lines.get_segments()],
            zip(lines.get_linewidths(), map(tuple, lines.get_colors()), strict=True),
            strict=True,
        )
    )


def test_the_map_shows_states_and_steps():
    figure = plots.maze_map(WALLS, PLACES, np.array([7, -1, 3]), WALK, MODEL)
    left, right = figure.axes
    for axes in (left, right):
        np.testing.assert_array_equal(axes.images[0].get_array(), WALLS)
        np.testing.assert_array_equal(axes.collections[1].get_offsets(), PLACES[:, ::-1])
    assert shown(right) == ["7", "3"]
    assert (left.get_title(), right.get_title()) == ("true steps", "recovered steps")
    true, found = steps_drawn(left), steps_drawn(right)
    assert len(true) == 4
    to_right, back = ((1, 1), (1.5, 1)), ((2, 1), (1.5, 1))
    assert true[to_right][0] == pytest.approx(2 * true[back][0])
    assert found[back][0] / found[to_right][0] == pytest.approx(0.2 / 0.5)
    wrong = ((3, 1), (2, 1))
    assert set(found) - set(true) == {wrong}
    assert len({found[step][1] for step in set(found) - {wrong}}) == 1
    assert found[wrong][1] != found[back][1]
    assert_saves(figure)


def test_the_map_shows_values():
    model = MODEL.copy()
    model[1] = np.nan
    figure = plots.maze_map(WALLS, PLACES, [0.2, np.nan, 0.9], WALK, model, label="accuracy")
    _, right, bar = figure.axes
    np.testing.assert_array_equal(np.ma.filled(right.collections[1].get_array(), -1), [0.2, -1, 0.9])
    assert right.collections[1].get_clim() == (0.0, 1.0)
    assert not right.texts
    assert len(steps_drawn(right)) == 3
    assert bar.get_ylabel() == "accuracy"
    assert_saves(figure)


ONES = np.ones((2, 2))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("confusion_matrices", (np.ones(3), ONES), r"before must have shape \(L, S\), got \(3,\)"),
        ("confusion_matrices", (ONES, np.ones((3, 2))), r"after must have shape .* with L = 2, got \(3, 2\)"),
        ("confusion_matrices", (ONES, -ONES), r"after must be counts of 0 or more, got -1"),
        ("confusion_matrices", (ONES, ONES, ["a"]), r"labels must be 2 names, got 1"),
        ("matched_columns", (ONES, [0]), r"assignment must have shape \(S,\) with S = 2, got \(1,\)"),
        (
            "matched_columns",
            (ONES, [0.0, 1.0]),
            r"assignment must be integers from -1 on, got values of",
        ),
        ("matched_columns", (ONES, [1, 1]), r"assignment must give each of 2 labels to at most one state"),
        ("matched_columns", (ONES, [0, 2]), r"assignment must give each of 2 labels to at most one state"),
        ("matrix_pair", (ONES, np.ones((2, 3))), r"recovered must have shape .*R = 2, C = 2, got \(2, 3\)"),
        ("matrix_pair", (ONES, ONES, ("a",)), r"titles must be 2 names, got 1"),
        ("samples_per_state", (ONES, [0, 1]), r"images must have shape \(N, H, W\), got \(2, 2\)"),
        ("samples_per_state", (np.ones((2, 2, 2, 4)), [0, 1]), r"images must have shape .* C = 3, got"),
        ("samples_per_state", (IMAGES, [0, 1]), r"states must have shape \(N,\) with N = 5, got \(2,\)"),
        ("samples_per_state", (IMAGES, [0, 0, 0, 0, -1]), r"states must be integers from 0 on, got .* -1"),
        ("samples_per_state", (IMAGES, np.ones(5)), r"states must be integers from 0 on, got .* float64"),
        ("samples_per_state", (IMAGES, range(5), np.ones(4)), r"probabilities must have shape \(N,\) with"),
        ("samples_per_state", (IMAGES, range(5), np.ones((5, 4))), r"probabilities must have a column for"),
        ("samples_per_state", (IMAGES, range(5), None, 0), r"num_samples must be a positive integer, got 0"),
        ("samples_per_state", (IMAGES, range(5), None, 1, ["a"]), r"titles must be 5 names, got 1"),
        (
            "patches_by_topic",
            (IMAGES, [[0, 1]]),
            r"patches must have shape .* axes \(1, 2\) .*, got \(5,",
        ),
        ("patches_by_topic", (IMAGES, range(5), np.ones(4)), r"probabilities must have shape \(5,\) or"),
        ("learning_curves", (np.ones((1, 1, 1)),), r"curves must have shape \(S,\) or \(seeds, S\)"),
        ("learning_curves", (3.0,), r"curves must have shape \(S,\) or \(seeds, S\)"),
        ("learning_curves", (ONES, 2), r"best must be the index of one of the 2 runs, got 2"),
        ("drift", ([0, 1, 2], ONES), r"log_masses must have shape \(S, J\) with S = 3, got \(2, 2\)"),
        ("topic_proportions", (ONES, np.ones((2, 3))), r"recovered must have shape .* S = 2, got \(2, 3\)"),
        ("topic_proportions", (ONES, ONES, ["a"]), r"titles must be 2 names, got 1"),
        ("maze_map", (WALLS, PLACES[:2], [0], WALK, MODEL), r"transition_true must have shape .* S = 2"),
        ("maze_map", (WALLS, PLACES, [0], WALK, MODEL), r"recovered must have shape \(S,\) with S = 3"),
        ("maze_map", (WALLS, PLACES, range(3), WALK, ONES), r"transition_recovered must have shape"),
        (
            "maze_map",
            (WALLS, PLACES + 2, range(3), WALK, MODEL),
            r"places must be within the maze of \(3, 5",
        ),
        (
            "maze_map",
            (WALLS, PLACES[:, :1], range(3), WALK, MODEL),
            r"places must have shape \(S, 2\), got \(3, 1\)",
        ),
    ],
)
def test_messages_name_what_does_not_fit(function, arguments, message):
    with pytest.raises(ValueError, match=f"^{function}: {message}"):
        getattr(plots, function)(*arguments)


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    for module in [m for m in sys.modules if m.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (
        lambda: plots.confusion_matrices(ONES, ONES),
        lambda: plots.samples_per_state(IMAGES, range(5)),
        lambda: plots.learning_curves(ONES),
        lambda: plots.drift([0, 1], ONES),
        lambda: plots.topic_proportions(ONES, ONES),
        lambda: plots.maze_map(WALLS, PLACES, range(3), WALK, MODEL),
    ):
        with pytest.raises(ImportError, match=r'pip install "rpm_jax\[experiments\]"'):
            draw()


@pytest.mark.parametrize("size", [1, 3])
def test_labelled_points(size):
    points = np.random.default_rng(0).normal(size=(20, size))
    figure = plots.labelled_points(points, np.arange(20) % 3)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]
    clouds = [cloud.get_offsets() for cloud in axes.collections]
    assert [len(cloud) for cloud in clouds] == [7, 7, 6]
    np.testing.assert_allclose(clouds[1][:, 0], points[1::3, 0])
    with pytest.raises(ValueError, match="labels"):
        plots.labelled_points(points, np.arange(19))


def test_long_titles_are_not_cut_off():
    """The names of the rows lie within the figure at its first drawing."""
    images = np.random.default_rng(0).normal(size=(24, 5, 5))
    figure = plots.samples_per_state(
        images, np.arange(24) % 12, titles=[f"place number {i}" for i in range(12)]
    )
    figure.canvas.draw()
    (axes,) = figure.axes
    assert min(label.get_window_extent().x0 for label in axes.get_yticklabels()) >= 0
