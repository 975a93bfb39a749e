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

    @jax.jit
    def minibatch(index: jax.Array) -> jax.Array:
        return jnp.mean(model.minibatch_bound(fit.params, data.batch(index)))

    def queued(batch_size: int, length: int) -> np.ndarray:
        queue = rpm.normalizers.queue(length)

        @jax.jit
        def step(state: rpm.normalizers.QueueState, index: jax.Array) -> tuple:
            return model.queue_bound(fit.params, data.batch(index), queue, state)

        state = model.queue_init(fit.params, queue, data.batch(jnp.arange(batch_size)))
        values = []
        index = order.permutation(data.size)
        for start in range(0, data.size - batch_size + 1, batch_size):
            bound, state = step(state, jnp.asarray(index[start : start + batch_size]))
            values.append(float(bound.mean()))
        return np.array(values[length // batch_size :])

    def drawn(batch_size: int, number: int) -> tuple[np.ndarray, float]:
        subset = rpm.normalizers.random_subset(number)

        @jax.jit
        def step(params: dict, key: jax.Array, index: jax.Array) -> tuple:
            key, others, weights = subset.draw(key, index, data.size)

            def bound(params: dict) -> jax.Array:
                batch = data.batch(index)
                return jnp.mean(model.subset_bound(params, batch, data.batch(others), weights))

            return *jax.value_and_grad(bound)(params), key

        key, values, times = subset.init(jax.random.key(0)), [], []
        for _ in range(repetitions):
            index = jnp.asarray(order.permutation(data.size)[:batch_size])
            start = time.perf_counter()
            value, _, key = jax.block_until_ready(step(fit.params, key, index))
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
