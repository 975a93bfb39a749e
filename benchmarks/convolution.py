"""Time one training step of the discrete model on pairs of digit images, with two kinds of convolution.

The networks are those usually taken for 28 × 28 digits: two convolutions with kernel size 5 and 10 and 20
channels, each followed by 2 × 2 max-pooling, 50 hidden units and 10 outputs. A step is the value and the
gradient of the likelihood with the minibatch as mixture, and an Adam update; it is timed alone (one call a
step) and inside a compiled loop of 20 steps, for one view and for a pair of views with a network each.
"CPU ms" is the least time of all cores together; unlike the others it hardly depends on what else is running.
"""

import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

import rpm_jax as rpm
from benchmarks._report import Benchmark, Column, print_table
from benchmarks._timing import alternate, milliseconds_per_step, timed
from benchmarks._torch_cnn import torch_cnn

SIZE, STATES, STEPS, LEARNING_RATE = 28, 10, 20, 1e-3

COLUMNS = (
    Column("views", "views", "5"),
    Column("convolution", "convolution", "<22"),
    Column("way", "way", "<10"),
    Column("first s", "first_call_seconds", "8.1f"),
    Column("median ms", "median_ms", "10.2f"),
    Column("min ms", "min_ms", "8.2f"),
    Column("CPU ms", "processor_ms", "8.2f"),
)


class FlaxCNN(nn.Module):
    """`rpm_jax.networks.CNN` with flax's own convolutions and pooling."""

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Map images (N, H, W) to outputs (N, states)."""
        images = images[..., None]
        for channels in (10, 20):
            images = nn.Conv(channels, (5, 5), padding="VALID")(images)
            images = nn.relu(nn.max_pool(images, (2, 2), strides=(2, 2)))
        return nn.Dense(STATES)(nn.relu(nn.Dense(50)(images.reshape(images.shape[0], -1))))


def jax_runs(network: Any, views: Array) -> dict[str, Callable[[], object]]:
    """Functions that take 20 steps each, by one call a step and by a single call.

    Args:
        network: A flax module, the same for every view, each with its own parameters.
        views: Images of shape (steps, J, B, H, W).
    """
    optimizer = optax.adam(LEARNING_RATE)

    def loss(params: Any, batch: Array) -> Array:
        log_factors = jax.nn.log_softmax(jax.vmap(network.apply)(params["networks"], batch))
        log_mixture = jax.nn.logsumexp(log_factors, axis=1, keepdims=True) - math.log(batch.shape[1])
        log_prior = jax.nn.log_softmax(params["prior"])
        return -jax.nn.logsumexp(log_prior + (log_factors - log_mixture).sum(0), axis=-1).mean()

    @jax.jit
    def step(state: Any, batch: Array) -> tuple[Any, Array]:
        params, moments = state
        value, gradient = jax.value_and_grad(loss)(params, batch)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), value

    @jax.jit
    def initial() -> Any:
        keys = jax.random.split(jax.random.key(1), views.shape[1])
        params = {"networks": jax.vmap(network.init)(keys, views[0]), "prior": jnp.zeros(STATES)}
        return params, optimizer.init(params)

    loop = jax.jit(lambda state, views: jax.lax.scan(step, state, views))
    state, batches = initial(), list(views)

    def alone() -> object:
        now = state
        for batch in batches:
            now, value = step(now, batch)
        return jax.block_until_ready(value)

    return {"alone": alone, "in a loop": lambda: jax.block_until_ready(loop(state, views))}


def torch_runs(views: Array, threads: int) -> dict[str, Callable[[], object]]:
    """The same 20 steps in PyTorch, one after the other."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    networks = [torch_cnn(torch, STATES) for _ in range(views.shape[1])]
    prior = torch.zeros(STATES, requires_grad=True)
    optimizer = torch.optim.Adam([prior, *(p for net in networks for p in net.parameters())], LEARNING_RATE)
    batches = torch.tensor(jax.device_get(views))[:, :, :, None]

    def alone() -> object:
        for batch in batches:
            log_weights = torch.log_softmax(prior, 0)
            for net, images in zip(networks, batch, strict=True):
                log_factors = torch.log_softmax(net(images), -1)
                log_mixture = torch.logsumexp(log_factors, 0) - math.log(len(images))
                log_weights = log_weights + log_factors - log_mixture
            loss = -torch.logsumexp(log_weights, -1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    return {"alone": alone}


def measure(batch_size: int, rounds: int, with_torch: bool, threads: int) -> list[dict[str, Any]]:
    """Milliseconds per step of every variant, which take turns, so that all meet the same load."""
    variants = []
    for num_views in (1, 2):
        views = jax.random.normal(jax.random.key(0), (STEPS, num_views, batch_size, SIZE, SIZE))
        runs = {
            "flax.linen.Conv": jax_runs(FlaxCNN(), views),
            "rpm_jax.networks.Conv": jax_runs(rpm.networks.CNN(num_outputs=STATES), views),
        }
        if with_torch:
            runs["torch"] = torch_runs(views, threads)
        for name, ways in runs.items():
            for way, run in ways.items():
                first = timed(run).wall
                variants.append(({"views": num_views, "convolution": name, "way": way}, run, first))
    times = alternate([run for _, run, _ in variants], rounds)
    return [
        {
            **variant,
            "first_call_seconds": first,
            **milliseconds_per_step([elapsed.wall for elapsed in passed], STEPS),
            "processor_ms": min(elapsed.processor for elapsed in passed) / STEPS * 1e3,
        }
        for (variant, _, first), passed in zip(variants, times, strict=True)
    ]


def main() -> int:
    """Print a table, and write it as JSON where asked."""
    benchmark = Benchmark("convolution", __doc__)
    benchmark.number("--batch-size", 64, "B")
    benchmark.number("--rounds", 15, "rounds of 20 steps")
    benchmark.parser.add_argument("--torch", action="store_true", help="also time the same step in PyTorch")
    benchmark.number("--threads", os.cpu_count() or 1, "of PyTorch")
    arguments = benchmark.parse()
    if arguments.torch and importlib.util.find_spec("torch") is None:
        benchmark.refuse('--torch needs PyTorch, which is not installed; run: pip install -e ".[bench]"')
    results = measure(arguments.batch_size, arguments.rounds, arguments.torch, arguments.threads)
    print_table(COLUMNS, results)
    torch = importlib.import_module("torch").__version__ if arguments.torch else None
    return 0 if benchmark.report(arguments, {"torch": torch, "results": results}) else 1


if __name__ == "__main__":
    sys.exit(main())
