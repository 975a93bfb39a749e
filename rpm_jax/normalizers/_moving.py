"""The part of a pytree that a derivative is taken with respect to."""

from typing import Any, NamedTuple, Self

import jax
from jax import Array
from jax.custom_derivatives import SymbolicZero


class Moving(NamedTuple):
    """A pytree of which some leaves have tangents; the others are not differentiated at all.

    Attributes:
        leaves: All leaves.
        places: Which of them have tangents.
        structure: Of the pytree.
    """

    leaves: list[Array]
    places: tuple[int, ...]
    structure: Any

    @classmethod
    def split(cls, primals: Any, tangents: Any) -> tuple[Self, list[Array]]:
        """The pytree, and the tangents that are not symbolic zeros."""
        leaves, structure = jax.tree.flatten(primals)
        changes = jax.tree.leaves(tangents)
        places = tuple(i for i, change in enumerate(changes) if not isinstance(change, SymbolicZero))
        return cls(leaves, places, structure), [changes[i] for i in places]

    def selected(self) -> list[Array]:
        """The leaves that have tangents."""
        return [self.leaves[i] for i in self.places]

    def merge(self, selected: list[Array]) -> Any:
        """The pytree with other values in these places."""
        leaves = list(self.leaves)
        for place, leaf in zip(self.places, selected, strict=True):
            leaves[place] = leaf
        return jax.tree.unflatten(self.structure, leaves)
