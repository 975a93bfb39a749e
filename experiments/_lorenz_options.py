"""Options of the experiment on the Lorenz attractor, and their checks."""

from typing import Literal

import rpm_jax as rpm
from experiments import _vocabulary as vocabulary
from experiments._options import AllOptions, OptionError, defaults_of, group, option, refuse

BATCH_SIZE = 8
"""Paths per step."""

SPIKES = defaults_of(rpm.datasets.lorenz_spikes)


@group
class Data:
    """Neurons that follow a Lorenz attractor."""

    num_sequences: int = option(30, "N, paths to fit.", alias="-N", least=2)
    num_held_out: int = option(10, "Paths that are held out, of the same neurons.", least=2)
    sequence_length: int = option(SPIKES["num_steps"], "T, steps of a path.", alias="-T", least=2)
    num_neurons: int = option(SPIKES["num_neurons"], "Neurons that are recorded.", least=2)
    num_groups: int = option(
        SPIKES["num_groups"], "J, groups of neurons; each is a view.", alias="-J", least=2
    )
    step: float = option(SPIKES["step"], "Time between steps; an orbit takes about 0.75.", positive=True)
    base_rate: float = option(SPIKES["base_rate"], "Counts of a neuron per step, on average.", positive=True)
    modulation: float = option(
        SPIKES["modulation"], "Standard deviation of a neuron's log-rate.", positive=True
    )
    forecast: int = option(
        20, "H, steps behind the last one that are forecast of held-out paths, 0 for none.", least=0
    )
    data_seed: int = vocabulary.data_seed("paths, neurons and counts")


@group
class Model:
    """The recognition-parametrised model."""

    num_latents: int = option(3, "K, latents at every step.", alias="-K", least=1)
    prior: Literal["chain", "process"] = option(
        "chain", "A linear-Gaussian chain, or K independent Matérn processes; compare them by their bounds."
    )
    kernel: Literal["matern12", "matern32", "matern52"] | None = option(
        None, "Kernel of the processes.", shown="matern32, where there are processes"
    )
    hidden: tuple[int, ...] = option(
        (),
        "Units of each hidden layer of the factors' networks.",
        shown="none, linear",
        metavar="UNITS ...",
        least=1,
    )
    square_roots: bool = option(
        True, "Networks see square roots of counts, whose noise is about the same at all rates."
    )
    precision: Literal["own", "shared"] = option(
        "shared", "Precisions of the factors: one for each count, or one for each group of neurons."
    )


@group
class Training(vocabulary.Training):
    """How it is fitted."""

    num_steps: int = vocabulary.num_steps(300)
    batch_size: int | None = vocabulary.batch_size("Paths", f"{BATCH_SIZE}, or all of fewer")
    num_components: int = option(
        256, "Components of F in a step, drawn from all steps of all paths; F is pooled.", least=1
    )
    learning_rate: float = option(0.03, "Peak learning rate of the networks.", positive=True)
    prior_learning_rate: float | None = vocabulary.prior_learning_rate("the prior")
    early_stopping: int = option(
        10, "Looks at the held-out bound without improvement that end a run; one every 20 steps.", least=1
    )
    seeds: int = option(
        3, "Runs, each with data and initial parameters from a seed of its own; scores are medians.", least=1
    )


@group
class Options(AllOptions[Data, Model, Training]):
    """All options."""


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    vocabulary.check_batch_size(options, "num_sequences")
    data, model = options.data, options.model
    if data.num_groups > data.num_neurons:
        raise OptionError(
            f"--num-groups must be at most --num-neurons {data.num_neurons}, got {data.num_groups}"
        )
    refuse(
        model.kernel is not None and model.prior == "chain",
        "--kernel",
        "--prior chain",
        "give --prior process",
    )
