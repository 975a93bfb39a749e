"""What records may hold that does not pickle by itself: jax's functions, flax modules with their defaults.

JAX's transformed functions (`jax.nn.relu`, `jnp.tanh`, any function under `jax.jit` or `jax.custom_jvp`) are
objects that neither pickle nor keep their identity in `copy.deepcopy`, though a module has them by name. With
this module imported they are pickled as functions are, by reference. Flax modules often have fields whose
default is a closure, such as the initial weights of `flax.linen.Dense`; a record keeps of a module the class
and the fields that differ from their defaults.
"""

import copyreg
import dataclasses
import functools
import importlib
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

PUBLIC = ("jax.nn", "jax.numpy", "jax.lax")
"""Modules whose names are kept between versions of JAX, where its functions are looked for first."""


def import_function(module: str, name: str) -> Any:
    """The function of this name, dots included, in a module."""
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def _reduce_function(function: Any) -> Any:
    name = getattr(function, "__qualname__", None) or function.__name__
    for module in (*PUBLIC, getattr(function, "__module__", None)):
        if module in sys.modules and _lookup(module, name) is function:
            return import_function, (module, name)
    raise TypeError(
        f"{name} of {function.__module__} is not what its module has under that name, so it cannot be "
        "pickled or copied; define it at the top level of a module"
    )


def _lookup(module: str, name: str) -> Any:
    owner: Any = sys.modules[module]
    for part in name.split("."):
        owner = getattr(owner, part, None)
    return owner


for kind in (jax.custom_jvp, jax.custom_vjp, type(jax.jit(lambda: None)), type(jnp.add)):
    copyreg.pickle(kind, _reduce_function)


class PortableModule(NamedTuple):
    """A flax module as it is pickled.

    Attributes:
        kind: Its class.
        fields: Those of its fields that differ from their defaults.
    """

    kind: type
    fields: dict[str, Any]


def portable(value: Any) -> Any:
    """`value` with its flax modules, also those within containers, as `PortableModule`s."""
    linen = sys.modules.get("flax.linen")
    if linen is None:
        return value
    if isinstance(value, linen.Module):
        fields = {
            field.name: portable(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.init and field.name != "parent" and getattr(value, field.name) is not field.default
        }
        return PortableModule(type(value), fields)
    return _in_containers(portable, value)


def reduce_module(module: Any) -> tuple:
    """`__reduce__` of flax modules: by the class, and the fields that differ from their defaults."""
    return restored, (portable(module),)


def restored(value: Any) -> Any:
    """The inverse of `portable`."""
    if isinstance(value, PortableModule):
        return value.kind(**{name: restored(item) for name, item in value.fields.items()}, parent=None)
    return _in_containers(restored, value)


def _in_containers(change: Any, value: Any) -> Any:
    if type(value) in (tuple, list):
        return type(value)(map(change, value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(change, value))
    if type(value) is dict:
        return {key: change(item) for key, item in value.items()}
    if isinstance(value, functools.partial):
        return functools.partial(
            value.func, *map(change, value.args), **_in_containers(change, value.keywords)
        )
    return value
