"""Options of the study of the bound, and their checks."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

import rpm_jax as rpm
from experiments import _cli
from experiments._bound_study_data import CASES
from experiments._bound_study_models import VARIANTS
from experiments._cli import OptionError, Run, default_of, optional

LIBRARY_DEFAULTS: dict[str, Any] = {
    "importance_samples": default_of(rpm.train.ImportanceWeighted, "num_samples"),
}
"""What the library does where an option is not given."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Pairs of numbers."""

    size: Annotated[int, tyro.conf.arg(aliases=["-N"])] = 60
    """N, pairs to fit, on which the bound is studied."""
    cases: tuple[str, ...] = ("gaussian", "tanh", "bimodal")
    """What they are drawn from: gaussian, one for each correlation; tanh, noisy z and a saturating function
    of it; bimodal, two noisy copies of a random sign; square, noisy z and its square."""
    correlations: tuple[float, ...] = (0.3, 0.6, 0.85)
    """Correlations of the Gaussian pairs."""
    data_seed: int = 0
    """Seed of the pairs, or of the first of several data sets."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The recognition-parametrised models, with one Gaussian latent."""

    variants: tuple[str, ...] = ("conjugate", "shifted", "saturated", "importance")
    """Which models: conjugate, with the posterior as ξ; shifted or free, the same with such ξ; amortized or
    saturated, other posteriors; importance, conjugate and trained by importance-weighted bounds."""
    hidden: tuple[int, ...] = (20, 20)
    """Units of each hidden layer of all networks."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How they are fitted."""

    num_steps: int = 500
    """Optimisation steps."""
    importance_samples: Annotated[
        int | None,
        _cli.library("Draws in the importance-weighted loss.", LIBRARY_DEFAULTS["importance_samples"], "INT"),
    ] = None
    model_seed: int = 0
    """Seed of the initial parameters and the minibatches."""
    seeds: int = 1
    """Data sets of each kind, with seeds of their own, of which medians are taken."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """How the bound is studied."""

    num_samples: tuple[int, ...] = (1, 10, 100, 1000, 10_000)
    """K, draws of the estimates by importance sampling."""
    divergence_samples: Annotated[
        int | None, optional("Draws of F_j for KL(F_j‖prior).", "10000", metavar="INT")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Options(_cli.Options):
    """All options."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    study: Study = Study()
    run: Run = field(default_factory=Run)


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit, alone or together."""
    _cli.require_integers(options, ("size",), 2)
    names = ("hidden", "num_steps", "importance_samples", "seeds", "num_samples", "divergence_samples")
    _cli.require_integers(options, names, 1)
    _cli.require_integers(options, ("data_seed", "model_seed"), 0)
    for option, given, known in (
        ("--cases", options.data.cases, CASES),
        ("--variants", options.model.variants, VARIANTS),
    ):
        if not given or len(set(given)) < len(given) or not set(given) <= set(known):
            raise OptionError(f"{option} must be different ones of {', '.join(known)}, got {' '.join(given)}")
    for value in options.data.correlations:
        if not -1 < value < 1:
            raise OptionError(f"--correlations must be between -1 and 1, both excluded, got {value}")
    if "gaussian" in options.data.cases and not options.data.correlations:
        raise OptionError("--correlations must be one or more numbers for --cases gaussian, got none")
    if not options.study.num_samples:
        raise OptionError("--num-samples must be one or more numbers, got none")
    _cli.refuse(
        options.training.importance_samples is not None and "importance" not in options.model.variants,
        "--importance-samples",
        "--variants without importance",
        "which has no such loss",
    )
