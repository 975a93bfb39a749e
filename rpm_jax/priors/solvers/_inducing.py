"""Gaussian processes through inducing locations."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._checks import require_boolean, require_positive_integer
from rpm_jax._record import record
from rpm_jax.priors._inducing_gaussian_process import InducingGaussianProcess
from rpm_jax.priors.kernels import Kernel


@record
class Inducing:
    """Values at M inducing locations, O(T M²): for every kernel and locations in any dimensions; a bound.

    Attributes:
        number: M, at most T.
        learned: Whether the locations are learned; where not, they are spread over those of the sites. None:
            where all data have the same sites.
        num_sites: Of how many of the sites, from the first; None: of all.
    """

    number: int
    learned: bool | None = None
    num_sites: int | None = None

    def __post_init__(self) -> None:
        """Check what was given."""
        require_positive_integer("inducing: number", self.number)
        if self.num_sites is not None:
            require_positive_integer("inducing: num_sites", self.num_sites)
        if self.learned is not None:
            require_boolean("inducing: learned", self.learned)

    def check(self, kernel: Kernel, num_dimensions: int) -> None:
        """All are fine."""
        del kernel, num_dimensions

    def init(self, times: Array) -> dict[str, Array]:
        """How far the locations are from where they started, in steps between them; empty if not learned."""
        if self.learned is False:
            return {}
        return {"shift": jnp.zeros((self.number, *times.shape[1:]), times.dtype)}

    def extended(self, num_sites: int) -> "Inducing":
        """The same inducing locations for a process that goes on behind its first sites."""
        return dataclasses.replace(self, num_sites=num_sites if self.num_sites is None else self.num_sites)

    def prior(
        self, kernel: Kernel, params: Any, times: Array, mean: Array, own: Any = None
    ) -> InducingGaussianProcess:
        """The process, to be conditioned through its inducing values."""
        known = times[: self.num_sites]
        if self.number > known.shape[0]:
            raise ValueError(
                f"solver: inducing({self.number}) has more inducing locations than there are sites, "
                f"{known.shape[0]}; take fewer, or dense()"
            )
        inducing = spread(known, self.number)
        if own:
            dimensions = max(1, sum(times.shape[1:]))
            span = jnp.max(known, axis=0) - jnp.min(known, axis=0)
            inducing = inducing + own["shift"] * span / self.number ** (1.0 / dimensions)
        return InducingGaussianProcess(mean, kernel, params, times, inducing)


def inducing(number: int, *, learned: bool | None = None) -> Inducing:
    """Take inducing locations, O(T M²), where a process is smooth between M < T of them.

    For kernels that have no Markov form, and for locations in several dimensions, of more sites than dense
    covariances can take. The bound is below that of `dense()`; the closer the inducing locations are to each
    other in units of the length scale, the nearer it is. Draws of whole trajectories still take O(T³).

    Args:
        number: M. A process in time of length scale ℓ over a span S needs some 2 S/ℓ.
        learned: Whether the locations are learned, with the prior's learning rate; None: where all data have
            the same sites. Where not, they are spread over the sites.
    """
    return Inducing(number, learned)


def spread(locations: Array, number: int) -> Array:
    """As many of the locations, spread over all of them.

    Times are taken at even ranks. Of locations in D dimensions, each scaled by its spread, the first is
    taken, and then always the one that is farthest from those taken.

    Args:
        locations: Shape (T,) or (T, D).
        number: M ≤ T.

    Returns:
        Shape (M,) or (M, D).
    """
    size = locations.shape[0]
    if locations.ndim == 1:
        # Round half up in whole numbers, the first and the last included.
        last = max(1, number - 1)
        return locations[(2 * jnp.arange(number) * (size - 1) + last) // (2 * last)]
    deviation = jnp.std(locations, axis=0)
    scaled = locations / jnp.where(deviation > 0, deviation, 1.0)

    def take(step: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        taken, nearest = carry
        farthest = jnp.argmax(nearest)
        distance = jnp.sum(jnp.square(scaled - scaled[farthest]), axis=-1)
        nearest = jnp.minimum(nearest, distance).at[farthest].set(-1.0)
        return taken.at[step].set(farthest), nearest

    start = jnp.zeros(number, int), jnp.full(size, jnp.inf, scaled.dtype)
    return locations[lax.fori_loop(0, number, take, start)[0]]
