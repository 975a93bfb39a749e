"""Options of the bouncing-ball experiments: command line, configuration files, checks."""

import contextlib
import dataclasses
import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

try:
    import tyro
except ImportError as error:
    raise SystemExit('The experiments need some more packages: pip install -e ".[experiments]"') from error

import rpm_jax as rpm

NOT_IN_FILES = ("output", "config", "quiet")
"""Options of which a run's config.json keeps no value to be taken over by the next run."""

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


class OptionError(ValueError):
    """An option, or an entry of a configuration file, that does not fit."""


def default_of(function: Callable[..., Any], parameter: str) -> Any:
    """The default value of a library function's argument."""
    return inspect.signature(function).parameters[parameter].default


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
    "components": default_of(rpm.fit, "components"),
    "early_stopping": "none",
}
"""What the library does where an option is not given."""


def _library(text: str, name: str, metavar: str) -> Any:
    """Help for an option that is passed to the library only when given."""
    default = LIBRARY_DEFAULTS[name]
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return tyro.conf.arg(help=text, help_behavior_hint=f"(default: the library's, {shown})", metavar=metavar)


def _optional(text: str, hint: str, **options: Any) -> Any:
    return tyro.conf.arg(help=text, help_behavior_hint=f"(default: {hint})", **options)


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
        _optional("Passes over the data, in the place of --num-steps.", "see --num-steps", metavar="INT"),
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
        _optional(
            "Steps that first match q to the factors (amortized or saturated).",
            "see --warm-start-bound",
            metavar="INT",
        ),
    ] = None
    warm_start_auxiliary: Annotated[
        int | None,
        _optional(
            "Steps that then match the auxiliary parameters to q.", "see --warm-start-bound", metavar="INT"
        ),
    ] = None
    warm_start_bound: Annotated[
        int | None,
        _optional(
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
        _optional(
            "Run S seeds at once: run s has data seed and model seed s higher than given.",
            "a single run",
            metavar="S",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """Files."""

    output: Annotated[
        Path | None, _optional("Folder for all results.", "outputs/EXPERIMENT", metavar="DIR")
    ] = None
    config: Annotated[
        Path | None,
        _optional(
            "config.json of an earlier run, or any JSON file with some of these options; options on the "
            "command line override it.",
            "none",
            metavar="FILE",
        ),
    ] = None
    figures: bool = True
    """Draw figures."""
    quiet: bool = False
    """Show no progress bar."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """All options; experiments add their data's."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    run: Run = Run()

    def flat(self) -> dict[str, Any]:
        """Names and values of all options."""
        groups = (getattr(self, field.name) for field in dataclasses.fields(self))
        return {
            field.name: getattr(group, field.name) for group in groups for field in dataclasses.fields(group)
        }

    def recorded(self) -> dict[str, Any]:
        """What a later run can take over by --config."""
        return {name: value for name, value in self.flat().items() if name not in NOT_IN_FILES}


T = TypeVar("T", bound=Options)


def parse(kind: type[T], name: str, description: str | None, arguments: Sequence[str] | None) -> T:
    """Options from the command line, and from the configuration file that it names.

    Raises:
        OptionError: If one does not fit.
        SystemExit: By tyro, for --help (0) and for what cannot be parsed (2).
    """

    def read(default: T) -> T:
        return tyro.cli(
            kind,
            config=(tyro.conf.OmitArgPrefixes,),
            prog=f"python -m experiments.{name}",
            description=description,
            args=arguments,
            default=default,
        )

    try:
        options = read(kind())
    except SystemExit as leaving:
        if not leaving.code:
            print(f"\n{TORCHRPM}")
        raise
    if options.run.config is not None:
        options = read(from_file(kind, name, options.run.config))
    check(options)
    return options


def from_file(kind: type[T], name: str, path: Path) -> T:
    """The default options, changed by those in a configuration file.

    Raises:
        OptionError: If the file cannot be read, or an entry is unknown or of the wrong type.
    """
    content: Any = None
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise OptionError(f"--config: cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise OptionError(f"--config: {path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise OptionError(
            f"--config: {path} must hold a JSON object of options, got {type(content).__name__}"
        )
    if isinstance(content.get("options"), dict):
        if content.get("experiment", name) != name:
            raise OptionError(
                f"--config: {path} is of the experiment {content['experiment']!r}, not {name!r}"
            )
        content = content["options"]
    default = kind()
    groups: dict[str, Any] = {}
    fields: dict[str, tuple[str, Any]] = {}
    for group in dataclasses.fields(default):
        groups[group.name] = getattr(default, group.name)
        hints = typing.get_type_hints(type(groups[group.name]))
        fields |= {option: (group.name, hint) for option, hint in hints.items()}
    for key, value in content.items():
        option = key.replace("-", "_")
        if option not in fields or option == "config":
            valid = ", ".join(sorted(set(fields) - {"config"}))
            raise OptionError(f"--config: {path} has the unknown option {key!r}; the options are: {valid}")
        group_name, hint = fields[option]
        try:
            converted = _converted(value, hint)
        except TypeError:
            raise OptionError(
                f"--config: {path}: {key} must be {_described(hint)}, got {json.dumps(value)}"
            ) from None
        groups[group_name] = dataclasses.replace(groups[group_name], **{option: converted})
    return kind(**groups)


def _converted(value: Any, hint: Any) -> Any:
    """A JSON value as a value of this type.

    Raises:
        TypeError: If it is none.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for argument in arguments:
            with contextlib.suppress(TypeError):
                return _converted(value, argument)
    elif origin is Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(_converted(item, arguments[0]) for item in value)
    elif hint is Path:
        if isinstance(value, str):
            return Path(value)
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise TypeError


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_described, arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(json.dumps, arguments))
    if origin is tuple:
        return "a list of integers"
    names = {int: "an integer", float: "a number", bool: "true or false", Path: "a path"}
    return names.get(hint, "null")


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit, alone or together."""
    data, model, training = options.data, options.model, options.training
    _require("--num-sequences", data.num_sequences, 2)
    for name in (
        "sequence_length",
        "num_pixels",
        "num_latents",
        "num_steps",
        "epochs",
        "batch_size",
        "seeds",
    ):
        _require(option_name(name), options.flat()[name], 1)
    _require("--early-stopping", training.early_stopping, 1)
    for units in model.hidden or ():
        _require("--hidden", units, 1)
    for name in (
        "data_seed",
        "model_seed",
        "warm_start_posterior",
        "warm_start_auxiliary",
        "warm_start_bound",
    ):
        _require(option_name(name), options.flat()[name], 0)
    rates = ("learning_rate", "prior_learning_rate", "row_learning_rate")
    for name in ("bandwidth", "lengthscale", *rates):
        value = options.flat()[name]
        if value is not None and not (math.isfinite(value) and value > 0):
            raise OptionError(f"{option_name(name)} must be a positive number, got {value}")
    _refuse(
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
    _refuse(
        model.auxiliary_amortized and model.auxiliary == "posterior",
        "--auxiliary-amortized",
        "--auxiliary posterior",
        "which has nothing to learn; add --auxiliary shifted or --auxiliary free",
    )
    is_rbf = (model.kernel or LIBRARY_DEFAULTS["kernel"]) == "rbf"
    _refuse(
        model.bandwidth is not None and not is_rbf,
        "--bandwidth",
        f"--kernel {model.kernel}",
        "which has a --lengthscale",
    )
    _refuse(
        model.lengthscale is not None and is_rbf, "--lengthscale", "--kernel rbf", "which has a --bandwidth"
    )
    _refuse(model.static and model.num_latents > 1, "--num-latents", "--static", "which has one latent")
    _refuse(model.static and model.mean is not None, "--mean", "--static", "whose prior has mean zero")
    _refuse(model.static and model.pooled, "--pooled", "--static", "which has a single site")
    if data.num_pixels == 1 and (model.static or data.sequence_length == 1):
        raise OptionError("--num-pixels must be at least 2 where the model has a single site, got 1")


def option_name(name: str) -> str:
    """The option of a field."""
    return "--" + name.replace("_", "-")


def _require(option: str, value: int | None, smallest: int) -> None:
    if value is not None and not smallest <= value < 2**31:
        raise OptionError(f"{option} must be an integer of at least {smallest}, got {value}")


def _refuse(condition: bool, option: str, other: str, reason: str) -> None:
    if condition:
        raise OptionError(f"{option} does not go together with {other}, {reason}")
