"""Sums, products, multiples and restrictions of kernels, which are kernels again."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._record import record
from rpm_jax.priors.kernels import _hyperparameters as hyperparameters
from rpm_jax.priors.kernels._base import Kernel, check_kernel, is_kernel
from rpm_jax.priors.kernels._hyperparameters import value_of
from rpm_jax.priors.kernels._states import (
    MarkovForm,
    added,
    combined_num_states,
    form_of,
    multiplied,
    num_states,
    scaled,
)


def add(first: Any, second: Any) -> Any:
    """`first + second` of kernels, one sum of all."""
    if not is_kernel(second):
        return NotImplemented
    return Sum((*_parts(Sum, first), *_parts(Sum, second)))


def add_to(first: Any, second: Any) -> Any:
    """`second + first`, where `second` knows no addition."""
    if not is_kernel(second):
        return NotImplemented
    return Sum((*_parts(Sum, second), *_parts(Sum, first)))


def multiply(first: Any, second: Any) -> Any:
    """`first * second` of kernels, or of a kernel and a positive number."""
    if is_kernel(second):
        return Product((*_parts(Product, first), *_parts(Product, second)))
    if isinstance(second, float | int | np.ndarray | np.generic | Array) and jnp.ndim(second) == 0:
        return Scaled(first, second)  # type: ignore[arg-type]  # which the constructor makes a float
    return NotImplemented


def on(kernel: Kernel, *dimensions: int) -> "On":
    """Restrict a kernel to some coordinates of locations.

    Args:
        kernel: Of these coordinates alone.
        dimensions: Their numbers, from 0: `on(RBF(), 0, 1) * on(Periodic(24.0), 2)` for space and time.
    """
    return On(kernel, dimensions)


def _parts(kind: type["Sum | Product"], kernel: Any) -> tuple[Any, ...]:
    return kernel.kernels if isinstance(kernel, kind) else (kernel,)


def _checked(name: str, kernels: Any) -> tuple[Kernel, ...]:
    if not isinstance(kernels, tuple) or not kernels:
        raise ValueError(f"{name}: kernels must be a tuple of one kernel or more, got {kernels!r}")
    return tuple(map(check_kernel, kernels))


@record
class Sum:
    """k = Σ_i k_i: independent processes added; `k_1 + k_2` makes it.

    Attributes:
        kernels: The k_i; their hyperparameters are a tuple.
    """

    kernels: tuple[Kernel, ...]

    def __post_init__(self) -> None:
        """Check the kernels."""
        object.__setattr__(self, "kernels", _checked("Sum", self.kernels))

    def init(self, locations: Array) -> tuple:
        """Those of each kernel."""
        return tuple(kernel.init(locations) for kernel in self.kernels)

    def covariance(self, params: Any, x: Array, y: Array | None = None) -> Array:
        """Shape (T, S)."""
        return _combined(operator.add, self.kernels, params, x, y)

    @property
    def num_states(self) -> int | None:
        """Those of all parts; None if one has no Markov form."""
        return combined_num_states(operator.add, self.kernels)

    def markov(self, params: Any, times: Array) -> MarkovForm:
        """The states of all parts."""
        return _combined_form(added, self.kernels, params, times)

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None


@record
class Product:
    """k = ∏_i k_i; `k_1 * k_2` makes it.

    Attributes:
        kernels: The k_i; their hyperparameters are a tuple.
    """

    kernels: tuple[Kernel, ...]

    def __post_init__(self) -> None:
        """Check the kernels."""
        object.__setattr__(self, "kernels", _checked("Product", self.kernels))

    def init(self, locations: Array) -> tuple:
        """Those of each kernel."""
        return tuple(kernel.init(locations) for kernel in self.kernels)

    def covariance(self, params: Any, x: Array, y: Array | None = None) -> Array:
        """Shape (T, S)."""
        return _combined(operator.mul, self.kernels, params, x, y)

    @property
    def num_states(self) -> int | None:
        """The product of those of all parts; None if one has no Markov form."""
        return combined_num_states(operator.mul, self.kernels)

    def markov(self, params: Any, times: Array) -> MarkovForm:
        """The Kronecker product of the states."""
        return _combined_form(multiplied, self.kernels, params, times)

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None


def _combined(
    operation: Callable[[Array, Array], Array],
    kernels: tuple[Kernel, ...],
    params: Any,
    x: Array,
    y: Array | None,
) -> Array:
    covariances = [kernel.covariance(own, x, y) for kernel, own in zip(kernels, params, strict=True)]
    return functools.reduce(operation, covariances)


def _combined_form(
    operation: Callable[[MarkovForm, MarkovForm], MarkovForm],
    kernels: tuple[Kernel, ...],
    params: Any,
    times: Array,
) -> MarkovForm:
    forms = [form_of(kernel, own, times) for kernel, own in zip(kernels, params, strict=True)]
    return functools.reduce(operation, forms)


@record
class Scaled:
    """σ² k; `number * kernel` makes it, whose number is learned like any hyperparameter.

    Attributes:
        kernel: k.
        variance: Initial σ² > 0.
        fixed: ("variance",) if it is not learned.
    """

    kernel: Kernel
    variance: float = 1.0
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check kernel and variance."""
        object.__setattr__(self, "kernel", check_kernel(self.kernel))
        hyperparameters.check("Scaled", self.fixed, variance=self.variance)

    def init(self, locations: Array) -> dict[str, Any]:
        """The logarithm of the variance, and the kernel's hyperparameters under "kernel"."""
        own = hyperparameters.init(locations, self.fixed, variance=self.variance)
        return {**own, "kernel": self.kernel.init(locations)}

    def covariance(self, params: Any, x: Array, y: Array | None = None) -> Array:
        """Shape (T, S)."""
        variance = value_of("variance", params, self.variance, x)
        return variance * self.kernel.covariance(params["kernel"], x, y)

    @property
    def num_states(self) -> int | None:
        """The kernel's."""
        return num_states(self.kernel)

    def markov(self, params: Any, times: Array) -> MarkovForm:
        """The kernel's states, of σ² times the covariance."""
        variance = value_of("variance", params, self.variance, times)
        return scaled(form_of(self.kernel, params["kernel"], times), variance)

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None


