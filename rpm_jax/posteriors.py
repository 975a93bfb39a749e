"""Posterior strategies: the potentials λ that turn the prior into q(Z|X)."""

from typing import Any, Protocol, runtime_checkable

from jax import Array

from rpm_jax._record import record
from rpm_jax.data import Batch, Data
from rpm_jax.incomplete import as_taken_by
from rpm_jax.networks import Network, as_network, with_outputs
from rpm_jax.outputs import OutputMap, SiteOutputs, to_positions


@runtime_checkable
class PosteriorStrategy(Protocol):
    """Potentials for every datum, with learnable parameters of its own.

    Attributes:
        group: How its parameters are learned: "networks" (shared by all data), "rows" (one row per datum,
            every leaf with first axis N), or "none".
        takes_missing: Optional, False where absent. Whether views with something missing are to come as
            `rpm_jax.Incomplete`, not as arrays with 0 there.
        is_sitewise: Optional, False where absent. Whether λ_t comes from the conjugate potential of its own
            site alone, also where that is the only one it is given.
        uses_mixture: Optional, False where absent. Whether `conjugate` is to be Σ_j (log f_j − log F_j), the
            potentials of the exact posterior, for sites with one-hot statistics.
    """

    @property
    def group(self) -> str:
        """How its parameters are learned."""
        ...

    def init(self, key: Array, data: Data, conjugate: Any, sites: Any) -> Any:
        """The initial parameters.

        Args:
            key: A random key.
            data: The N data of the fit.
            conjugate: The conjugate potentials of these data, batch shape (N, T), a place to start from.
            sites: The prior's marginals, batch shape (T,).
        """
        ...

    def potentials(self, params: Any, batch: Batch, conjugate: Any, sites: Any) -> Any:
        """λ for a batch, a family of batch shape (B, T).

        Args:
            params: As from `init`.
            batch: The batch; missing entries of its views are 0 (or see `takes_missing`).
            conjugate: Its conjugate potentials Σ_j g_j, batch shape (B, T).
            sites: The prior's marginals, batch shape (T,).
        """
        ...


@record
class Conjugate:
    """λ_t = Σ_j g_jt(x_jt): the posterior if every F_jt were the prior's marginal."""

    group = "none"
    is_sitewise = True

    def init(self, key: Array, data: Data, conjugate: Any, sites: Any) -> dict:
        """No parameters."""
        del key, data, conjugate, sites
        return {}

    def potentials(self, params: Any, batch: Batch, conjugate: Any, sites: Any) -> Any:
        """The conjugate potentials."""
        del params, batch, sites
        return conjugate


@record
class Exact:
    """λ_t = Σ_j (log f_jt − log F_jt): the posterior itself, for sites with one-hot statistics."""

    group = "none"
    is_sitewise = True
    uses_mixture = True

    def init(self, key: Array, data: Data, conjugate: Any, sites: Any) -> dict:
        """No parameters."""
        del key, data, conjugate, sites
        return {}

    def potentials(self, params: Any, batch: Batch, conjugate: Any, sites: Any) -> Any:
        """The potentials with the mixtures in them."""
        del params, batch, sites
        return conjugate


@record
class Saturated:
    """A table with a row of unconstrained potentials per datum.

    Attributes:
        output: From real numbers to potentials.
    """

    output: OutputMap = SiteOutputs()
    group = "rows"

    def init(self, key: Array, data: Data, conjugate: Any, sites: Any) -> dict:
        """Rows that give the conjugate potentials."""
        del key, data, sites
        return {"rows": self.output.raw(conjugate)}

    def potentials(self, params: Any, batch: Batch, conjugate: Any, sites: Any) -> Any:
        """The potentials of the rows `batch.index`."""
        del conjugate
        return self.output.potentials(params["rows"][batch.index], sites)


@record
class Amortized:
    """A network from all views to potentials.

    Attributes:
        network: Gets the tuple of J views.
        output: From real numbers to potentials.
    """

    network: Any
    output: OutputMap = SiteOutputs()
    group = "networks"
    takes_missing = True

    def init(self, key: Array, data: Data, conjugate: Any, sites: Any) -> Any:
        """The network's parameters."""
        del conjugate
        network = sized(self.network, *self.output.shape(sites))
        return network.init(key, as_taken_by(network, data.views))

    def potentials(self, params: Any, batch: Batch, conjugate: Any, sites: Any) -> Any:
        """The network's potentials."""
        del conjugate
        shape = self.output.shape(sites)
        network = sized(self.network, *shape)
        raw = to_positions(network.apply(params, as_taken_by(network, batch.views)), *shape, "posterior")
        return self.output.potentials(raw, sites)


def sized(network: Any, positions: int, number: int) -> Network:
    """A network of all views with `number` outputs per position, all positions at once if not pointwise."""
    pointwise = positions > 1 and getattr(network, "pointwise", False)
    return with_outputs(network, number if pointwise else positions * number)


def conjugate() -> Conjugate:
    """q(Z|X) ∝ p(Z) ∏_jt f_jt(z_t|x_jt)/p(z_t): nothing to learn, exact where F_j = p."""
    return Conjugate()


def exact() -> Exact:
    """p(Z|X) ∝ p(Z) ∏_jt f_jt(z_t|x_jt)/F_jt(z_t), for sites with one-hot statistics: nothing to learn.

    The bound is then the log-likelihood where the prior's conditioning is exact.
    """
    return Exact()


def saturated(*, output: OutputMap | None = None) -> Saturated:
    """Potentials of their own for every datum; they start at the conjugate ones.

    Args:
        output: From real numbers to potentials; None: the family's own map, site by site.
    """
    return Saturated(SiteOutputs() if output is None else output)


def amortized(network: Network, *, output: OutputMap | None = None) -> Amortized:
    """Potentials by a network of all views.

    Args:
        network: Gets the tuple of J views as they are; `rpm_jax.networks.stacked` and `concatenated` make
            such a network of one that takes an array.
        output: From real numbers to potentials; None: the family's own map, site by site.
    """
    network = as_network("network", network)
    return Amortized(network, SiteOutputs() if output is None else output)
