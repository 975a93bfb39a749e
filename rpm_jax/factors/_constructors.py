"""Factors of every kind, made of networks."""

from collections.abc import Sequence
from typing import Any

from rpm_jax._checks import require_choice, require_instance, require_positive_integer
from rpm_jax.factors._log_partition import LogPartitionFactors
from rpm_jax.factors._networks import NetworkFactors
from rpm_jax.factors._shared_precision import SharedPrecisionFactors
from rpm_jax.networks import Network, as_network
from rpm_jax.outputs import OutputMap, SiteOutputs

KINDS = ("normalised", "scaled", "unnormalised")
PRECISIONS = ("own", "shared", "by site")


def per_view(
    network: Network | Sequence[Network],
    num_views: int | None = None,
    *,
    kind: str = "normalised",
    log_partition: Network | None = None,
    standardise: bool | str = True,
    output: OutputMap | None = None,
    precision: str = "own",
) -> NetworkFactors | LogPartitionFactors | SharedPrecisionFactors:
    """A network of its own for every view: η_jt(x) = η0_t + potential(g_j(x)).

    Views of one shape with equal networks are evaluated as one batched computation.

    Args:
        network: One architecture for all views, or a sequence of J of them. Views (N, T) or (N, T, D) of
            a prior with T > 1 sites reach the network as (n, T, D), so that a `PointwiseMLP` sees each time
            alone; of views with more axes, (N, T, H, W), it sees the T images one by one; all others reach
            it as they are. It gives as many outputs as the prior's family needs, at every
            site, (n, T, outputs) or flattened.
        num_views: J, checked against the data; None takes it from them.
        kind: "normalised" factors, "scaled" ones with one more output h_j(x), f = exp(h) times a normalised
            one, or "unnormalised", f = exp(⟨η, t⟩ + h).
        log_partition: A network ψ_j of the natural parameters that gives h_j in place of one more output,
            with parameters of its own for every view: f = exp(⟨η, t⟩ − ψ_j(η)) if unnormalised, and
            f = exp(⟨η, t⟩ − A(η) − ψ_j(η)), a correction to A that starts at (or near) zero, if scaled. It
            maps (m, D) to (m, 1). Smooth activations suit it: η grows much in training, and ReLUs die.
            `rpm_jax.networks.InputConvex` is convex as A is. See `LogPartitionFactors`.
        standardise: Whether the inputs are shifted and scaled by each view's mean and deviation, feature by
            feature for vectors, as a whole for images, of what is observed. "robust": by median and
            quartiles, and inputs more than 10 deviations away are moved there, which outliers can't spoil.
            False: as they are, 0 where missing.
        output: From real outputs to potentials; None: the family's own map, site by site.
        precision: Of Gaussian factors: "own", which the network gives for each datum; "shared", one for all
            data and sites that is learned, so that the network gives η1 alone; "by site", one at each site.
            Shared ones make mixtures of many components much faster.
    """
    networks = tuple(network) if isinstance(network, Sequence) else (network,)
    return _network_factors(networks, num_views, False, kind, log_partition, standardise, output, precision)


def shared(
    network: Network,
    num_views: int | None = None,
    *,
    kind: str = "normalised",
    log_partition: Network | None = None,
    standardise: bool | str = True,
    output: OutputMap | None = None,
    precision: str = "own",
) -> NetworkFactors | LogPartitionFactors | SharedPrecisionFactors:
    """One network with the same parameters for all views, which have to be of one shape.

    Args:
        network: As in `per_view`.
        num_views: As in `per_view`.
        kind: As in `per_view`.
        log_partition: As in `per_view`, with the same parameters for all views.
        standardise: Whether the inputs are shifted and scaled by the mean and deviation over all views; see
            `per_view`.
        output: As in `per_view`.
        precision: As in `per_view`, the same for all views.
    """
    return _network_factors((network,), num_views, True, kind, log_partition, standardise, output, precision)


def _network_factors(
    networks: tuple[Any, ...],
    num_views: int | None,
    share: bool,
    kind: str,
    log_partition: Network | None,
    standardise: bool | str,
    output: OutputMap | None,
    precision: str,
) -> NetworkFactors | LogPartitionFactors | SharedPrecisionFactors:
    require_choice("kind", kind, KINDS)
    require_choice("precision", precision, PRECISIONS)
    if precision != "own" and output is not None:
        raise ValueError(f"precision={precision!r} sets what the networks' outputs are, so leave output out")
    if not isinstance(standardise, bool) and standardise != "robust":
        raise ValueError(f"standardise must be True, False or 'robust', got {standardise!r}")
    networks = tuple(as_network("network", network) for network in networks)
    if num_views is not None:
        require_positive_integer("num_views", num_views)
        if len(networks) not in (1, num_views):
            raise ValueError(f"network must be one network or num_views = {num_views}, got {len(networks)}")
    output = SiteOutputs() if output is None else output
    require_instance("output", output)
    if log_partition is None:
        factors = NetworkFactors(networks, num_views, share, kind, standardise, output)
        return factors if precision == "own" else SharedPrecisionFactors(factors, precision == "by site")
    log_partition = as_network("log_partition", log_partition)
    if kind == "normalised":
        raise ValueError(
            "log_partition: normalised factors have that of their family; set kind='unnormalised' for a "
            "network in its place, or kind='scaled' for a correction to it, got kind='normalised'"
        )
    if precision != "own":
        raise ValueError(
            f"log_partition: ψ(η) and precision={precision!r} do not go together; leave one of them out"
        )
    normalised = NetworkFactors(networks, num_views, share, "normalised", standardise, output)
    return LogPartitionFactors(normalised, log_partition, kind == "scaled", share)
