"""What recognition factors are."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array

from rpm_jax.expfam import stack
from rpm_jax.incomplete import View


class Recognition(NamedTuple):
    """What the factors say about some data.

    Attributes:
        potentials: g_jt(x_jt), natural parameters to be added to those of the prior's marginals, a family
            of batch shape (n, J, T).
        log_scale: h_jt(x_jt) of unnormalised factors exp(⟨η, t⟩ + h), shape (n, J, T); None for normalised
            ones. η is η0 + g, or g alone where sites have one-hot statistics.
    """

    potentials: Any
    log_scale: Array | None = None


@runtime_checkable
class FactorSpec(Protocol):
    """Recognition factors with learnable parameters.

    Where something is missing, by a mask or cell by cell, `views` hold `rpm_jax.Incomplete` in the place of
    arrays if the specification has the attribute `takes_missing = True`. For any other they are arrays, with
    the observed means in the place of what is missing in `init`, and 0 in `apply`.

    A specification may say by `is_sitewise(views, sites)`, False where absent, that every factor f_jt depends
    on what is observed at its own site alone. For `rpm_jax.forecasting.filter_step` it then has
    `at_site(params, views, sites, site)`, too: the factors (n, J, 1) of views (n, ...) of the site with that
    number, sites having batch shape (1,); and `by_site = True` where they differ from those of other sites.
    """

    def init(self, key: Array, views: tuple[View, ...], sites: Any) -> Any:
        """The initial parameters for these views and a prior with these sites (batch shape (T,))."""
        ...

    def apply(self, params: Any, views: tuple[View, ...], sites: Any) -> Recognition:
        """The factors of some data."""
        ...


def natural_parameters(potentials: Any, sites: Any) -> Any:
    """The factors' η = η0 + g, or g alone where sites have one-hot statistics.

    Args:
        potentials: g, a family of batch shape (n, J, T).
        sites: The prior's marginals η0, batch shape (T,).
    """
    return potentials if sites.one_hot else potentials + sites


def stack_views(recognitions: Sequence[Recognition]) -> Recognition:
    """Join factors of single views, each of batch shape (n, T), to batch shape (n, J, T).

    For factors that are not networks: a `FactorSpec` of one's own can return this.
    """
    scales = [recognition.log_scale for recognition in recognitions]
    present = [scale for scale in scales if scale is not None]
    if 0 < len(present) < len(scales):
        raise ValueError("either all factors have a log_scale or none")
    return Recognition(
        stack([recognition.potentials for recognition in recognitions], axis=1),
        jnp.stack(present, axis=1) if present else None,
    )
