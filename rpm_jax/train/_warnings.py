"""What a fit warns of when it is done."""

import warnings
from collections.abc import Sequence

import numpy as np

from rpm_jax.train._run import Course

FALLBACKS = (
    "",
    "those before the step after which no other could be made",
    "those before the last step",
    "those of the last look before a step was left out",
    "the initial ones",
)
"""Which parameters are returned, in the order of `Course.earlier`."""


def warnings_of(
    course: Course, bound: np.ndarray, place: np.ndarray, found: str | None, *, own_optimizer: bool
) -> tuple[str, ...]:
    """What is worth a warning, one sentence or two each.

    Args:
        course: The run.
        bound: Of the parameters that are returned.
        place: Which these are, an index of `FALLBACKS`.
        found: What `find_not_finite` says of the last parameters, or None.
        own_optimizer: Whether the optimiser is the user's.
    """
    history = course.history
    cause = f" In the end {found}." if found else ""
    texts = list(left_out(course, found, own_optimizer=own_optimizer))
    if course.undone.any():
        texts.append(
            f"update gave parameters that are not finite {int(course.undone.max())} times"
            f"{_runs(course.undone)}; those before it were kept. Check it for divisions by zero"
        )
    lost = ~np.isfinite(bound)
    if place.any():
        kinds = ", ".join(FALLBACKS[i] for i in sorted(set(place[place > 0].ravel().tolist())))
        texts.append(
            f"The bound of the last parameters is not finite{_runs(place)}: returned are {kinds}, whose "
            "bound is." + (cause if not history.skipped.any() else "")
        )
    if lost.any():
        texts.append(
            f"The bound is not finite{_runs(lost)}, at any parameters that were kept."
            + (cause if not history.skipped.any() else "")
        )
    return tuple(texts)


def left_out(course: Course, found: str | None = None, *, own_optimizer: bool) -> tuple[str, ...]:
    """What to say of steps that were left out, if there are any; arguments as for `warnings_of`."""
    history = course.history
    if not history.skipped.any():
        return ()
    refused = ""
    if course.refused.any():
        refused = f" ({int(course.refused.max())} of them since optimizer or schedule gave NaN or infinity)"
    end = (
        " The run was ended, its last finite parameters are kept." if history.stopped == "not finite" else ""
    )
    cause = f" In the end {found}." if found else ""
    return (
        f"{int(history.skipped.max())} of {history.train.shape[-1]} steps{_runs(history.skipped)} had a NaN "
        f"or infinite bound, gradient or update and were left out{refused}.{end}{cause}"
        + _advice(course, own_optimizer),
    )


def warn(texts: Sequence[str], stacklevel: int) -> None:
    """Warn of each."""
    for text in texts:
        warnings.warn(text, RuntimeWarning, stacklevel=stacklevel + 1)


def _advice(course: Course, own_optimizer: bool) -> str:
    none_made = np.isnan(course.history.train).all(-1)
    if (none_made & (course.refused > 0)).any():
        return " No step could be made: check the optimizer and its schedule."
    if none_made.any():
        return (
            " The first step failed already, so learning rates are not the cause: check the initial "
            "parameters (params, prior), the scale of the views and, where there is one, the objective; "
            "float64 may help."
        )
    rates = "of the optimizer" if own_optimizer else "(optimizer=rpm_jax.train.Adam({...}))"
    return f" Lower learning rates {rates} or float64 usually help."


def _runs(counts: np.ndarray) -> str:
    return "" if counts.ndim == 0 else f" in {int((counts > 0).sum())} of {counts.size} runs"
