"""Unnormalised factors with a learned log-partition."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.factors._base import FactorSpec, Recognition, natural_parameters
from rpm_jax.incomplete import View, as_taken_by, site_mask
from rpm_jax.networks import starting_at_zero, with_outputs

MOST_FOR_STATISTICS = 1000
"""How many data the initial statistics of natural parameters are taken from at most."""


@record
class LogPartitionFactors:
    """Factors exp(⟨η_jt, t⟩ − ψ_j(η_jt)) with a learned ψ_j; `per_view` and `shared` build them.

    ψ_j is one function for all sites of view j. It sees the factor's whole natural parameters, the prior's
    included (`ExponentialFamily.as_vectors`), divided by their root mean squares under the initial
    parameters, which keeps a convex network convex. (Not by their deviations, which are small at first: η
    would soon be out of the range of the network's units.) Its gradient reaches the prior and the factors'
    networks through η, as that of A does. Parameters are a dictionary of "factors" and "log_partition".

    Attributes:
        factors: The normalised factors that give η.
        network: Of all ψ_j: from (m, D) to (m, 1).
        is_correction: Whether ψ = A + network, which starts at A where the network can start at zero.
        share: Whether all views have the same ψ.
    """

    factors: FactorSpec
    network: Any
    is_correction: bool = False
    share: bool = False
    takes_missing = True

    def init(self, key: Array, views: tuple[View, ...], sites: Any) -> dict[str, Any]:
        """Parameters of the factors, and those of ψ: one set if shared, else a stack over views."""
        factor_key, own_key = jax.random.split(key)
        views = as_taken_by(self.factors, views)
        params = self.factors.init(factor_key, views, sites)
        mask = site_mask(views, None, sites.batch_shape[-1])
        rows = _some_rows(views[0].shape[0], mask)
        potentials, _ = self.factors.apply(params, tuple(view[rows] for view in views), sites)
        inputs = _by_view(natural_parameters(potentials, sites))
        shown = jnp.ones(inputs.shape[:2], bool)
        if mask is not None:
            shown = jnp.moveaxis(mask[rows], 1, 0).reshape(inputs.shape[:2])
        network = self._prepared()
        if self.share:
            own = network.init(own_key, inputs.reshape(-1, inputs.shape[-1]), shown.ravel())
        else:
            own = jax.vmap(network.init)(jax.random.split(own_key, len(inputs)), inputs, shown)
        return {"factors": params, "log_partition": own}

    def apply(self, params: Any, views: tuple[View, ...], sites: Any) -> Recognition:
        """The factors, with h_jt = −ψ_j(η_jt) as their log-scale."""
        potentials, _ = self.factors.apply(params["factors"], as_taken_by(self.factors, views), sites)
        natural = natural_parameters(potentials, sites)
        inputs = _by_view(natural)
        network = self._prepared()
        if self.share:
            outputs = network.apply(params["log_partition"], inputs.reshape(-1, inputs.shape[-1]))
        else:
            outputs = jax.vmap(network.apply)(params["log_partition"], inputs)
        size, num_views, num_sites = natural.batch_shape
        if outputs.size != size * num_views * num_sites:
            numbers = outputs.shape[:-1] if self.share else outputs.shape[1:-1]
            raise ValueError(
                "log_partition: the network must give one number for every vector of natural parameters, "
                f"outputs of shape (m, 1) for inputs {(*numbers, inputs.shape[-1])}, got "
                f"{outputs.shape if self.share else outputs.shape[1:]}; set its number of outputs to 1, or "
                "leave it open (with_outputs)"
            )
        values = jnp.moveaxis(outputs.reshape(num_views, size, num_sites), 0, 1)
        if self.is_correction:
            values = values + natural.log_partition()
        return Recognition(potentials, -values)

    def at_site(self, params: Any, views: tuple[View, ...], sites: Any, site: Array) -> Recognition:
        """The factors of one site, where they are sitewise: the same at all sites."""
        del site
        return self.apply(params, views, sites)

    def is_sitewise(self, views: tuple[View, ...], sites: Any) -> bool:
        """Whether every factor f_jt depends on what is observed at its own site alone; ψ changes nothing."""
        sitewise = getattr(self.factors, "is_sitewise", None)
        return sitewise is not None and sitewise(views, sites)

    def _prepared(self) -> "_Scaled":
        """The network with one output and scaled inputs."""
        network = starting_at_zero(self.network) if self.is_correction else self.network
        return _Scaled(with_outputs(network, 1))


@record
class _Scaled:
    """A network of inputs divided by the root mean squares of those that it is initialised with."""

    network: Any

    def init(self, key: Array, inputs: Array, shown: Array, /) -> dict[str, Any]:
        squares = jnp.sum(jnp.where(shown[:, None], inputs**2, 0), axis=0)
        size = jnp.sqrt(squares / jnp.maximum(jnp.sum(shown), 1))
        scale = jnp.where(size > 0, size, 1.0)
        return {"statistics": {"scale": scale}, "network": self.network.init(key, inputs[:1])}

    def apply(self, params: dict[str, Any], inputs: Array, /) -> Array:
        scale = jax.lax.stop_gradient(params["statistics"]["scale"])
        return self.network.apply(params["network"], inputs / scale)


def _some_rows(size: int, mask: Array | None) -> Array:
    """At most 1000 of n rows, evenly spread over those of which something is observed."""
    spread = jnp.linspace(0, 1, min(size, MOST_FOR_STATISTICS))
    if mask is None:
        return jnp.round(spread * (size - 1)).astype(int)
    seen = mask.any(axis=(1, 2))
    first = jnp.argsort(~seen, stable=True)
    last = jnp.where(size <= MOST_FOR_STATISTICS, size, jnp.sum(seen)) - 1
    return first[jnp.round(spread * jnp.maximum(last, 0)).astype(int)]


def _by_view(natural: Any) -> Array:
    """Natural parameters of batch shape (n, J, T) as vectors, shape (J, n·T, D)."""
    vectors = jnp.moveaxis(natural.as_vectors(), 1, 0)
    return vectors.reshape(vectors.shape[0], -1, vectors.shape[-1])
