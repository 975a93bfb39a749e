"""Potentials of one site at a time, for models whose factors look at one site alone."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax.data import Batch
from rpm_jax.incomplete import as_taken_by, mark_missing
from rpm_jax.model._parts import initial_sites
from rpm_jax.model._recognition import recognise_with
from rpm_jax.model._records import Mixture
from rpm_jax.normalizers import Block
from rpm_jax.objectives import log_ratios_at


def require_sitewise(model: Any, question: str, views: tuple) -> None:
    """Raise `TypeError` unless the potential of each site comes from what is observed there alone.

    Args:
        model: An `RPM`.
        question: That is asked, for the message.
        views: J views of all T sites.
    """
    strategy = type(model.posterior).__name__
    if not getattr(model.posterior, "is_sitewise", False):
        raise TypeError(
            f"{question} needs potentials that come from what is observed at their own site, so that later "
            f"views change nothing of earlier ones, as of posteriors.conjugate() and exact(); {strategy} may "
            "look at all sites at once"
        )
    sites = initial_sites(model.prior)
    if sites.batch_shape[0] == 1:
        return
    is_sitewise = getattr(model.factors, "is_sitewise", None)
    if is_sitewise is None or not is_sitewise(views, sites):
        raise TypeError(
            f"{question} needs factors that look at one site alone, so that later views change nothing of "
            "earlier factors: networks that are pointwise (PointwiseMLP, or pointwise = True on one of your "
            "own), networks of images at every site, or factors of your own with is_sitewise(views, sites); "
            f"those of {type(model.factors).__name__} may look at several"
        )


def potentials_at(
    model: Any, params: dict[str, Any], rows: Batch, site: Array, reference: Any, mixture: Mixture | None
) -> Any:
    """The potentials of one site; see `RPM.potentials_at`."""
    last = reference.batch_shape[0] - 1
    # Behind the last site: potentials are g_j(x_j) alone, whatever they are relative to.
    sites = reference[jnp.minimum(site, last)][None]
    own = recognise_with(model.factors, params["factors"], rows, sites, site)
    conjugate = own.conjugate()
    if model.needs_mixture:
        if mixture is None:
            raise ValueError("mixture: the exact posterior needs log F_j; pass model.mixture(params, source)")
        (values,) = mixture.log_values.natural_parameters
        if not model.pooled:
            values = values.at[:, site].get(mode="fill", fill_value=jnp.nan)[:, None]
        mixtures = mixture.log_values.replace((values,))
        conjugate = log_ratios_at(Block(own.natural, own.log_scale), mixtures, own.mask).sum(-2)
    shown = replace(
        rows, views=as_taken_by(model.posterior, mark_missing(rows.views, own.mask)), mask=own.mask
    )
    return model.posterior.potentials(params["posterior"], shown, conjugate, sites)[:, 0]
