"""Options of the experiment on copulas, and their checks."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

import tyro

import rpm_jax as rpm
from experiments import _cli
from experiments._cli import OptionError, Run, default_of, optional, refuse

CORRELATION = (-0.85,)
RATES, LOCATIONS, SCALES = (1.0, 0.5), (-1.5, -0.5), (1.0, 2.0)
LATENT_SCALE, NOISE = 1.0, 0.1
NUM_STATES = 10
Name: TypeAlias = Literal["gaussian", "discrete", "implicit", "score", "unnormalised", "learned", "convex"]
DEFAULT_VARIANTS: tuple[Name, ...] = ("gaussian", "discrete", "implicit", "unnormalised")

IMPLICIT_BATCH_SIZE = 250
"""Pairs per step of the implicit models, whose integral is estimated from the minibatch."""

LEAST_FOR_INTEGRAL = 8
"""Pairs that the integral of an implicit model can be estimated from."""

LIBRARY_DEFAULTS: dict[str, Any] = {
    "num_steps": default_of(rpm.fit, "num_steps"),
    "learning_rate": rpm.train.LEARNING_RATES["networks"],
    "prior_learning_rate": rpm.train.LEARNING_RATES["prior"],
    "schedule": default_of(rpm.fit, "schedule"),
}
"""What the library does where an option is not given."""


def _library(text: str, name: str, metavar: str) -> Any:
    return _cli.library(text, LIBRARY_DEFAULTS[name], metavar)


def _shown(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Pairs of numbers."""

    marginals: Literal["exponential", "gaussian", "tanh"] = "exponential"
    """Exponential or normal marginals under a Gaussian copula; or z and tanh z, both with noise."""
    correlation: Annotated[
        tuple[float, ...] | None,
        optional(
            "Of the Gaussian copula; several make data sets of each.", _shown(CORRELATION), metavar="RHO ..."
        ),
    ] = None
    rates: Annotated[
        tuple[float, float] | None,
        optional("Of the two exponential marginals.", _shown(RATES), metavar="RATE RATE"),
    ] = None
    locations: Annotated[
        tuple[float, float] | None,
        optional("Means of the two normal marginals.", _shown(LOCATIONS), metavar="MEAN MEAN"),
    ] = None
    scales: Annotated[
        tuple[float, float] | None,
        optional("Standard deviations of the two normal marginals.", _shown(SCALES), metavar="SD SD"),
    ] = None
    latent_scale: Annotated[
        float | None, optional("Standard deviation of z (tanh only).", f"{LATENT_SCALE:g}", metavar="SD")
    ] = None
    noise: Annotated[
        float | None, optional("Standard deviation of the noise (tanh only).", f"{NOISE:g}", metavar="SD")
    ] = None
    num_data: Annotated[int, tyro.conf.arg(aliases=["-N"])] = 1000
    """N, pairs to fit."""
    num_held_out: int = 5000
    """Pairs that are held out, for the mutual information."""
    data_seed: int = 0
    """Seed of the pairs."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The recognition-parametrised models."""

    variants: tuple[Name, ...] = DEFAULT_VARIANTS
    """Which models: a Gaussian latent with the inner bound, a discrete one, the implicit model by maximum
    likelihood or by score matching, and unnormalised Gaussian factors: with a scale that is free, or with a
    log-partition that is learned, by any network or by an input-convex one."""
    num_states: Annotated[
        int | None,
        optional("K, states of the discrete latent.", f"{NUM_STATES}", metavar="K", aliases=["-K"]),
    ] = None
    hidden: tuple[int, ...] = (10, 10)
    """Units of each hidden layer."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Of the hidden layers; score matching needs a smooth one."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How they are fitted."""

    num_steps: Annotated[int | None, _library("Optimisation steps.", "num_steps", "INT")] = None
    batch_size: Annotated[
        int | None,
        optional(
            "Pairs per step.", f"{IMPLICIT_BATCH_SIZE} for implicit models, else the library's", metavar="INT"
        ),
    ] = None
    learning_rate: Annotated[
        float | None, _library("Peak learning rate of the networks.", "learning_rate", "FLOAT")
    ] = None
    prior_learning_rate: Annotated[
        float | None, _library("Peak learning rate of the priors.", "prior_learning_rate", "FLOAT")
    ] = None
    schedule: Annotated[
        Literal["cosine", "constant"] | None,
        _library("Course of the learning rates.", "schedule", "{cosine,constant}"),
    ] = None
    model_seed: int = 0
    """Seed of the initial parameters and the minibatches."""
    seeds: int = 1
    """Data sets of each correlation, from different seeds, each with a fit of its own."""


@dataclass(frozen=True, kw_only=True)
class Options(_cli.Options):
    """All options."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    run: Run = field(default_factory=Run)


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit, alone or together."""
    data, model, training = options.data, options.model, options.training
    _cli.require_integers(options, ("num_data", "num_held_out", "num_states", "batch_size"), 2)
    _cli.require_integers(options, ("hidden", "num_steps", "seeds"), 1)
    _cli.require_integers(options, ("data_seed", "model_seed"), 0)
    numbers = ("rates", "scales", "latent_scale", "noise", "learning_rate", "prior_learning_rate")
    _cli.require_positive(options, numbers)
    for correlation in data.correlation or ():
        if not -1 < correlation < 1:
            raise OptionError(f"--correlation must lie between -1 and 1, got {correlation}")
    if any(not math.isfinite(location) for location in data.locations or ()):
        raise OptionError(f"--locations must be finite numbers, got {_shown(data.locations or ())}")
    for name, needed in (
        ("rates", ("exponential",)),
        ("locations", ("gaussian",)),
        ("scales", ("gaussian",)),
        ("correlation", ("exponential", "gaussian")),
        ("latent_scale", ("tanh",)),
        ("noise", ("tanh",)),
    ):
        refuse(
            getattr(data, name) is not None and data.marginals not in needed,
            _cli.option_name(name),
            f"--marginals {data.marginals}",
            "which has none",
        )
    for name in ("correlation", "variants"):
        values = options.flat()[name]
        if values is not None and len(set(values)) < max(1, len(values)):
            raise OptionError(
                f"{_cli.option_name(name)} must be at least one value, and none twice, got "
                f"{' '.join(map(str, values)) or 'none'}"
            )
    if not {"implicit", "score"}.isdisjoint(model.variants):
        for name in ("num_data", "num_held_out", "batch_size"):
            number = options.flat()[name]
            if number is not None and number < LEAST_FOR_INTEGRAL:
                raise OptionError(
                    f"{_cli.option_name(name)} must be at least {LEAST_FOR_INTEGRAL} for the implicit model, "
                    f"got {number}"
                )
    if training.batch_size is not None and training.batch_size > data.num_data:
        raise OptionError(
            f"--batch-size must be at most --num-data {data.num_data}, got {training.batch_size}"
        )
    refuse(
        "score" in model.variants and model.activation == "relu",
        "--variants score",
        "--activation relu",
        "whose second derivatives are 0; take --activation tanh",
    )
    refuse(
        model.num_states is not None and "discrete" not in model.variants,
        "--num-states",
        f"--variants {' '.join(model.variants)}",
        "of which none has states",
    )
