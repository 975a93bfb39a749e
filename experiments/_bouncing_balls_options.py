"""Options of the bouncing-ball experiments, and their checks."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

import rpm_jax as rpm
from experiments import _cli, _devices
from experiments._cli import OptionError, Run, default_of, refuse
from experiments._devices import Devices

TORCHRPM = """\
torchRPM's options and these:

  torchRPM                              here
  --N, --T, --J, --K                    -N, -T, -J, -K
  --rpm_variant amortized               --posterior conjugate
  --rpm_variant VAE                     --posterior amortized
  --rpm_variant VI                      --posterior saturated
  --amortize_ivi use_q                  --auxiliary posterior
  --amortize_ivi none                   --auxiliary free (or shifted)
  --amortize_ivi full                   --auxiliary free (or shifted) --auxiliary-amortized
  iviNatParametrization="classic"       --auxiliary free
  iviNatParametrization="delta"         --auxiliary shifted
  --temporal 1                          the default
  --temporal 0 (its default)            --static
  --init_rb_bandwidth 1000              --bandwidth 1000
  --n_hidden 20                         --hidden 20 20
  normalized_factors=False              --unnormalised
  --epochs, --batch_size, --lr          --epochs, --batch-size, --learning-rate
  optim_init_q=True                     --warm-start-posterior STEPS
  optim_init_ivi=True                   --warm-start-auxiliary STEPS
  optim_vae_params=True                 --warm-start-bound STEPS
  --model_seed, --data_seed             --model-seed, --data-seed
  --scale_th                            --width            (textured_balls)
  --ball_sigma2                         --noise-variance   (textured_balls)
  --shape_max_0                         --max-shape        (textured_balls)
  -c FILE                               --config FILE
  -store_results 1                      always; --output DIR says where

