"""Options of the experiment on the maze, and their checks."""

from pathlib import Path
from typing import Literal, NamedTuple

import rpm_jax as rpm
from experiments import _vocabulary as vocabulary
from experiments._options import (
    AllOptions,
    OptionError,
    defaults_of,
    group,
    library,
    option,
    option_name,
    refuse,
)

BATCH_SIZE = 10
"""Sequences per step; small batches are much faster than all sequences and reach the same bound."""

STEPS_PER_UPDATE = 10
"""Gradient steps between two closed-form updates of the prior."""

PRIOR_LEARNING_RATE = 0.1
"""A chain learned by gradients has far to go in a short run."""

PSEUDO_COUNT = 0.01
"""Enough to keep all numbers in the range where messages are products of matrices."""

LONG_WALK = 10_000
"""Steps of a walk that has to do alone."""

HELD_OUT = 50

WALKS = defaults_of(rpm.datasets.maze_walk)
CHAIN = defaults_of(rpm.priors.hidden_markov)


@group
class Data:
    """Walks through a maze."""

    trajectories: int | None = option(
        None,
        f"So many long walks in the place of many short ones, of {LONG_WALK} steps unless -T is given; F "
        "averages over time.",
        shown="none",
        least=1,
    )
    num_sequences: int | None = option(
        None,
        "N, walks to fit.",
        shown=f"--trajectories, or {WALKS['num_sequences']}",
        alias="-N",
        least=1,
    )
    num_held_out: int | None = option(
        None, "Walks that are held out.", shown=f"--trajectories, or {HELD_OUT}", least=1
    )
    sequence_length: int | None = option(
        None,
        "T, time steps of a walk.",
        shown=f"{LONG_WALK} of --trajectories, or {WALKS['num_steps']}",
        alias="-T",
        least=2,
    )
    walls: Path | None = option(
        None,
        "Text file with the maze: a line for each row, # for a wall, . for a place.",
        shown="two rooms and two corridors, 28 places",
        metavar="FILE",
    )
    visual_field: int = option(
        WALKS["visual_field"], "V, how many cells across the agent sees, odd.", least=1
    )
    noise: float = option(WALKS["noise"], "Standard deviation of what it sees; that of the floor is 1.")
    flips: float = option(WALKS["flips"], "Probability that a pixel changes its sign.")
    jitter: float = option(
        WALKS["jitter"], "Probability that it looks at what is around a cell beside its own."
    )
    reach: float | None = option(
        None,
        "Let it jump, to places so many steps away e times less often than to those beside it.",
        shown="steps to neighbours only",
        positive=True,
    )
    stay: float = option(WALKS["stay"], "Probability of staying at a place for another step.")
    data_seed: int = vocabulary.data_seed("the floor, the walks and the noise")


@group
class Model:
    """The recognition-parametrised model."""

    num_states: int | None = option(
        None, "K, states that the chain has.", shown="as many as places", alias="-K", least=2
    )
    transition: Literal["closed-form", "gradient"] = option(
        "closed-form",
        "Learn the chain by expected counts, as Baum-Welch does, or by gradients like the network.",
    )
    stickiness: float = option(CHAIN["stickiness"], "Added to the initial logits of staying in a state.")
    perturbation: float | None = library(
        defaults_of(rpm.train.maximise_prior)["perturbation"],
        "Weight of uniform transitions at the start of the run, falling to 0 (closed-form only).",
    )
    pseudo_count: float | None = option(
        None, "Added to every expected count (closed-form only).", shown=f"{PSEUDO_COUNT}"
    )
    hidden: tuple[int, ...] = option(
        (),
        "Units of each hidden layer. Without any the network is linear, which is all that views with "
        "Gaussian noise need, and hidden units only fit the noise.",
        least=1,
    )
    kind: vocabulary.Kind = vocabulary.kind("states")
    pooled: bool = option(True, "Average F over time as well as over sequences.")
    parallel: bool = option(
        CHAIN["parallel"],
        "Compute messages by an associative scan over time, for accelerators with room to spare.",
    )


