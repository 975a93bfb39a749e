"""Options of the experiment on several modalities, and their checks."""

from pathlib import Path
from typing import Literal

import rpm_jax as rpm
from experiments import _vocabulary as vocabulary
from experiments._options import AllOptions, OptionError, defaults_of, group, option, refuse

AGENTS = defaults_of(rpm.datasets.agents)
BATCH_SIZE = 32
"""Sequences per step."""

HELD_OUT = 50


@group
class Data:
    """Agents seen by a camera and by beacons, or data of one's own."""

    data: Path | None = option(
        None,
        "File of one's own data, with arrays of N sequences of T steps: view_NAME, one for each view in the "
        "order of their names, (N, T), (N, T, D) or images (N, T, H, W[, C]), NaN where missing; optionally "
        "mask_NAME, True where there is a view, (N, T), and states, to score by, (N, T, S).",
        shown="agents",
        metavar="FILE.npz",
    )
    num_sequences: int | None = option(
        None,
        "N, sequences to fit.",
        shown=f"{AGENTS['num_sequences']}, or four fifths of one's own",
        alias="-N",
        least=2,
    )
    num_held_out: int | None = option(
        None, "Sequences that are held out.", shown=f"{HELD_OUT}, or the rest of one's own", least=1
    )
    sequence_length: int = option(AGENTS["num_steps"], "T, steps of a sequence.", alias="-T", least=4)
    num_agents: int = option(AGENTS["num_agents"], "A, how many agents move.", least=1)
    num_beacons: int = option(AGENTS["num_beacons"], "S, beacons that measure distances.", least=1)
    image_size: int = option(AGENTS["image_size"], "H, pixels a side.", least=8)
    image_noise: float = option(AGENTS["image_noise"], "Standard deviation of a pixel's noise.")
    distance_noise: float = option(AGENTS["distance_noise"], "Standard deviation of a distance's noise.")
    drop: str = option("images", "View that is dropped for part of the time, or none.")
    dropped: float = option(0.3, "The part of the time, in one piece, at another time in each sequence.")
    data_seed: int = vocabulary.data_seed("the agents' paths, the noise and what is dropped")


@group
class Model:
    """The recognition-parametrised model."""

    prior: Literal["matern32", "chain"] = option(
        "matern32", "Independent smooth latents, or a linear-Gaussian chain whose latents drive each other."
    )
    num_latents: int | None = option(
        None,
        "K, latents of a step.",
        shown="two for each agent; of one's own data, as many as states, or 2",
        least=1,
    )
    hidden: tuple[int, ...] = option((40,), "Units of each hidden layer of all networks.", least=1)
    channels: tuple[int, ...] = option(
        (8,), "Channels of each convolution, for images; pooling after each loses where things are.", least=1
    )
    kernel_size: int = option(3, "Pixels a side of the convolutions.", least=1)
    pooled: bool = option(
        False, "Average F over time as well as over sequences; for views that are alike at all times."
    )


@group
class Training(vocabulary.Training):
    """How it is fitted."""

    num_steps: int = vocabulary.num_steps(600)
    batch_size: int | None = vocabulary.batch_size("Sequences", f"{BATCH_SIZE}, or all of fewer")
    prior_learning_rate: float | None = vocabulary.prior_learning_rate("the prior")
    components: Literal["data", "batch"] = option(
        "batch", "What F averages over: all sequences, or those of the minibatch."
    )
    seeds: int = vocabulary.seeds(1, "bound on")


@group
class Options(AllOptions[Data, Model, Training]):
    """All options."""


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    data = options.data
    if not 0 <= data.dropped < 1:
        raise OptionError(f"--dropped must be in [0, 1), got {data.dropped}")
    default = Data()
    for name in ("sequence_length", "num_agents", "num_beacons", "image_size"):
        refuse(
            data.data is not None and getattr(data, name) != getattr(default, name),
            "--" + name.replace("_", "-"),
            "--data",
            "which has its own",
        )
    if data.data is None:
        size, batch_size = data.num_sequences or AGENTS["num_sequences"], options.training.batch_size
        if batch_size is not None and batch_size > size:
            raise OptionError(f"--batch-size must be at most --num-sequences {size}, got {batch_size}")
    if data.data is None and data.drop not in ("images", "distances", "none"):
        raise OptionError(f"--drop must be images, distances or none, got {data.drop}")
