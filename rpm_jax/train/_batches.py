"""The minibatches of a run: functions of a key and the number of the step."""

import jax
from jax import Array, lax


def draw_batch(
    key: Array, order: Array, step: Array, batch_size: int, *, replacement: bool
) -> tuple[Array, Array]:
    """The minibatch of one step.

    Args:
        key: The run's random key for minibatches.
        order: The current epoch's permutation of the data, integers (N,).
        step: Of the run, from 0.
        batch_size: B.
        replacement: Whether to draw with replacement, instead of by epochs.

    Returns:
        The order for the next step, and integers (B,). An epoch's last N mod B data are left out, others each
        time.
    """
    size = order.shape[0]
    if replacement:
        return order, jax.random.randint(jax.random.fold_in(key, step), (batch_size,), 0, size)
    if batch_size == size:
        return order, order
    batches = size // batch_size
    epoch, position = step // batches, step % batches
    order = lax.cond(
        position == 0,
        lambda: jax.random.permutation(jax.random.fold_in(key, epoch), size).astype(order.dtype),
        lambda: order,
    )
    return order, lax.dynamic_slice_in_dim(order, position * batch_size, batch_size)
