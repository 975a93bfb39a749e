"""Options of the experiment on the maze, and their checks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import rpm_jax as rpm
from experiments import _cli
from experiments._cli import OptionError, Run, default_of, optional, refuse

BATCH_SIZE = 10
"""Sequences per step; small batches are much faster than all sequences and reach the same bound."""

STEPS_PER_UPDATE = 10
"""Gradient steps between two closed-form updates of the prior."""

PRIOR_LEARNING_RATE = 0.1
"""A chain learned by gradients has far to go in a short run."""

PSEUDO_COUNT = 0.01
"""Enough to keep all numbers in the range where messages are products of matrices."""

LIBRARY_DEFAULTS: dict[str, Any] = {
    "perturbation": default_of(rpm.train.maximise_prior, "perturbation"),
    "learning_rate": rpm.train.LEARNING_RATES["networks"],
    "schedule": default_of(rpm.fit, "schedule"),
    "components": "data where there are few minibatches, else batch",
}
"""What the library does where an option is not given."""


def _library(text: str, name: str, metavar: str) -> Any:
    return _cli.library(text, LIBRARY_DEFAULTS[name], metavar)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Walks through a maze."""

    num_sequences: Annotated[int, tyro.conf.arg(aliases=["-N"])] = default_of(
        rpm.datasets.maze_walk, "num_sequences"
    )
    """N, walks to fit."""
    num_held_out: int = 50
    """Walks that are held out."""
    sequence_length: Annotated[int, tyro.conf.arg(aliases=["-T"])] = default_of(
        rpm.datasets.maze_walk, "num_steps"
    )
    """T, time steps of a walk."""
    walls: Annotated[
        Path | None,
        optional(
            "Text file with the maze: a line for each row, # for a wall, . for a place.",
            "two rooms and two corridors, 28 places",
            metavar="FILE",
        ),
    ] = None
    visual_field: int = default_of(rpm.datasets.maze_walk, "visual_field")
    """V, how many cells across the agent sees, odd."""
    noise: float = default_of(rpm.datasets.maze_walk, "noise")
    """Standard deviation of what it sees; that of the floor is 1."""
    stay: float = default_of(rpm.datasets.maze_walk, "stay")
    """Probability of staying at a place for another step."""
    data_seed: int = 0
    """Seed of the floor, the walks and the noise."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The recognition-parametrised model."""

    num_states: Annotated[
        int | None,
        tyro.conf.arg(
            aliases=["-K"],
            help="K, states that the chain has.",
            help_behavior_hint="(default: as many as places)",
        ),
    ] = None
    transition: Literal["closed-form", "gradient"] = "closed-form"
    """Learn the chain by expected counts, as Baum-Welch does, or by gradients like the network."""
    stickiness: float = default_of(rpm.priors.hidden_markov, "stickiness")
    """Added to the initial logits of staying in a state."""
    perturbation: Annotated[
        float | None,
        _library(
            "Weight of uniform transitions at the start of the run, falling to 0 (closed-form only).",
            "perturbation",
            "FLOAT",
        ),
    ] = None
    pseudo_count: Annotated[
        float | None,
        optional("Added to every expected count (closed-form only).", f"{PSEUDO_COUNT}", metavar="FLOAT"),
    ] = None
    hidden: tuple[int, ...] = ()
    """Units of each hidden layer. Without any the network is linear, which is all that views with Gaussian
    noise need, and hidden units only fit the noise."""
    kind: Literal["normalised", "scaled", "unnormalised"] = "normalised"
    """Factors that sum to 1 over the states, those times a free scale, or free ones."""
    pooled: bool = True
    """Average F over time as well as over sequences."""
    parallel: bool = default_of(rpm.priors.hidden_markov, "parallel")
    """Compute messages by an associative scan over time, for accelerators with room to spare."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How it is fitted."""

    warm_start: Literal["kmeans", "none"] = "kmeans"
    """Start from k-means of the single views, or from random networks, which get stuck in merged states more
    often."""
    kmeans_restarts: int = 10
    """Starts of k-means, of which the closest clusters are taken, for each seed anew."""
    warm_start_steps: int = 200
    """Steps that match the network to the clusters."""
    num_steps: int = 400
    """Optimisation steps."""
    batch_size: Annotated[
        int | None, optional("Sequences per step.", f"{BATCH_SIZE}, or all of fewer", metavar="INT")
    ] = None
    steps_per_update: Annotated[
        int | None,
        optional(
            "Steps between two updates of the prior (closed-form only).", f"{STEPS_PER_UPDATE}", metavar="INT"
        ),
    ] = None
    learning_rate: Annotated[
        float | None, _library("Peak learning rate of the network.", "learning_rate", "FLOAT")
    ] = None
    prior_learning_rate: Annotated[
        float | None,
        optional(
            "Peak learning rate of the chain (gradient only).", f"{PRIOR_LEARNING_RATE}", metavar="FLOAT"
        ),
    ] = None
    schedule: Annotated[
        Literal["cosine", "constant"] | None,
        _library("Course of the learning rates.", "schedule", "{cosine,constant}"),
    ] = None
    components: Annotated[
        Literal["data", "batch"] | None,
        _library(
            "What F averages over: all sequences, or those of the minibatch.", "components", "{data,batch}"
        ),
    ] = None
    model_seed: int = 0
    """Seed of the initial parameters and the minibatches."""
    seeds: int = 16
    """Runs from different seeds, of which the likelihood of the training data chooses one."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What it is compared with."""

    baseline: bool = False
    """Also fit Gaussian hidden Markov models by EM from as many seeds, chosen by their likelihood (needs
    hmmlearn)."""
    baseline_covariance: Literal["spherical", "diag", "tied", "full"] = "spherical"
    """Covariance of their emissions; spherical is that of the true noise."""
    baseline_components: Annotated[
        int | None,
        optional("Principal components of the views that they get.", "the views themselves", metavar="INT"),
    ] = None
    baseline_iterations: int = 200
    """Most iterations of EM."""


