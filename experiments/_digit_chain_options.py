"""Options of the experiment on chains of digits, and their checks."""

from pathlib import Path
from typing import Literal

import rpm_jax as rpm
from experiments import _vocabulary as vocabulary
from experiments._options import AllOptions, OptionError, defaults_of, group, library, option, refuse

BATCH_SIZE = 10
"""Chains per step."""

STEPS_PER_UPDATE = 10
"""Gradient steps between two closed-form updates of the prior."""

PSEUDO_COUNT = 0.01
"""Enough to keep all numbers in the range where messages are products of matrices."""

CHAINS = defaults_of(rpm.datasets.digit_chains)
RING = defaults_of(rpm.datasets.ring_transition)


@group
class Data:
    """Chains of labels on a ring, and an image of each."""

    data: Path | None = option(
        None,
        "Folder with MNIST in IDX files, packed or not. Without its training part, the last images of the "
        "test part are held out.",
        shown="scikit-learn's 8 x 8 digits",
        metavar="DIR",
    )
    download: bool = option(
        False, "Fetch MNIST into the folder given by --data first; what is there already stays."
    )
    held_out: float = option(0.3, "The part of the images that is held out, where they come in one part.")
    num_sequences: int = option(CHAINS["num_sequences"], "N, chains to fit.", alias="-N", least=1)
    num_held_out: int = option(50, "Chains of held-out images.", least=1)
    sequence_length: int = option(CHAINS["num_steps"], "T, images of a chain.", alias="-T", least=2)
    forward: int = option(RING["forward"], "How far on the ring the most likely next digit is.")
    width: float = option(RING["width"], "How many digits more or less it may be.", positive=True)
    data_seed: int = vocabulary.data_seed("the chains, their images and what is held out")


@group
class Model:
    """The recognition-parametrised model."""

    num_states: int | None = option(
        None, "K, states that the chain has.", shown="as many as digits", alias="-K", least=2
    )
    network: Literal["auto", "mlp", "cnn"] = option(
        "auto", "Perceptron or convolutional network; auto: the latter for images of at least 16 x 16 pixels."
    )
    hidden: tuple[int, ...] | None = vocabulary.hidden(
        rpm.networks.MLP().hidden, "Units of each hidden layer of the network."
    )
    kind: vocabulary.Kind = vocabulary.kind("states")
    perturbation: float | None = library(
        defaults_of(rpm.train.maximise_prior)["perturbation"],
        "Weight of uniform transitions at the start of the run, falling to 0.",
    )


@group
class Training(vocabulary.Training):
    """How it is fitted."""

    num_steps: int = vocabulary.num_steps(400)
    batch_size: int | None = vocabulary.batch_size("Chains", f"{BATCH_SIZE}, or all of fewer")
    steps_per_update: int = option(
        STEPS_PER_UPDATE, "Steps between two updates of the prior, by expected counts.", least=1
    )
    components: vocabulary.Components = vocabulary.components(
        "What F averages over: all chains, or those of the minibatch."
    )
    seeds: int = vocabulary.seeds(8, "likelihood of")


@group
class Options(AllOptions[Data, Model, Training]):
    """All options."""


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    vocabulary.check_batch_size(options, "num_sequences")
    perturbation = options.model.perturbation
    if perturbation is not None and not 0 <= perturbation < 1:
        raise OptionError(f"--perturbation must be in [0, 1), got {perturbation}")
    refuse(options.data.download and options.data.data is None, "--download", "no --data", "give a folder")
