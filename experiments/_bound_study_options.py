"""Options of the study of the bound, and their checks."""

import rpm_jax as rpm
from experiments import _vocabulary as vocabulary
from experiments._bound_study_data import CASES
from experiments._bound_study_models import VARIANTS
from experiments._options import AllOptions, OptionError, defaults_of, group, library, option, refuse


@group
class Data:
    """Pairs of numbers."""

    size: int = option(60, "N, pairs to fit, on which the bound is studied.", alias="-N", least=2)
    cases: tuple[str, ...] = option(
        ("gaussian", "tanh", "bimodal"),
        "What they are drawn from: gaussian, one for each correlation; tanh, noisy z and a saturating "
        "function of it; bimodal, two noisy copies of a random sign; square, noisy z and its square.",
    )
    correlations: tuple[float, ...] = option((0.3, 0.6, 0.85), "Correlations of the Gaussian pairs.")
    data_seed: int = option(0, "Seed of the pairs, or of the first of several data sets.", least=0)


@group
class Model:
    """The recognition-parametrised models, with one Gaussian latent."""

    variants: tuple[str, ...] = option(
        ("conjugate", "shifted", "saturated", "importance"),
        "Which models: conjugate, with the posterior as ξ; shifted or free, the same with such ξ; amortized "
        "or saturated, other posteriors; importance, conjugate and trained by importance-weighted bounds.",
    )
    hidden: tuple[int, ...] = option((20, 20), "Units of each hidden layer of all networks.", least=1)


@group
class Training:
    """How they are fitted."""

    num_steps: int = vocabulary.num_steps(500)
    importance_samples: int | None = library(
        defaults_of(rpm.train.ImportanceWeighted)["num_samples"],
        "Draws in the importance-weighted loss.",
        least=1,
    )
    model_seed: int = option(0, "Seed of the initial parameters and the minibatches.", least=0)
    seeds: int = option(
        1, "Data sets of each kind, with seeds of their own, of which medians are taken.", least=1
    )


@group
class Study:
    """How the bound is studied."""

    num_samples: tuple[int, ...] = option(
        (1, 10, 100, 1000, 10_000), "K, draws of the estimates by importance sampling.", least=1
    )
    divergence_samples: int | None = option(None, "Draws of F_j for KL(F_j‖prior).", shown="10000", least=1)


@group
class Options(AllOptions[Data, Model, Training]):
    """All options."""

    study: Study = Study()


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    data = options.data
    for option_name, given, known in (
        ("--cases", data.cases, CASES),
        ("--variants", options.model.variants, VARIANTS),
    ):
        if not given or len(set(given)) < len(given) or not set(given) <= set(known):
            raise OptionError(
                f"{option_name} must be different ones of {', '.join(known)}, got {' '.join(given)}"
            )
    for value in data.correlations:
        if not -1 < value < 1:
            raise OptionError(f"--correlations must be between -1 and 1, both excluded, got {value}")
    if "gaussian" in data.cases and not data.correlations:
        raise OptionError("--correlations must be one or more numbers for --cases gaussian, got none")
    # Results go by the names of the data sets.
    if len({f"{value:g}" for value in data.correlations}) < len(data.correlations):
        raise OptionError(
            "--correlations must differ in their first six digits, got "
            f"{' '.join(map(str, data.correlations))}"
        )
    if not options.study.num_samples:
        raise OptionError("--num-samples must be one or more numbers, got none")
    refuse(
        options.training.importance_samples is not None and "importance" not in options.model.variants,
        "--importance-samples",
        "--variants without importance",
        "which has no such loss",
    )
