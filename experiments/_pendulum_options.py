"""Options of the experiment on the pendulum, and their checks."""

from typing import Literal

import rpm_jax as rpm
from experiments import _vocabulary as vocabulary
from experiments._options import AllOptions, OptionError, defaults_of, group, option

BATCH_SIZE = 16
"""Films per step."""

LEARNING_RATE = 5e-3
"""Of networks and prior alike. The library's default lets the chain forget its rotations before the networks
see the pendulum."""

FILMS = defaults_of(rpm.datasets.pendulum)


@group
class Data:
    """Films of a pendulum, and of something else that moves."""

    num_sequences: int = option(1200, "N, films to fit.", alias="-N", least=2)
    num_held_out: int = option(100, "Films that are held out.", least=2)
    num_frames: int = option(30, "Frames of a film.", least=4)
    num_views: int = option(2, "J, cameras, each with a distractor of its own.", alias="-J", least=1)
    image_size: int = option(FILMS["image_size"], "Pixels a side.", least=6)
    torque: float = option(1.0, "Standard deviation of the torque, in radians a square second.")
    distractor: float = option(
        FILMS["distractor"], "Brightness of the distractors, that of the pendulum being 1; 0 for none."
    )
    distractor_speed: float = option(
        FILMS["distractor_speed"], "How far they walk, in half images by the root of a second."
    )
    noise: float = option(FILMS["noise"], "Standard deviation of a pixel's noise.")
    forecast: int = option(
        20, "H, sites behind the last one that are forecast of held-out films, 0 for none.", least=0
    )
    data_seed: int = vocabulary.data_seed("the films")


@group
class Model:
    """The recognition-parametrised model."""

    num_latents: int = option(4, "K, latents of the chain.", alias="-K", least=1)
    frames: int = option(
        2, "Frames that a factor sees together: T is the number of frames divided by it.", least=1
    )
    inputs: bool = option(True, "Whether the torque drives the chain.")
    transition: Literal["rotations", "full", "diagonal"] = option(
        defaults_of(rpm.priors.linear_gaussian)["transition"], "What the transition may be."
    )
    network: Literal["mlp", "cnn"] = option(
        "mlp", "Perceptron, or convolutions with pooling, which loses where things are in such small images."
    )
    hidden: tuple[int, ...] = option((64, 32), "Units of each hidden layer.", least=1)
    channels: tuple[int, ...] = option((8,), "Channels of each convolution (cnn only).", least=1)
    kernel_size: int = option(3, "Pixels a side of the convolutions (cnn only).", least=1)


@group
class Training(vocabulary.Training):
    """How it is fitted."""

    num_steps: int = vocabulary.num_steps(1200)
    batch_size: int | None = vocabulary.batch_size("Films", f"{BATCH_SIZE}, or all of fewer")
    learning_rate: float = option(LEARNING_RATE, "Peak learning rate of the networks.", positive=True)
    prior_learning_rate: float = option(LEARNING_RATE, "Peak learning rate of the chain.", positive=True)
    others: int = option(
        0,
        "Films drawn at random for each step, over which F averages next to the minibatch. With B films in "
        "all a factor is at most B times as narrow as F: few make the posterior unsure.",
        least=0,
    )
    seeds: int = vocabulary.seeds(1, "bound on")


@group
class Comparison:
    """What it is compared with."""

    autoencoder: bool = option(
        True, "Also train a variational autoencoder of the frames, with the same network and budget."
    )


@group
class Options(AllOptions[Data, Model, Training]):
    """All options."""

    comparison: Comparison = Comparison()


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    vocabulary.check_batch_size(options, "num_sequences")
    size, batch_size = options.data.num_sequences, options.training.batch_size
    if options.training.others > size - (batch_size or min(BATCH_SIZE, size)):
        raise OptionError(
            f"--others must be at most --num-sequences {size} less the minibatch, got "
            f"{options.training.others}"
        )
    frames, together = options.data.num_frames, options.model.frames
    if frames % together or frames // together < 2:
        raise OptionError(
            f"--num-frames must be a multiple of --frames {together}, at least twice it, got {frames}"
        )
