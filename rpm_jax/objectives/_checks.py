"""Messages for arguments of objectives that do not fit together."""

from typing import Any

from jax import Array

from rpm_jax.expfam import ExponentialFamily
from rpm_jax.normalizers import Components, as_components


def reference_sites(prior: Any) -> Any:
    """The sites η0_t that factors are relative to, of batch shape (T,).

    The prior's marginals; of a prior whose marginals differ by datum its `reference()`.

    Raises:
        ValueError: For sites that differ by datum.
    """
    sites = prior.reference() if hasattr(prior, "reference") else prior.sites()
    if len(sites.batch_shape) != 1:
        raise ValueError(
            f"prior: what factors are relative to must have batch shape (T,), the same for all data, got "
            f"{sites.batch_shape}; give a prior whose marginals differ by datum a method reference() that "
            "returns such sites"
        )
    return sites


def check_shapes(
    sites: ExponentialFamily, factors: Any, mixture: Any, potentials: Any, auxiliary: Any, mask: Array | None
) -> None:
    """Raise where arguments of an objective are of another family than the prior, or do not fit together."""
    arguments = {"factors": factors, "potentials": potentials, "auxiliary": auxiliary}
    if mixture is not None and not isinstance(mixture, Components):
        arguments["mixture"] = mixture
    for name, value in arguments.items():
        if value is not None and type(value) is not type(sites):
            raise TypeError(
                f"{name} must be natural parameters of the prior's sites, {type(sites).__name__}, got "
                f"{type(value).__name__}"
            )
        if value is not None and event_shapes(value) != event_shapes(sites):
            raise ValueError(
                f"{name} must have the event shapes of the prior's sites, {event_shapes(sites)} by natural "
                f"parameter, got {event_shapes(value)}"
            )
    (num_sites,) = sites.batch_shape
    if len(factors.batch_shape) < 2 or factors.batch_shape[-1] != num_sites:
        raise ValueError(
            f"factors must have batch shape (..., J, T) with T = {num_sites} sites as in the prior, got "
            f"{factors.batch_shape}"
        )
    num_views = factors.batch_shape[-2]
    if "mixture" in arguments:
        shape = mixture.batch_shape
        if len(shape) != 3 or shape[1] not in (1, num_views) or shape[2] not in (1, num_sites):
            raise ValueError(
                f"mixture must have batch shape (N, J, T) = (N, {num_views}, {num_sites}), or 1 in place "
                f"of J or T where components are shared, got {shape}"
            )
    batch = factors.batch_shape[:-2]
    expected = {"potentials": (*batch, num_sites), "auxiliary": (*batch, num_views, num_sites)}
    for name, shape in expected.items():
        if arguments[name] is not None and arguments[name].batch_shape != shape:
            raise ValueError(
                f"{name} must have batch shape {shape} to go with factors {factors.batch_shape}, got "
                f"{arguments[name].batch_shape}"
            )
    if mask is not None:
        check_mask("mask", mask, "factors'", factors.batch_shape)


def check_component_shapes(
    factors: Any,
    mixture: Any,
    log_scale: Array | None,
    mixture_log_scale: Array | None,
    log_weights: Array | None,
    mixture_mask: Array | None,
) -> None:
    """Raise where arrays that go with factors or with mixture components have other shapes than these."""
    if log_scale is not None and log_scale.shape != factors.batch_shape:
        raise ValueError(
            f"log_scale must have the factors' batch shape {factors.batch_shape}, got {log_scale.shape}"
        )
    size = as_components(mixture).size
    if log_weights is not None:
        views, sites = factors.batch_shape[-2:]
        shape = log_weights.shape
        per_site = len(shape) == 3 and shape[1] in (1, views) and shape[2] in (1, sites)
        if shape[:1] != (size,) or not (len(shape) == 1 or per_site):
            raise ValueError(
                f"log_weights must have shape (N,) or (N, J, T) = ({size}, {views}, {sites}), got {shape}"
            )
    if not isinstance(mixture, ExponentialFamily):
        return
    if mixture_log_scale is not None and mixture_log_scale.shape != mixture.batch_shape:
        raise ValueError(
            f"mixture_log_scale must have the mixture's batch shape {mixture.batch_shape}, got "
            f"{mixture_log_scale.shape}"
        )
    if mixture_mask is not None:
        check_mask("mixture_mask", mixture_mask, "mixture's", mixture.batch_shape)
    if (log_scale is None) != (mixture_log_scale is None):
        raise ValueError(
            "log_scale and mixture_log_scale go together, since a mixture's components are factors too; got "
            f"only {'mixture_log_scale' if log_scale is None else 'log_scale'}"
        )


def check_mask(name: str, mask: Array, owner: str, shape: tuple[int, ...]) -> None:
    """Raise unless a mask is boolean and of its owner's batch shape."""
    if mask.dtype != bool:
        raise TypeError(f"{name} must be boolean, True where observed, got dtype {mask.dtype}")
    if mask.shape != shape:
        raise ValueError(f"{name} must have the {owner} batch shape {shape}, got {mask.shape}")


def event_shapes(family: ExponentialFamily) -> tuple[tuple[int, ...], ...]:
    """The shapes of the natural parameters of one distribution."""
    return tuple(
        parameter.shape[parameter.ndim - rank :]
        for parameter, rank in zip(family.natural_parameters, family.natural_ranks.values(), strict=True)
    )
