"""What a network is here, and wrappers that make one network of another."""

import dataclasses
from typing import Any, Protocol, Self, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record


@runtime_checkable
class Network(Protocol):
    """Any pair of `init` and `apply`; flax.linen modules are such pairs.

    A network that leaves the number of its outputs open also has `with_outputs(number) -> Network`; one
    that has no such method must give the number of outputs that the prior's family needs. One whose outputs
    can start at (or near) zero has `starting_at_zero() -> Network`. A network with the attribute
    `pointwise = True` acts on the last axis alone: inputs (n, T, D) give (n, T, outputs).
    """

    def init(self, key: Array, inputs: Any, /) -> Any:
        """The initial parameters for inputs like these, whose first axis is the batch."""
        ...

    def apply(self, params: Any, inputs: Any, /) -> Any:
        """The outputs, batch axis first, outputs last."""
        ...


def with_outputs(network: Network, number: int) -> Network:
    """The network with `number` outputs, if it leaves the number open; else the network itself."""
    return network.with_outputs(number) if hasattr(network, "with_outputs") else network


def starting_at_zero(network: Network) -> Network:
    """The network with outputs that start at zero, if it can be made such; else the network itself."""
    return network.starting_at_zero() if hasattr(network, "starting_at_zero") else network


def check_network(name: str, network: Any) -> None:
    """Raise `TypeError` unless `network` has `init` and `apply`."""
    if not isinstance(network, Network):
        raise TypeError(
            f"{name} must be a network: a flax.linen module or any object with init(key, inputs) and "
            f"apply(params, inputs), got {type(network).__name__}"
        )


@record
class Standardised:
    """A network whose inputs are shifted and scaled by statistics of the data that it is initialised with.

    The statistics are parameters under the name "statistics", so they are saved and restored with the others;
    `rpm_jax.fit` leaves parameters of that name as they are.

    Attributes:
        network: The network that sees the standardised inputs.
        num_feature_axes: How many trailing axes of the input have statistics of their own, entry by entry;
            all axes before those are averaged over. 0: one mean and one deviation for all entries.
    """

    network: Any
    num_feature_axes: int = 1

    def __post_init__(self) -> None:
        """Check the number of axes."""
        number = self.num_feature_axes
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ValueError(f"num_feature_axes must be an integer of at least 0, got {number!r}")

    @property
    def pointwise(self) -> bool:
        """As the network is."""
        return getattr(self.network, "pointwise", False)

    def with_outputs(self, number: int) -> Self:
        """The same around a network with `number` outputs."""
        return dataclasses.replace(self, network=with_outputs(self.network, number))

    def init(self, key: Array, inputs: Array) -> dict:
        """Statistics of all inputs, and the network's parameters for one of them."""
        inputs = jnp.asarray(inputs)
        if inputs.ndim <= self.num_feature_axes:
            raise ValueError(
                f"num_feature_axes must be less than the {inputs.ndim} axes of inputs of shape "
                f"{inputs.shape}, since the first is that of the data, got {self.num_feature_axes}"
            )
        axes = tuple(range(inputs.ndim - self.num_feature_axes))
        mean, deviation = jnp.mean(inputs, axis=axes), jnp.std(inputs, axis=axes)
        rounding = 100 * jnp.finfo(inputs.dtype).eps * jnp.abs(mean)
        statistics = {"mean": mean, "scale": jnp.where(deviation > rounding, deviation, 1.0)}
        return {"statistics": statistics, "network": self.network.init(key, inputs[:1])}

    def apply(self, params: dict, inputs: Array) -> Array:
        """The network's outputs for (inputs − mean) / scale."""
        statistics = jax.lax.stop_gradient(params["statistics"])
        return self.network.apply(params["network"], (inputs - statistics["mean"]) / statistics["scale"])


@record
class CombinedViews:
    """A network of one array as a network of all views, joined along their last axis.

    Attributes:
        network: The network that sees the joined array.
        stack: Whether a new last axis is made for the views first, which then have to share a shape.
    """

    network: Any
    stack: bool = False

    @property
    def pointwise(self) -> bool:
        """As the network is."""
        return getattr(self.network, "pointwise", False)

    def with_outputs(self, number: int) -> Self:
        """The same around a network with `number` outputs."""
        return dataclasses.replace(self, network=with_outputs(self.network, number))

    def init(self, key: Array, inputs: tuple[Array, ...]) -> Any:
        """The network's parameters."""
        return self.network.init(key, self._join(inputs))

    def apply(self, params: Any, inputs: tuple[Array, ...]) -> Array:
        """The network's outputs for the joined views."""
        return self.network.apply(params, self._join(inputs))

    def _join(self, views: tuple[Array, ...]) -> Array:
        shapes = [view.shape for view in views]
        if self.stack:
            if len(set(shapes)) > 1:
                raise ValueError(f"views can only be stacked if they share a shape, got {shapes}")
            return jnp.stack(views, axis=-1)
        if len({shape[:-1] for shape in shapes}) > 1:
            raise ValueError(
                f"views can only be concatenated if they share all axes but the last, got {shapes}"
            )
        return jnp.concatenate(views, axis=-1)


def stacked(network: Network, *, standardise: bool = True) -> CombinedViews:
    """A network of all views stacked along a new last axis: J sequences (N, T) become (N, T, J).

    Args:
        network: A network of one array; a `PointwiseMLP` sees all views at one time.
        standardise: Whether each view is shifted and scaled by its mean and deviation.
    """
    check_network("network", network)
    return CombinedViews(standardised(network) if standardise else network, stack=True)


def concatenated(network: Network, *, standardise: bool = True) -> CombinedViews:
    """A network of all views concatenated along their last axis: (N, D_1), (N, D_2) → (N, D_1 + D_2).

    Args:
        network: A network of one array.
        standardise: Whether each feature is shifted and scaled by its mean and deviation.
    """
    check_network("network", network)
    return CombinedViews(standardised(network) if standardise else network, stack=False)


def standardised(network: Network, num_feature_axes: int = 1) -> Standardised:
    """A network that standardises its inputs by statistics of the data it is initialised with.

    Args:
        network: Any network of one array.
        num_feature_axes: Trailing axes with statistics of their own: 1 for vectors and sequences of
            vectors, 0 for images.
    """
    check_network("network", network)
    return Standardised(network, num_feature_axes)
