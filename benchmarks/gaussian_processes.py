"""Gaussian processes as Markov chains against dense covariances: steps of a model, smoothing, whole fits.

`--what` says what is measured. `steps`: a training step (bound, gradient, update) of a model of N sequences
with J views and two latents, dense and in O(T). `smoothing`: conditioning the prior on B sequences, alone and
with the gradient of log-normaliser and marginals in potentials and length scales, up to long sequences; drawn
with `--figure`. `crossover`: the same for short ones, by number of states. `inducing`: the same of a kernel
without states, of length scale T/20, dense and by inducing points. `fit`: seconds of `fit_seeds`.
"""

import itertools
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from benchmarks._figure import new_figure
from benchmarks._report import Benchmark, Column, print_table
from benchmarks._timing import alternate, milliseconds_per_step
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.priors import solvers
from rpm_jax.priors.kernels import RBF, Kernel, Matern, num_states

COLUMNS = (
    Column("what", "what", "<10"),
    Column("solver", "solver", "<8"),
    Column("states", "states", "6"),
    Column("T", "num_sites", "8"),
    Column("median ms", "median_ms", "10.2f"),
    Column("min ms", "min_ms", "10.2f"),
    Column("buffers MiB", "buffers", "11.1f"),
    Column("compile s", "compile_seconds", "9.1f"),
)
SOLVERS: dict[str, solvers.Solver] = {"dense": solvers.dense(), "markov": solvers.markov()}


