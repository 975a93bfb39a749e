"""Options of the experiment on peer supervision, and their checks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import rpm_jax as rpm
from experiments import _cli, _devices
from experiments._cli import OptionError, Run, default_of, optional, refuse
from experiments._devices import Devices

NUM_STEPS = 400
"""Enough for either data set; the seeds that find all labels have done so after a quarter of them."""

LIBRARY_DEFAULTS: dict[str, Any] = {
    "batch_size": f"all up to {rpm.train.EXACT_BATCH_SIZE}",
    "learning_rate": rpm.train.LEARNING_RATES["networks"],
    "prior_learning_rate": rpm.train.LEARNING_RATES["prior"],
    "schedule": default_of(rpm.fit, "schedule"),
    "components": "data where there are few minibatches, else batch",
    "hidden": f"{' '.join(map(str, rpm.networks.MLP().hidden))} for the perceptron, "
    f"{' '.join(map(str, rpm.networks.CNN().hidden))} for the convolutional network",
}
"""What the library does where an option is not given."""

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


def _library(text: str, name: str, metavar: str) -> Any:
    return _cli.library(text, LIBRARY_DEFAULTS[name], metavar)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Images, and how they are grouped."""

    data: Annotated[
        Path | None,
        optional(
            "Folder with MNIST in IDX files, packed or not. Without its training part, the last images of "
            "the test part are held out.",
            "scikit-learn's 8 x 8 digits",
            metavar="DIR",
        ),
    ] = None
    download: bool = False
    """Fetch MNIST into the folder given by --data first; what is there already stays."""
    num_views: Annotated[int, tyro.conf.arg(aliases=["-J"])] = default_of(rpm.datasets.peers, "num_views")
    """J, images of one label in a set."""
    num_images: Annotated[
        int | None, optional("Images to fit, the first ones.", "all that are not held out", metavar="INT")
    ] = None
    held_out: float = 0.3
    """The part of the images that is held out, where they come in one part."""
    views: Literal["same", "rotated-coloured"] = "same"
    """All views alike, or the first one rotated and the second one coloured."""
    shares: Annotated[
        tuple[float, ...] | None,
        optional("How often each label occurs, up to a factor.", "as in the images", metavar="SHARE ..."),
    ] = None
    reuse: bool = default_of(rpm.datasets.peers, "reuse")
    """Let every image be in every view once, in different sets; else each image is in one set."""
    data_seed: int = 0
    """Seed of what is held out and of the sets."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The recognition-parametrised model."""

    latent: Literal["categorical", "gaussian"] = "categorical"
    """The common latent: one of K states, or K numbers."""
    num_states: Annotated[
        int | None,
        tyro.conf.arg(
            aliases=["-K"],
            help="K, how many states or numbers the latent has.",
            help_behavior_hint="(default: as many as labels; 2 for a Gaussian latent)",
            metavar="K",
        ),
    ] = None
    local_states: Annotated[
        tuple[int, ...] | None,
        optional(
            "States of a local latent of every view, one number or one for each view.",
            "none",
            metavar="L ...",
        ),
    ] = None
    joint: bool = False
    """One factor of all views together: no conditional independence."""
    combinations: Annotated[
        int | None,
        optional(
            "With --joint: how many random combinations of views F averages over.",
            "all those of a minibatch",
            metavar="INT",
        ),
    ] = None
    posterior: Literal["exact", "conjugate"] = "exact"
    """The exact posterior, or the one that takes F_j for the prior."""
    learn_prior: bool = False
    """Learn the prior's probabilities instead of holding them equal."""
    kind: Literal["normalised", "scaled", "unnormalised"] = "normalised"
    """Factors that sum to 1 over the states, those times a free scale, or free ones."""
    networks: Literal["auto", "shared", "separate"] = "auto"
    """One network for all views, or one for each; auto: the former where all views are alike."""
    network: Literal["auto", "mlp", "cnn"] = "auto"
    """Perceptron or convolutional network; auto: the latter for images of at least 16 x 16 pixels."""
    hidden: Annotated[
        tuple[int, ...] | None, _library("Units of each hidden layer of the networks.", "hidden", "UNITS ...")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """How it is fitted."""

    num_steps: Annotated[int | None, optional("Optimisation steps.", f"{NUM_STEPS}", metavar="INT")] = None
    epochs: Annotated[
        int | None,
        optional("Passes over the data, in the place of --num-steps.", "see --num-steps", metavar="INT"),
    ] = None
    batch_size: Annotated[int | None, _library("Sets per step.", "batch_size", "INT")] = None
    learning_rate: Annotated[
        float | None, _library("Peak learning rate of the networks.", "learning_rate", "FLOAT")
    ] = None
    prior_learning_rate: Annotated[
        float | None, _library("Peak learning rate of the prior.", "prior_learning_rate", "FLOAT")
    ] = None
    schedule: Annotated[
        Literal["cosine", "constant"] | None,
        _library("Course of the learning rates.", "schedule", "{cosine,constant}"),
    ] = None
    components: Annotated[
        Literal["data", "batch"] | None,
        _library("What F_j averages over: all sets, or the minibatch.", "components", "{data,batch}"),
    ] = None
    queue: Annotated[
        int | None,
        optional(
            "Let F_j average over the minibatch and this many earlier sets.", "see --components", metavar="L"
        ),
    ] = None
    model_seed: int = 0
    """Seed of the initial parameters and the minibatches."""
    seeds: int = 8
    """Runs from different seeds, of which the likelihood on the training data chooses one."""


@dataclass(frozen=True, kw_only=True)
class Options(_cli.Options):
    """All options."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    devices: Devices = field(default_factory=Devices)
    run: Run = field(default_factory=Run)


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit, alone or together."""
    data, model, training = options.data, options.model, options.training
    _devices.check(options.devices)
    _cli.require_integers(options, ("num_views",), 2)
    _cli.require_integers(options, ("num_images",), 4)
    names = ("local_states", "combinations", "hidden", "num_steps", "epochs", "queue", "seeds")
    _cli.require_integers(options, names, 1)
    _cli.require_integers(options, ("batch_size",), 2)
    _cli.require_integers(options, ("num_states",), 1 if model.latent == "gaussian" else 2)
    _cli.require_integers(options, ("data_seed", "model_seed"), 0)
    _cli.require_positive(options, ("learning_rate", "prior_learning_rate"))
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
        training.num_steps is not None and training.epochs is not None, "--epochs", "--num-steps", "give one"
    )
    refuse(
        training.queue is not None and training.components is not None, "--queue", "--components", "give one"
    )
    if model.local_states is not None and len(model.local_states) not in (1, data.num_views):
        raise OptionError(
            f"--local-states must be one number or one for each of {data.num_views} views, got "
            f"{' '.join(map(str, model.local_states))}"
        )
