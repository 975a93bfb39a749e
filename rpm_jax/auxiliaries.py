"""Auxiliary strategies: the natural parameters ξ_jt of the inner bound on E_q[log F_jt]."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.data import Batch, Data
from rpm_jax.incomplete import as_taken_by
from rpm_jax.networks import Network, as_network
from rpm_jax.outputs import OutputMap, SiteOutputs, to_positions
from rpm_jax.posteriors import sized


@runtime_checkable
class AuxiliaryStrategy(Protocol):
    """Auxiliary natural parameters for every datum, view and site, with learnable parameters.

    Attributes:
        group: "networks", "rows" or "none", as for a posterior strategy.
        takes_missing: Optional, as for a posterior strategy.
        uses_mixture: Optional, False where absent. Whether E_q[log F_jt] is evaluated, for sites with one-hot
            statistics, and no bound is needed.
    """

    @property
    def group(self) -> str:
        """How its parameters are learned."""
        ...

    def init(self, key: Array, data: Data, evidence: Any, sites: Any) -> Any:
        """The initial parameters.

        Args:
            key: A random key.
            data: The N data of the fit.
            evidence: ηq_t − η0_t of the initial posterior, batch shape (N, T), a place to start from.
            sites: The prior's marginals, batch shape (T,).
        """
        ...

    def auxiliary(self, params: Any, batch: Batch, marginals: Any, sites: Any) -> Any:
        """ξ for a batch, batch shape (B, J, T), or None for the posterior's marginals.

        Args:
            params: As from `init`.
            batch: The batch.
            marginals: q(z_t), batch shape (B, T).
            sites: The prior's marginals, batch shape (T,).
        """
        ...


@record
class PosteriorMarginals:
    """ξ_jt = ηq_t."""

    group = "none"

    def init(self, key: Array, data: Data, evidence: Any, sites: Any) -> dict:
        """No parameters."""
        del key, data, evidence, sites
        return {}

    def auxiliary(self, params: Any, batch: Batch, marginals: Any, sites: Any) -> None:
        """None: the bound takes the marginals."""
        del params, batch, marginals, sites


@record
class Exact:
    """No ξ: E_q[log F_jt] itself."""

    group = "none"
    uses_mixture = True

    def init(self, key: Array, data: Data, evidence: Any, sites: Any) -> dict:
        """No parameters."""
        del key, data, evidence, sites
        return {}

    def auxiliary(self, params: Any, batch: Batch, marginals: Any, sites: Any) -> None:
        """None: no ξ is needed."""
        del params, batch, marginals, sites


@record
class Shifted:
    """ξ_jt = ηq_t + Δ_jt, Δ a potential.

    Attributes:
        network: Of all views, for all Δ of a datum; None: a table with a row per datum.
        output: From real numbers to potentials.
    """

    network: Any = None
    output: OutputMap = SiteOutputs()
    takes_missing = True

    @property
    def group(self) -> str:
        """Rows per datum, or a network that all data share."""
        return _group(self.network)

    def init(self, key: Array, data: Data, evidence: Any, sites: Any) -> Any:
        """Δ a hundredth of the evidence, or a network."""
        return _init(self.network, self.output, key, data, evidence * 0.01, sites)

    def auxiliary(self, params: Any, batch: Batch, marginals: Any, sites: Any) -> Any:
        """The posterior's marginals plus Δ."""
        return marginals[..., None, :] + _potentials(self.network, self.output, params, batch, sites)


@record
class Free:
    """ξ_jt = η0_t + ν_jt, ν a potential.

    Attributes:
        network: Of all views, for all ν of a datum; None: a table with a row per datum.
        output: From real numbers to potentials.
    """

    network: Any = None
    output: OutputMap = SiteOutputs()
    takes_missing = True

    @property
    def group(self) -> str:
        """Rows per datum, or a network that all data share."""
        return _group(self.network)

    def init(self, key: Array, data: Data, evidence: Any, sites: Any) -> Any:
        """ν equal to the evidence, so that ξ = ηq, or a network."""
        return _init(self.network, self.output, key, data, evidence, sites)

    def auxiliary(self, params: Any, batch: Batch, marginals: Any, sites: Any) -> Any:
        """The prior's marginals plus ν."""
        del marginals
        return sites + _potentials(self.network, self.output, params, batch, sites)


def _group(network: Network | None) -> str:
    return "rows" if network is None else "networks"


def _init(
    network: Network | None, output: OutputMap, key: Array, data: Data, potentials: Any, sites: Any
) -> Any:
    """Rows that give these potentials, of batch shape (N, T), for all views; or a network's parameters."""
    num_views = len(data.views)
    if network is None:
        initial = output.raw(potentials)
        shape = (initial.shape[0], num_views, *initial.shape[1:])
        return {"rows": jnp.broadcast_to(initial[:, None], shape)}
    positions, number = output.shape(sites)
    network = sized(network, positions, num_views * number)
    return network.init(key, as_taken_by(network, data.views))


def _potentials(network: Network | None, output: OutputMap, params: Any, batch: Batch, sites: Any) -> Any:
    """Potentials per datum, view and site, batch shape (B, J, T)."""
    if network is None:
        return output.potentials(params["rows"][batch.index], sites)
    positions, number = output.shape(sites)
    num_views = len(batch.views)
    network = sized(network, positions, num_views * number)
    outputs = network.apply(params, as_taken_by(network, batch.views))
    raw = to_positions(outputs, positions, num_views * number, "auxiliary")
    raw = jnp.moveaxis(raw.reshape(*raw.shape[:2], num_views, number), 2, 1)
    return output.potentials(raw, sites)


def posterior() -> PosteriorMarginals:
    """ξ = ηq: nothing to learn, and tight where every F_jt is nearly the prior on the mass of q."""
    return PosteriorMarginals()


def exact() -> Exact:
    """E_q[log F_jt] itself instead of a bound, for sites with one-hot statistics: nothing to learn."""
    return Exact()


def shifted(network: Network | None = None, *, output: OutputMap | None = None) -> Shifted:
    """ξ = ηq + Δ with a learned potential Δ per view and site (torchRPM's "delta").

    Args:
        network: A network of the tuple of views that gives J times the outputs of one view, or None for a
            table with a row per datum.
        output: From real numbers to potentials; None: the family's own map, site by site.
    """
    return Shifted(*_checked(network, output))


def free(network: Network | None = None, *, output: OutputMap | None = None) -> Free:
    """ξ = η0 + ν with a learned potential ν per view and site (torchRPM's "classic").

    Args:
        network: As for `shifted`.
        output: As for `shifted`.
    """
    return Free(*_checked(network, output))


def _checked(network: Network | None, output: OutputMap | None) -> tuple[Network | None, OutputMap]:
    if network is not None:
        network = as_network("network", network)
    return network, SiteOutputs() if output is None else output
