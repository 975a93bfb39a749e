"""KL(true‖model) of pairs with a Gaussian copula, by rpm_jax and by torchRPM's example notebook.

Needs a clone of torchRPM and PyTorch:

    git clone https://github.com/mnonnenm/torchRPM
    pip install -e ".[bench]"
    python -m benchmarks.copula --torchrpm torchRPM

Pairs with exponential marginals of rates 1 and 0.5, the example's data. Both get the same pairs, networks
1-10-10-2 with ReLUs, a learnable normal prior, the conjugate posterior, F_j over all data, and as many steps
of as many pairs; torchRPM its example's loop (Adam with a constant rate of 0.001), rpm_jax `rpm.fit` with its
defaults (inputs standardised, another schedule). Then log p(x) − Σ_j log p0(x_j) is integrated over the
latent by the same quadrature for both, at the nodes of one grid, and both get the true marginals; the
divergence is of the densities restricted to the rectangle between the 0.1 % and 99.9 % quantiles
(`experiments.copula`). A fit of torchRPM whose own bound is not what rpm_jax computes of its natural
parameters is not scored.

"KL", "bound": rpm_jax's, and "theirs": torchRPM's; "tanh KL": rpm_jax's with tanh in the place of ReLUs.
"""

import importlib.metadata
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from benchmarks._processes import Worker, WorkerError, worker_environment
from benchmarks._report import Benchmark, Column, print_table
from benchmarks.torchrpm import TOLERANCE, check_clone, commit_of
from experiments._copula_grid import Grid, divergence, quantile_grid
from experiments._copula_models import build
from experiments._copula_options import RATES, Model
from experiments.copula import true_log_ratio
from rpm_jax import copulas, marginals
from rpm_jax.expfam import DiagonalGaussian

HIDDEN = 10
ACTIVATIONS = ("relu", "tanh")
SAME_BOUND = 10.0 * TOLERANCE
"""Of the difference of the bounds relative to their size, in single precision."""

COLUMNS = (
    Column("seed", "seed", "4"),
    Column("KL", "relu_kl", "8.4f"),
    Column("theirs", "theirs_kl", "8.4f"),
    Column("tanh KL", "tanh_kl", "8.4f"),
    Column("bound", "relu_bound", "8.4f"),
    Column("theirs", "theirs_bound", "8.4f"),
    Column("seconds", "relu_seconds", "8.1f"),
    Column("theirs", "theirs_seconds", "8.1f"),
)


def natural(values: Any) -> DiagonalGaussian:
    """Natural parameters (..., 2) as a family of batch shape (...)."""
    array = jnp.asarray(values)
    return DiagonalGaussian(array[..., :1], array[..., 1:])


def score_theirs(answer: dict[str, Any], grid: Grid, log_true: np.ndarray) -> dict[str, Any]:
    """Scores of torchRPM by its natural parameters.

    Raises:
        ValueError: If its own bound is another one than theirs.
    """
    prior = rpm.priors.Static(natural(answer["prior"]))
    mixture = natural(answer["factors"])[..., None]
    bound = float(rpm.objectives.inner_bound(prior, mixture, mixture).mean())
    if not abs(bound - answer["bound"]) <= SAME_BOUND * max(abs(bound), abs(answer["bound"])):
        raise ValueError(f"bound {answer['bound']!r} nats in torchRPM, {bound!r} by the same parameters here")
    at_nodes = jnp.asarray(answer["at_nodes"])
    rows, columns = np.divmod(np.arange(grid.weights.size), len(grid.nodes[1]))
    factors = natural(jnp.stack([at_nodes[rows, 0], at_nodes[columns, 1]], axis=1))[..., None]
    tolerance = 1e-3 if at_nodes.dtype == jnp.float32 else 1e-8
    found = rpm.objectives.log_likelihood_quadrature(prior, factors, mixture, tolerance=tolerance)
    result = divergence(grid, log_true, found.log_likelihood)
    return {
        "theirs_kl": result.divergence,
        "theirs_mass": result.mass,
        "theirs_bound": bound,
        "theirs_seconds": answer["seconds"],
    }


