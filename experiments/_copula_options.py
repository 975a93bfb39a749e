"""Options of the experiment on copulas, and their checks."""

import math
from typing import Literal, TypeAlias

from experiments import _vocabulary as vocabulary
from experiments._options import (
    AllOptions,
    OptionError,
    group,
    option,
    option_name,
    refuse,
    require_different,
)

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


def _shown(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


@group
class Data:
    """Pairs of numbers."""

    marginals: Literal["exponential", "gaussian", "tanh"] = option(
        "exponential",
        "Exponential or normal marginals under a Gaussian copula; or z and tanh z, both with noise.",
    )
    correlation: tuple[float, ...] | None = option(
        None,
        "Of the Gaussian copula; several make data sets of each.",
        shown=_shown(CORRELATION),
        metavar="RHO ...",
    )
    rates: tuple[float, float] | None = option(
        None, "Of the two exponential marginals.", shown=_shown(RATES), metavar="RATE RATE", positive=True
    )
    locations: tuple[float, float] | None = option(
        None, "Means of the two normal marginals.", shown=_shown(LOCATIONS), metavar="MEAN MEAN"
    )
    scales: tuple[float, float] | None = option(
        None,
        "Standard deviations of the two normal marginals.",
        shown=_shown(SCALES),
        metavar="SD SD",
        positive=True,
    )
    latent_scale: float | None = option(
        None, "Standard deviation of z (tanh only).", shown=f"{LATENT_SCALE:g}", metavar="SD", positive=True
    )
    noise: float | None = option(
        None, "Standard deviation of the noise (tanh only).", shown=f"{NOISE:g}", metavar="SD", positive=True
    )
    num_data: int = option(1000, "N, pairs to fit.", alias="-N", least=2)
    num_held_out: int = option(5000, "Pairs that are held out, for the mutual information.", least=2)
    data_seed: int = vocabulary.data_seed("the pairs")


@group
class Model:
    """The recognition-parametrised models."""

    variants: tuple[Name, ...] = option(
        DEFAULT_VARIANTS,
        "Which models: a Gaussian latent with the inner bound, a discrete one, the implicit model by maximum "
        "likelihood or by score matching, and unnormalised Gaussian factors: with a scale that is free, or "
        "with a log-partition that is learned, by any network or by an input-convex one.",
    )
    num_states: int | None = option(
        None, "K, states of the discrete latent.", shown=f"{NUM_STATES}", metavar="K", alias="-K", least=2
    )
    hidden: tuple[int, ...] = option((10, 10), "Units of each hidden layer.", least=1)
    activation: Literal["tanh", "relu"] = option(
        "tanh", "Of the hidden layers; score matching needs a smooth one."
    )


@group
class Training(vocabulary.Training):
    """How they are fitted."""

    batch_size: int | None = vocabulary.batch_size(
        "Pairs", f"{IMPLICIT_BATCH_SIZE} for implicit models, else the library's", least=2
    )
    learning_rate: float | None = vocabulary.learning_rate("the networks")
    prior_learning_rate: float | None = vocabulary.prior_learning_rate("the priors")
    seeds: int = option(
        1, "Data sets of each correlation, from different seeds, each with a fit of its own.", least=1
    )


@group
class Options(AllOptions[Data, Model, Training]):
    """All options."""


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    data, model = options.data, options.model
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
            option_name(name),
            f"--marginals {data.marginals}",
            "which has none",
        )
    require_different("correlation", data.correlation)
    require_different("variants", model.variants)
    if not {"implicit", "score"}.isdisjoint(model.variants):
        for name in ("num_data", "num_held_out", "batch_size"):
            number = options.flat()[name]
            if number is not None and number < LEAST_FOR_INTEGRAL:
                raise OptionError(
                    f"{option_name(name)} must be at least {LEAST_FOR_INTEGRAL} for the implicit model, "
                    f"got {number}"
                )
    vocabulary.check_batch_size(options, "num_data")
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
