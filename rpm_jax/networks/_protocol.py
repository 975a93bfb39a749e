"""What a network is here."""

from typing import Any, Protocol, runtime_checkable

from jax import Array

from rpm_jax._checks import require_instance
from rpm_jax.networks._flax import FlaxModule, is_foreign, stateful_kind


@runtime_checkable
class Network(Protocol):
    """Any pair of `init` and `apply`; flax.linen modules are such pairs.

    A network that leaves the number of its outputs open also has `with_outputs(number) -> Network`; one
    that has no such method must give the number of outputs that the prior's family needs. One whose outputs
    can start at (or near) zero has `starting_at_zero() -> Network`. A network with the attribute
    `pointwise = True` acts on the last axis alone: inputs (n, T, D) give (n, T, outputs). One with the
    attribute `takes_missing = True` gets `rpm_jax.Incomplete` where something is missing, others get arrays
    with 0 there.
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


def as_network(name: str, network: Any) -> Any:
    """A network as it is; a module of flax.linen as one whose running statistics are constants.

    Raises:
        TypeError: For anything without `init` and `apply`, or a module that can't be a pure function.
    """
    require_instance(name, network)
    kind = stateful_kind(network)
    if kind is not None:
        split = "nnx.split and nnx.merge" if kind == "flax.nnx" else "equinox.partition and equinox.combine"
        raise TypeError(
            f"{name} must make its parameters from a key, once for every view and seed, got a module of "
            f"{kind}, which holds its own: write an object with init(key, inputs), which builds the module "
            f"and returns its arrays, and apply(params, inputs) ({split})"
        )
    if not isinstance(network, Network):
        raise TypeError(
            f"{name} must be a network: a flax.linen module or any object with init(key, inputs) and "
            f"apply(params, inputs), got {type(network).__name__}"
        )
    return FlaxModule(network) if is_foreign(network) else network
