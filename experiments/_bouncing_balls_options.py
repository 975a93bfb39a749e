"""Options of the bouncing-ball experiments, and their checks."""

from typing import Literal

import rpm_jax as rpm
from experiments import _devices
from experiments import _vocabulary as vocabulary
from experiments._devices import Devices
from experiments._options import AllOptions, OptionError, defaults_of, group, library, option, refuse

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

BALLS = defaults_of(rpm.datasets.poisson_balls)
PRIOR = defaults_of(rpm.priors.gaussian_process)


@group
class Data:
    """What is recorded."""

    num_sequences: int = option(
        BALLS["num_sequences"], "N, sequences to fit; as many again are held out.", alias="-N", least=2
    )
    sequence_length: int = option(BALLS["num_steps"], "T, time steps of a sequence.", alias="-T", least=1)
    num_pixels: int = option(
        BALLS["num_pixels"], "J, pixels; each is a view of its own.", alias="-J", least=1
    )
    frequency: float = option(BALLS["frequency"], "Swings of the ball per second.")
    sampling_rate: float = option(BALLS["sampling_rate"], "Time steps per second.")
    data_seed: int = vocabulary.data_seed("the data")


@group
class Model:
    """The recognition-parametrised model."""

    num_latents: int = option(PRIOR["num_latents"], "K, independent latent processes.", alias="-K", least=1)
    posterior: Literal["conjugate", "amortized", "saturated"] = option(
        "conjugate",
        "How q(Z|X) gets its potentials: the factors', a network of all pixels, or free for each sequence.",
    )
    auxiliary: Literal["posterior", "shifted", "free"] = option(
        "posterior", "Auxiliary parameters of the inner bound: the posterior's, those plus a shift, or free."
    )
    auxiliary_amortized: bool = option(
        False,
        "Learn the auxiliary parameters as a network of all pixels, instead of a row for each sequence.",
    )
    static: bool = option(
        False, "Take a whole trajectory as one site: F_j is then a mixture over trajectories (slower)."
    )
    kernel: Literal["rbf", "matern12", "matern32", "matern52"] | None = library(
        PRIOR["kernel"], "Kernel of the Gaussian-process prior."
    )
    bandwidth: float | None = library(
        "0.4 / (spacing of the times)^2",
        "Initial bandwidth g of the kernel rbf, exp(-g (t - t')^2); times are in [0, 1].",
        positive=True,
    )
    lengthscale: float | None = library(
        "1.1 spacings of the times", "Initial length scale of a Matern kernel.", positive=True
    )
    mean: Literal["zero", "constant", "free"] | None = library(
        PRIOR["mean"], "Mean of the prior: zero or learned."
    )
    hidden: tuple[int, ...] | None = vocabulary.hidden(
        tuple(rpm.networks.PointwiseMLP().hidden), "Units of each hidden layer of all networks."
    )
    unnormalised: bool = option(False, "Give every factor a free log-scale h_j(x).")
    pooled: bool = option(False, "Average F_j over time as well as over sequences.")


@group
class Training(vocabulary.Training):
    """How it is fitted."""

    epochs: int | None = vocabulary.epochs()
    batch_size: int | None = library(f"all up to {rpm.model.BATCH_SIZE}", "Sequences per step.", least=1)
    learning_rate: float | None = vocabulary.learning_rate("all networks")
    prior_learning_rate: float | None = vocabulary.prior_learning_rate("the prior")
    row_learning_rate: float | None = library(
        rpm.train.LEARNING_RATES["rows"],
        "Peak learning rate of what each sequence has for itself.",
        positive=True,
    )
    components: vocabulary.Components = vocabulary.components(
        "What F_j averages over: all sequences, or those of the minibatch.", "data"
    )
    replacement: bool = option(False, "Draw minibatches with replacement.")
    em: bool = option(False, "Hold q fixed in the gradients of prior and factors, as EM does.")
    warm_start_posterior: int | None = option(
        None,
        "Steps that first match q to the factors (amortized or saturated).",
        shown="see --warm-start-bound",
        least=0,
    )
    warm_start_auxiliary: int | None = option(
        None, "Steps that then match the auxiliary parameters to q.", shown="see --warm-start-bound", least=0
    )
    warm_start_bound: int | None = option(
        None,
        "Steps that then maximise the bound over both of them alone. Without any of the three the library "
        "decides; with one of them the others are 0 unless given.",
        shown="the library's",
        least=0,
    )
    early_stopping: int | None = library(
        "none", "Looks at the held-out bound without improvement that end the run.", least=1
    )
    seeds: int | None = option(
        None,
        "Run S seeds at once: run s has data seed and model seed s higher than given.",
        shown="a single run",
        metavar="S",
        least=1,
    )


@group
class Options(AllOptions[Data, Model, Training]):
    """All options; experiments add their data's."""

    devices: Devices = Devices()


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    data, model, training = options.data, options.model, options.training
    _devices.check(options.devices)
    vocabulary.check_epochs(options)
    if not training.replacement:
        vocabulary.check_batch_size(options, "num_sequences", " without --replacement")
    refuse(
        model.auxiliary_amortized and model.auxiliary == "posterior",
        "--auxiliary-amortized",
        "--auxiliary posterior",
        "which has nothing to learn; add --auxiliary shifted or --auxiliary free",
    )
    is_rbf = (model.kernel or PRIOR["kernel"]) == "rbf"
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
