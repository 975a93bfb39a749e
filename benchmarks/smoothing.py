"""Times and memory of smoothing a linear-Gaussian chain, alone and beside dynamax and cuthbert.

The work is a chain of K latents with a full A, B sequences of T sites with a full K × K precision each: the
log-normaliser and all smoothed means and covariances ("value"), and with them the gradient of a function of
them all in A, Q and every potential ("gradient"), in float32. The peers are measured where they are installed
(pip install dynamax==1.0.3 cuthbert==0.1.1); they observe the states themselves with noise of the potentials'
covariance, which is prepared before. Smoothed means are compared first.

The second table is that of rpm_jax over T. "MiB" is the memory of the compiled program beyond its arguments
and results, and "c" the same in units of B T K² numbers.
"""

import importlib.util
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks._figure import new_figure
from benchmarks._report import Benchmark, Column, print_table
from benchmarks._timing import alternate, timed
from rpm_jax.priors import chains

MIB = 2**20

TOLERANCE = 1e-3
"""Of the smoothed means of the peers, whose covariances are in other forms."""

COLUMNS = (
    Column("who", "who", "<9"),
    Column("T", "steps", "7"),
    Column("K", "latents", "3"),
    Column("B", "batch", "4"),
    Column("value ms", "value_ms", "9.1f"),
    Column("gradient ms", "gradient_ms", "11.1f"),
    Column("MiB", "value_mib", "7.1f"),
    Column("with gradient", "gradient_mib", "13.1f"),
    Column("c", "gradient_c", "5.1f"),
    Column("compiled s", "compiled", "10.1f"),
)

Moments = tuple[Array, Array, Array]


def rpm_jax_moments(transition: Array, noise: Array, linear: Array, precision: Array) -> Moments:
    """Log-normalisers, means and covariances from natural parameters."""
    size = transition.shape[0]
    chain = chains.GaussianChain(
        jnp.zeros(size), jnp.eye(size), transition[None], jnp.zeros((1, size)), noise[None]
    )
    smoothed = chains.smooth(chain, linear, precision)
    return smoothed.log_normalizer, smoothed.mean, smoothed.covariance


def dynamax_moments(transition: Array, noise: Array, observed: Array, covariance: Array) -> Moments:
    """The same by dynamax's smoother, of observations and their noise's covariances."""
    from dynamax.linear_gaussian_ssm.inference import lgssm_smoother, make_lgssm_params

    size = transition.shape[0]

    def one(observed: Array, covariance: Array) -> Moments:
        params = make_lgssm_params(
            jnp.zeros(size), jnp.eye(size), transition, noise, jnp.eye(size), covariance
        )
        smoothed = lgssm_smoother(params, observed)
        return smoothed.marginal_loglik, smoothed.smoothed_means, smoothed.smoothed_covariances

    return jax.vmap(one)(observed, covariance)


def cuthbert_moments(transition: Array, noise: Array, observed: Array, factor: Array) -> Moments:
    """The same by cuthbert's square-root smoother, of observations and factors of their noise's covariances.

    Its first state comes before the first observation; it moves by the identity without noise.
    """
    import cuthbert
    from cuthbert.gaussian import kalman

    size, steps = transition.shape[0], observed.shape[1]
    root = jnp.linalg.cholesky(noise)
    zero, identity = jnp.zeros(size), jnp.eye(size)
    is_first = jnp.arange(steps) == 0

    def dynamics(inputs: Any) -> tuple[Array, Array, Array]:
        _, _, first = inputs
        return jnp.where(first, identity, transition), zero, jnp.where(first, 0.0, root)

    def observation(inputs: Any) -> tuple[Array, Array, Array, Array]:
        observed, factor, _ = inputs
        return identity, zero, factor, observed

    def one(observed: Array, factor: Array) -> Moments:
        inference = kalman.build_filter(zero, identity, dynamics, observation)
        filtered = cuthbert.filter(inference, (observed, factor, is_first), inference.init_prepare())
        smoothed = cuthbert.smoother(kalman.build_smoother(dynamics), filtered)
        roots = smoothed.chol_cov[1:]
        covariance = roots @ jnp.swapaxes(roots, -1, -2)
        return filtered.log_normalizing_constant[-1], smoothed.mean[1:], covariance

    return jax.vmap(one)(observed, factor)


PEERS: dict[str, Callable[..., Moments]] = {"dynamax": dynamax_moments, "cuthbert": cuthbert_moments}


def make_arguments(latents: int, steps: int, batch: int) -> dict[str, tuple[Array, ...]]:
    """What each takes, all of one problem: A of singular values 0.95, precisions of condition about 30."""
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(latents, latents)))
    root = rng.normal(size=(batch, steps, latents, latents + 2)) / np.sqrt(latents)
    precision = root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(latents)
    observed = rng.normal(size=(batch, steps, latents))
    covariance = np.linalg.inv(precision)
    chain = (0.95 * rotation, (1 - 0.95**2) * np.eye(latents))
    each = {
        "rpm_jax": (*chain, np.einsum("btij,btj->bti", precision, observed), precision),
        "dynamax": (*chain, observed, covariance),
        "cuthbert": (*chain, observed, np.linalg.cholesky(covariance)),
    }
    return {who: tuple(jnp.asarray(x, jnp.float32) for x in arrays) for who, arrays in each.items()}


