"""Options of the experiment on graphs, and their checks."""

from typing import Literal

import rpm_jax as rpm
from experiments import _vocabulary as vocabulary
from experiments._options import AllOptions, defaults_of, group, option

BATCH_SIZE = 4
"""Graphs of each view per step."""

GRAPHS = defaults_of(rpm.datasets.circle_graphs)
NETWORK = rpm.networks.GraphNetwork()


@group
class Data:
    """Graphs of nodes on a circle."""

    num_graphs: int = option(GRAPHS["num_graphs"], "N, graphs of each view to fit.", alias="-N", least=1)
    num_held_out: int = option(20, "Graphs of each view that are held out, of the same nodes.", least=1)
    num_nodes: int = option(GRAPHS["num_nodes"], "T, nodes of every graph.", alias="-T", least=4)
    num_views: int = option(GRAPHS["num_views"], "J, graphs that are drawn together.", alias="-J", least=2)
    width: float = option(
        GRAPHS["width"], "Angular distance, in radians, within which nodes are often connected."
    )
    peak: float = option(GRAPHS["peak"], "Probability of an edge between nodes at one place.")
    background: float = option(GRAPHS["background"], "Probability of an edge between nodes far apart.")
    spacing: Literal["stratified", "independent"] = option(
        GRAPHS["spacing"],
        "Nodes spread evenly over the circle, each at random in an arc of its own, or independently.",
    )
    data_seed: int = vocabulary.data_seed("the angles and the edges")


@group
class Model:
    """The recognition-parametrised model."""

    rounds: int = option(NETWORK.num_rounds, "Rounds of message passing.", least=1)
    features: int = option(NETWORK.num_features, "Numbers in a node's learned embedding.", least=1)
    hidden: tuple[int, ...] | None = vocabulary.hidden(NETWORK.hidden, "Units of each hidden layer.")
    shared: bool = option(True, "One network for all views, or one for each.")
    pooled: bool = option(True, "Average F over nodes as well as over graphs.")


@group
class Training(vocabulary.Training):
    """How it is fitted."""

    num_steps: int = vocabulary.num_steps(500)
    batch_size: int | None = vocabulary.batch_size("Graphs of each view", f"{BATCH_SIZE}, or all of fewer")
    components: Literal["data", "batch"] = option(
        "batch",
        "What F averages over: all graphs, or those of the minibatch, of which every node is a component.",
    )
    schedule: vocabulary.Schedule = vocabulary.schedule("rate")
    seeds: int = vocabulary.seeds(4, "bound on")


@group
class Options(AllOptions[Data, Model, Training]):
    """All options."""


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    vocabulary.check_batch_size(options, "num_graphs")
