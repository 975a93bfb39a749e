"""Networks of all views, made of networks of one array."""

import dataclasses
from typing import Any, Self

import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.incomplete import View, as_taken_by, join_views
from rpm_jax.networks._protocol import Network, as_network, with_outputs
from rpm_jax.networks._standardised import standardised


@record
class CombinedViews:
    """A network of one array as a network of all views, joined along their last axis.

    Attributes:
        network: The network that sees the joined array.
        stack: Whether a new last axis is made for the views first, which then have to share a shape.
    """

    network: Any
    stack: bool = False
    takes_missing = True

    def __post_init__(self) -> None:
        """Take a module of flax.linen as a network."""
        object.__setattr__(self, "network", as_network("network", self.network))

    @property
    def pointwise(self) -> bool:
        """As the network is."""
        return getattr(self.network, "pointwise", False)

    def with_outputs(self, number: int) -> Self:
        """The same around a network with `number` outputs."""
        return dataclasses.replace(self, network=with_outputs(self.network, number))

    def init(self, key: Array, inputs: tuple[View, ...]) -> Any:
        """The network's parameters."""
        return self.network.init(key, self._join(inputs))

    def apply(self, params: Any, inputs: tuple[View, ...]) -> Array:
        """The network's outputs for the joined views."""
        return self.network.apply(params, self._join(inputs))

    def _join(self, views: tuple[View, ...]) -> View:
        shapes = [view.shape for view in views]
        if self.stack:
            if len(set(shapes)) > 1:
                raise ValueError(f"views can only be stacked if they share a shape, got {shapes}")
            return self._taken(join_views(jnp.stack, views, -1))
        if len({shape[:-1] for shape in shapes}) > 1:
            raise ValueError(
                f"views can only be concatenated if they share all axes but the last, got {shapes}"
            )
        return self._taken(join_views(jnp.concatenate, views, -1))

    def _taken(self, view: View) -> View:
        return as_taken_by(self.network, (view,))[0]


def stacked(network: Network, *, standardise: bool = True) -> CombinedViews:
    """A network of all views stacked along a new last axis: J sequences (N, T) become (N, T, J).

    Args:
        network: A network of one array; a `PointwiseMLP` sees all views at one time.
        standardise: Whether each view is shifted and scaled by its mean and deviation.
    """
    network = as_network("network", network)
    return CombinedViews(standardised(network) if standardise else network, stack=True)


def concatenated(network: Network, *, standardise: bool = True) -> CombinedViews:
    """A network of all views concatenated along their last axis: (N, D_1), (N, D_2) → (N, D_1 + D_2).

    Args:
        network: A network of one array.
        standardise: Whether each feature is shifted and scaled by its mean and deviation.
    """
    network = as_network("network", network)
    return CombinedViews(standardised(network) if standardise else network, stack=False)
