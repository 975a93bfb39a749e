"""Sequences as data: of unequal lengths, sampled at different times, or one that is long."""

from rpm_jax.sequences._common_times import on_common_times
from rpm_jax.sequences._few_components import warn_of_few_components
from rpm_jax.sequences._ragged import from_sequences, unpad
from rpm_jax.sequences._windows import windows

__all__ = ["from_sequences", "on_common_times", "unpad", "warn_of_few_components", "windows"]
