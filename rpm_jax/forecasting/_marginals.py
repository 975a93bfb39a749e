"""Marginals of sites."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._pytree import pytree_dataclass


@pytree_dataclass
class SiteMarginals:
    """Distributions of single sites, which say nothing of how sites depend on each other.

    Attributes:
        sites: A family of batch shape (n, T).
    """

    sites: Any

    @property
    def mean(self) -> Array:
        """E[z_t], shape (n, T, K); probabilities of discrete states."""
        return self.sites.mean()

    @property
    def standard_deviation(self) -> Array:
        """Of each latent, shape (n, T, K)."""
        return jnp.sqrt(self.sites.variance())

    @property
    def covariance(self) -> Array:
        """Of the latents of a site, shape (n, T, K, K)."""
        return covariance_of(self.sites)


def covariance_of(sites: Any) -> Array:
    """The covariance of the latents of each site, shape (..., K, K)."""
    if hasattr(sites, "covariance"):
        return sites.covariance()
    variance = sites.variance()
    identity = jnp.eye(variance.shape[-1], dtype=variance.dtype)
    if sites.one_hot:
        mean = sites.mean()
        return mean[..., None] * identity - mean[..., :, None] * mean[..., None, :]
    return variance[..., None] * identity
