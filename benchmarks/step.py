"""Time one training step of the temporal model: compilation, and the median over rounds of compiled steps."""

import itertools
import sys
import time

import jax

import rpm_jax as rpm
from benchmarks._report import Benchmark, Column, print_table
from benchmarks._timing import alternate, milliseconds_per_step

COLUMNS = (
    Column("N", "num_sequences", "8"),
    Column("compile s", "compile_seconds", "10.1f"),
    Column("median ms", "median_ms", "10.2f"),
    Column("min ms", "min_ms", "8.2f"),
)


def measure(
    num_sequences: int, num_times: int, num_pixels: int, batch_size: int, rounds: int
) -> dict[str, float]:
    """Seconds to compile and milliseconds per step, inside one compiled loop of 20 steps a round."""
    balls = rpm.datasets.poisson_balls(
        jax.random.key(0), num_sequences=num_sequences, num_steps=num_times, num_pixels=num_pixels
    )
    model = rpm.RPM(
        rpm.priors.gaussian_process(balls.times), rpm.factors.per_view(rpm.networks.PointwiseMLP((20, 20)))
    )
    data = rpm.as_data(balls.views)
    params = jax.jit(model.init)(jax.random.key(1), data)
    steps = 20

    @jax.jit
    def run(params: dict, key: jax.Array) -> dict:
        def step(params: dict, key: jax.Array) -> tuple[dict, None]:
            batch = data.batch(jax.random.randint(key, (batch_size,), 0, num_sequences))
            gradient = jax.grad(lambda p: -rpm.bound(model, p, batch, data).mean())(params)
            return jax.tree.map(lambda p, g: p - 1e-5 * g, params, gradient), None

        return jax.lax.scan(step, params, jax.random.split(key, steps))[0]

    start = time.perf_counter()
    compiled = run.lower(params, jax.random.key(2)).compile()
    compilation = time.perf_counter() - start
    keys = map(jax.random.key, itertools.count())
    jax.block_until_ready(compiled(params, next(keys)))
    (times,) = alternate([lambda: jax.block_until_ready(compiled(params, next(keys)))], rounds)
    return {
        "compile_seconds": compilation,
        **milliseconds_per_step([elapsed.wall for elapsed in times], steps),
    }


def main() -> int:
    """Print a table, and write it as JSON where asked."""
    benchmark = Benchmark("step", __doc__)
    benchmark.number("--num-sequences", [20, 100], "N")
    benchmark.number("--num-times", 50, "T")
    benchmark.number("--num-pixels", 10, "J")
    benchmark.number("--batch-size", 8, "B")
    benchmark.number("--rounds", 7, "rounds of 20 steps")
    arguments = benchmark.parse()
    fixed = (arguments.num_times, arguments.num_pixels, arguments.batch_size, arguments.rounds)
    results = print_table(
        COLUMNS,
        ({"num_sequences": size, **measure(size, *fixed)} for size in arguments.num_sequences),
    )
    return 0 if benchmark.report(arguments, {"results": results}) else 1


if __name__ == "__main__":
    sys.exit(main())
