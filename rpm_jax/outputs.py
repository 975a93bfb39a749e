"""Output maps: from a network's real outputs to potentials of the prior's family."""

from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.expfam import Gaussian
from rpm_jax.expfam._maps import inverse_positive, positive


class OutputMap(Protocol):
    """A map from real numbers to potentials, natural parameters that may be added to any valid ones.

    Attributes:
        is_sitewise: Optional, False where absent. Whether there is a position for every site.
    """

    def shape(self, sites: Any) -> tuple[int, int]:
        """Positions and real numbers per position that one datum needs."""
        ...

    def potentials(self, raw: Array, sites: Any) -> Any:
        """Real numbers (..., positions, number) to potentials of batch shape (..., T)."""
        ...

    def raw(self, potentials: Any) -> Array:
        """The inverse: potentials of batch shape (..., T) to real numbers (..., positions, number)."""
        ...


@record
class SiteOutputs:
    """One position per site, mapped by the family's own `potential`: the default."""

    is_sitewise = True

    def shape(self, sites: Any) -> tuple[int, int]:
        """T positions, the family's `num_unconstrained` numbers each."""
        return sites.batch_shape[-1], sites.num_unconstrained

    def potentials(self, raw: Array, sites: Any) -> Any:
        """The family's `potential` at every site."""
        return sites.potential(raw)

    def raw(self, potentials: Any) -> Array:
        """The family's `unconstrained_potential` at every site."""
        return potentials.unconstrained_potential()


@record
class SharedPrecisionOutputs:
    """One position per site that gives η1 alone; the rest of a potential is the same for all data.

    Attributes:
        rest: The other real numbers of the family's `potential`, shape (J, T, R); J and T may be 1.
    """

    rest: Array
    is_sitewise = True

    def shape(self, sites: Any) -> tuple[int, int]:
        """T positions of K numbers."""
        return sites.batch_shape[-1], sites.natural_parameters[0].shape[-1]

    def potentials(self, raw: Array, sites: Any) -> Any:
        """The family's `potential` of both, for raw numbers (..., J, T, K)."""
        rest = jnp.broadcast_to(self.rest.astype(raw.dtype), (*raw.shape[:-1], self.rest.shape[-1]))
        return sites.potential(jnp.concatenate([raw, rest], axis=-1))

    def raw(self, potentials: Any) -> Array:
        """η1."""
        return potentials.natural_parameters[0]


@record
class DiagonalPrecision:
    """One position per coordinate of a single `Gaussian` site: potentials with diagonal precision.

    For a static prior over whole trajectories, whose factors look at one time each.
    """

    def shape(self, sites: Any) -> tuple[int, int]:
        """K positions of 2 numbers."""
        if not isinstance(sites, Gaussian) or sites.batch_shape != (1,):
            raise TypeError(
                f"DiagonalPrecision is for a prior with one Gaussian site, got {type(sites).__name__} with "
                f"batch shape {sites.batch_shape}"
            )
        return sites.eta1.shape[-1], 2

    def potentials(self, raw: Array, sites: Any) -> Gaussian:
        """η1 = raw_1, η2 = −diag softplus(raw_2)."""
        del sites
        identity = jnp.eye(raw.shape[-2], dtype=raw.dtype)
        return Gaussian(raw[..., 0], -positive(raw[..., 1])[..., None] * identity)[..., None]

    def raw(self, potentials: Any) -> Array:
        """The inverse, for potentials with a diagonal precision."""
        single = potentials[..., 0]
        diagonal = jnp.diagonal(single.eta2, axis1=-2, axis2=-1)
        return jnp.stack([single.eta1, inverse_positive(-diagonal)], axis=-1)


def to_positions(outputs: Array, positions: int, number: int, name: str) -> Array:
    """A network's outputs for a batch as (batch, positions, number).

    Raises:
        ValueError: If the network gave another number of outputs.
    """
    batch = outputs.shape[0]
    if outputs.shape == (batch, positions, number):
        return outputs
    if outputs.shape == (batch, positions * number):
        return outputs.reshape(batch, positions, number)
    raise ValueError(
        f"{name}: for this prior's family the network must give outputs of shape (batch, {positions}, "
        f"{number}) or (batch, {positions * number}), got {outputs.shape}; set its number of outputs "
        "accordingly, or leave it open for the factors to set (with_outputs)"
    )
