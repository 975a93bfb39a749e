"""A model with one factor of all views jointly: no conditional independence."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._checks import require_choice, require_positive_integer
from rpm_jax.data import Batch, Data, as_data, has_missing_cells, require_batch, require_data
from rpm_jax.factors import KINDS
from rpm_jax.incomplete import View
from rpm_jax.model._blocks import block_size, map_blocks
from rpm_jax.model._parameters import initial_sites
from rpm_jax.networks import Network, as_network
from rpm_jax.normalizers import (
    MOST_COMBINATIONS,
    Block,
    all_combinations,
    log_mixture,
    random_combinations,
)
from rpm_jax.objectives import log_ratios_at
from rpm_jax.outputs import SiteOutputs, to_positions
from rpm_jax.posteriors import sized
from rpm_jax.priors import Posterior, Prior, PriorSpec, as_spec

EVALUATED_COMBINATIONS = 2**16
"""How many random combinations F is estimated from after a fit, where there are more."""


@dataclass(frozen=True, eq=False, init=False)
class JointRPM:
    """p(X, Z) = p(Z) ∏_j p0(x_j) f(Z|X)/F(Z): one factor of all views, categorical sites.

        F(z) = 1/|C| Σ_{(n_1..n_J) ∈ C} f(z | x_1^{n_1}, ..., x_J^{n_J})

    C is the grid of all N^J combinations of the data's views, or some random ones. Views are independent
    under p0 alone, not given Z. With few states f has to be able to tell matching views from shuffled ones,
    so it is scaled by default.

    Args:
        prior: A prior with Categorical sites, or its specification.
        network: Of the tuple of J views, as for `posteriors.amortized`.
        combinations: "all", or how many random ones: the same ones in every step.
        kind: "normalised", "scaled" or "unnormalised", as in `factors.per_view`.
        limit: How many combinations "all" may be; more are an error, before any memory is taken.
        seed: Of the random combinations.

    References:
        Aitchison & Ganev, InfoNCE is variational inference in a recognition parameterised model, 2021;
        torchRPM, `discretenonCondIndRPM`.
    """

    prior_spec: PriorSpec
    network: Any
    combinations: int | str
    kind: str
    limit: int
    seed: int
    one_hot: bool = True

    def __init__(
        self,
        prior: Prior | PriorSpec,
        network: Network,
        *,
        combinations: int | str = "all",
        kind: str = "scaled",
        limit: int = MOST_COMBINATIONS,
        seed: int = 0,
    ) -> None:
        network = as_network("network", network)
        require_choice("kind", kind, KINDS)
        if combinations != "all":
            require_positive_integer("combinations (or 'all')", combinations)
        require_positive_integer("limit", limit)
        spec = as_spec(prior)
        if not initial_sites(spec).one_hot:
            raise TypeError(f"prior must have Categorical sites, got {type(initial_sites(spec)).__name__}")
        for name, value in (
            ("prior_spec", spec),
            ("network", network),
            ("combinations", combinations),
            ("kind", kind),
            ("limit", limit),
            ("seed", seed),
        ):
            object.__setattr__(self, name, value)

    def init(self, key: Array, data: Any) -> dict[str, Any]:
        """Initial parameters: a dictionary of "prior" and "factors"."""
        data = _complete(as_data(data))
        prior_key, factor_key = jax.random.split(key)
        prior = self.prior_spec.init(prior_key)
        sites = self.prior_spec.apply(prior).sites()
        return {"prior": prior, "factors": self._sized(sites).init(factor_key, data.views)}

    def groups(self, params: dict[str, Any]) -> dict[str, Any]:
        """How each parameter is learned: a pytree like `params` of "prior", "networks" or "none"."""
        names = {"prior": "prior", "factors": "networks"}

        def group(path: tuple, _: Array) -> str:
            part, *inner = (str(getattr(entry, "key", "")) for entry in path)
            return "none" if "statistics" in inner else names[part]

        return jax.tree_util.tree_map_with_path(group, params)

    def bound(self, params: dict[str, Any], batch: Batch, data: Data) -> Array:
        """The log-likelihood of each datum of a batch, in nats, shape (B,), with F over `data`.

        Raises:
            ValueError: If these have more combinations than the limit.
        """
        require_batch("batch", batch)
        require_data("data", data)
        return self._posterior(params, batch.views, data, self._index(data, self.limit)).log_normalizer

    @partial(jax.jit, static_argnums=0)
    def mean_bound(self, params: dict[str, Any], data: Data, mixture: Data) -> Array:
        """The mean log-likelihood of data, with F over `mixture`: 65,536 random combinations of more."""
        index = self._evaluation_index(mixture)
        return jnp.mean(self._posterior(params, data.views, mixture, index).log_normalizer)

    def posterior(self, params: dict[str, Any], views: Any, *, data: Any = None) -> Posterior:
        """p(Z|X).

        Args:
            params: The model's parameters.
            views: The data to look at.
            data: The data of the fit, which F averages over; None: `views` are these data.
        """
        new = _complete(as_data(views))
        return self._posterior_compiled(params, new, new if data is None else _complete(as_data(data)))

    @partial(jax.jit, static_argnums=0)
    def _posterior_compiled(self, params: dict, new: Data, mixture: Data) -> Posterior:
        return self._posterior(params, new.views, mixture, self._evaluation_index(mixture))

    def _index(self, data: Data, limit: int) -> Array:
        """Which datum each view of each combination comes from, shape (M, J)."""
        size, num_views = data.size, len(data.views)
        if self.combinations == "all":
            return jnp.asarray(all_combinations(size, num_views, limit=limit))
        return random_combinations(jax.random.key(self.seed), size, num_views, int(self.combinations))

    def _evaluation_index(self, data: Data) -> Array:
        size, num_views = data.size, len(data.views)
        number = EVALUATED_COMBINATIONS if self.combinations == "all" else int(self.combinations)
        if self.combinations == "all" and size**num_views <= number:
            return self._index(data, number)
        return random_combinations(jax.random.key(self.seed), size, num_views, number)

    def _posterior(self, params: dict, views: tuple[View, ...], data: Data, index: Array) -> Posterior:
        data = _complete(data)
        prior = self.prior_spec.apply(params["prior"])
        sites = prior.sites()
        components = CombinedComponents(partial(self._factors, params["factors"], sites), data.views, index)
        factors = map_blocks(partial(self._factors, params["factors"], sites), views, block_size(views))
        return prior.condition(log_ratios_at(factors, log_mixture(components), None).sum(-2))

    def _factors(self, params: Any, sites: Any, views: tuple[View, ...]) -> Block:
        """Batch shape (n, 1, T)."""
        network = self._sized(sites)
        shape = self._shape(sites)
        raw = to_positions(network.apply(params, views), *shape, "factors")[:, None]
        if self.kind == "normalised":
            return Block(sites.replace((raw,)))
        natural = sites.replace((raw[..., :-1],))
        log_scale = raw[..., -1]
        return Block(natural, log_scale - natural.log_partition() if self.kind == "scaled" else log_scale)

    def _shape(self, sites: Any) -> tuple[int, int]:
        positions, number = SiteOutputs().shape(sites)
        return positions, number + (self.kind != "normalised")

    def _sized(self, sites: Any) -> Network:
        return sized(self.network, *self._shape(sites))


class CombinedComponents(NamedTuple):
    """The joint factor of combinations of views, produced block by block.

    Attributes:
        factors: From a tuple of J views to a `Block`.
        views: J arrays with first axis N.
        combinations: Which datum each view comes from, integers (M, J).
    """

    factors: Any
    views: tuple[View, ...]
    combinations: Array

    @property
    def size(self) -> int:
        """M."""
        return self.combinations.shape[0]

    @property
    def block_size(self) -> int:
        """How many to ask for at a time."""
        return block_size(self.views)

    def block(self, start: int | Array, length: int) -> Block:
        """The components start..start + length − 1."""
        rows = lax.dynamic_slice_in_dim(self.combinations, start, length)
        return self.factors(tuple(view[rows[:, j]] for j, view in enumerate(self.views)))


def _complete(data: Data) -> Data:
    """Raise `ValueError` for masks and weights, which a joint factor has no place for."""
    if data.mask is not None or data.log_weights is not None or has_missing_cells(data):
        raise ValueError(
            "data: a joint factor takes complete data without log_weights; leave out mask, log_weights "
            "and data with missing cells"
        )
    return data
