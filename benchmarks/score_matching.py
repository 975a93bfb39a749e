"""Time one training step of score matching with an implicit model, and the same step in torchRPM.

N data, J one-dimensional views, a one-dimensional Gaussian latent, networks 1-10-10-2 with tanh, exponential
marginals. A step is the loss of all data, its gradient and an Adam update. "exact" differentiates view by
view (`ImplicitRPM.score_matching`), "generic" knows nothing of views (`objectives.score_matching`), "sliced"
takes one random projection. "in a loop" makes 20 steps a call, as `rpm_jax.fit` does. torchRPM's step is its
`training_step_sm`, run from a clone of its repository.
"CPU ms" is the least time of all cores together; unlike the others it hardly depends on what else is running.
"""

import importlib
import importlib.util
import os
import pathlib
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

COLUMNS = (
    Column("variant", "variant", "<28"),
    Column("first s", "first_call_seconds", "8.1f"),
    Column("median ms", "median_ms", "10.2f"),
    Column("min ms", "min_ms", "8.2f"),
    Column("CPU ms", "processor_ms", "8.2f"),
)

HIDDEN, LEARNING_RATE, LOOP = 10, 1e-3, 20


def make_model(num_views: int) -> rpm.ImplicitRPM:
    """One latent, tanh networks, exponential marginals with rates 1, 1/2, 1/3, ..."""
    prior = rpm.priors.static(rpm.expfam.DiagonalGaussian(jnp.zeros(1), -0.5 * jnp.ones(1)), learnable=True)
    network = rpm.networks.MLP((HIDDEN, HIDDEN), activation=nn.tanh)
    marginals = [rpm.marginals.Exponential(1.0 / (j + 1)) for j in range(num_views)]
    return rpm.ImplicitRPM(prior, rpm.factors.per_view(network), marginals)


Run = tuple[Callable[[], object], int]
"""A function that makes some steps, and how many."""


def jax_runs(views: tuple[Array, ...]) -> dict[str, Run]:
    """Steps from the same parameters, one by one and in a loop."""
    model = make_model(len(views))
    optimizer = optax.adam(LEARNING_RATE)
    params = jax.jit(model.init)(jax.random.key(1), rpm.as_data(views))

    def generic(params: Any) -> Array:
        return rpm.objectives.score_matching(lambda views: model.log_density(params, views), views)

    losses: dict[str, Callable[[Any], Array]] = {
        "exact": lambda params: model.score_matching(params, views),
        "generic": generic,
        "sliced": lambda params: model.sliced_score_matching(params, views, jax.random.key(0)),
    }

    def run(loss: Callable[[Any], Array], number: int) -> Run:
        def step(state: Any, _: None = None) -> Any:
            params, moments = state
            value, gradient = jax.value_and_grad(lambda params: jnp.mean(loss(params)))(params)
            updates, moments = optimizer.update(gradient, moments)
            return (optax.apply_updates(params, updates), moments), value

        state = (params, optimizer.init(params))
        steps = jax.jit(step if number == 1 else lambda state: jax.lax.scan(step, state, length=number))
        return lambda: jax.block_until_ready(steps(state)), number

    return {
        f"rpm_jax, {name}{way}": run(loss, number)
        for name, loss in losses.items()
        for way, number in (("", 1), (", in a loop", LOOP))
    }


def torchrpm_run(clone: pathlib.Path, views: tuple[Array, ...], threads: int) -> Run:
    """One step of torchRPM's score matching on the same data."""
    torch = importlib.import_module("torch")
    sys.path.insert(0, str(clone))
    peer = importlib.import_module("implicitRPM")
    torch.set_num_threads(threads)
    torch.manual_seed(1)

    def outputs(x: Any) -> Any:
        return torch.cat([x[:, :1], -torch.nn.functional.softplus(x[:, 1:])], dim=-1)

    class Network(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            linear, tanh = torch.nn.Linear, torch.nn.Tanh
            layers = (linear(1, HIDDEN), tanh(), linear(HIDDEN, HIDDEN), tanh(), linear(HIDDEN, 2))
            self.layers = torch.nn.Sequential(*layers)

        def forward(self, x: Any) -> Any:
            return outputs(self.layers(x))

    log_partition = peer.LogPartition_gauss(d=1, D=2)
    prior = peer.ImplicitPrior_ExpFam(torch.zeros(1, 2), log_partition, outputs)
    exponential = torch.distributions.exponential.Exponential
    model = peer.ImplicitRPM(
        [peer.ImplicitRecognitionFactor_ExpFam(Network(), log_partition) for _ in views],
        prior,
        [peer.ObservedMarginal(exponential(rate=1.0 / (j + 1))) for j in range(len(views))],
    )
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    batch = [torch.tensor(jax.device_get(view)) for view in views]

    def step() -> object:
        optimizer.zero_grad()
        loss = model.training_step_sm(batch, 0)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, 1


def measure(runs: dict[str, Run], rounds: int) -> list[dict[str, Any]]:
    """Milliseconds per step of every variant, which take turns, so that all meet the same load."""
    first = [timed(run).wall for run, _ in runs.values()]
    times = alternate([run for run, _ in runs.values()], rounds)
    return [
        {
            "variant": name,
            "first_call_seconds": first_call,
            **milliseconds_per_step([elapsed.wall for elapsed in each], number),
            "processor_ms": min(elapsed.processor for elapsed in each) / number * 1e3,
        }
        for (name, (_, number)), first_call, each in zip(runs.items(), first, times, strict=True)
    ]


def main() -> int:
    """Print a table, and write it as JSON where asked."""
    benchmark = Benchmark("score_matching", __doc__)
    benchmark.number("--size", 1000, "N")
    benchmark.number("--views", 2, "J", least=2)
    benchmark.number("--rounds", 40, "calls of each")
    benchmark.parser.add_argument(
        "--torchrpm", type=pathlib.Path, metavar="CLONE", help="also time torchRPM, of which this is a clone"
    )
    benchmark.number("--threads", os.cpu_count() or 1, "of PyTorch")
    arguments = benchmark.parse()
    clone = arguments.torchrpm
    if clone is not None:
        if importlib.util.find_spec("torch") is None:
            benchmark.refuse(
                '--torchrpm needs PyTorch, which is not installed; run: pip install -e ".[bench]"'
            )
        if not (clone / "implicitRPM.py").is_file():
            benchmark.refuse(f"--torchrpm must be a clone of torchRPM with implicitRPM.py, got {clone}")
    keys = jax.random.split(jax.random.key(0), arguments.views)
    views = tuple((j + 1) * jax.random.exponential(key, (arguments.size, 1)) for j, key in enumerate(keys))
    results = measure(jax_runs(views), arguments.rounds)
    peer = {}
    if clone is not None:
        # On its own, since PyTorch's idle threads go on spinning for a while.
        results += measure({"torchRPM": torchrpm_run(clone, views, arguments.threads)}, arguments.rounds)
        peer["torch"] = importlib.import_module("torch").__version__
    print_table(COLUMNS, results)
    return 0 if benchmark.report(arguments, {"peer": peer, "results": results}) else 1


if __name__ == "__main__":
    sys.exit(main())
