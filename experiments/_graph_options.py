"""Options of the experiment on graphs, and their checks."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

import rpm_jax as rpm
from experiments import _cli
from experiments._cli import OptionError, Run, default_of, optional

BATCH_SIZE = 4
"""Graphs of each view per step."""

LIBRARY_DEFAULTS: dict[str, Any] = {
    "hidden": rpm.networks.GraphNetwork().hidden,
    "learning_rate": rpm.train.LEARNING_RATES["networks"],
    "schedule": default_of(rpm.fit, "schedule"),
}
"""What the library does where an option is not given."""


def _library(text: str, name: str, metavar: str) -> Any:
    return _cli.library(text, LIBRARY_DEFAULTS[name], metavar)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Graphs of nodes on a circle."""

    num_graphs: Annotated[int, tyro.conf.arg(aliases=["-N"])] = default_of(
        rpm.datasets.circle_graphs, "num_graphs"
    )
    """N, graphs of each view to fit."""
    num_held_out: int = 20
    """Graphs of each view that are held out, of the same nodes."""
    num_nodes: Annotated[int, tyro.conf.arg(aliases=["-T"])] = default_of(
        rpm.datasets.circle_graphs, "num_nodes"
    )
    """T, nodes of every graph."""
    num_views: Annotated[int, tyro.conf.arg(aliases=["-J"])] = default_of(
        rpm.datasets.circle_graphs, "num_views"
    )
    """J, graphs that are drawn together."""
    width: float = default_of(rpm.datasets.circle_graphs, "width")
    """Angular distance, in radians, within which nodes are often connected."""
    peak: float = default_of(rpm.datasets.circle_graphs, "peak")
    """Probability of an edge between nodes at one place."""
    background: float = default_of(rpm.datasets.circle_graphs, "background")
    """Probability of an edge between nodes far apart."""
    spacing: Literal["stratified", "independent"] = default_of(rpm.datasets.circle_graphs, "spacing")
    """Nodes spread evenly over the circle, each at random in an arc of its own, or independently."""
    data_seed: int = 0
    """Seed of the angles and the edges."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The recognition-parametrised model."""

    rounds: int = rpm.networks.GraphNetwork().num_rounds
    """Rounds of message passing."""
    features: int = rpm.networks.GraphNetwork().num_features
    """Numbers in a node's learned embedding."""
    hidden: Annotated[
        tuple[int, ...] | None, _library("Units of each hidden layer.", "hidden", "UNITS ...")
    ] = None
    shared: bool = True
    """One network for all views, or one for each."""
    pooled: bool = True
    """Average F over nodes as well as over graphs."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How it is fitted."""

    num_steps: int = 500
    """Optimisation steps."""
    batch_size: Annotated[
        int | None, optional("Graphs of each view per step.", f"{BATCH_SIZE}, or all of fewer", metavar="INT")
    ] = None
    components: Literal["data", "batch"] = "batch"
    """What F averages over: all graphs, or those of the minibatch, of which every node is a component."""
    learning_rate: Annotated[
        float | None, _library("Peak learning rate of the network.", "learning_rate", "FLOAT")
    ] = None
    schedule: Annotated[
        Literal["cosine", "constant"] | None,
        _library("Course of the learning rate.", "schedule", "{cosine,constant}"),
    ] = None
    model_seed: int = 0
    """Seed of the initial parameters and the minibatches."""
    seeds: int = 4
    """Runs from different seeds, of which the bound on the training data chooses one."""


@dataclass(frozen=True, kw_only=True)
class Options(_cli.Options):
    """All options."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    run: Run = field(default_factory=Run)


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit, alone or together."""
    data, training = options.data, options.training
    _cli.require_integers(options, ("num_nodes",), 4)
    _cli.require_integers(options, ("num_views",), 2)
    sizes = ("num_graphs", "num_held_out", "rounds", "features", "hidden")
    _cli.require_integers(options, (*sizes, "num_steps", "batch_size", "seeds"), 1)
    _cli.require_integers(options, ("data_seed", "model_seed"), 0)
    _cli.require_positive(options, ("learning_rate",))
    if training.batch_size is not None and training.batch_size > data.num_graphs:
        raise OptionError(
            f"--batch-size must be at most --num-graphs {data.num_graphs}, got {training.batch_size}"
        )
