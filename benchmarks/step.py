"""Time one training step of the temporal model: compilation, and the median over rounds of compiled steps."""

import argparse
import json
import pathlib
import statistics
import sys
import time

import jax
import jax.numpy as jnp

import rpm_jax as rpm


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
            gradient = jax.grad(lambda p: -model.bound(p, batch, data).mean())(params)
            return jax.tree.map(lambda p, g: p - 1e-5 * g, params, gradient), None

        return jax.lax.scan(step, params, jax.random.split(key, steps))[0]

    start = time.perf_counter()
    compiled = run.lower(params, jax.random.key(2)).compile()
    compilation = time.perf_counter() - start
    times = []
    for i in range(rounds + 1):
        start = time.perf_counter()
        jax.block_until_ready(compiled(params, jax.random.key(i)))
        times.append((time.perf_counter() - start) / steps * 1e3)
    return {
        "compile_seconds": compilation,
        "median_ms": statistics.median(times[1:]),
        "min_ms": min(times[1:]),
    }


def main() -> int:
    """Print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--num-sequences", type=int, nargs="+", default=[20, 100], help="N (default: 20 100)")
    parser.add_argument("--num-times", type=int, default=50, help="T (default: %(default)s)")
    parser.add_argument("--num-pixels", type=int, default=10, help="J (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="B (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of 20 steps (default: %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, help="also write the results to this file")
    arguments = parser.parse_args()
    for name in ("num_times", "num_pixels", "batch_size", "rounds"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(arguments, name)}")
    if min(arguments.num_sequences) < 1:
        parser.error(f"--num-sequences must be at least 1, got {min(arguments.num_sequences)}")
    print(f"{'N':>8} {'compile s':>10} {'median ms':>10} {'min ms':>8}")
    results = []
    for size in arguments.num_sequences:
        result = measure(
            size, arguments.num_times, arguments.num_pixels, arguments.batch_size, arguments.rounds
        )
        compilation, median, least = result["compile_seconds"], result["median_ms"], result["min_ms"]
        print(f"{size:>8} {compilation:>10.1f} {median:>10.2f} {least:>8.2f}")
        results.append({"num_sequences": size, **result})
    if arguments.json is not None:
        report = {
            "jax": jax.__version__,
            "devices": [device.device_kind for device in jax.devices()],
            "dtype": str(jnp.zeros(()).dtype),
            "arguments": {key: value for key, value in vars(arguments).items() if key != "json"},
            "results": results,
        }
        try:
            arguments.json.write_text(json.dumps(report, indent=2) + "\n")
        except OSError as error:
            print(f"--json: cannot write {arguments.json}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