@record
class On:
    """A kernel of some coordinates alone, k(x_d, y_d); `on(kernel, d)` makes it.

    Attributes:
        kernel: k, of locations (T,) where there is one coordinate, (T, number of them) otherwise.
        dimensions: Which coordinates of locations (T, D).
    """

    kernel: Kernel
    dimensions: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check kernel and dimensions."""
        object.__setattr__(self, "kernel", check_kernel(self.kernel))
        valid = isinstance(self.dimensions, tuple) and all(
            isinstance(dimension, int) and not isinstance(dimension, bool) and dimension >= 0
            for dimension in self.dimensions
        )
        if not valid or not self.dimensions or len(set(self.dimensions)) < len(self.dimensions):
            raise ValueError(
                "on: dimensions must be different numbers from 0, one or more, such as on(RBF(), 0, 1), got "
                f"{self.dimensions!r}"
            )

    def init(self, locations: Array) -> Any:
        """The kernel's own."""
        return self.kernel.init(self._selected(locations))

    def covariance(self, params: Any, x: Array, y: Array | None = None) -> Array:
        """Shape (T, S)."""
        return self.kernel.covariance(params, self._selected(x), None if y is None else self._selected(y))

    def _selected(self, locations: Array) -> Array:
        if locations.ndim != 2 or max(self.dimensions) >= locations.shape[1]:
            raise ValueError(
                f"on: dimensions {self.dimensions} need locations of shape (T, D) with D > "
                f"{max(self.dimensions)}, got {locations.shape}"
            )
        if len(self.dimensions) == 1:
            return locations[:, self.dimensions[0]]
        return locations[:, jnp.array(self.dimensions)]

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None
