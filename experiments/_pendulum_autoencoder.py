"""A variational autoencoder of single sites, the obvious other way to a few numbers for each image."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

import rpm_jax as rpm


class Autoencoder(nn.Module):
    """z ~ N(m(x), diag s(x)²), x ~ N(decoder(z), σ²), σ learned.

    Attributes:
        encoder: A network from images to 2K numbers.
        hidden: Units of the decoder's hidden layers.
        size: Numbers in x.
    """

    encoder: nn.Module
    hidden: tuple[int, ...]
    size: int

    @nn.compact
    def __call__(self, images: Array, key: Array) -> tuple[Array, Array]:
        """Minus the evidence lower bound of each image, and the means of its code (n, K)."""
        mean, log_scale = jnp.split(self.encoder(images), 2, axis=-1)
        code = mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape)
        decoded = rpm.networks.PointwiseMLP(self.hidden, self.size)(code)
        log_noise = self.param("log_noise", nn.initializers.zeros, ())
        error = (images.reshape(len(images), -1) - decoded) ** 2
        fit = jnp.sum(0.5 * error * jnp.exp(-2 * log_noise) + log_noise, axis=-1)
        divergence = jnp.sum(0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1) - log_scale, axis=-1)
        return fit + divergence, mean


def codes(
    network: Any,
    parts: tuple[np.ndarray, np.ndarray],
    num_latents: int,
    hidden: tuple[int, ...],
    *,
    num_steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Train on the first part by Adam with a learning rate that falls to 0; codes of both parts.

    Args:
        network: The encoder, a module without a number of outputs.
        parts: Images to fit and others, (N, T, H, W, C) each.
        num_latents: K.
        hidden: Units of the encoder's hidden layers, which the decoder has in reverse.
        num_steps: Optimisation steps.
        batch_size: Images in a step.
        learning_rate: At the start.
        seed: Of parameters, minibatches and codes drawn.

    Returns:
        Means of the codes, shape (N, T, K) of each part.
    """
    flat = [jnp.asarray(part.reshape(-1, *part.shape[2:])) for part in parts]
    centre, scale = jnp.mean(flat[0]), jnp.std(flat[0])
    train, other = ((part - centre) / scale for part in flat)
    size = int(np.prod(train.shape[1:]))
    module = Autoencoder(network.with_outputs(2 * num_latents), tuple(hidden[::-1]), size)
    init_key, step_key = jax.random.split(jax.random.key(seed))
    params = module.init(init_key, train[:2], init_key)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

    def step(carry: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], Array]:
        params, state = carry
        row_key, noise_key = jax.random.split(key)
        rows = train[jax.random.randint(row_key, (batch_size,), 0, len(train))]
        value, gradient = jax.value_and_grad(lambda p: jnp.mean(module.apply(p, rows, noise_key)[0]))(params)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    run = jax.jit(functools.partial(lax.scan, step))
    (params, _), _ = run((params, optimizer.init(params)), jax.random.split(step_key, num_steps))
    encode = jax.jit(lambda images: module.apply(params, images, init_key)[1])
    first, second = (
        np.asarray(encode(images)).reshape(*part.shape[:2], -1)
        for images, part in zip((train, other), parts, strict=True)
    )
    return first, second


def with_neighbours(latents: np.ndarray) -> np.ndarray:
    """Each code with those before and after it, at the ends with itself: (N, T, K) to (N, T, 3K)."""
    padded = np.pad(latents, ((0, 0), (1, 1), (0, 0)), mode="edge")
    return np.concatenate([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], axis=-1)
