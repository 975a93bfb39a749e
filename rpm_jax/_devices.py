"""Sizes that suit the processor."""

import jax

ACCELERATOR = 128
"""How many times larger pieces of work are on accelerators, whose many units they have to fill; a guess that
nobody has measured yet."""


def for_this_device(size: int) -> int:
    """A size that was chosen for the caches of CPUs, or a larger one on other devices."""
    return size if jax.default_backend() == "cpu" else ACCELERATOR * size