torchRPM makes F_j of the data in the minibatch: --components batch."""


LIBRARY_DEFAULTS: dict[str, Any] = {
    "kernel": default_of(rpm.priors.gaussian_process, "kernel"),
    "mean": default_of(rpm.priors.gaussian_process, "mean"),
    "bandwidth": "0.4 / (spacing of the times)^2",
    "lengthscale": "1.1 spacings of the times",
    "hidden": tuple(rpm.networks.PointwiseMLP().hidden),
    "num_steps": default_of(rpm.fit, "num_steps"),
    "batch_size": f"all up to {rpm.train.DEFAULT_BATCH_SIZE}",
    "learning_rate": rpm.train.LEARNING_RATES["networks"],
    "prior_learning_rate": rpm.train.LEARNING_RATES["prior"],
    "row_learning_rate": rpm.train.LEARNING_RATES["rows"],
    "schedule": default_of(rpm.fit, "schedule"),
    "components": "data",
    "early_stopping": "none",
}
"""What the library does where an option is not given."""


def _library(text: str, name: str, metavar: str) -> Any:
    return _cli.library(text, LIBRARY_DEFAULTS[name], metavar)


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is recorded."""

    num_sequences: Annotated[int, tyro.conf.arg(aliases=["-N"])] = default_of(
        rpm.datasets.poisson_balls, "num_sequences"
    )
    """N, sequences to fit; as many again are held out."""
    sequence_length: Annotated[int, tyro.conf.arg(aliases=["-T"])] = default_of(
        rpm.datasets.poisson_balls, "num_steps"
    )
    """T, time steps of a sequence."""
    num_pixels: Annotated[int, tyro.conf.arg(aliases=["-J"])] = default_of(
        rpm.datasets.poisson_balls, "num_pixels"
    )
    """J, pixels; each is a view of its own."""
    frequency: float = default_of(rpm.datasets.poisson_balls, "frequency")
    """Swings of the ball per second."""
    sampling_rate: float = default_of(rpm.datasets.poisson_balls, "sampling_rate")
    """Time steps per second."""
    data_seed: int = 0
    """Seed of the data."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The recognition-parametrised model."""

    num_latents: Annotated[int, tyro.conf.arg(aliases=["-K"])] = default_of(
        rpm.priors.gaussian_process, "num_latents"
    )
    """K, independent latent processes."""
    posterior: Literal["conjugate", "amortized", "saturated"] = "conjugate"
    """How q(Z|X) gets its potentials: the factors', a network of all pixels, or free for each sequence."""
    auxiliary: Literal["posterior", "shifted", "free"] = "posterior"
    """Auxiliary parameters of the inner bound: the posterior's, those plus a shift, or free."""
    auxiliary_amortized: bool = False
    """Learn the auxiliary parameters as a network of all pixels, instead of a row for each sequence."""
    static: bool = False
    """Take a whole trajectory as one site: F_j is then a mixture over trajectories (slower)."""
    kernel: Annotated[
        Literal["rbf", "matern12", "matern32", "matern52"] | None,
        _library("Kernel of the Gaussian-process prior.", "kernel", "{rbf,matern12,matern32,matern52}"),
    ] = None
    bandwidth: Annotated[
        float | None,
        _library(
            "Initial bandwidth g of the kernel rbf, exp(-g (t - t')^2); times are in [0, 1].",
            "bandwidth",
            "FLOAT",
        ),
    ] = None
    lengthscale: Annotated[
        float | None, _library("Initial length scale of a Matern kernel.", "lengthscale", "FLOAT")
    ] = None
    mean: Annotated[
        Literal["zero", "constant", "free"] | None,
        _library("Mean of the prior: zero or learned.", "mean", "{zero,constant,free}"),
    ] = None
    hidden: Annotated[
        tuple[int, ...] | None, _library("Units of each hidden layer of all networks.", "hidden", "UNITS ...")
    ] = None
    unnormalised: bool = False
    """Give every factor a free log-scale h_j(x)."""
    pooled: bool = False
    """Average F_j over time as well as over sequences."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How it is fitted."""

    num_steps: Annotated[int | None, _library("Optimisation steps.", "num_steps", "INT")] = None
    epochs: Annotated[
        int | None,
        _cli.optional("Passes over the data, in the place of --num-steps.", "see --num-steps", metavar="INT"),
    ] = None
    batch_size: Annotated[int | None, _library("Sequences per step.", "batch_size", "INT")] = None
    learning_rate: Annotated[
        float | None, _library("Peak learning rate of all networks.", "learning_rate", "FLOAT")
    ] = None
    prior_learning_rate: Annotated[
        float | None, _library("Peak learning rate of the prior.", "prior_learning_rate", "FLOAT")
    ] = None
    row_learning_rate: Annotated[
        float | None,
        _library("Peak learning rate of what each sequence has for itself.", "row_learning_rate", "FLOAT"),
    ] = None
    schedule: Annotated[
        Literal["cosine", "constant"] | None,
        _library("Course of the learning rates.", "schedule", "{cosine,constant}"),
    ] = None
    components: Annotated[
        Literal["data", "batch"] | None,
        _library(
            "What F_j averages over: all sequences, or those of the minibatch.", "components", "{data,batch}"
        ),
    ] = None
    replacement: bool = False
    """Draw minibatches with replacement."""
    em: bool = False
    """Hold q fixed in the gradients of prior and factors, as EM does."""
    warm_start_posterior: Annotated[
        int | None,
        _cli.optional(
            "Steps that first match q to the factors (amortized or saturated).",
            "see --warm-start-bound",
            metavar="INT",
        ),
    ] = None
    warm_start_auxiliary: Annotated[
        int | None,
        _cli.optional(
            "Steps that then match the auxiliary parameters to q.", "see --warm-start-bound", metavar="INT"
        ),
    ] = None
    warm_start_bound: Annotated[
        int | None,
        _cli.optional(
            "Steps that then maximise the bound over both of them alone. Without any of the three the "
            "library decides; with one of them the others are 0 unless given.",
            "the library's",
            metavar="INT",
        ),
    ] = None
    early_stopping: Annotated[
        int | None,
        _library(
            "Looks at the held-out bound without improvement that end the run.", "early_stopping", "INT"
        ),
    ] = None
    model_seed: int = 0
    """Seed of the initial parameters and the minibatches."""
    seeds: Annotated[
        int | None,
        _cli.optional(
            "Run S seeds at once: run s has data seed and model seed s higher than given.",
            "a single run",
            metavar="S",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Options(_cli.Options):
    """All options; experiments add their data's."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    devices: Devices = field(default_factory=Devices)
    run: Run = field(default_factory=Run)


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit, alone or together."""
    data, model, training = options.data, options.model, options.training
    _devices.check(options.devices)
    _cli.require_integers(options, ["num_sequences"], 2)
    sizes = ("sequence_length", "num_pixels", "num_latents", "hidden")
    lengths = ("num_steps", "epochs", "batch_size", "seeds", "early_stopping")
    _cli.require_integers(options, [*sizes, *lengths], 1)
    warm_starts = ("warm_start_posterior", "warm_start_auxiliary", "warm_start_bound")
    _cli.require_integers(options, ["data_seed", "model_seed", *warm_starts], 0)
    rates = ("learning_rate", "prior_learning_rate", "row_learning_rate")
    _cli.require_positive(options, ["bandwidth", "lengthscale", *rates])
    refuse(
        training.num_steps is not None and training.epochs is not None, "--epochs", "--num-steps", "give one"
    )
    if (
        training.batch_size is not None
        and training.batch_size > data.num_sequences
        and not training.replacement
    ):
        raise OptionError(
            f"--batch-size must be at most --num-sequences {data.num_sequences} without --replacement, got "
            f"{training.batch_size}"
        )
    refuse(
        model.auxiliary_amortized and model.auxiliary == "posterior",
        "--auxiliary-amortized",
        "--auxiliary posterior",
        "which has nothing to learn; add --auxiliary shifted or --auxiliary free",
    )
    is_rbf = (model.kernel or LIBRARY_DEFAULTS["kernel"]) == "rbf"
    refuse(
        model.bandwidth is not None and not is_rbf,
        "--bandwidth",
        f"--kernel {model.kernel}",
        "which has a --lengthscale",
    )
    refuse(
        model.lengthscale is not None and is_rbf, "--lengthscale", "--kernel rbf", "which has a --bandwidth"
    )
    refuse(model.static and model.num_latents > 1, "--num-latents", "--static", "which has one latent")
    refuse(model.static and model.mean is not None, "--mean", "--static", "whose prior has mean zero")
    refuse(model.static and model.pooled, "--pooled", "--static", "which has a single site")
    if data.num_pixels == 1 and (model.static or data.sequence_length == 1):
        raise OptionError("--num-pixels must be at least 2 where the model has a single site, got 1")
