"""Marginals of each site given what is known up to it."""

from typing import Any

import jax
import jax.numpy as jnp

from rpm_jax.priors._base import Prior


def filtered(prior: Prior, potentials: Any) -> Any:
    """p(z_t | λ_1..λ_t) of every site, by the prior's own `filter(potentials)` where it has one.

    Other priors are conditioned T times, on the potentials up to each site.

    Args:
        prior: p(Z) over T sites.
        potentials: λ, batch shape (..., T).

    Returns:
        A family of batch shape (..., T).

    Raises:
        TypeError: Where conditioning is not exact, as of topics.
    """
    if hasattr(prior, "filter"):
        return prior.filter(potentials)
    num_sites = potentials.batch_shape[-1]
    posterior = jax.eval_shape(prior.condition, potentials)
    if not posterior.exact:
        raise TypeError(
            f"the posterior of {type(prior).__name__} is itself an approximation, and so are its marginals "
            "given earlier sites; a filter needs a prior whose condition is exact"
        )

    def at(site: Any) -> Any:
        known = jnp.broadcast_to(jnp.arange(num_sites) <= site, potentials.batch_shape)
        return prior.condition(potentials.where(known)).sites.moveaxis(-1, 0)[site].natural_parameters

    # Fields that a family shares are not mapped over.
    return potentials.replace(jax.lax.map(at, jnp.arange(num_sites))).moveaxis(0, -1)
