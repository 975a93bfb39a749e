"""The parts of models: checks of what they are made of, and how their parameters are learned."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax import Array

from rpm_jax.priors import Prior, PriorSpec, RelativePrior, as_spec

STATISTICS = "statistics"
"""Parameters under this name are measured on the data of the fit, and not learned."""


def groups_by_part(params: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A pytree like `params` of the groups of their parts, and of "none" for statistics."""

    def group(path: tuple, _: Array) -> str:
        part, *inner = (str(getattr(entry, "key", "")) for entry in path)
        return "none" if STATISTICS in inner else names[part]

    return jax.tree_util.tree_map_with_path(group, params)


def init_prior(spec: Any, key: Array, inputs: Any) -> Any:
    """Initial parameters of a prior.

    Raises:
        ValueError: For inputs to a prior that has no use for them, or none to one that needs them.
    """
    check_inputs(spec, inputs)
    return spec.init(key, inputs) if takes_inputs(spec) else spec.init(key)


def prior_at(spec: Any, params: Any, inputs: Any) -> Prior:
    """The prior of some data, whose batch axis is theirs where it depends on their inputs.

    Raises:
        ValueError: As `init_prior`.
    """
    check_inputs(spec, inputs)
    return spec.apply(params, inputs) if takes_inputs(spec) else spec.apply(params)


def relative_prior_at(spec: Any, params: Any, inputs: Any) -> Prior:
    """`prior_at`, which knows what factors are relative to, for `rpm_jax.objectives`."""
    prior = prior_at(spec, params, inputs)
    return RelativePrior(prior, spec.reference(params)) if takes_inputs(spec) else prior


def takes_inputs(spec: Any) -> bool:
    """Whether a prior depends on inputs of every datum."""
    return hasattr(spec, "reference")


def check_inputs(spec: Any, inputs: Any) -> None:
    """Raise `ValueError` for inputs to a prior that takes none, and for none to one that does."""
    name = type(spec).__name__
    if inputs is not None and not takes_inputs(spec):
        raise ValueError(
            f"inputs: the prior {name} does not depend on inputs (it has no reference(params)); leave them "
            "out, or take a prior that does"
        )
    if inputs is None and takes_inputs(spec):
        raise ValueError(
            f"inputs: the prior {name} depends on inputs of every datum, and these data have none; pass "
            "rpm_jax.as_data(views, inputs=...), or inputs= to a fit"
        )
    if inputs is not None and hasattr(spec, "check_inputs"):
        spec.check_inputs(inputs)


def reference_sites(spec: Any, params: Any) -> Any:
    """What the factors are relative to: sites η̄0_t that do not depend on a datum, batch shape (T,)."""
    return spec.reference(params) if takes_inputs(spec) else spec.apply(params).sites()


def initial_sites(spec: Any) -> Any:
    """The family of the prior's sites, shapes only; with inputs the specification says it itself."""
    if takes_inputs(spec):
        return jax.eval_shape(lambda key: spec.reference(spec.init(key, None)), jax.random.key(0))
    return jax.eval_shape(lambda key: spec.apply(spec.init(key)).sites(), jax.random.key(0))


def check_equal_sites(spec: Any) -> None:
    """Raise `ValueError` unless the initial prior has the same marginal at every site."""
    if takes_inputs(spec):
        sites = spec.reference(spec.init(jax.random.key(0), None))
    else:
        sites = spec.apply(spec.init(jax.random.key(0))).sites()
    if any(
        not np.allclose(np.asarray(parameter), np.asarray(parameter[:1]), rtol=1e-4, atol=1e-6)
        for parameter in sites.natural_parameters
    ):
        raise ValueError(
            "pooled=True averages F_j over the sites, which needs a prior with the same marginal at every "
            "site; this prior's marginals differ"
        )


def categorical_spec(prior: Prior | PriorSpec) -> PriorSpec:
    """A prior's specification.

    Raises:
        TypeError: Unless its sites are Categorical.
    """
    spec = as_spec(prior)
    if not initial_sites(spec).one_hot:
        raise TypeError(f"prior must have Categorical sites, got {type(initial_sites(spec)).__name__}")
    return spec


def check_part(name: str, value: Any, protocol: type) -> None:
    """Raise `TypeError` unless a part of a model has the methods that it needs."""
    if name == "factors" and (hasattr(value, "with_outputs") or isinstance(value, nn.Module)):
        raise TypeError(
            f"factors must be recognition factors, got the network {type(value).__name__}: pass "
            "rpm_jax.factors.per_view(network) or rpm_jax.factors.shared(network)"
        )
    if not isinstance(value, protocol) or isinstance(value, type):
        raise TypeError(
            f"{name} must satisfy rpm_jax's {protocol.__name__} protocol, got "
            f"{value.__name__ if isinstance(value, type) else type(value).__name__}"
            f"{': call it, as in posteriors.conjugate()' if callable(value) else ''}"
        )
