"""What every exponential family shares: batches, arithmetic, log-partition, divergences."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._arrays import as_floating
from rpm_jax._checks import check_index
from rpm_jax.expfam._sums import all_at_once, by_latent

Statistics = tuple[Array, ...]
"""Sufficient statistics or their expectations: one array per natural parameter, of its shape."""


class ExponentialFamily:
    """A batch of distributions p(z) = χ(z) exp(⟨η, t(z)⟩ − A(η)), held by their natural parameters η.

    A family is a frozen dataclass registered as a pytree (`rpm_jax.expfam.pytree_dataclass`). Each of
    its natural parameters is a field named in `natural_ranks`, with the number of trailing axes that
    belong to one distribution; all axes before those are the batch, of any shape. Other fields are
    shared by the whole batch (a known covariance): arithmetic and indexing leave them alone.

    The same class holds *potentials*, natural parameters to be added to those of a distribution. These
    need not be a distribution themselves (zero is a potential), so constructors check shapes and dtypes
    but not the domain; `is_valid` does.

    A new family defines `natural_ranks` and the methods that raise `NotImplementedError` here, of which
    `from_mean` and `sample` are only needed by those who call them. The logarithm of the base measure χ
    holds all constants such as 2π: A does not.
    """

    natural_ranks: ClassVar[dict[str, int]]

    one_hot: ClassVar[bool] = False
    """Whether z takes finitely many values and t(z) is its one-hot vector, the only natural parameter.

    Every function of z, such as log F_jt, is then linear in t(z): log F_jt(z) = ⟨θ_jt, t(z)⟩, its expectation
    is ⟨θ_jt, μ⟩, and recognition-parametrised models are exact.
    """

    independent: ClassVar[bool] = False
    """Whether one distribution is that of K independent numbers, counted by the first axis after the batch of
    every natural parameter: A is then a sum over them, and a member of K = 1 is one of the family too."""

    # What a family defines.

    def _log_partition(self) -> Array:
        """A(η), shape (...), without a derivative rule."""
        raise NotImplementedError

    def mean_parameters(self) -> Statistics:
        """E[t(z)] = ∇A(η): arrays in the order and of the shapes of the natural parameters."""
        raise NotImplementedError

    def sufficient_statistics(self, z: Array) -> Statistics:
        """t(z), in the order of the natural parameters."""
        raise NotImplementedError

    def log_base_measure(self, z: Array) -> Array:
        """The logarithm of χ(z)."""
        raise NotImplementedError

    def expected_log_base_measure(self) -> Array:
        """E[log χ(z)], shape (...)."""
        raise NotImplementedError

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw values, shape `shape` + batch + event."""
        raise NotImplementedError

    def is_valid(self) -> Array:
        """Whether η lies in the natural domain, boolean of shape (...)."""
        raise NotImplementedError

    @classmethod
    def from_mean(cls, mean: Statistics, **shared: Array) -> Self:
        """The member with the mean parameters `mean`: the inverse of `mean_parameters`."""
        raise NotImplementedError

    @property
    def num_unconstrained(self) -> int:
        """How many real numbers one distribution of this event shape takes."""
        raise NotImplementedError

    def potential(self, raw: Array) -> Self:
        """Map real numbers to a potential that may be added to *any* valid member.

        Args:
            raw: Shape (..., num_unconstrained), any real numbers.

        Returns:
            A potential of this family, event shape and shared fields, batch shape (...), which lies in
            the recession cone of the natural domain: valid + potential is valid.
        """
        raise NotImplementedError

    def unconstrained_potential(self) -> Array:
        """The inverse of `potential` for this potential, shape (..., num_unconstrained)."""
        raise NotImplementedError

    def origin(self) -> Self:
        """The corner of the natural domain from which potentials lead to its inner points.

        Zero where the domain is a cone, which is the default; (−1, 0) for the Gamma family.
        """
        return self.zeros()

    def _log_partition_and_mean(self) -> tuple[Array, Statistics]:
        """Both at once, for families where they share work."""
        return _log_partition(self), self.mean_parameters()

    def _shared_tangent(self, tangent: Self) -> Array | float:
        """The part of dA that is due to a change of the shared fields."""
        del tangent
        return 0.0

    # What follows from the definitions.

    def log_partition(self) -> Array:
        """The log-partition function A(η) = log ∫ χ(z) exp⟨η, t(z)⟩ dz.

        Its derivative rule is ∇A(η) = E[t(z)]: stable, and without a second factorisation.

        Returns:
            Shape (...), the batch shape.
        """
        return _log_partition(self)

    def log_partition_of_sums(self, others: Self) -> Array:
        """A(η^m + δ^n) of every pair of one of these and one of `others`, as fast as this device can.

        What mixtures F_j consist of. Values and derivatives are those of
        `(self.moveaxis(0, -1) + others[..., None]).log_partition()`, which keeps more and is slower.

        Args:
            others: δ, batch shape (..., *sites), where this one's is (M, *sites); sites broadcast.

        Returns:
            Shape (..., *sites, M).
        """
        self._check_same_family(others, "+")
        return by_latent(self, others) if self.independent else all_at_once(self, others)

    def log_prob(self, z: Array) -> Array:
        """The log-density (log-mass) ⟨η, t(z)⟩ − A(η) + log χ(z).

        Args:
            z: Values whose leading axes broadcast with the batch.

        Returns:
            In nats, of the broadcast shape.
        """
        return self.dot(self.sufficient_statistics(z)) - self.log_partition() + self.log_base_measure(z)

    def entropy(self) -> Array:
        """The entropy −E[log p(z)] = A(η) − ⟨η, μ⟩ − E[log χ(z)], in nats, shape (...)."""
        log_partition, mean = self._log_partition_and_mean()
        return log_partition - self.dot(mean) - self.expected_log_base_measure()

    def kl_divergence(self, other: Self) -> Array:
        """The Kullback-Leibler divergence KL(self‖other) = ⟨η − η', μ⟩ − A(η) + A(η').

        Args:
            other: A member of the same family with equal shared fields; batches broadcast.

        Returns:
            In nats, of the broadcast batch shape.
        """
        log_partition, mean = self._log_partition_and_mean()
        return (self - other).dot(mean) - log_partition + other.log_partition()

    def unconstrained(self) -> Array:
        """Real numbers that `from_unconstrained` maps to this member, shape (..., num_unconstrained)."""
        return (self - self.origin()).unconstrained_potential()

    def from_unconstrained(self, raw: Array) -> Self:
        """Map real numbers to a valid member, for learnable distributions.

        Args:
            raw: Shape (..., num_unconstrained).

        Returns:
            A member with this one's event shape and shared fields.
        """
        return self.origin() + self.potential(raw)

    # Batches.

    def __post_init__(self) -> None:
        """Convert to floating point, check ranks, and bring the natural parameters to one batch shape."""
        name = type(self).__name__
        arrays = {
            field: as_floating(f"{name}: natural parameter {field}", getattr(self, field))
            for field in self.natural_ranks
        }
        dtype = jnp.result_type(*arrays.values())
        for field, rank in self.natural_ranks.items():
            if arrays[field].ndim < rank:
                raise ValueError(
                    f"{name}: {field} needs at least {rank} axes for one distribution (and any batch axes "
                    f"before them), got shape {arrays[field].shape}"
                )
        self._check_event({field: array.shape for field, array in arrays.items()})
        batches = [arrays[f].shape[: arrays[f].ndim - rank] for f, rank in self.natural_ranks.items()]
        try:
            batch = jnp.broadcast_shapes(*batches)
        except ValueError:
            shapes = ", ".join(f"{field} {array.shape}" for field, array in arrays.items())
            raise ValueError(f"{name}: the batch axes of the natural parameters differ: {shapes}") from None
        for field, rank in self.natural_ranks.items():
            array = arrays[field].astype(dtype)
            shape = batch + array.shape[array.ndim - rank :]
            object.__setattr__(self, field, array if array.shape == shape else jnp.broadcast_to(array, shape))

    def _check_event(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Raise `ValueError` if the trailing axes of the natural parameters do not fit together."""

    @property
    def natural_parameters(self) -> Statistics:
        """The natural parameters η as a tuple of arrays."""
        return tuple(getattr(self, field) for field in self.natural_ranks)

    @property
    def shared(self) -> dict[str, Array]:
        """The fields that the whole batch shares."""
        return {name: value for name, value in vars(self).items() if name not in self.natural_ranks}

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The axes before those of one distribution."""
        field, rank = next(iter(self.natural_ranks.items()))
        shape = getattr(self, field).shape
        return shape[: len(shape) - rank]

    @property
    def dtype(self) -> Any:
        """The floating-point type of the natural parameters."""
        return self.natural_parameters[0].dtype

    def as_vectors(self) -> Array:
        """The natural parameters of every member side by side, shape (..., D)."""
        flat = [parameter.reshape(*self.batch_shape, -1) for parameter in self.natural_parameters]
        return jnp.concatenate(flat, axis=-1)

    def replace(self, natural_parameters: Statistics) -> Self:
        """The same family and shared fields with other natural parameters."""
        fields = dict(zip(self.natural_ranks, natural_parameters, strict=True))
        return type(self)(**fields, **self.shared)

    def zeros(self) -> Self:
        """The zero potential, of the same shapes."""
        return self.replace(tuple(jnp.zeros_like(parameter) for parameter in self.natural_parameters))

    def __getitem__(self, index: Any) -> Self:
        index = index if isinstance(index, tuple) else (index,)
        if not any(item is Ellipsis for item in index):
            index = (*index, Ellipsis)
        check_index(index, self.batch_shape)
        return self.replace(
            tuple(
                parameter[(*index, *[slice(None)] * rank)]
                for parameter, rank in zip(self.natural_parameters, self.natural_ranks.values(), strict=True)
            )
        )

    def reshape(self, batch_shape: tuple[int, ...]) -> Self:
        """The same distributions with another batch shape."""
        return self.replace(
            tuple(
                parameter.reshape(*batch_shape, *parameter.shape[parameter.ndim - rank :])
                for parameter, rank in zip(self.natural_parameters, self.natural_ranks.values(), strict=True)
            )
        )

    def broadcast_to(self, batch_shape: tuple[int, ...]) -> Self:
        """The same distributions repeated to a batch shape that theirs broadcasts to."""
        return self.replace(
            tuple(
                jnp.broadcast_to(parameter, (*batch_shape, *parameter.shape[parameter.ndim - rank :]))
                for parameter, rank in zip(self.natural_parameters, self.natural_ranks.values(), strict=True)
            )
        )

    def moveaxis(self, source: int, destination: int) -> Self:
        """Move one batch axis to another place; negative numbers count from the last batch axis."""
        ndim = len(self.batch_shape)
        return self.replace(
            tuple(jnp.moveaxis(p, source % ndim, destination % ndim) for p in self.natural_parameters)
        )

    # Arithmetic on natural parameters.

    def _check_same_family(self, other: Any, operation: str) -> None:
        if type(other) is not type(self):
            raise TypeError(
                f"{operation} takes two members of one family, got {type(self).__name__} and "
                f"{type(other).__name__}"
            )

    def __add__(self, other: Self) -> Self:
        self._check_same_family(other, "+")
        pairs = zip(self.natural_parameters, other.natural_parameters, strict=True)
        return self.replace(tuple(a + b for a, b in pairs))

    def __sub__(self, other: Self) -> Self:
        self._check_same_family(other, "-")
        pairs = zip(self.natural_parameters, other.natural_parameters, strict=True)
        return self.replace(tuple(a - b for a, b in pairs))

    def __mul__(self, scale: Any) -> Self:
        scale = jnp.asarray(scale)
        return self.replace(
            tuple(
                parameter * scale.reshape(scale.shape + (1,) * rank)
                for parameter, rank in zip(self.natural_parameters, self.natural_ranks.values(), strict=True)
            )
        )

    __rmul__ = __mul__

    def __neg__(self) -> Self:
        return self * -1.0

    def where(self, condition: Array) -> Self:
        """These natural parameters where `condition` (of the batch shape) holds, zero elsewhere."""
        condition = jnp.asarray(condition)
        return self.replace(
            tuple(
                jnp.where(condition.reshape(condition.shape + (1,) * rank), parameter, 0)
                for parameter, rank in zip(self.natural_parameters, self.natural_ranks.values(), strict=True)
            )
        )

    def sum(self, axis: int | tuple[int, ...]) -> Self:
        """Sum the natural parameters over batch axes; negative numbers count from the last batch axis."""
        ndim = len(self.batch_shape)
        axes = tuple(a % ndim for a in ((axis,) if isinstance(axis, int) else axis))
        return self.replace(tuple(jnp.sum(parameter, axis=axes) for parameter in self.natural_parameters))

    def dot(self, statistics: Statistics) -> Array:
        """The inner product ⟨η, statistics⟩ over the axes of one distribution, of the batch shape."""
        return inner_product(self.natural_parameters, statistics, tuple(self.natural_ranks.values()))


def inner_product(left: Statistics, right: Statistics, ranks: tuple[int, ...]) -> Array:
    """Σ of elementwise products over the trailing `ranks` axes of each pair of arrays."""
    products = [
        jnp.sum(a * b, axis=tuple(range(-rank, 0))) for a, b, rank in zip(left, right, ranks, strict=True)
    ]
    return sum(products[1:], start=products[0])


@jax.custom_jvp
def _log_partition(family: ExponentialFamily) -> Array:
    return family._log_partition()


@_log_partition.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (family,), (tangent,) = primals, tangents
    log_partition, mean = family._log_partition_and_mean()
    # Not `dot`, which a family may override by something that is not linear in η (infinite logits).
    ranks = tuple(family.natural_ranks.values())
    change = inner_product(tangent.natural_parameters, mean, ranks)
    return log_partition, change + family._shared_tangent(tangent)


def stack(families: list[ExponentialFamily] | tuple[ExponentialFamily, ...], axis: int = 0) -> Any:
    """Join members of one family along a new batch axis; shared fields are those of the first."""
    first = families[0]
    axis = axis % (len(first.batch_shape) + 1)
    columns = zip(*(family.natural_parameters for family in families), strict=True)
    return first.replace(tuple(jnp.stack(column, axis) for column in columns))


def concatenate(families: list[ExponentialFamily] | tuple[ExponentialFamily, ...], axis: int = 0) -> Any:
    """Join members of one family along a batch axis; shared fields are those of the first."""
    first = families[0]
    axis = axis % len(first.batch_shape)
    columns = zip(*(family.natural_parameters for family in families), strict=True)
    return first.replace(tuple(jnp.concatenate(column, axis) for column in columns))


def map_rows(
    function: Callable[..., Any], tree: Any, *others: Any, shared: Callable[[Any], Any] = lambda leaf: leaf
) -> Any:
    """Apply a function to all arrays of a pytree that have the batch on their first axes.

    These are the natural parameters of families and all arrays outside of them. The shared fields of families
    have no rows: `jax.tree.map` would take, join or repeat those of a known covariance too.

    Args:
        function: Of one array of `tree` and of every one of `others`.
        tree: Families, and pytrees of arrays and families.
        others: Pytrees of its structure.
        shared: Applied to the shared fields of the families in `tree`; those of `others` are left out.

    Returns:
        A pytree of the structure of `tree`.
    """
    leaves, structure = jax.tree.flatten(tree)
    columns = [jax.tree.leaves(other) for other in others]
    mapped = [
        function(leaf, *row) if has_rows else shared(leaf)
        for leaf, has_rows, *row in zip(leaves, _have_rows(tree), *columns, strict=True)
    ]
    return jax.tree.unflatten(structure, mapped)


def _have_rows(tree: Any) -> list[bool]:
    """For each leaf of a pytree whether it is anything but a shared field of a family."""

    def of_node(node: Any) -> list[bool]:
        if not isinstance(node, ExponentialFamily):
            return [True]
        paths = jax.tree_util.tree_leaves_with_path(node)
        return [getattr(path[0], "name", None) in node.natural_ranks for path, _ in paths]

    nodes = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, ExponentialFamily))
    return [flag for node in nodes for flag in of_node(node)]
