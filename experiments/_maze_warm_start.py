"""Start a network from clusters of its inputs, found without regard to their order in time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import rpm_jax as rpm

LEARNING_RATE = 0.05


def kmeans_responsibilities(views: np.ndarray, num_clusters: int, restarts: int, seed: int) -> np.ndarray:
    """Probabilities of the clusters, as of a mixture of Gaussians around the means that k-means finds.

        r_k ∝ π_k exp(−|x − c_k|² / 2σ²),   σ² = mean squared distance to the own c_k, per dimension

    Args:
        views: Shape (..., D).
        num_clusters: K.
        restarts: Of k-means, of which the one with the least σ² is taken.
        seed: Of k-means.

    Returns:
        Shape (..., K).
    """
    from scipy.special import softmax
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    points = np.asarray(views, np.float32).reshape(-1, views.shape[-1])
    # Its threads wait for each other much longer than they work.
    with threadpool_limits(1):
        found = KMeans(num_clusters, n_init=restarts, random_state=seed).fit(points)
    variance = max(found.inertia_ / points.size, np.finfo(np.float32).eps)
    shares = np.bincount(found.labels_, minlength=num_clusters) / len(points)
    logits = np.log(shares) - found.transform(points) ** 2 / (2 * variance)
    return softmax(logits, axis=-1).reshape(*views.shape[:-1], num_clusters)


def match_factors(
    model: rpm.RPM, params: Any, data: rpm.Data, targets: Array, num_steps: int, shown: Callable[[Any], Any]
) -> Any:
    """Minimise the cross-entropy between targets and the factors of a single view by Adam, seed by seed.

    Args:
        model: The model.
        params: Its parameters, stacked over S seeds.
        data: N data of one view.
        targets: Probabilities of the states, shape (S, N, T, K).
        num_steps: Optimisation steps, with a learning rate that falls to 0.
        shown: Wraps an iterable of steps in a progress bar.

    Returns:
        Parameters like those given, with other factors.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, num_steps))

    def loss(factors: Any, params: Any, targets: Array) -> Array:
        natural = model.recognise({**params, "factors": factors}, data.all()).natural
        return -jnp.mean(jnp.sum(targets * natural.log_probabilities[:, 0], axis=-1))

    @jax.jit
    @jax.vmap
    def step(factors: Any, state: Any, params: Any, targets: Array) -> tuple[Any, Any]:
        updates, state = optimizer.update(jax.grad(loss)(factors, params, targets), state)
        return optax.apply_updates(factors, updates), state

    factors = params["factors"]
    state = jax.vmap(optimizer.init)(factors)
    for _ in shown(range(num_steps)):
        factors, state = step(factors, state, params, targets)
    return {**params, "factors": factors}
