"""Options of the experiment on linear systems, and their checks."""

from typing import Literal

import rpm_jax as rpm
from experiments import _vocabulary as vocabulary
from experiments._options import AllOptions, OptionError, defaults_of, group, option, refuse

SYSTEMS = defaults_of(rpm.datasets.linear_system)
CHAIN = defaults_of(rpm.priors.linear_gaussian)
NUM_INPUTS = 2


@group
class Data:
    """A linear system, and sensors that see it."""

    num_sequences: int = option(256, "N, sequences to fit.", alias="-N", least=2)
    num_held_out: int = option(64, "Sequences that are held out.", least=1)
    sequence_length: int = option(30, "T, steps of a sequence.", alias="-T", least=3)
    num_states: int = option(SYSTEMS["num_latents"], "Dimensions of the true state.", least=1)
    num_views: int = option(SYSTEMS["num_views"], "J, groups of sensors, each a view.", alias="-J", least=1)
    num_sensors: int = option(SYSTEMS["num_sensors"], "D, sensors in a group.", alias="-D", least=1)
    num_inputs: int = option(NUM_INPUTS, "Inputs that drive the system, 0 for none.", least=0)
    input_share: float = option(
        SYSTEMS["input_share"], "Of what is new in a step, the share that inputs are in their directions."
    )
    radius: tuple[float, float] = option(SYSTEMS["radius"], "Range of the eigenvalues' magnitudes.")
    angle: tuple[float, float] = option(SYSTEMS["angle"], "Range of their angles, in radians a step.")
    sensors: Literal["linear", "network"] = option(
        SYSTEMS["sensors"], "What sensors record of a state: linear images, or those of a random network."
    )
    noise: float = option(
        SYSTEMS["noise"], "Standard deviation of what they record; its signal's is about 1."
    )
    forecast: int = option(
        20, "H, steps behind the last one that are forecast of held-out sequences, 0 for none.", least=0
    )
    data_seed: int = vocabulary.data_seed("the system, the states, the inputs and the noise")


@group
class Model:
    """The recognition-parametrised model."""

    inputs: Literal["both", "on", "off"] = option(
        "both", "Whether the prior is driven by the inputs; both: one model of each kind."
    )
    num_latents: int | None = option(
        None, "K, latents of the chain.", shown="as many as the true state", alias="-K", least=1
    )
    transition: Literal["rotations", "full", "diagonal"] = option(
        CHAIN["transition"], "What the transition may be."
    )
    hidden: tuple[int, ...] = option(
        (20,), "Units of each hidden layer of the factors' networks; none: linear.", least=1
    )


@group
class Training(vocabulary.Training):
    """How it is fitted."""

    num_steps: int = vocabulary.num_steps(400)
    batch_size: int | None = vocabulary.batch_size("Sequences", "the library's")
    prior_learning_rate: float | None = vocabulary.prior_learning_rate("the chain")
    components: Literal["data", "batch"] | None = vocabulary.components(
        "What F averages over: all sequences, or those of the minibatch.", "data"
    )
    seeds: int = vocabulary.seeds(1, "bound on")


@group
class Options(AllOptions[Data, Model, Training]):
    """All options."""


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    vocabulary.check_batch_size(options, "num_sequences")
    refuse(
        not options.data.num_inputs and options.model.inputs == "on",
        "--inputs on",
        "--num-inputs 0",
        "where there are none",
    )
    for name, values in (("--radius", options.data.radius), ("--angle", options.data.angle)):
        if not values[0] <= values[1]:
            raise OptionError(f"{name} must be two numbers, the smaller first, got {values[0]} {values[1]}")