def total(moments: Callable[..., Moments]) -> Callable[..., Array]:
    """A function of everything that a bound takes from a smoother."""

    def value(*arguments: Array) -> Array:
        log_normalizer, mean, covariance = moments(*arguments)
        return jnp.sum(log_normalizer) + jnp.sum(jnp.square(mean)) + jnp.sum(covariance)

    return value


def measure(
    who: Sequence[str], latents: int, steps: int, batch: int, rounds: int
) -> Iterator[dict[str, Any]]:
    """A row for each, all taking turns.

    Raises:
        ArithmeticError: If their smoothed means differ.
    """
    arguments = make_arguments(latents, steps, batch)
    functions = {"rpm_jax": rpm_jax_moments, **PEERS}
    programs, rows = [], []
    means = {}
    for name in who:
        own = arguments[name]
        one = jax.jit(functions[name])
        gradient = jax.jit(jax.grad(total(functions[name]), argnums=(0, 1, 2, 3)))
        row: dict[str, Any] = {
            "who": name,
            "steps": steps,
            "latents": latents,
            "batch": batch,
            "compiled": 0.0,
        }
        for kind, function in (("value", one), ("gradient", gradient)):
            lowered = function.lower(*own)
            compiled: list[Any] = []
            row["compiled"] += timed(lambda c=compiled, f=lowered: c.append(f.compile())).wall  # type: ignore[misc]
            memory = compiled[0].memory_analysis()
            row[f"{kind}_mib"] = memory.temp_size_in_bytes / MIB
            row[f"{kind}_c"] = memory.temp_size_in_bytes / (4 * batch * steps * latents**2)
            programs.append(lambda c=compiled[0], a=own: jax.block_until_ready(c(*a)))
        means[name] = programs[-2]()[1]
        programs[-1]()
        rows.append(row)
    difference = max(float(jnp.max(jnp.abs(means[name] - means[who[0]]))) for name in who)
    if not difference <= TOLERANCE:
        raise ArithmeticError(
            f"the smoothed means differ by {difference:.1e}, at most {TOLERANCE:.0e} expected"
        )
    times = alternate(programs, rounds)
    for number, row in enumerate(rows):
        for kind, passed in zip(("value", "gradient"), times[2 * number : 2 * number + 2], strict=True):
            row[f"{kind}_ms"] = statistics.median(elapsed.wall for elapsed in passed) * 1e3
        yield row


def draw(report: Mapping[str, Any]) -> Any:
    """Time and memory over T."""
    figure, axes = new_figure(2)
    rows = report["lengths"]
    steps = [row["steps"] for row in rows]
    for kind in ("value", "gradient"):
        axes[0].loglog(steps, [row[f"{kind}_ms"] for row in rows], marker="o", label=kind)
        axes[1].loglog(steps, [row[f"{kind}_mib"] for row in rows], marker="o", label=kind)
    for axis, label in zip(axes, ("milliseconds", "MiB beyond arguments and results"), strict=True):
        axis.set_xlabel("T")
        axis.set_ylabel(label)
        axis.legend()
    return figure


def main(options: Sequence[str] | None = None) -> int:
    """Print both tables, and write and draw them where asked."""
    installed = [name for name in PEERS if importlib.util.find_spec(name) is not None]
    benchmark = Benchmark("smoothing", __doc__, draw)
    benchmark.number("--steps", 1000, "T beside the peers")
    benchmark.number("--latents", 8, "K")
    benchmark.number("--batch", 32, "B beside the peers")
    benchmark.number("--lengths", [100, 1000, 10_000, 100_000], "T of the second table", none=True)
    benchmark.number("--length-batch", 2, "B of the second table")
    benchmark.number("--rounds", 5, "")
    benchmark.choices("--peers", PEERS, "which peers (default: those installed)", none=True)
    arguments = benchmark.parse(options)
    peers = [name for name in arguments.peers if name in installed]
    for name in arguments.peers:
        if name not in installed:
            print(f"{name} is not installed: left out", file=sys.stderr)
    latents, rounds = arguments.latents, arguments.rounds
    try:
        beside = print_table(
            COLUMNS, measure(["rpm_jax", *peers], latents, arguments.steps, arguments.batch, rounds)
        )
        print()
        lengths = print_table(
            COLUMNS,
            (
                row
                for steps in arguments.lengths
                for row in measure(["rpm_jax"], latents, steps, arguments.length_batch, rounds)
            ),
        )
    except ArithmeticError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if benchmark.report(arguments, {"results": beside, "lengths": lengths}) else 1


if __name__ == "__main__":
    sys.exit(main())
