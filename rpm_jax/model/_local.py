"""A model with a local latent in every view next to the common one."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax.data import Batch, Data, as_data, has_missing_cells, require_batch, require_data
from rpm_jax.expfam import Categorical
from rpm_jax.factors import FactorSpec, NetworkFactors
from rpm_jax.incomplete import View
from rpm_jax.model._blocks import block_size, map_blocks
from rpm_jax.model._parameters import initial_sites
from rpm_jax.objectives import LocalLatents, local_latents
from rpm_jax.priors import Prior, PriorSpec, as_spec


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


@dataclass(frozen=True, eq=False, init=False)
class LocalLatentRPM:
    """An RPM whose views have local categorical latents of their own.

        p(X) = Σ_Z p(Z) ∏_jt Σ_l p_j(l) f_jt(z_t|x_jt, l) α_jt(l|x_jt) / G_jt(l, z_t)

    Its log-likelihood is exact, and contains the weighted empirical marginals; `rpm_jax.objectives.
    local_latents` has the details. Parameters are a dictionary of "prior", "factors" and "local_priors".

    Args:
        prior: A prior with Categorical sites, or its specification.
        factors: From `rpm_jax.factors.per_view` or `shared`; their networks give the logits of f and of α.
        num_local_states: L, the local states of every view, or a sequence of one number for each view.
    """

    prior_spec: PriorSpec
    factor_spec: NetworkFactors
    num_local_states: tuple[int, ...]
    one_hot: bool = True

    def __init__(
        self,
        prior: Prior | PriorSpec,
        factors: FactorSpec,
        *,
        num_local_states: int | Sequence[int],
    ) -> None:
        numbers = (num_local_states,) if isinstance(num_local_states, int) else tuple(num_local_states)
        for number in numbers:
            require_positive_integer("num_local_states", number)
        if not isinstance(factors, NetworkFactors) or factors.kind != "normalised":
            raise TypeError(
                "factors must be normalised and made by rpm_jax.factors.per_view(network) or "
                f"shared(network), got {factors!r}"
            )
        spec = as_spec(prior)
        if not initial_sites(spec).one_hot:
            raise TypeError(f"prior must have Categorical sites, got {type(initial_sites(spec)).__name__}")
        object.__setattr__(self, "prior_spec", spec)
        output = LocalOutputs(max(numbers))
        object.__setattr__(self, "factor_spec", dataclasses.replace(factors, output=output))
        object.__setattr__(self, "num_local_states", numbers)

    def init(self, key: Array, data: Any) -> dict[str, Any]:
        """Initial parameters for these data, which must be complete."""
        data = _complete(as_data(data))
        prior_key, factor_key, local_key = jax.random.split(key, 3)
        prior = self.prior_spec.init(prior_key)
        sites = self.prior_spec.apply(prior).sites()
        num_views = len(data.views)
        if len(self.num_local_states) not in (1, num_views):
            raise ValueError(
                f"num_local_states must be one number or one for each of J = {num_views} views, got "
                f"{self.num_local_states}"
            )
        shape = (num_views, max(self.num_local_states))
        return {
            "prior": prior,
            "factors": self.factor_spec.init(factor_key, data.views, sites),
            "local_priors": 0.01 * jax.random.normal(local_key, shape, sites.dtype),
        }

    def groups(self, params: dict[str, Any]) -> dict[str, Any]:
        """How each parameter is learned: a pytree like `params` of "prior", "networks" or "none"."""
        names = {"prior": "prior", "factors": "networks", "local_priors": "prior"}

        def group(path: tuple, _: Array) -> str:
            part, *inner = (str(getattr(entry, "key", "")) for entry in path)
            return "none" if "statistics" in inner else names[part]

        return jax.tree_util.tree_map_with_path(group, params)

    def bound(self, params: dict[str, Any], batch: Batch, data: Data) -> Array:
        """The exact log-likelihood of each datum of a batch, in nats, shape (B,), with G over `data`."""
        require_batch("batch", batch)
        require_data("data", data)
        return self._solve(
            params, self._factors(params, batch.views), self._mixture(params, data)
        ).log_likelihood

    def minibatch_bound(
        self, params: dict[str, Any], batch: Batch, log_weights: Array | None = None
    ) -> Array:
        """`bound` with G over the batch itself."""
        require_batch("batch", batch)
        _complete(Data(batch.views, batch.mask, log_weights))
        factors = self._factors(params, batch.views)
        return self._solve(params, factors, factors).log_likelihood

    @partial(jax.jit, static_argnums=0)
    def mean_bound(self, params: dict[str, Any], data: Data, mixture: Data) -> Array:
        """The mean log-likelihood of data, with G over `mixture`."""
        return jnp.mean(self._infer(params, data, mixture).log_likelihood)

    def infer(self, params: dict[str, Any], views: Any, *, data: Any = None) -> LocalLatents:
        """Posteriors of common and local latents.

        Args:
            params: The model's parameters.
            views: The data to look at.
            data: The data of the fit, which G averages over; None: `views` are these data.
        """
        views = _complete(as_data(views))
        return self._infer_compiled(params, views, views if data is None else _complete(as_data(data)))

    @partial(jax.jit, static_argnums=0)
    def _infer_compiled(self, params: dict, data: Data, mixture: Data) -> LocalLatents:
        return self._infer(params, data, mixture)

    def _infer(self, params: dict, data: Data, mixture: Data) -> LocalLatents:
        def factors(views: tuple[View, ...]) -> Any:
            return self._factors(params, views)

        length = block_size(data.views)
        return self._solve(
            params,
            map_blocks(factors, data.views, length),
            map_blocks(factors, _complete(mixture).views, length),
        )

    def _factors(self, params: dict, views: tuple[View, ...]) -> tuple[Categorical, Categorical]:
        sites = self.prior_spec.apply(params["prior"]).sites()
        return self.factor_spec.apply(params["factors"], views, sites).potentials

    def _mixture(self, params: dict, data: Data) -> tuple[Categorical, Categorical]:
        return self._factors(params, _complete(data).views)

    def _solve(self, params: dict, factors: Any, mixture: Any) -> LocalLatents:
        prior = self.prior_spec.apply(params["prior"])
        logits, weights = factors
        exists = jnp.arange(max(self.num_local_states)) < jnp.asarray(self.num_local_states)[:, None]
        local_priors = Categorical(jnp.where(exists, params["local_priors"], -jnp.inf))
        return local_latents(prior, logits, weights, local_priors, *mixture)


def _complete(data: Data) -> Data:
    """Raise `ValueError` for masks and weights, which this model has no place for."""
    if data.mask is not None or data.log_weights is not None or has_missing_cells(data):
        raise ValueError(
            "data: a model with local latents takes complete data without log_weights (its empirical "
            "marginals have weights of their own); leave out mask, log_weights and data with missing cells"
        )
    return data
