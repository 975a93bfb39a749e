"""Options of the experiment on peer supervision, and their checks."""

from pathlib import Path
from typing import Literal

import rpm_jax as rpm
from experiments import _devices
from experiments import _vocabulary as vocabulary
from experiments._devices import Devices
from experiments._options import AllOptions, OptionError, defaults_of, group, library, option, refuse

NUM_STEPS = 400
"""Enough for either data set; the seeds that find all labels have done so after a quarter of them."""

HIDDEN = (
    f"{' '.join(map(str, rpm.networks.MLP().hidden))} for the perceptron, "
    f"{' '.join(map(str, rpm.networks.CNN().hidden))} for the convolutional network"
)

PEERS = defaults_of(rpm.datasets.peers)

TORCHRPM = """\
torchRPM's variants and these options:

  torchRPM                                   here
  discreteRPM                                the default
  discreteRPM_softmaxForm                    the same likelihood
  RecognitionFactor_discrete                 --kind normalised
  RecognitionFactor_scaled_discrete          --kind scaled
  RecognitionFunction_discrete               --kind unnormalised
  discreteRPVAE                              --posterior conjugate
  discreteRPM_localLatents                   --local-states 3 5 --views rotated-coloured
  discretenonCondIndRPM                      --joint
  hierarchies (2-d Gaussian latent)          --latent gaussian --views rotated-coloured
  full_N_for_Fj=True, False                  --components data, --components batch
  a network for each view, one for all       --networks separate, --networks shared"""


@group
class Data:
    """Images, and how they are grouped."""

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
    num_views: int = option(PEERS["num_views"], "J, images of one label in a set.", alias="-J", least=2)
    num_images: int | None = option(
        None, "Images to fit, the first ones.", shown="all that are not held out", least=4
    )
    held_out: float = option(0.3, "The part of the images that is held out, where they come in one part.")
    views: Literal["same", "rotated-coloured"] = option(
        "same", "All views alike, or the first one rotated and the second one coloured."
    )
    shares: tuple[float, ...] | None = option(
        None, "How often each label occurs, up to a factor.", shown="as in the images", metavar="SHARE ..."
    )
    reuse: bool = option(
        PEERS["reuse"],
        "Let every image be in every view once, in different sets; else each image is in one set.",
    )
    data_seed: int = vocabulary.data_seed("what is held out and of the sets")


@group
class Model:
    """The recognition-parametrised model."""

    latent: Literal["categorical", "gaussian"] = option(
        "categorical", "The common latent: one of K states, or K numbers."
    )
    num_states: int | None = option(
        None,
        "K, how many states or numbers the latent has.",
        shown="as many as labels; 2 for a Gaussian latent",
        metavar="K",
        alias="-K",
        least=1,
    )
    local_states: tuple[int, ...] | None = option(
        None,
        "States of a local latent of every view, one number or one for each view.",
        shown="none",
        metavar="L ...",
        least=1,
    )
    joint: bool = option(False, "One factor of all views together: no conditional independence.")
    combinations: int | None = option(
        None,
        "With --joint: how many random combinations of views F averages over.",
        shown="all those of a minibatch",
        least=1,
    )
    posterior: Literal["exact", "conjugate"] = option(
        "exact", "The exact posterior, or the one that takes F_j for the prior."
    )
    learn_prior: bool = option(False, "Learn the prior's probabilities instead of holding them equal.")
    kind: vocabulary.Kind = vocabulary.kind("states")
    networks: Literal["auto", "shared", "separate"] = option(
        "auto", "One network for all views, or one for each; auto: the former where all views are alike."
    )
    network: Literal["auto", "mlp", "cnn"] = option(
        "auto", "Perceptron or convolutional network; auto: the latter for images of at least 16 x 16 pixels."
    )
    hidden: tuple[int, ...] | None = vocabulary.hidden(HIDDEN, "Units of each hidden layer of the networks.")


@group
class Training(vocabulary.Training):
    """How it is fitted."""

    num_steps: int | None = option(None, "Optimisation steps.", shown=f"{NUM_STEPS}", least=1)
    epochs: int | None = vocabulary.epochs()
    batch_size: int | None = library(f"all up to {rpm.model.EXACT_BATCH_SIZE}", "Sets per step.", least=2)
    learning_rate: float | None = vocabulary.learning_rate("the networks")
    prior_learning_rate: float | None = vocabulary.prior_learning_rate("the prior")
    components: vocabulary.Components = vocabulary.components(
        "What F_j averages over: all sets, or the minibatch."
    )
    queue: int | None = option(
        None,
        "Let F_j average over the minibatch and this many earlier sets.",
        shown="see --components",
        metavar="L",
        least=1,
    )
    seeds: int = vocabulary.seeds(8, "likelihood on")


@group
class Options(AllOptions[Data, Model, Training]):
    """All options."""

    devices: Devices = Devices()


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    data, model, training = options.data, options.model, options.training
    _devices.check(options.devices)
    vocabulary.check_epochs(options)
    if model.latent != "gaussian" and model.num_states == 1:
        raise OptionError("--num-states must be an integer of at least 2, got 1")
    if not 0 < data.held_out < 1:
        raise OptionError(f"--held-out must lie between 0 and 1, got {data.held_out}")
    refuse(
        data.download and data.data is None, "--download", "no --data", "which says where to; give --data DIR"
    )
    gaussian = model.latent == "gaussian"
    for given, name in (
        (model.local_states is not None, "--local-states"),
        (model.joint, "--joint"),
        (training.queue is not None and model.joint, "--queue"),
    ):
        refuse(given and gaussian, name, "--latent gaussian", "which has none; take --latent categorical")
    other = model.joint or model.local_states is not None
    named = "--joint" if model.joint else "--local-states"
    refuse(model.joint and model.local_states is not None, "--joint", "--local-states", "give one")
    refuse(model.posterior == "conjugate" and other, "--posterior conjugate", named, "which is exact")
    refuse(training.queue is not None and other, "--queue", named, "take --components")
    if _devices.several_processes(options.devices):
        several = "several processes"
        for given, name in (
            (training.seeds != 1, f"--seeds {training.seeds}"),
            (other, named),
            (training.queue is not None, "--queue"),
            (model.kind != "normalised", f"--kind {model.kind}"),
        ):
            refuse(given, name, several, "where one fit of an RPM is spread: give --seeds 1")
    refuse(
        model.kind != "normalised" and model.local_states is not None,
        f"--kind {model.kind}",
        "--local-states",
        "whose factors are normalised",
    )
    shared = model.networks == "shared"
    refuse(
        shared and data.views != "same",
        "--networks shared",
        f"--views {data.views}",
        "whose views differ in kind",
    )
    refuse(model.networks != "auto" and model.joint, f"--networks {model.networks}", "--joint", "it has one")
    refuse(
        model.joint and data.views != "same", "--joint", f"--views {data.views}", "whose views differ in kind"
    )
    refuse(
        data.views != "same" and data.num_views != 2,
        f"--views {data.views}",
        "--num-views",
        "it has two views",
    )
    refuse(
        model.combinations is not None and not model.joint, "--combinations", "no --joint", "give --joint too"
    )
    refuse(
        training.queue is not None and training.components is not None, "--queue", "--components", "give one"
    )
    if model.local_states is not None and len(model.local_states) not in (1, data.num_views):
        raise OptionError(
            f"--local-states must be one number or one for each of {data.num_views} views, got "
            f"{' '.join(map(str, model.local_states))}"
        )