@group
class Training(vocabulary.Training):
    """How it is fitted."""

    warm_start: Literal["kmeans", "none"] = option(
        "kmeans",
        "Start from k-means of the single views, or from random networks, which get stuck in merged states "
        "more often.",
    )
    kmeans_restarts: int = option(
        10, "Starts of k-means, of which the closest clusters are taken, for each seed anew.", least=1
    )
    warm_start_steps: int = option(200, "Steps that match the network to the clusters.", least=1)
    num_steps: int = vocabulary.num_steps(400)
    batch_size: int | None = vocabulary.batch_size("Sequences", f"{BATCH_SIZE}, or all of fewer")
    steps_per_update: int | None = option(
        None,
        "Steps between two updates of the prior (closed-form only).",
        shown=f"{STEPS_PER_UPDATE}",
        least=1,
    )
    prior_learning_rate: float | None = option(
        None,
        "Peak learning rate of the chain (gradient only).",
        shown=f"{PRIOR_LEARNING_RATE}",
        positive=True,
    )
    components: vocabulary.Components = vocabulary.components(
        "What F averages over: all sequences, or those of the minibatch."
    )
    seeds: int = vocabulary.seeds(16, "likelihood of")


@group
class Comparison:
    """What it is compared with."""

    baseline: bool = option(
        False,
        "Also fit Gaussian hidden Markov models by EM from as many seeds, chosen by their likelihood (needs "
        "hmmlearn).",
    )
    baseline_covariance: Literal["spherical", "diag", "tied", "full"] = option(
        "spherical", "Covariance of their emissions; spherical is that of the true noise."
    )
    baseline_components: int | None = option(
        None, "Principal components of the views that they get.", shown="the views themselves", least=1
    )
    baseline_iterations: int = option(200, "Most iterations of EM.", least=1)


@group
class Options(AllOptions[Data, Model, Training]):
    """All options."""

    comparison: Comparison = Comparison()


class Sizes(NamedTuple):
    """How many walks of which length, as the options have it together.

    Attributes:
        num_sequences: N.
        num_held_out: Walks that are held out.
        sequence_length: T.
    """

    num_sequences: int
    num_held_out: int
    sequence_length: int


def sizes(options: Options) -> Sizes:
    """Numbers of walks and steps, whose defaults depend on --trajectories."""
    data, few = options.data, options.data.trajectories
    return Sizes(
        data.num_sequences or few or WALKS["num_sequences"],
        data.num_held_out or few or HELD_OUT,
        data.sequence_length or (LONG_WALK if few else WALKS["num_steps"]),
    )


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    refuse(
        options.data.trajectories is not None and options.data.num_sequences is not None,
        "--trajectories",
        "--num-sequences",
        "give one",
    )
    refuse(
        options.data.trajectories == 1 and not options.model.pooled,
        "--trajectories 1",
        "--no-pooled",
        "F would be an average over one walk",
    )
    data, model, training = options.data, options.model, options.training
    num_sequences, _, num_steps = sizes(options)
    for name, value, end in (
        ("perturbation", model.perturbation, 1.0),
        ("pseudo_count", model.pseudo_count, float("inf")),
    ):
        if value is not None and not 0 <= value < end:
            expected = "in [0, 1)" if end == 1 else "at least 0 and finite"
            raise OptionError(f"{option_name(name)} must be {expected}, got {value}")
    if not abs(model.stickiness) < float("inf"):
        raise OptionError(f"--stickiness must be a finite number, got {model.stickiness}")
    if training.batch_size is not None and training.batch_size > num_sequences:
        raise OptionError(
            f"--batch-size must be at most --num-sequences {num_sequences}, got {training.batch_size}"
        )
    by_gradient = model.transition == "gradient"
    for name, value in (
        ("perturbation", model.perturbation),
        ("pseudo_count", model.pseudo_count),
        ("steps_per_update", training.steps_per_update),
    ):
        refuse(
            by_gradient and value is not None,
            option_name(name),
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
        most = min(data.visual_field**2, num_sequences * num_steps)
        if options.comparison.baseline_components > most:
            raise OptionError(
                f"--baseline-components must be at most {most}, which is the smaller of the number of pixels "
                f"and of views, got {options.comparison.baseline_components}"
            )