def score_ours(
    views: Any, activation: str, options: Any, seed: int, grid: Grid, log_true: np.ndarray
) -> dict[str, Any]:
    """The same of rpm_jax with this activation."""
    variant = build("gaussian", Model(hidden=(HIDDEN, HIDDEN), activation=activation), None)  # type: ignore[arg-type]
    steps = options.epochs * (options.num_data // options.batch_size)
    start = time.perf_counter()
    fit = rpm.fit(
        variant.model, views, key=jax.random.key(seed), num_steps=steps, batch_size=options.batch_size
    )
    seconds = time.perf_counter() - start
    result = divergence(grid, log_true, variant.log_ratio(fit.params, grid.pairs, views))
    return {
        f"{activation}_kl": result.divergence,
        f"{activation}_mass": result.mass,
        f"{activation}_bound": float(fit.bound),
        f"{activation}_seconds": seconds,
    }


def measure(options: Any, clone: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Scores of both for every seed of data and model."""
    pair = copulas.joint(
        copulas.Gaussian(copulas.equicorrelation(options.correlation)),
        [marginals.Exponential(rate) for rate in RATES],
    )
    grid = quantile_grid(pair.marginals)
    log_true = true_log_ratio(pair, grid.pairs)
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "views.npz"
        for seed in range(options.seeds):
            views = pair.sample(jax.random.key(seed), (options.num_data,))
            nodes = np.stack(grid.nodes)[..., None].astype(np.float32)
            np.savez(path, views=np.stack(views).astype(np.float32), nodes=nodes)
            row: dict[str, Any] = {"seed": seed}
            for activation in ACTIVATIONS:
                row |= score_ours(views, activation, options, seed, grid, log_true)
            arguments = (str(path), str(clone.resolve()))
            try:
                with Worker(
                    "benchmarks._copula_worker", *arguments, environment=worker_environment()
                ) as worker:
                    answer = worker.ask(
                        seed=seed, epochs=options.epochs, batch_size=options.batch_size, hidden=HIDDEN
                    )
                row |= score_theirs(answer, grid, log_true)
            except (WorkerError, ValueError) as error:
                row["refused"] = f"seed {seed}: torchRPM is not scored: {error}"
                print(row["refused"], file=sys.stderr)
            yield row


def medians(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Medians over the seeds that both were scored for."""
    complete = [row for row in rows if "refused" not in row]
    return {
        column.key: statistics.median(row[column.key] for row in complete)
        for column in COLUMNS[1:]
        if complete
    }


def main(options: Sequence[str] | None = None) -> int:
    """Print a table, and write it as JSON where asked."""
    benchmark = Benchmark("copula", __doc__)
    benchmark.parser.add_argument(
        "--torchrpm", type=pathlib.Path, metavar="CLONE", help="folder of a clone of torchRPM"
    )
    benchmark.number("--seeds", 5, "data sets")
    benchmark.number("--num-data", 1000, "pairs of each")
    benchmark.number("--epochs", 100, "passes over them")
    benchmark.number("--batch-size", 32, "pairs per step")
    benchmark.number("--correlation", -0.85, "of the copula", least=None)
    arguments = benchmark.parse(options)
    benchmark.require_at_least(arguments, arguments.batch_size, "num_data")
    if not -1 < arguments.correlation < 1:
        benchmark.refuse(f"--correlation must lie between -1 and 1, got {arguments.correlation}")
    clone = check_clone(benchmark.parser, arguments.torchrpm)
    jax.config.update("jax_platforms", "cpu")
    rows = print_table(COLUMNS, measure(arguments, clone))
    middle = medians(rows)
    print("medians: " + ", ".join(f"{key} {value:.4f}" for key, value in middle.items()))
    peer = {"torch": importlib.metadata.version("torch"), "torchrpm_commit": commit_of(clone)}
    written = benchmark.report(arguments, {**peer, "medians": middle, "results": rows})
    return 0 if written and not any("refused" in row for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