def movements(num_sequences: int, num_sites: int, num_views: int) -> tuple[np.ndarray, ...]:
    """Views of two smooth latents at times 0, 1, …: noisy images of two dimensions."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 2 * np.pi, size=(num_sequences, 1, 2))
    latents = np.sin(np.arange(num_sites)[:, None] * (0.05, 0.13) + phase)
    maps = rng.normal(size=(num_views, 2, 2))
    noise = rng.normal(size=(num_views, num_sequences, num_sites, 2))
    return tuple(
        (np.tanh(latents @ m) + 0.3 * e).astype(np.float32) for m, e in zip(maps, noise, strict=True)
    )


def model_of(solver: solvers.Solver, num_sites: int) -> rpm.RPM:
    """Two latents under Matérn-3/2 processes."""
    times = np.arange(num_sites, dtype=np.float32)
    prior = rpm.priors.gaussian_process(times, Matern(1.5, 10.0), num_latents=2, solver=solver)
    return rpm.RPM(prior, rpm.factors.per_view(rpm.networks.PointwiseMLP((20, 20))))


def compiled_step(name: str, num_sequences: int, num_sites: int, num_views: int, batch_size: int) -> dict:
    """A step of a model, of which `run` makes one."""
    model = model_of(SOLVERS[name], num_sites)
    data = rpm.as_data(movements(num_sequences, num_sites, num_views))
    params = jax.jit(model.init)(jax.random.key(1), data)

    @jax.jit
    def step(params: dict, key: jax.Array) -> dict:
        batch = data.batch(jax.random.randint(key, (batch_size,), 0, num_sequences))
        gradient = jax.grad(lambda p: -rpm.bound(model, p, batch, data).mean())(params)
        return jax.tree.map(lambda p, g: p - 1e-5 * g, params, gradient)

    keys = map(jax.random.key, itertools.count())
    return _compiled(
        step, lambda: (params, next(keys)), what="step", solver=name, num_sites=num_sites, states=2
    )


def compiled_smoothing(
    solver: solvers.Solver,
    kernel: Kernel,
    num_sites: int,
    batch_size: int,
    gradient: bool,
    num_latents: int = 2,
) -> dict:
    """Conditioning, of which `run` makes one."""
    rng = np.random.default_rng(0)
    shape = (batch_size, num_sites, num_latents)
    evidence = rng.gamma(1.0, size=shape) * (rng.random(shape) > 0.3)
    potentials = DiagonalGaussian(
        jnp.asarray(rng.normal(size=shape), jnp.float32), jnp.asarray(-0.5 * evidence, jnp.float32)
    )
    times = np.arange(num_sites, dtype=np.float32)
    spec = rpm.priors.gaussian_process(times, kernel, num_latents=num_latents, solver=solver)

    def total(params: dict, potentials: DiagonalGaussian) -> jax.Array:
        posterior = spec.apply(params).condition(potentials)
        moments = jnp.square(posterior.mean) + jnp.square(posterior.standard_deviation)
        return jnp.sum(posterior.log_normalizer) + jnp.sum(moments)

    function = jax.jit(jax.grad(total, (0, 1)) if gradient else total)
    params = spec.init(jax.random.key(0))
    what = "gradient" if gradient else "smoothing"
    about = {"what": what, "solver": type(solver).__name__.lower(), "num_sites": num_sites}
    return _compiled(function, lambda: (params, potentials), states=num_states(kernel) or 0, **about)


def _compiled(function: Any, arguments: Any, **about: Any) -> dict:
    start = time.perf_counter()
    program = function.lower(*arguments()).compile()
    about["compile_seconds"] = time.perf_counter() - start
    about["buffers"] = program.memory_analysis().temp_size_in_bytes / 2**20
    run = lambda: jax.block_until_ready(program(*arguments()))  # noqa: E731
    run()
    return {"run": run, **about}


def in_turns(cases: list[dict], rounds: int) -> Iterator[dict[str, Any]]:
    """Rows of a table of cases that take turns."""
    for case, times in zip(cases, alternate([case["run"] for case in cases], rounds), strict=True):
        about = {name: value for name, value in case.items() if name != "run"}
        yield {**about, **milliseconds_per_step([elapsed.wall for elapsed in times], 1)}


def measure(arguments: Any) -> Iterator[dict[str, Any]]:
    """What was asked for."""
    dense_sizes = [size for size in arguments.num_sites if size <= arguments.most_dense]
    if "steps" in arguments.what:
        for size in arguments.num_sites:
            names = ["markov", *(["dense"] if size in dense_sizes else [])]
            fixed = (arguments.num_sequences, size, arguments.num_views, arguments.batch_size)
            yield from in_turns([compiled_step(name, *fixed) for name in names], arguments.rounds)
    if "smoothing" in arguments.what:
        for size, gradient in itertools.product(arguments.long, (False, True)):
            kernel = Matern(1.5, 10.0)
            case = compiled_smoothing(SOLVERS["markov"], kernel, size, arguments.long_batch, gradient)
            yield from in_turns([case], arguments.rounds)
    if "crossover" in arguments.what:
        for order, size in itertools.product((0.5, 1.5, 2.5), arguments.short):
            kernel = Matern(order, 10.0)
            cases = [
                compiled_smoothing(solver, kernel, size, arguments.batch_size, True)
                for solver in SOLVERS.values()
            ]
            yield from in_turns(cases, arguments.rounds)
    if "inducing" in arguments.what:
        for size, gradient in itertools.product(arguments.inducing_sites, (False, True)):
            cases = [
                compiled_smoothing(solver, RBF(size / 20), size, arguments.inducing_batch, gradient)
                for solver in (solvers.inducing(arguments.inducing), solvers.dense())
            ]
            yield from in_turns(cases, arguments.rounds)
    if "fit" in arguments.what:
        yield from fits(arguments)


def fits(arguments: Any) -> Iterator[dict[str, Any]]:
    """`fit_seeds` with compilation, which is part of what a user waits for."""
    data = movements(arguments.num_sequences, arguments.fit_sites, arguments.num_views)
    keys = jax.random.split(jax.random.key(0), arguments.seeds)
    for name in arguments.fit_solvers:
        model = model_of(SOLVERS[name], arguments.fit_sites)
        start = time.perf_counter()
        rpm.fit_seeds(model, data, keys=keys, num_steps=arguments.steps, batch_size=arguments.batch_size)
        seconds = time.perf_counter() - start
        yield {
            "what": "fit",
            "solver": name,
            "num_sites": arguments.fit_sites,
            "states": 2,
            "median_ms": seconds * 1e3,
        }


def draw(content: Mapping[str, Any]) -> Any:
    """Time and memory of smoothing against T."""
    figure, axes = new_figure(2)
    for what in ("smoothing", "gradient"):
        rows = [row for row in content["results"] if row["what"] == what]
        sizes = [row["num_sites"] for row in rows]
        axes[0].loglog(sizes, [row["median_ms"] for row in rows], "o-", label=what)
        axes[1].loglog(sizes, [row["buffers"] for row in rows], "o-", label=what)
    for axis, label in zip(axes, ("milliseconds", "buffers, MiB"), strict=True):
        axis.set_xlabel("T")
        axis.set_ylabel(label)
        axis.legend()
    return figure


def main() -> int:
    """Print a table, and write it as JSON where asked."""
    benchmark = Benchmark("gaussian_processes", __doc__, draw)
    benchmark.choices("--what", ("steps", "smoothing", "crossover", "inducing", "fit"), "what is measured")
    benchmark.number("--num-sites", [100, 250, 400, 1000], "T of steps")
    benchmark.number("--most-dense", 1000, "the longest T of dense covariances")
    benchmark.number("--long", [100, 1000, 10_000, 100_000], "T of smoothing")
    benchmark.number("--long-batch", 8, "B of smoothing")
    benchmark.number("--short", [20, 30, 40, 50, 60, 80, 100, 150], "T around the crossover")
    benchmark.number("--inducing-sites", [500, 2000], "T of inducing points and of dense covariances")
    benchmark.number("--inducing-batch", 2, "B of these")
    benchmark.number("--inducing", 60, "M")
    benchmark.number("--num-sequences", 40, "N")
    benchmark.number("--num-views", 3, "J")
    benchmark.number("--batch-size", 32, "B")
    benchmark.number("--fit-sites", 100, "T of the fits")
    benchmark.number("--seeds", 4, "of the fits")
    benchmark.number("--steps", 1500, "of each fit")
    benchmark.choices("--fit-solvers", ("markov", "dense"), "of the fits")
    benchmark.number("--rounds", 5, "rounds")
    arguments = benchmark.parse()
    results = print_table(COLUMNS, measure(arguments))
    return 0 if benchmark.report(arguments, {"results": results}) else 1


if __name__ == "__main__":
    sys.exit(main())
