"""Records: equal ones share a program, arrays in them are leaves, all else is structure."""

import copy
import dataclasses
import math
import operator
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import networks
from rpm_jax._record import record
from rpm_jax.expfam import DiagonalGaussian


@record
class Line:
    slope: jax.Array
    offset: float = 0.0
    power: int = 1


@record
class Curve:
    slope: jax.Array
    offset: float = 0.0
    power: int = 1


@record
class Holder:
    part: Any
    name: str = "a"


@record
class Shapes:
    hidden: Sequence[int] = (20, 20)
    scale: float | None = None
    number: int = 1
    flags: tuple[bool, ...] = ()
    rate: float | jax.Array = 1.0


@record
class Positive:
    value: float

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise ValueError(f"value must be positive, got {self.value}")


class Point(NamedTuple):
    x: Any
    y: Any


class OtherPoint(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Plain:
    x: Any


def double(x):
    return 2 * x


def structure(value):
    return jax.tree.structure(value)


def counted(function: Callable, most: int = 1):
    return jax.jit(chex.assert_max_traces(function, n=most))


@pytest.fixture(autouse=True)
def _forget_counts():
    chex.clear_trace_counter()


def test_arrays_are_leaves_and_all_else_is_structure():
    model = Holder((Line(jnp.arange(3.0), 2.0), networks.PointwiseMLP((3,)), double))
    leaves, treedef = jax.tree.flatten(model)
    assert [leaf.shape for leaf in leaves] == [(3,)]
    again = jax.tree.unflatten(treedef, leaves)
    assert again == model
    assert isinstance(again.part[0], Line)
    assert again.part[1] is model.part[1]
    assert again.part[2] is double


@pytest.mark.parametrize("leaf", [np.ones(2), np.float32(1), jnp.ones(2), jax.random.key(0)], ids=type)
def test_every_kind_of_array_is_a_leaf(leaf):
    assert len(jax.tree.leaves(Holder(leaf))) == 1
    assert len(jax.tree.leaves(Holder((leaf, "text")))) == 1


@pytest.mark.parametrize("value", [1, 1.0, True, "text", None, (), np.array(["a"]), np.array([None]), double])
def test_all_else_is_no_leaf(value):
    assert jax.tree.leaves(Holder(value)) == []


def test_paths_have_the_names_of_the_fields():
    model = Holder({"line": Line(jnp.ones(2)), "text": "a"})
    [(path, _)] = jax.tree_util.tree_leaves_with_path(Holder(Line(jnp.ones(2))))
    assert jax.tree_util.keystr(path) == ".part.slope"
    [(path, _)] = jax.tree_util.tree_leaves_with_path(model)
    assert jax.tree_util.keystr(path).startswith(".part")


def test_an_equal_record_built_again_compiles_nothing():
    def value(model, x):
        line, network = model.part
        return line.slope * x**line.power + line.offset + network.hidden[0]

    compiled = counted(value)

    def build(slope):
        return Holder((Line(jnp.full(2, slope), 2.0, power=3), networks.PointwiseMLP([3])))

    for slope in (1.0, 2.0):
        np.testing.assert_allclose(compiled(build(slope), 2.0), slope * 8 + 5)
    np.testing.assert_allclose(compiled(copy.deepcopy(build(1.0)), 2.0), 13)
    np.testing.assert_allclose(compiled(pickle.loads(pickle.dumps(build(1.0))), 2.0), 13)
    with pytest.raises(AssertionError, match="traced"):
        compiled(dataclasses.replace(build(1.0), name="b"), 2.0)


def test_records_of_different_classes_share_no_program():
    compiled = jax.jit(lambda model: model.slope * (2.0 if isinstance(model, Curve) else 1.0))
    assert compiled(Line(jnp.ones(()))) == 1
    assert compiled(Curve(jnp.ones(()))) == 2
    assert Line(jnp.ones(2)) != Curve(jnp.ones(2))


DIFFERENT = [
    (1, 1.0),
    (1, True),
    (0.0, -0.0),
    (np.float32, np.float64),
    (Point(1, 2), OtherPoint(1, 2)),
    (Point(1, 2), (1, 2)),
    ((1, 2), (1, 2.0)),
    ({"a": 1}, {"a": True}),
    (frozenset({1}), frozenset({1.0})),
    (Plain(1), Plain(1.0)),
    (partial(double, 1), partial(double, 1.0)),
    (lambda x: x, lambda x: x),
    (nn.Dense(3), nn.Dense(4)),
    (nn.Sequential([nn.Dense(3, name="a")]), nn.Sequential([nn.Dense(3, name="b")])),
    (Positive(1.0), Positive(2.0)),
    (Positive(2.0).__repr__, Positive(3.0).__repr__),
    (object(), object()),
]


@pytest.mark.parametrize(("first", "second"), DIFFERENT, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("wrap", [Holder, lambda value: Holder((value, jnp.ones(2)))], ids=["alone", "mixed"])
def test_values_of_different_types_differ_at_every_depth(first, second, wrap):
    assert structure(wrap(first)) != structure(wrap(second))
    assert wrap(first) != wrap(second)


EQUAL = [
    lambda: math.nan,
    lambda: (1, 2.0, "a", (None, b"c")),
    lambda: Point(1, [2.0]),
    lambda: {"a": {1, 2}, "b": 1j},
    lambda: Plain([1, {"a": 2}]),
    lambda: partial(double, 1, y=[2]),
    lambda: nn.Sequential([nn.Dense(3), nn.relu, nn.Dense(4, kernel_init=nn.initializers.zeros)]),
    lambda: networks.PointwiseMLP([20, 20]),
    lambda: Positive(2.0).__repr__,
    lambda: np.dtype("float32"),
]


@pytest.mark.parametrize("make", EQUAL)
@pytest.mark.parametrize("wrap", [Holder, lambda value: Holder((value, jnp.ones(2)))], ids=["alone", "mixed"])
def test_equal_values_are_one_structure(make, wrap):
    first, second = wrap(make()), wrap(make())
    assert structure(first) == structure(second)
    assert first == second
    assert hash(first) == hash(second)


def test_a_dataclass_that_holds_more_than_its_fields_is_compared_by_identity():
    first, second = Plain(1), Plain(1)
    assert Holder(first) == Holder(second)
    second.secret = 3
    assert Holder(first) != Holder(second)


@pytest.mark.parametrize("other", [jnp.zeros(3), jnp.ones(2), jnp.ones(3, "float32"), np.ones((3, 1)), None])
def test_equality_sees_the_contents_of_arrays(other):
    assert Line(np.ones(3)) == Line(jnp.ones(3))
    assert Line(jnp.full(3, jnp.nan)) == Line(jnp.full(3, jnp.nan))
    assert Line(jnp.ones(3)) != Line(other)
    assert Line(jax.random.key(1)) == Line(jax.random.key(1))
    assert Line(jax.random.key(1)) != Line(jax.random.key(2))


def test_traced_arrays_equal_themselves_alone():
    def check(x, y):
        assert Line(x) == Line(x)
        assert Line(x) != Line(y)
        return x

    jax.jit(check)(1.0, 1.0)


def test_transformations():
    model = Line(jnp.array([1.0, 2.0]), 1.0, 2)

    def value(model, x):
        return jnp.sum(model.slope * x**model.power + model.offset)

    gradient = jax.grad(value)(model, 3.0)
    assert isinstance(gradient, Line)
    np.testing.assert_allclose(gradient.slope, [9, 9])
    np.testing.assert_allclose(jax.vmap(value, in_axes=(0, None))(model, 3.0), [10, 19])
    axes = jax.tree.map(lambda _: 0, model)
    np.testing.assert_allclose(jax.vmap(value, in_axes=(axes, None))(model, 3.0), [10, 19])
    shapes = jax.eval_shape(lambda model: dataclasses.replace(model, slope=model.slope[:1]), model)
    assert shapes.slope.shape == (1,)
    _, tangent = jax.jvp(partial(value, x=2.0), (model,), (model,))
    assert tangent == 12
    total, _ = jax.lax.scan(lambda carry, _: (jax.tree.map(double, carry), None), model, length=3)
    np.testing.assert_allclose(total.slope, [8, 16])


def test_sentinels_in_the_place_of_arrays_keep_the_structure():
    model = Holder((Line(jnp.ones(2), 3.0), double))
    for sentinel in (0, object(), "text", jnp.ones(3), (1, 2)):
        replaced = jax.tree.map(lambda _, sentinel=sentinel: sentinel, model)
        assert jax.tree.structure(replaced, is_leaf=partial(operator.is_, sentinel)) == structure(model)
    empty = jax.tree.map(lambda _: None, model)
    assert structure(jax.tree.map(lambda _, leaf: leaf, model, model)) == structure(model)
    assert (
        jax.tree.map(lambda a, b: (a, b), empty, empty, is_leaf=lambda leaf: leaf is None).part[1] is double
    )
    assert pickle.loads(pickle.dumps(Line(jnp.ones(2)))).__dict__.keys() == {"slope", "offset", "power"}
    assert "_flattened" not in copy.copy(model).__dict__


def test_rebuilding_validates_nothing_and_replacing_does():
    with pytest.raises(ValueError, match="positive"):
        Positive(-1.0)
    with pytest.raises(ValueError, match="positive"):
        dataclasses.replace(Positive(1.0), value=0)
    holder = jax.tree.map(jnp.negative, Holder(jnp.ones(2)))
    assert dataclasses.replace(holder, name="b").name == "b"
    assert structure(dataclasses.replace(holder, name="b")) != structure(holder)


@pytest.mark.parametrize(
    "wrap", [lambda part: part, lambda part: (part, jnp.ones(2))], ids=["alone", "mixed"]
)
def test_what_is_changed_inside_of_a_record_is_seen(wrap):
    """A record is frozen, a dictionary in it is not: no program of its former contents is run."""
    for part, change in (
        ({"a": 1}, lambda part: part.update(a=2)),
        ({"a": jnp.zeros(2)}, lambda part: part.update(a=jnp.ones(2))),
        (Plain(1), lambda part: setattr(part, "x", 2)),
    ):
        holder = Holder(wrap(part))
        before = Holder(copy.deepcopy(holder.part))
        assert holder == before
        change(part)
        assert holder != before
        assert holder == Holder(holder.part)


def test_records_are_frozen_and_final():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Line(jnp.ones(2)).offset = 1.0
    with pytest.raises(TypeError, match="Steep: Line is a record, and final"):

        class Steep(Line):
            pass


def test_the_constructor_freezes_lists_and_coerces_numbers():
    given = Shapes([20, np.int64(20)], np.float32(0.5), np.int32(3), [True, np.bool_(False)], 2)
    assert given == Shapes((20, 20), 0.5, 3, (True, False), 2.0)
    assert structure(Shapes(scale=1)) == structure(Shapes(scale=1.0))
    assert Shapes(np.array([1, 2])).hidden == (1, 2)
    assert Shapes(scale=jnp.asarray(0.25)).scale == 0.25
    assert isinstance(Shapes(rate=jnp.ones(())).rate, jax.Array)
    assert Holder([1, [2]]).part == (1, (2,))
    assert Shapes(flags=[1, 0]).flags == (True, False)
    assert type(Shapes(flags=[1, 0]).flags[0]) is bool
    assert jax.jit(lambda x: Shapes(scale=x))(0.5).scale == 0.5


@pytest.mark.parametrize(
    "part",
    [
        nn.relu,
        jnp.tanh,
        nn.silu,
        nn.Dense(3),
        nn.Sequential([nn.Dense(3), nn.softplus]),
        partial(double, nn.relu),
    ],
    ids=("relu", "tanh", "silu", "dense", "sequential", "partial"),
)
def test_functions_of_jax_and_flax_modules_pickle_and_copy(part):
    for value in (Holder(part), Holder((part, jnp.ones(2)))):
        assert pickle.loads(pickle.dumps(value)) == value
        assert copy.deepcopy(value) == value


def test_functions_that_no_module_has_are_refused():
    with pytest.raises(TypeError, match="top level of a module"):
        pickle.dumps(jax.jit(lambda x: x))


def test_representation_is_legible():
    assert repr(Line(jnp.ones((2, 3), "float32"))) == "Line(slope=float32[2,3])"
    assert repr(Shapes(scale=1)) == "Shapes(scale=1.0)"
    assert repr(Shapes()) == "Shapes()"
    assert repr(Holder(double)) == "Holder(part=double)"
    assert repr(Holder(nn.relu)) == "Holder(part=relu)"
    assert repr(Holder(networks.PointwiseMLP((3,)))) == "Holder(part=PointwiseMLP(hidden=(3,)))"
    assert repr(Holder(DiagonalGaussian(jnp.ones(2), -jnp.ones(2)))) == (
        "Holder(part=DiagonalGaussian(eta1=float64[2], eta2=float64[2]))"
    )
    assert repr(Holder((Line(jnp.ones(2), 0.123456789, 7),) * 3, name="three of them")) == (
        "Holder(\n"
        "  part=(\n"
        "    Line(slope=float64[2], offset=0.123456789, power=7),\n"
        "    Line(slope=float64[2], offset=0.123456789, power=7),\n"
        "    Line(slope=float64[2], offset=0.123456789, power=7),\n"
        "  ),\n"
        "  name='three of them',\n"
        ")"
    )
    assert "float64[2]" in repr(jax.eval_shape(lambda: Line(jnp.ones(2))))
