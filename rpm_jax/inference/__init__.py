"""Questions about the latents of data: each a function of a fit, or of a model with parameters and data."""

from rpm_jax.inference._against import Against, as_against
from rpm_jax.inference._log_ratios import log_ratios
from rpm_jax.inference._posterior import (
    evaluate,
    evaluate_data,
    evaluated,
    infer,
    infer_all,
    infer_data,
    inferred,
    posterior,
)
from rpm_jax.inference._rows import check_rows, fit_rows, new_rows, optimise_rows, row_parts

__all__ = [
    "Against",
    "as_against",
    "check_rows",
    "evaluate",
    "evaluate_data",
    "evaluated",
    "fit_rows",
    "infer",
    "infer_all",
    "infer_data",
    "inferred",
    "log_ratios",
    "new_rows",
    "optimise_rows",
    "posterior",
    "row_parts",
]
