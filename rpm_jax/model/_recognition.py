"""What recognition factors say of some data, relative to the prior's reference."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax.data import Batch
from rpm_jax.factors import natural_parameters
from rpm_jax.incomplete import as_taken_by, mark_missing, site_mask
from rpm_jax.model._records import Factors


def recognise_with(factors: Any, params: Any, rows: Batch, sites: Any, site: Array | None = None) -> Factors:
    """Natural parameters of the factors of some data, batch shape (n, J, T).

    Args:
        factors: Recognition factors.
        params: Theirs.
        rows: n data of T sites.
        sites: What factors are relative to, batch shape (T,).
        site: Where the data are those of one site, T = 1, its number; else None.
    """
    mask = site_mask(rows.views, rows.mask, sites.batch_shape[0])
    taken = as_taken_by(factors, mark_missing(rows.views, mask))
    if site is None:
        potentials, log_scale = factors.apply(params, taken, sites)
    else:
        potentials, log_scale = factors.at_site(params, taken, sites, site)
    natural = natural_parameters(potentials, sites)
    if mask is not None:
        natural = natural.where(mask) + sites.broadcast_to(natural.batch_shape).where(~mask)
        log_scale = None if log_scale is None else jnp.where(mask, log_scale, 0)
    return Factors(natural, natural - sites, log_scale, mask)
