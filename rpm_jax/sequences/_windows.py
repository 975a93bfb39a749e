"""Windows of long sequences as data of their own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpm_jax._checks import require_positive_integer
from rpm_jax.data import Data, as_data


def windows(views: Any, length: int, *, step: int | None = None) -> Data:
    """Cut sequences into windows of L steps, each a datum: minibatches of a long trajectory.

    A prior of L sites on a window is the marginal of the prior of all T sites if that is stationary; what
    lies outside of the window says nothing about the latents in it. Parameters of priors that do not depend
    on T (kernels, transitions, what inputs do) are those of the whole:
    `rpm_jax.Fitted(model_of_T_sites, fit.params, views)` answers for all of it.

    Args:
        views: `Data`, or J arrays (N, T) or (N, T, ...).
        length: L.
        step: From one window's start to the next; None: L, windows that do not overlap. What steps overlap
            is in F_j as often as in windows.

    Returns:
        Data of N' windows, the last one of each sequence masked behind its end, with their `lengths`.
        Inputs with T steps, or T − 1 transitions, on axis 1 are cut too; others are those of the sequence.

    Raises:
        ValueError: For views without T steps on axis 1, or windows longer than these.
    """
    require_positive_integer("length", length)
    step = length if step is None else step
    require_positive_integer("step", step)
    data = as_data(views)
    shapes = [view.shape for view in data.views]
    sites = {shape[1] if len(shape) > 1 else None for shape in shapes}
    if len(sites) > 1 or None in sites:
        raise ValueError(f"views must have the T steps of a sequence on axis 1, got shapes {shapes}")
    (num_sites,) = sites
    assert num_sites is not None
    if length > num_sites:
        raise ValueError(f"length must be at most the T = {num_sites} steps of the views, got {length}")
    ends = np.full(data.size, num_sites) if data.lengths is None else np.asarray(data.lengths)
    # A window is made until one reaches the end.
    starts = [np.arange(0, max(1, end - length + step), step) for end in ends]
    datum = np.repeat(np.arange(data.size), [len(own) for own in starts])
    start = np.concatenate(starts)
    lengths = np.minimum(ends[datum] - start, length)

    def cut(leaf: Any, number: int) -> Any:
        places = np.minimum(start[:, None] + np.arange(number), leaf.shape[1] - 1)
        return leaf[datum[:, None], places]

    def cut_inputs(leaf: Any) -> Any:
        less = num_sites - leaf.shape[1] if leaf.ndim > 1 else -1
        return cut(leaf, length - less) if less in (0, 1) and length > less else leaf[datum]

    observed = np.ones((len(datum), len(data.views), length), bool)
    if data.mask is not None:
        given = np.asarray(data.mask).reshape(data.size, len(data.views), -1)
        own = np.broadcast_to(given, (*given.shape[:2], num_sites))
        observed = np.moveaxis(cut(np.moveaxis(own, 1, 2), length), 2, 1)
    observed = observed & (np.arange(length) < lengths[:, None])[:, None]
    cells = tuple(cut(view, length) for view in data.views)
    return as_data(
        cells,
        None if observed.all() else observed,
        None if data.log_weights is None else data.log_weights[datum],
        jax.tree.map(cut_inputs, data.inputs),
    )._replace(lengths=jnp.asarray(lengths, jnp.int32))
