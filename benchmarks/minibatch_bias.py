"""How biased F_j over less than all data is: a likelihood against the sizes of minibatch, queue and subset.

"ms" is the time of a step's value and gradient.
"""

import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from benchmarks._figure import new_figure
from benchmarks._report import Benchmark, Column, print_table

COLUMNS = (
    Column("batch", "batch_size", "8"),
    Column("queue", "queue", "8"),
    Column("subset", "subset", "8"),
    Column("mean", "mean", "9.4f"),
    Column("bias", "bias", "+9.4f"),
    Column("deviation", "deviation", "10.4f"),
    Column("ms", "ms", "8.2f"),
)


def measure(
    batch_sizes: list[int], queues: list[int], subsets: list[int], repetitions: int, num_steps: int
) -> dict:
    """Mean log-likelihoods of random minibatches of a model of digits, F_j over all data against less."""
    digits = rpm.datasets.load_digits()
    data = rpm.as_data(rpm.datasets.peers(jax.random.key(0), *digits).views)
    prior = rpm.priors.static(rpm.expfam.Categorical(jnp.zeros(10)))
    model = rpm.RPM(prior, rpm.factors.shared(rpm.networks.MLP()))
    fit = rpm.fit(model, data, key=jax.random.key(1), num_steps=num_steps)
    order = np.random.default_rng(0)

    def step_of(feed: rpm.feeds.Feed, params: dict, state: Any, index: jax.Array) -> tuple[jax.Array, Any]:
        terms, state = rpm.model.batch_terms(model, params, data.batch(index), data, feed, state)
        return terms.bound, state

    def state_of(feed: rpm.feeds.Feed) -> Any:
        own = model.recognise(fit.params, data.batch(jnp.zeros(1, int)))
        return feed.init(jax.random.key(0), own, data)

    @jax.jit
    def minibatch(index: jax.Array) -> jax.Array:
        return jnp.mean(step_of(rpm.feeds.minibatch(), fit.params, (), index)[0])

    def queued(batch_size: int, length: int) -> np.ndarray:
        queue = rpm.feeds.queue(length)

        @jax.jit
        def step(state: rpm.feeds.QueueState, index: jax.Array) -> tuple:
            return step_of(queue, fit.params, state, index)

        state = state_of(queue)
        values = []
        index = order.permutation(data.size)
        for start in range(0, data.size - batch_size + 1, batch_size):
            bound, state = step(state, jnp.asarray(index[start : start + batch_size]))
            values.append(float(bound.mean()))
        return np.array(values[length // batch_size :])

    def drawn(batch_size: int, number: int) -> tuple[np.ndarray, float]:
        subset = rpm.feeds.random_subset(number)

        @jax.jit
        def step(params: dict, state: Any, index: jax.Array) -> tuple:
            def bound(params: dict) -> tuple[jax.Array, Any]:
                bounds, following = step_of(subset, params, state, index)
                return jnp.mean(bounds), following

            (value, following), gradient = jax.value_and_grad(bound, has_aux=True)(params)
            return value, gradient, following

        state, values, times = state_of(subset), [], []
        for _ in range(repetitions):
            index = jnp.asarray(order.permutation(data.size)[:batch_size])
            start = time.perf_counter()
            value, _, state = jax.block_until_ready(step(fit.params, state, index))
            times.append(time.perf_counter() - start)
            values.append(float(value))
        return np.array(values), 1e3 * float(np.median(times))

    results = []
    for size in batch_sizes:
        draws = np.array(
            [float(minibatch(jnp.asarray(order.permutation(data.size)[:size]))) for _ in range(repetitions)]
        )
        results.append({"batch_size": size, "queue": 0, "mean": draws.mean(), "deviation": draws.std()})
        for length in queues:
            if size + length <= data.size - size:
                draws = queued(size, length)
                results.append(
                    {"batch_size": size, "queue": length, "mean": draws.mean(), "deviation": draws.std()}
                )
        for number in subsets:
            draws, milliseconds = drawn(size, number)
            results.append(
                {
                    "batch_size": size,
                    "queue": 0,
                    "subset": number,
                    "mean": draws.mean(),
                    "deviation": draws.std(),
                    "ms": milliseconds,
                }
            )
    return {"exact": float(fit.bound), "num_data": data.size, "results": results}


def main() -> int:
    """Print a table, write it as JSON and draw it where asked."""
    benchmark = Benchmark("minibatch_bias", __doc__, draw)
    benchmark.number("--batch-sizes", [16, 32, 64, 128, 256, 512], "B", least=2)
    benchmark.number("--queues", [256, 1024], "L", none=True)
    benchmark.number("--subsets", [64, 256, 1024], "M", none=True)
    benchmark.number("--repetitions", 50, "minibatches of a size")
    benchmark.number("--num-steps", 300, "of the fit")
    arguments = benchmark.parse()
    report = measure(
        arguments.batch_sizes,
        arguments.queues,
        arguments.subsets,
        arguments.repetitions,
        arguments.num_steps,
    )
    print(f"log-likelihood with F_j over all {report['num_data']} data: {report['exact']:.4f}")
    exact = report["exact"]
    print_table(COLUMNS, ({**row, "bias": row["mean"] - exact} for row in report["results"]))
    return 0 if benchmark.report(arguments, report) else 1


def draw(report: Mapping[str, Any]) -> Any:
    """The bias against the batch size, a line for each queue."""
    figure, (axes,) = new_figure(1, width=5.0)
    kinds = sorted({(row["queue"], row.get("subset", 0)) for row in report["results"]})
    for length, number in kinds:
        rows = [r for r in report["results"] if (r["queue"], r.get("subset", 0)) == (length, number)]
        name = f"queue of {length}" if length else f"{number} at random" if number else "minibatch alone"
        bias = [row["mean"] - report["exact"] for row in rows]
        axes.errorbar(
            [row["batch_size"] for row in rows],
            bias,
            [row["deviation"] for row in rows],
            label=name,
            capsize=2,
        )
    axes.axhline(0.0, color="0.5", lw=0.8)
    sizes = sorted({row["batch_size"] for row in report["results"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set(xlabel="batch size", ylabel="log-likelihood − exact, nats")
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(main())
