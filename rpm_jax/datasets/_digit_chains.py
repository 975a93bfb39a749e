"""Chains of images: a hidden Markov chain over labels, and an image of each."""

from typing import NamedTuple, Self

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from rpm_jax._checks import require_positive_integer
from rpm_jax.datasets._arguments import generator, labelled, split_sequences


class DigitChains(NamedTuple):
    """N chains of T images.

    Attributes:
        views: The images, shape (N, T, H, W).
        states: Their labels, 0 to K − 1, shape (N, T).
        initial: The probability of each label at the first step, shape (K,).
        transition: The probability of going from label i to j, [i, j], shape (K, K).
        indices: Which image each is, shape (N, T).
    """

    views: Array
    states: Array
    initial: Array
    transition: Array
    indices: Array

    def split(self, num_first: int) -> tuple[Self, Self]:
        """Part the chains in two.

        Args:
            num_first: How many chains go to the first part, 0 < num_first < N.

        Returns:
            The first `num_first` chains and the others, which may show the same images.

        Raises:
            ValueError: If either part would be empty.
        """
        return split_sequences(self, ("views", "states", "indices"), num_first)


def ring_transition(num_states: int, *, forward: int = 1, width: float = 1.0) -> Array:
    """Transitions on a ring of states, which go on by `forward`, more or less.

        A_ij ∝ exp(−d(j, i + forward)² / 2w²),   d the distance round the ring

    Args:
        num_states: K.
        forward: How far on the most likely next state is.
        width: w, in states; small for chains that are nearly cycles.

    Returns:
        Shape (K, K), rows that sum to 1.

    Raises:
        ValueError: If K is no positive integer or the width is not positive.
    """
    require_positive_integer("ring_transition: num_states", num_states)
    if not 0 < width < np.inf:
        raise ValueError(f"ring_transition: width must be positive and finite, got {width!r}")
    states = np.arange(num_states)
    ahead = (states - states[:, None] - forward) % num_states
    weights = np.exp(-(np.minimum(ahead, num_states - ahead) ** 2) / (2 * width**2))
    return jnp.asarray(weights / weights.sum(1, keepdims=True), float)


def digit_chains(
    key: Array,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    num_sequences: int = 100,
    num_steps: int = 30,
    transition: ArrayLike | None = None,
    initial: ArrayLike | None = None,
) -> DigitChains:
    """Chains of labels, and for each label one of its images at random.

        z_1 ~ π,   z_t+1 ~ A[z_t, ·],   x_t uniform on the images of label z_t

    For held-out chains take other images, such as those of `hold_out`.

    Args:
        key: One JAX random key.
        images: Shape (M, H, W), or (M, ...).
        labels: Whole numbers from 0 to K − 1, each with at least one image, shape (M,).
        num_sequences: N.
        num_steps: T.
        transition: A, probabilities, shape (K, K). By default `ring_transition(K)`.
        initial: π, probabilities, shape (K,). By default uniform.

    Returns:
        The images, the labels, and the chain.

    Raises:
        TypeError: If `key` is no random key or the labels are no integers.
        ValueError: If a size is no positive integer, a label has no image, or probabilities are none.
    """
    name = "digit_chains"
    random = generator(name, key)
    pixels, names = labelled(name, images, labels)
    require_positive_integer(f"{name}: num_sequences", num_sequences)
    require_positive_integer(f"{name}: num_steps", num_steps)
    counts = np.bincount(names)
    if not counts.all():
        raise ValueError(
            f"{name}: labels must be 0 to {len(counts) - 1}, each of at least one image, got none of label "
            f"{int(np.argmin(counts))}"
        )
    size = len(counts)
    chain = _probabilities(name, "transition", ring_transition(size) if transition is None else transition)
    first = _probabilities(name, "initial", np.full(size, 1 / size) if initial is None else initial)
    for argument, array, shape in (("transition", chain, (size, size)), ("initial", first, (size,))):
        if array.shape != shape:
            raise ValueError(f"{name}: {argument} must have shape {shape}, got {array.shape}")

    # A state is the number of boundaries between states that a uniform number exceeds.
    bounds, uniform = np.cumsum(chain, axis=-1)[:, :-1], random.random((num_steps, num_sequences))
    states = np.empty((num_steps, num_sequences), int)
    states[0] = (uniform[0][:, None] > np.cumsum(first)[:-1]).sum(-1)
    for t in range(1, num_steps):
        states[t] = (uniform[t][:, None] > bounds[states[t - 1]]).sum(-1)
    order, starts = np.argsort(names, kind="stable"), np.cumsum(counts) - counts
    indices = order[starts[states] + np.floor(random.random(states.shape) * counts[states]).astype(int)].T
    return DigitChains(
        views=jnp.asarray(pixels[indices]),
        states=jnp.asarray(states.T),
        initial=jnp.asarray(first),
        transition=jnp.asarray(chain),
        indices=jnp.asarray(indices),
    )


def _probabilities(function: str, argument: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, float)
    if not (array >= 0).all() or not np.allclose(array.sum(-1), 1, atol=1e-4):
        raise ValueError(f"{function}: {argument} must be probabilities that sum to 1, got {array}")
    return array / array.sum(-1, keepdims=True)
