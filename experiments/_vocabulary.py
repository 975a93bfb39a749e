"""Options that several experiments have: each is said once, and an experiment names what it is about."""

from typing import Any, Literal, TypeAlias

import rpm_jax as rpm
from experiments._options import AllOptions, OptionError, defaults_of, group, library, option, refuse

Schedule: TypeAlias = Literal["cosine", "constant"] | None
Components: TypeAlias = Literal["data", "batch"] | None
Kind: TypeAlias = Literal["normalised", "scaled", "unnormalised"]

FIT = defaults_of(rpm.fit)

FEW_BATCHES = "data where there are few minibatches, else batch"
"""The library's choice of components where the latent has states."""


# Data.


def data_seed(of: str) -> Any:
    """Seed of what is drawn."""
    return option(0, f"Seed of {of}.", least=0)


# Model.


def hidden(default: Any, help: str) -> Any:
    """Hidden layers whose sizes the library knows."""
    return library(default, help, metavar="UNITS ...", least=1)


def kind(of: str) -> Any:
    """Kind of discrete factors."""
    help = f"Factors that sum to 1 over the {of}, those times a free scale, or free ones."
    return option("normalised", help)


# Training.


def num_steps(default: int | None = None) -> Any:
    """Optimisation steps; None: the library's."""
    help = "Optimisation steps."
    return library(FIT["num_steps"], help, least=1) if default is None else option(default, help, least=1)


def epochs() -> Any:
    """Passes over the data."""
    help = "Passes over the data, in the place of --num-steps."
    return option(None, help, shown="see --num-steps", least=1)


def batch_size(of: str, default: str, least: int = 1) -> Any:
    """The minibatch, of an experiment's own size."""
    return option(None, f"{of} per step.", shown=default, least=least)


def learning_rate(of: str) -> Any:
    """Peak learning rate of networks."""
    return library(rpm.train.LEARNING_RATES["networks"], f"Peak learning rate of {of}.", positive=True)


def prior_learning_rate(of: str) -> Any:
    """Peak learning rate of the prior."""
    return library(rpm.train.LEARNING_RATES["prior"], f"Peak learning rate of {of}.", positive=True)


def schedule(of: str = "rates") -> Any:
    """Course of the learning rates."""
    return library(defaults_of(rpm.train.Adam)["schedule"], f"Course of the learning {of}.")


def components(help: str, default: str = FEW_BATCHES) -> Any:
    """What F averages over."""
    return library(default, help)


def seeds(default: int, by: str) -> Any:
    """Seeds of which one is chosen."""
    help = f"Runs from different seeds, of which the {by} the training data chooses one."
    return option(default, help, least=1)


@group
class Training:
    """How it is fitted: what all experiments with one model have, which add their own."""

    num_steps: int | None = num_steps()
    learning_rate: float | None = learning_rate("the network")
    schedule: Schedule = schedule()
    model_seed: int = option(0, "Seed of the initial parameters and the minibatches.", least=0)


# What does not fit together.


def check_batch_size(options: AllOptions, of: str, more: str = "") -> None:
    """Raise `OptionError` for minibatches of more data than the option `of` says there are."""
    values = options.flat()
    size, number = values["batch_size"], values[of]
    if size is not None and size > number:
        name = of.replace("_", "-")
        raise OptionError(f"--batch-size must be at most --{name} {number}{more}, got {size}")


def check_epochs(options: AllOptions) -> None:
    """Raise `OptionError` for both --epochs and --num-steps."""
    values = options.flat()
    both = values["num_steps"] is not None and values["epochs"] is not None
    refuse(both, "--epochs", "--num-steps", "give one")
