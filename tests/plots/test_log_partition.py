import io

import numpy as np
import pytest

from rpm_jax import plots


def example(num_views, seed=0):
    rng = np.random.default_rng(seed)
    exact = rng.gamma(2.0, 2.0, size=(60, num_views, 2))
    noise = 0.1 * (1 + np.arange(num_views)[:, None]) * rng.normal(size=exact.shape)
    return exact, exact + 3.0 + np.arange(2) + noise


def saves(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue().startswith(b"\x89PNG") and len(stream.getvalue()) > 5000


def test_few_views_are_named_and_offsets_are_gone():
    """Points are (A, ψ less its offset at that site) and (A, error); labels hold deviations."""
    exact, learned = example(2)
    figure = plots.log_partition_error(exact, learned)
    left, right = figure.axes
    error = learned - exact
    error = error - error.mean(0)
    for j in range(2):
        across = exact[:, j].ravel()
        np.testing.assert_allclose(
            left.collections[j].get_offsets(), np.stack([across, across + error[:, j].ravel()], 1)
        )
        np.testing.assert_allclose(
            right.collections[j].get_offsets(), np.stack([across, error[:, j].ravel()], 1), atol=1e-12
        )
    labels = left.get_legend_handles_labels()[1]
    assert labels == ["identity", *(f"view {j + 1}: sd {np.std(error[:, j]):.2g} nats" for j in range(2))]
    (identity,) = left.lines
    np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
    assert "A(" in left.get_xlabel()
    assert "nats" in right.get_ylabel()
    assert saves(figure)


def test_many_views_have_a_scale():
    figure = plots.log_partition_error(*example(9))
    left, right, bar = figure.axes
    assert len(left.collections) == len(right.collections) == 9
    assert left.get_legend_handles_labels()[1] == ["identity"]
    assert bar.get_ylabel() == "view $j$"
    assert saves(figure)


def test_extreme_errors_do_not_flatten_the_rest():
    exact, learned = example(2)
    learned[0, 0, 0] -= 50.0
    right = plots.log_partition_error(exact, learned).axes[1]
    assert -2.0 < right.get_ylim()[0] < -0.3
    assert saves(plots.log_partition_error(exact, exact))


def test_what_is_missing_is_not_drawn():
    exact, learned = example(2)
    exact[:, 1, 1] = exact[0] = np.nan
    left = plots.log_partition_error(exact, learned).axes[0]
    across, up = left.collections[1].get_offsets().T
    offset = np.mean((learned - exact)[1:, 1, 0])
    drawn = ~np.ma.getmaskarray(up) & np.isfinite(np.ma.getdata(up))
    np.testing.assert_allclose(up[drawn], learned[1:, 1, 0] - offset)
    np.testing.assert_allclose(across[drawn], exact[1:, 1, 0])
    assert np.isfinite(left.lines[0].get_xdata()).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((3, 2)), np.ones((3, 2))), r"exact must have shape \(N, J, T\), got \(3, 2\)"),
        ((np.full((3, 2, 1), np.nan), np.ones((3, 2, 1))), "exact and learned must have numbers in one"),
        ((np.ones((3, 2, 1)), np.ones((3, 1, 1))), r"learned must have shape .* got \(3, 1, 1\)"),
    ],
)
def test_it_names_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=rf"log_partition_error: {message}"):
        plots.log_partition_error(*arguments)
