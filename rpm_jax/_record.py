"""Records: final frozen dataclasses whose arrays are the leaves of a pytree, and all else its structure."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from rpm_jax._equality import equal, is_array, structural_hash
from rpm_jax._pickling import portable, restored
from rpm_jax._repr import describe
from rpm_jax._structure import MEMORY, freeze

T = TypeVar("T")

NUMBERS = (float, int, bool)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def record(cls: type[T]) -> type[T]:
    """Make `cls` a record: a final frozen dataclass, a pytree whose leaves are the arrays in it.

    What a field holds decides, not how it is declared: an array is a leaf; of a pytree (another record, a
    family, a tuple of them) the arrays are leaves; numbers, strings, functions, flax modules are structure.
    So a plain `jax.jit` takes a record as an ordinary argument, and records that are equal but for the
    values of their arrays share one compiled program. The structure is compared with its types at every
    depth (`rpm_jax._structure.freeze`).

    The constructor freezes lists to tuples, and gives numbers the Python type that their field is annotated
    with (`float`, `int`, `bool`, also `| None`; `tuple`s of them), so that 1 and `numpy.float32(1)` for a
    `float` are one record; then it calls `__post_init__`. Rebuilding from leaves skips both: JAX puts
    tracers, tangents, `None` and sentinels in the place of arrays.

    Two records are equal where type, structure and the arrays' types, shapes and values are (NaN equals
    NaN; traced arrays only themselves). They are picklable where their parts are, and printed without the
    fields that have their default.

    Args:
        cls: A class with annotated fields.

    Returns:
        The class, registered; subclassing it raises `TypeError`.
    """
    validate = cls.__dict__.get("__post_init__")
    coercions = {name: _coercion(annotation) for name, annotation in inspect.get_annotations(cls).items()}

    def __post_init__(self: Any) -> None:  # noqa: N807 (a method of the class)
        for name in names:
            value = getattr(self, name)
            coerced = _coerce(value, coercions.get(name, AS_IT_IS))
            if coerced is not value:
                object.__setattr__(self, name, coerced)
        if validate is not None:
            validate(self)

    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    cls = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    names = tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]
    cls.__eq__ = equal  # type: ignore[method-assign]
    cls.__hash__ = structural_hash  # type: ignore[method-assign]
    if "__repr__" not in cls.__dict__:
        cls.__repr__ = describe  # type: ignore[method-assign]
    cls.__getstate__ = _state  # type: ignore[method-assign]
    cls.__setstate__ = _set_state  # type: ignore[attr-defined]
    cls.__init_subclass__ = classmethod(_refuse_subclass)  # type: ignore[method-assign, assignment]
    cls.__is_record__ = True  # type: ignore[attr-defined]

    def flatten(instance: T) -> tuple[tuple, Structure]:
        memory = instance.__dict__.get(MEMORY)
        if memory is None:
            memory = _flatten(instance, names)
            if all(_cannot_change(getattr(instance, name)) for name in names):
                object.__setattr__(instance, MEMORY, memory)
        return memory

    def flatten_with_keys(instance: T) -> tuple[tuple, Structure]:
        children, structure = flatten(instance)
        keys = map(jax.tree_util.GetAttrKey, structure.with_arrays)
        return tuple(zip(keys, children, strict=True)), structure

    def unflatten(structure: Structure, children: Any) -> T:
        instance = object.__new__(cls)
        children = tuple(children)
        given = iter(children)
        for name, part in zip(names, structure.parts, strict=True):
            object.__setattr__(instance, name, part.join(next(given)) if part.has_arrays else part.value)
        object.__setattr__(instance, MEMORY, (children, structure))
        return instance

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def is_record(value: Any) -> bool:
    """Whether `value` is an instance of a class made by `record`."""
    return getattr(type(value), "__is_record__", False)


class Whole:
    """A field whose value is a child as it is: an array, or a pytree of nothing but arrays."""

    has_arrays = True
    key = "arrays"

    @staticmethod
    def join(child: Any) -> Any:
        """The field's value."""
        return child


class Mixed:
    """A field with a pytree of arrays and other things.

    Attributes:
        treedef: The pytree's structure, both kinds being leaves.
        others: For each leaf the value itself, or None in the place of an array.
        is_array: For each leaf whether it is an array.
        key: What the structure is compared by.
    """

    has_arrays = True

    def __init__(self, treedef: Any, leaves: list, is_array: list[bool]) -> None:
        self.treedef = treedef
        self.is_array = tuple(is_array)
        self.others = tuple(None if array else leaf for leaf, array in zip(leaves, is_array, strict=True))
        self.key = (treedef, self.is_array, freeze(self.others))

    def join(self, child: Any) -> Any:
        """The field's value; `child` itself where JAX put something else than the arrays."""
        if not isinstance(child, tuple) or len(child) != sum(self.is_array):
            return child
        given = iter(child)
        leaves = [
            next(given) if array else other for other, array in zip(self.others, self.is_array, strict=True)
        ]
        return jax.tree.unflatten(self.treedef, leaves)


