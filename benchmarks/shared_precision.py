"""Times of mixtures of Gaussians with one precision: as products of matrices, and pair by pair.

Value and gradient of log ∫ F_jt(z) exp⟨δ_jt^n, t(z)⟩ dz in float32, N components, B data, J views, T sites.
"plain" is what factors with precisions of their own take, "shared" what `precision="shared"` does; they take
turns, and are compared first. The functions are those of `rpm_jax.normalizers`.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._report import Benchmark, Column, print_table
from benchmarks._timing import alternate
from rpm_jax.expfam import DiagonalGaussian, Gaussian
from rpm_jax.normalizers import ArrayComponents, SharedPrecision, log_tilted_mixture

FAMILIES: dict[str, Any] = {"diagonal": DiagonalGaussian, "full": Gaussian}

TOLERANCE = 1e-4
"""Of the relative difference of the summed log-integrals."""

COLUMNS = (
    Column("sites", "family", "<9"),
    Column("K", "size", "3"),
    Column("plain ms", "plain_ms", "10.1f"),
    Column("shared ms", "shared_ms", "10.1f"),
    Column("plain / shared", "ratio", "15.1f"),
)


def make_arguments(family: str, size: int, shape: tuple[int, int, int, int]) -> tuple[Any, ...]:
    """η1 of components, their shared η2, and η1 and η2 of tilts; numbers N, B, J and T in `shape`."""
    random = np.random.default_rng(0)
    number, batch, views, sites = shape

    def precisions(*leading: int) -> np.ndarray:
        if family == "diagonal":
            return np.exp(random.normal(size=(*leading, size)))
        root = random.normal(size=(*leading, size, size))
        return root @ np.swapaxes(root, -1, -2) + np.eye(size)

    arrays = (
        random.normal(size=(number, views, sites, size)),
        -0.5 * precisions(views, sites),
        random.normal(size=(batch, views, sites, size)),
        -0.5 * precisions(batch, views, sites),
    )
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def measure(family: str, size: int, shape: tuple[int, int, int, int], rounds: int) -> dict[str, Any]:
    """Milliseconds of both ways.

    Raises:
        ArithmeticError: If the results differ.
    """
    kind = FAMILIES[family]
    arguments = make_arguments(family, size, shape)

    def plain(linear: Any, quadratic: Any, *tilts: Any) -> Any:
        natural = kind(linear, jnp.broadcast_to(quadratic, (len(linear), *quadratic.shape)))
        return log_tilted_mixture(ArrayComponents(natural), kind(*tilts)).sum()

    def shared(linear: Any, quadratic: Any, *tilts: Any) -> Any:
        natural = kind(linear, jnp.broadcast_to(quadratic, (len(linear), *quadratic.shape)))
        own = SharedPrecision(ArrayComponents(natural), kind(jnp.zeros_like(linear[0]), quadratic))
        return log_tilted_mixture(own, kind(*tilts)).sum()

    functions = [jax.jit(jax.value_and_grad(way, argnums=(0, 1, 2, 3))) for way in (plain, shared)]

    def run_of(function: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(function(*arguments))

    runs = [run_of(function) for function in functions]
    values = [float(run()[0]) for run in runs]
    if not abs(values[0] - values[1]) <= TOLERANCE * abs(values[0]):
        raise ArithmeticError(
            f"{family}, K = {size}: the results differ, {values[0]} and {values[1]}; not timed"
        )
    medians = [statistics.median(t.wall for t in times) * 1e3 for times in alternate(runs, rounds)]
    return {
        "family": family,
        "size": size,
        "plain_ms": medians[0],
        "shared_ms": medians[1],
        "ratio": medians[0] / medians[1],
    }


def main(options: Sequence[str] | None = None) -> int:
    """Print a table, and write it as JSON where asked."""
    benchmark = Benchmark("shared_precision", __doc__)
    benchmark.number("--sizes", [1, 2, 4], "K")
    benchmark.choices("--families", FAMILIES, "which sites (default: both)")
    benchmark.number("--components", 1000, "N")
    benchmark.number("--batch", 8, "B")
    benchmark.number("--views", 10, "J")
    benchmark.number("--sites", 50, "T")
    benchmark.number("--rounds", 5, "")
    arguments = benchmark.parse(options)
    shape = (arguments.components, arguments.batch, arguments.views, arguments.sites)

    def rows() -> Iterator[dict[str, Any]]:
        for family in arguments.families:
            for size in arguments.sizes:
                yield measure(family, size, shape, arguments.rounds)

    try:
        results = print_table(COLUMNS, rows())
    except ArithmeticError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if benchmark.report(arguments, {"results": results}) else 1


if __name__ == "__main__":
    sys.exit(main())
