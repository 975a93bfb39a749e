"""Mixtures of Gaussians that all have one precision at a view and site."""

import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._devices import for_this_device
from rpm_jax.normalizers._components import ArrayComponents, Block, Components
from rpm_jax.normalizers._points import log_mixture_at

BLOCK_ELEMENTS = 2**18
"""Numbers that a block of components and its pairs with tilts hold by default."""

MOST_FOR_CENTRE = 64
"""How many components are looked at for a point in their midst."""


class SharesPrecision(Protocol):
    """A family η = (η1, η2) that knows what is linear where η2 is shared."""

    def in_deviations(self, tilts: Any, linear: Array) -> Any:
        """See `rpm_jax.expfam.Gaussian.in_deviations`."""
        ...

    def deviations(self, dispersion: Array, centre: Array) -> Any:
        """See `rpm_jax.expfam.Gaussian.deviations`."""
        ...


class SharedPrecision(NamedTuple):
    """Components that differ in η1 alone, whose tilted mixtures take one factorisation for each tilt.

    With P the precision that all share, u_m = P⁻¹ η1^m − c for any centre c, and tilts δ = (d, −½R),

        A(η^m + δ) − A(η^m) = ⟨s(δ), (u_m, u_m u_mᵀ)⟩ + a(δ),
        s = (P Q⁻¹ e, −½ P Q⁻¹ R),   a = ½ log|P| − ½ log|Q| + ½ cᵀRc + cᵀe + ½ eᵀQ⁻¹e,

    Q = P + R, e = d − Rc, so that the sum over components is a product of matrices. With c in the midst of
    the components nothing is lost to cancellation that the plain sum would keep.

    Attributes:
        components: The components, batch shape (N, J, T).
        shared: Natural parameters whose η2 is that of all components, batch shape (J, T).
    """

    components: Components
    shared: Any

    @property
    def size(self) -> int:
        """N."""
        return self.components.size

    @property
    def is_held(self) -> bool:
        """Whether the components are arrays in memory."""
        return isinstance(self.components, ArrayComponents)

    def block(self, start: int | Array, length: int) -> Block:
        """The components start..start + length − 1."""
        return self.components.block(start, length)

    def log_tilted_mixture(
        self,
        tilts: Any,
        *,
        log_weights: Array | None = None,
        mask: Array | None = None,
        block_size: int | None = None,
    ) -> Array:
        """As `rpm_jax.normalizers.log_tilted_mixture`."""
        few = self.components.block(0, min(self.size, _first(self.components)))
        linear = jax.lax.stop_gradient(jnp.mean(few.natural.natural_parameters[0], axis=0))
        views, sites = self.shared.batch_shape
        batch = jnp.broadcast_shapes(tilts.batch_shape, (views, sites) if sites > 1 else (views, 1))
        tilts = tilts.broadcast_to(batch)
        if sites == 1:
            # Sites of pooled mixtures are more points of the same.
            tilts = tilts.moveaxis(-1, -2)
        shape = tilts.batch_shape[: -2 if sites > 1 else -1]
        tilts = tilts.reshape((math.prod(shape), views, sites))
        statistics, constant, dispersion, centre = self.shared.in_deviations(tilts, linear)
        deviating = _Deviations(self.components, dispersion, centre)
        if block_size is None:
            own = sum(math.prod(leaf.shape[1:]) for leaf in statistics) + math.prod(constant.shape)
            block_size = min(deviating.block_size, max(1, for_this_device(BLOCK_ELEMENTS) // own))
        log_values = log_mixture_at(
            deviating,
            tuple(leaf.reshape(leaf.shape[0], views * sites, *leaf.shape[3:]) for leaf in statistics),
            log_weights=_side_by_side(log_weights),
            mask=_side_by_side(mask),
            block_size=block_size,
        )
        values = log_values.reshape(constant.shape) + constant
        if sites > 1:
            return values.reshape(batch)
        return jnp.moveaxis(values.reshape(*shape, views), -1, -2)


class _Deviations(NamedTuple):
    """Components in the form that their tilted integrals are linear in; views and sites on one axis."""

    components: Components
    dispersion: Array
    centre: Array

    @property
    def size(self) -> int:
        """N."""
        return self.components.size

    @property
    def block_size(self) -> int:
        """How many to ask for at a time."""
        return getattr(self.components, "block_size", None) or self.size

    @property
    def row_length(self) -> int:
        """Of how many components blocks have to be multiples."""
        return getattr(self.components, "row_length", 1)

    def block(self, start: int | Array, length: int) -> Block:
        """The components start..start + length − 1, batch shape (length, 1, J·T)."""
        natural, log_scale = self.components.block(start, length)
        shape = (length, 1, natural.batch_shape[1] * natural.batch_shape[2])
        mass = jnp.zeros(natural.batch_shape, natural.dtype)
        if log_scale is not None:
            mass = natural.log_partition() + log_scale
        return Block(natural.deviations(self.dispersion, self.centre).reshape(shape), mass.reshape(shape))


def _first(components: Components) -> int:
    """How many components to look at: a multiple of their rows."""
    row = getattr(components, "row_length", 1)
    return max(row, MOST_FOR_CENTRE // row * row)


def _side_by_side(array: Array | None) -> Array | None:
    """An array (N, J, T) as (N, 1, J·T); others as they are."""
    return array if array is None or array.ndim < 3 else array.reshape(array.shape[0], 1, -1)