class Fixed:
    """A field without arrays.

    Attributes:
        value: Its value.
        key: What it is compared by.
    """

    has_arrays = False

    def __init__(self, value: Any) -> None:
        self.value = value
        self.key = freeze(value)


class Structure:
    """What a record is but for the values of its arrays.

    Attributes:
        parts: One for each field.
        with_arrays: The names of the fields that have arrays.
    """

    __slots__ = ("_hash", "_key", "parts", "with_arrays")

    def __init__(self, names: tuple[str, ...], parts: tuple) -> None:
        self.parts = parts
        self.with_arrays = tuple(name for name, part in zip(names, parts, strict=True) if part.has_arrays)
        self._key = tuple(part.key for part in parts)
        self._hash = hash(self._key)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Structure) and self._hash == other._hash and self._key == other._key
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Structure({', '.join(str(part.value) for part in self.parts if not part.has_arrays)})"


def _flatten(instance: Any, names: tuple[str, ...]) -> tuple[tuple, Structure]:
    children: list[Any] = []
    parts: list[Any] = []
    for name in names:
        value = getattr(instance, name)
        if is_array(value):
            children.append(value)
            parts.append(Whole())
            continue
        leaves, treedef = jax.tree.flatten(value)
        arrays = [is_array(leaf) for leaf in leaves]
        if not any(arrays):
            parts.append(Fixed(value))
        elif all(arrays):
            children.append(value)
            parts.append(Whole())
        else:
            children.append(tuple(leaf for leaf, array in zip(leaves, arrays, strict=True) if array))
            parts.append(Mixed(treedef, leaves, arrays))
    return tuple(children), Structure(names, tuple(parts))


def _cannot_change(value: Any) -> bool:
    """Whether what was seen of a value stays true: not of dictionaries, nor dataclasses not frozen."""
    if is_array(value):
        return True
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _state(self: Any) -> dict[str, Any]:
    return {name: portable(value) for name, value in self.__dict__.items() if name != MEMORY}


def _set_state(self: Any, state: dict[str, Any]) -> None:
    for name, value in state.items():
        object.__setattr__(self, name, restored(value))


def _refuse_subclass(cls: type, **options: Any) -> None:
    del options
    base = next(base for base in cls.__mro__[1:] if "__is_record__" in base.__dict__)
    raise TypeError(
        f"{cls.__name__}: {base.__name__} is a record, and final; write a class of its own that has the same "
        "members, and holds the record in a field where it extends it"
    )


class Coercion(NamedTuple):
    """How the values of a field are brought to one form, from its annotation.

    Attributes:
        number: The Python type of a number, or None.
        item: The Python type of the numbers in a tuple, or None.
        takes_arrays: Whether arrays without axes are left as they are.
    """

    number: type | None
    item: type | None
    takes_arrays: bool


AS_IT_IS = Coercion(None, None, False)


def _coercion(annotation: Any) -> Coercion:
    is_union = isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union
    alternatives = typing.get_args(annotation) if is_union else (annotation,)
    sequences = [kind for kind in alternatives if typing.get_origin(kind) in (tuple, Sequence)]
    items = [item for kind in sequences for item in typing.get_args(kind)]
    return Coercion(
        next((kind for kind in alternatives if kind in NUMBERS), None),
        next((item for item in items if item in NUMBERS), None),
        jax.Array in alternatives,
    )


def _coerce(value: Any, coercion: Coercion) -> Any:
    is_vector = isinstance(value, np.ndarray | jax.Array) and value.ndim == 1
    if is_vector and coercion.item and not coercion.takes_arrays and not isinstance(value, jax.core.Tracer):
        value = np.asarray(value).tolist()
    frozen = _frozen(value)
    if type(frozen) is tuple:
        item = coercion.item
        return frozen if item is None else tuple(_number(number, item, False) for number in frozen)
    return frozen if coercion.number is None else _number(frozen, coercion.number, coercion.takes_arrays)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if type(value) in (list, tuple) else value


def _number(value: Any, kind: type, takes_arrays: bool) -> Any:
    """`value` as a Python number of this kind where nothing is lost; otherwise as it is."""
    if isinstance(value, np.ndarray | jax.Array):
        if takes_arrays or value.ndim or isinstance(value, jax.core.Tracer) or not is_array(value):
            return value
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.extended):
            return value
        value = np.asarray(value)[()]
    if isinstance(value, np.bool_ | bool):
        return bool(value)
    if isinstance(value, int | np.integer):
        return kind(value) if kind is float or value in (0, 1) else int(value)
    if isinstance(value, float | np.floating) or getattr(value, "dtype", None) == jnp.bfloat16:
        return float(value)
    return value
