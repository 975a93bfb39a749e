"""Attributes of networks, checked where a network is made."""

from collections.abc import Sequence
from typing import Any

from rpm_jax._checks import require_boolean, require_positive_integer

SIZES = ("hidden", "channels")
NUMBERS = ("num_outputs", "kernel_size", "num_features", "num_rounds")


def check_attributes(network: Any) -> None:
    """Raise unless layers are sequences of positive integers, and the rest is what its name says.

    Raises:
        TypeError: For anything but a sequence, a function or a boolean.
        ValueError: For numbers that are no positive integers.
    """
    kind = type(network).__name__
    for name in SIZES:
        sizes = getattr(network, name, ())
        if not isinstance(sizes, Sequence) or isinstance(sizes, str):
            raise TypeError(
                f"{kind}: {name} must be a tuple of the units of each layer, got {sizes!r}"
                + (f"; one layer is ({sizes},)" if isinstance(sizes, int) else "")
            )
        for size in sizes:
            require_positive_integer(f"{kind}: every number of {name}", size)
    for name in NUMBERS:
        number = getattr(network, name, None)
        if number is not None:
            require_positive_integer(f"{kind}: {name}", number)
    activation = getattr(network, "activation", None)
    if activation is not None and (not callable(activation) or isinstance(activation, type)):
        raise TypeError(f"{kind}: activation must be a function such as flax.linen.relu, got {activation!r}")
    if hasattr(network, "zero_start"):
        require_boolean(f"{kind}: zero_start", network.zero_start)
