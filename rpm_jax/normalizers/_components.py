"""The components of the mixtures F_j, held as arrays or produced block by block."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jax import Array

from rpm_jax.expfam import ExponentialFamily


class Block(NamedTuple):
    """Some components of the mixtures F_jt.

    Attributes:
        natural: Natural parameters η_jt^m, a family of batch shape (N, J, T).
        log_scale: h_jt^m of unnormalised factors exp(⟨η, t⟩ + h), shape (N, J, T); None: −A(η).
    """

    natural: Any
    log_scale: Array | None = None


@runtime_checkable
class Components(Protocol):
    """N mixture components, of which a normalizer asks for blocks.

    Those made of something else when they are asked for may also have `block_size`, the most to be asked for
    at a time, and `row_length`, of which starts and lengths of blocks have to be multiples; and those that
    know a faster way than block by block have `log_tilted_mixture`, as the function but for the components.

    Attributes:
        size: N.
    """

    @property
    def size(self) -> int: ...

    def block(self, start: int | Array, length: int) -> Block:
        """The components start..start + length − 1."""
        ...


class ArrayComponents(NamedTuple):
    """Components held in memory.

    Attributes:
        natural: A family of batch shape (N, J, T).
        log_scale: Shape (N, J, T), or None for normalised factors.
    """

    natural: ExponentialFamily
    log_scale: Array | None = None

    @property
    def size(self) -> int:
        """N."""
        return self.natural.batch_shape[0]

    def block(self, start: int | Array, length: int) -> Block:
        """The components start..start + length − 1."""
        if isinstance(start, int) and (start, length) == (0, self.size):
            return Block(self.natural, self.log_scale)

        def rows(array: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(array, start, length)

        return Block(
            self.natural.replace(tuple(rows(parameter) for parameter in self.natural.natural_parameters)),
            None if self.log_scale is None else rows(self.log_scale),
        )


def row_length(components: Components) -> int:
    """Of how many components starts and lengths of blocks must be multiples; 1 unless they say so."""
    return getattr(components, "row_length", 1)


def as_components(mixture: Any, log_scale: Array | None = None) -> Components:
    """A mixture argument as components.

    Args:
        mixture: A family of batch shape (N, J, T), or `Components`.
        log_scale: Shape (N, J, T) for a family whose factors are unnormalised.

    Raises:
        TypeError: For anything else, or for `log_scale` next to `Components`, which hold their own.
    """
    if isinstance(mixture, ExponentialFamily):
        return ArrayComponents(mixture, log_scale)
    if isinstance(mixture, Components):
        if log_scale is not None:
            raise TypeError("mixture_log_scale belongs to a mixture of arrays; Components give their own")
        return mixture
    raise TypeError(
        "mixture must be natural parameters of batch shape (N, J, T) or Components (size and block(start, "
        f"length)), got {type(mixture).__name__}"
    )