@dataclass(frozen=True, kw_only=True)
class Options(_cli.Options):
    """All options."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    comparison: Comparison = Comparison()
    run: Run = field(default_factory=Run)


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit, alone or together."""
    data, model, training = options.data, options.model, options.training
    _cli.require_integers(options, ("num_states", "sequence_length"), 2)
    sizes = ("num_sequences", "num_held_out", "visual_field", "hidden", "baseline_components")
    lengths = ("kmeans_restarts", "warm_start_steps", "num_steps", "batch_size", "steps_per_update", "seeds")
    _cli.require_integers(options, (*sizes, *lengths, "baseline_iterations"), 1)
    _cli.require_integers(options, ("num_sequences",), 2)
    _cli.require_integers(options, ("data_seed", "model_seed"), 0)
    _cli.require_positive(options, ("learning_rate", "prior_learning_rate"))
    for name, value, end in (
        ("perturbation", model.perturbation, 1.0),
        ("pseudo_count", model.pseudo_count, float("inf")),
    ):
        if value is not None and not 0 <= value < end:
            expected = "in [0, 1)" if end == 1 else "at least 0 and finite"
            raise OptionError(f"{_cli.option_name(name)} must be {expected}, got {value}")
    if not abs(model.stickiness) < float("inf"):
        raise OptionError(f"--stickiness must be a finite number, got {model.stickiness}")
    if training.batch_size is not None and training.batch_size > data.num_sequences:
        raise OptionError(
            f"--batch-size must be at most --num-sequences {data.num_sequences}, got {training.batch_size}"
        )
    by_gradient = model.transition == "gradient"
    for name, value in (
        ("perturbation", model.perturbation),
        ("pseudo_count", model.pseudo_count),
        ("steps_per_update", training.steps_per_update),
    ):
        refuse(
            by_gradient and value is not None,
            _cli.option_name(name),
            "--transition gradient",
            "which has no closed-form updates",
        )
    refuse(
        not by_gradient and training.prior_learning_rate is not None,
        "--prior-learning-rate",
        "--transition closed-form",
        "which has none",
    )
    if options.comparison.baseline_components is not None:
        most = min(data.visual_field**2, data.num_sequences * data.sequence_length)
        if options.comparison.baseline_components > most:
            raise OptionError(
                f"--baseline-components must be at most {most}, which is the smaller of the number of pixels "
                f"and of views, got {options.comparison.baseline_components}"
            )
