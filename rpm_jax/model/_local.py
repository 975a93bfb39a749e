"""A model with a local latent in every view next to the common one."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax._record import record
from rpm_jax.data import Batch, Data, as_data, has_missing_cells
from rpm_jax.expfam import Categorical
from rpm_jax.factors import NetworkFactors
from rpm_jax.feeds import Feed, Held, Lazy, Queue, Source, Subset, full, minibatch
from rpm_jax.model._blocks import recognise_in_blocks
from rpm_jax.model._parts import (
    categorical_spec,
    groups_by_part,
    init_prior,
    reference_sites,
    relative_prior_at,
)
from rpm_jax.model._protocol import Terms
from rpm_jax.objectives import LocalLatents, local_latents
from rpm_jax.priors import posterior_divergence


class LocalOutputs(NamedTuple):
    """An output map: logits over K states for each of L local states, and logits over the local states.

    Attributes:
        num_local_states: L.
    """

    num_local_states: int

    def shape(self, sites: Any) -> tuple[int, int]:
        """T positions, L · K + L numbers each."""
        return sites.batch_shape[-1], self.num_local_states * (sites.num_unconstrained + 1)

    def potentials(self, raw: Array, sites: Any) -> Any:
        """(logits of f, shape (..., T, L, K), logits of α, shape (..., T, L))."""
        size = self.num_local_states
        factors, weights = raw[..., :-size], raw[..., -size:]
        return Categorical(factors.reshape(*factors.shape[:-1], size, -1)), Categorical(weights)

    def raw(self, potentials: Any) -> Array:
        """The inverse."""
        factors, weights = (family.logits for family in potentials)
        return jnp.concatenate([factors.reshape(*factors.shape[:-2], -1), weights], axis=-1)


@record
class LocalLatentRPM:
    """An RPM whose views have local categorical latents of their own.

        p(X) = Σ_Z p(Z) ∏_jt Σ_l p_j(l) f_jt(z_t|x_jt, l) α_jt(l|x_jt) / G_jt(l, z_t)

    Its log-likelihood is exact, and contains the weighted empirical marginals; `rpm_jax.objectives.
    local_latents` has the details. Parameters are a dictionary of "prior", "factors" and "local_priors".

    Attributes:
        prior: A prior with Categorical sites, or its specification.
        factors: From `rpm_jax.factors.per_view` or `shared`; their networks give the logits of f and of α.
        num_local_states: L, the local states of every view, or a sequence of one number for each view.
    """

    prior: Any
    factors: Any
    num_local_states: Any

    is_exact = True

    def __post_init__(self) -> None:
        """Check the parts."""
        numbers = self.num_local_states
        numbers = (numbers,) if isinstance(numbers, int) else tuple(numbers)
        for number in numbers:
            require_positive_integer("num_local_states", number)
        if not isinstance(self.factors, NetworkFactors) or self.factors.kind != "normalised":
            raise TypeError(
                "factors must be normalised and made by rpm_jax.factors.per_view(network) or "
                f"shared(network), got {self.factors!r}"
            )
        object.__setattr__(self, "num_local_states", numbers)
        object.__setattr__(self, "prior", categorical_spec(self.prior))
        output = LocalOutputs(max(numbers))
        object.__setattr__(self, "factors", dataclasses.replace(self.factors, output=output))

    def init(self, key: Array, data: Any) -> dict[str, Any]:
        """Initial parameters for these data, which must be complete."""
        data = as_data(data)
        _check_complete(data)
        prior_key, factor_key, local_key = jax.random.split(key, 3)
        prior = init_prior(self.prior, prior_key, data.inputs)
        sites = reference_sites(self.prior, prior)
        num_views = len(data.views)
        if len(self.num_local_states) not in (1, num_views):
            raise ValueError(
                f"num_local_states must be one number or one for each of J = {num_views} views, got "
                f"{self.num_local_states}"
            )
        shape = (num_views, max(self.num_local_states))
        return {
            "prior": prior,
            "factors": self.factors.init(factor_key, data.views, sites),
            "local_priors": 0.01 * jax.random.normal(local_key, shape, sites.dtype),
        }

    def groups(self, params: dict[str, Any]) -> dict[str, Any]:
        """How each parameter is learned: a pytree like `params` of "prior", "networks" or "none"."""
        return groups_by_part(params, {"prior": "prior", "factors": "networks", "local_priors": "prior"})

    def default_batch_size(self, data: Data) -> int:
        """256."""
        del data
        return 256

    def default_feed(self, data: Data, batch_size: int) -> Feed:
        """All data, but the minibatch where there are more than 4 of them."""
        return minibatch() if data.size > 4 * batch_size else full()

    def accepts(self, feed: Feed, data: Data) -> None:
        """Raise for a queue or a subset: α is normalised over components, which have no other weights."""
        del data
        if isinstance(feed, Queue | Subset):
            raise TypeError(
                "components: a LocalLatentRPM normalises the weights α over its components, so these must be "
                f"all data or the minibatch (rpm_jax.feeds.full(), minibatch()), got {feed!r}"
            )

    def recognise(self, params: dict[str, Any], rows: Batch) -> tuple[Categorical, Categorical]:
        """Logits of f and of α, batch shapes (n, J, T, L) and (n, J, T)."""
        _check_complete(rows)
        sites = reference_sites(self.prior, params["prior"])
        return self.factors.apply(params["factors"], rows.views, sites).potentials

    def mixture(
        self, params: dict[str, Any], source: Source, key: Array | None = None
    ) -> tuple[Categorical, Categorical]:
        """The components of G."""
        del key
        if isinstance(source, Held):
            if source.log_weights is not None:
                raise ValueError(
                    "components: a LocalLatentRPM normalises the weights α over its components, which can "
                    "have no log_weights of their own; take rpm_jax.feeds.full() or minibatch(), or a feed "
                    "without weights"
                )
            return source.factors
        if isinstance(source, Lazy):
            _check_complete(source.data)
            return recognise_in_blocks(self, params, source.data.all())
        raise TypeError(
            f"components: a LocalLatentRPM is not spread over devices, got {type(source).__name__}"
        )

    def infer(self, params: dict[str, Any], rows: Batch, own: Any, mixture: Any) -> LocalLatents:
        """Exact posteriors of common and local latents."""
        prior = relative_prior_at(self.prior, params["prior"], rows.inputs)
        exists = jnp.arange(max(self.num_local_states)) < jnp.asarray(self.num_local_states)[:, None]
        local_priors = Categorical(jnp.where(exists, params["local_priors"], -jnp.inf))
        logits, weights = own
        return local_latents(prior, logits, weights, local_priors, *mixture)

    def terms(
        self, params: dict[str, Any], rows: Batch, own: Any, mixture: Any, inferred: LocalLatents
    ) -> Terms:
        """The log-likelihood of each datum, in nats."""
        del params, rows, own, mixture
        posterior = inferred.posterior
        mean = posterior.sites.mean_parameters()
        divergence = posterior_divergence(posterior, inferred.potentials, mean)
        return Terms(inferred.log_likelihood, divergence)


def _check_complete(data: Data | Batch) -> None:
    """Raise `ValueError` for masks and weights, which this model has no place for."""
    if data.mask is not None or data.log_weights is not None or has_missing_cells(data):
        raise ValueError(
            "data: a model with local latents takes complete data without log_weights (its empirical "
            "marginals have weights of their own); leave out mask, log_weights and data with missing cells"
        )
