"""`jax.jit` for arguments that hold anything: their arrays are traced, all else is structure."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from rpm_jax._record import is_array, record


@record
class Argument:
    """A value whose arrays are leaves, whatever else is in it."""

    value: Any


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function of models, strategies and arrays.

    Two calls share a program where their arguments have equal structure (`rpm_jax._record`) and arrays of
    equal shapes and dtypes; nothing that is an array is ever a constant of the program. Numbers that may vary
    without a new compilation are given as arrays.

    Args:
        function: Of positional arguments.

    Returns:
        The compiled function.
    """

    @jax.jit
    @functools.wraps(function)
    def compiled(*arguments: Any) -> Any:
        return function(*(a.value if isinstance(a, Argument) else a for a in arguments))

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return compiled(*map(_as_argument, arguments))

    return call


def _as_argument(value: Any) -> Any:
    return value if all(map(is_array, jax.tree.leaves(value))) else Argument(value)
