"""How many arithmetic operations a function makes."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

MOVES = frozenset(
    (
        *("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "rev", "slice", "split"),
        *("dynamic_slice", "dynamic_update_slice", "concatenate", "pad", "gather", "iota", "copy"),
        *("convert_element_type", "stop_gradient"),
    )
)
"""Primitives that compute nothing."""


def count_operations(function: Callable[..., Any], *arguments: Any) -> float:
    """Floating-point operations of a function, loops included as often as they run.

    XLA's `cost_analysis` counts the body of a loop once. A product of matrices counts two operations per pair
    of factors, a factorisation K³/3, a triangular solve K² per column, a reduction one per input, anything
    else one per output: a logarithm as much as an addition. Of branches the most costly one counts. A loop
    whose length is not known, which no part of a training step has, counts once.

    Args:
        function: Anything that JAX traces.
        *arguments: Its arguments.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> float:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: Any) -> float:
    name, inner = equation.primitive.name, [_count(jaxpr) for jaxpr in _inner(equation.params)]
    if name == "scan":
        return equation.params["length"] * sum(inner)
    if name == "cond":
        return max(inner, default=0.0)
    if inner and not name.startswith(("reduce", "scatter", "arg")):
        return sum(inner)
    inputs = [variable.aval for variable in equation.invars]
    output = equation.outvars[0].aval
    size = math.prod(getattr(output, "shape", ()))
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2.0 * size * math.prod(inputs[0].shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return 2.0 * size * math.prod(inputs[1].shape) / max(1, inputs[1].shape[-1])
    if name == "cholesky":
        return size * output.shape[-1] / 3.0
    if name == "triangular_solve":
        return float(size * inputs[0].shape[-1])
    if name.startswith(("reduce_", "arg", "cum", "scatter")):
        return float(max(math.prod(getattr(aval, "shape", ())) for aval in inputs))
    return 0.0 if name in MOVES else float(size)


def _inner(parameters: dict[str, Any]) -> Iterator[Any]:
    """The programs inside an equation's parameters."""
    for value in parameters.values():
        for entry in value if isinstance(value, tuple | list) else (value,):
            if hasattr(entry, "eqns"):
                yield entry
            elif hasattr(entry, "jaxpr") and hasattr(entry.jaxpr, "eqns"):
                yield entry.jaxpr
