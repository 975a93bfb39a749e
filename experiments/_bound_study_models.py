"""The models whose bounds are compared: posteriors, auxiliary parameters, losses."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

import rpm_jax as rpm


class Variant(NamedTuple):
    """A choice of q and ξ.

    Attributes:
        name: In figures.
        posterior: "conjugate", "amortized" or "saturated".
        auxiliary: "posterior", "shifted" or "free".
        importance_weighted: Whether it is trained without the inner bound.
    """

    name: str
    posterior: str = "conjugate"
    auxiliary: str = "posterior"
    importance_weighted: bool = False


VARIANTS = {
    "conjugate": Variant("conjugate"),
    "shifted": Variant("conjugate, ξ shifted", auxiliary="shifted"),
    "free": Variant("conjugate, ξ free", auxiliary="free"),
    "amortized": Variant("amortized", posterior="amortized"),
    "saturated": Variant("saturated", posterior="saturated"),
    "importance": Variant("importance weighted", importance_weighted=True),
}


def build_model(variant: Variant, hidden: Sequence[int]) -> rpm.RPM:
    """The model with a learned Gaussian prior over one number and a perceptron for each view."""
    network = rpm.networks.MLP(tuple(hidden))
    all_views = [rpm.networks.concatenated(network)] if variant.posterior == "amortized" else []
    standard = rpm.expfam.DiagonalGaussian(jnp.zeros(1), jnp.full(1, -0.5))
    return rpm.RPM(
        rpm.priors.static(standard, learnable=True),
        rpm.factors.per_view(network),
        posterior=getattr(rpm.posteriors, variant.posterior)(*all_views),
        auxiliary=getattr(rpm.auxiliaries, variant.auxiliary)(),
    )


def objective_of(variant: Variant, model: rpm.RPM, num_samples: int | None) -> dict[str, Any]:
    """The argument `objective` of `rpm.fit`, if it is not the library's."""
    if not variant.importance_weighted:
        return {}
    given = {} if num_samples is None else {"num_samples": num_samples}
    return {"objective": rpm.train.ImportanceWeighted(model, **given)}
