"""Kernels that may be asked for by name."""

from typing import Any

from rpm_jax.priors.kernels._base import Kernel, check_kernel
from rpm_jax.priors.kernels._stationary import RBF, Matern

NAMED: dict[str, Kernel] = {
    "rbf": RBF(),
    "matern12": Matern(0.5),
    "matern32": Matern(1.5),
    "matern52": Matern(2.5),
}


def as_kernel(kernel: Any) -> Kernel:
    """A kernel as it is, or by one of the names "rbf", "matern12", "matern32", "matern52".

    Raises:
        ValueError: For another name.
        TypeError: For something that is no kernel.
    """
    if isinstance(kernel, str):
        if kernel not in NAMED:
            raise ValueError(
                f"kernel must be one of {', '.join(map(repr, NAMED))}, or of rpm_jax.priors.kernels, such as "
                f"RBF(), got {kernel!r}"
            )
        return NAMED[kernel]
    return check_kernel(kernel)
