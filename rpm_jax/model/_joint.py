"""A model with one factor of all views jointly: no conditional independence."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._checks import require_choice, require_positive_integer
from rpm_jax._record import record
from rpm_jax.data import Batch, Data, as_data, has_missing_cells
from rpm_jax.factors import KINDS
from rpm_jax.feeds import Feed, Full, Lazy, Minibatch, Source
from rpm_jax.incomplete import View
from rpm_jax.model._blocks import block_size
from rpm_jax.model._parts import categorical_spec, groups_by_part, init_prior, prior_at, reference_sites
from rpm_jax.model._protocol import Terms
from rpm_jax.model._records import Posteriors
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
from rpm_jax.priors import posterior_divergence

ESTIMATED_COMBINATIONS = 2**16
"""How many random combinations F is estimated from in evaluations, where there are more."""


@record
class JointRPM:
    """p(X, Z) = p(Z) ∏_j p0(x_j) f(Z|X)/F(Z): one factor of all views, categorical sites.

        F(z) = 1/|C| Σ_{(n_1..n_J) ∈ C} f(z | x_1^{n_1}, ..., x_J^{n_J})

    C is the grid of all N^J combinations of the data's views, or some random ones. Views are independent
    under p0 alone, not given Z. With few states f has to be able to tell matching views from shuffled ones,
    so it is scaled by default. Likelihoods are exact; after a fit F is estimated from 65,536 random
    combinations where there are more.

    Attributes:
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

    prior: Any
    network: Any
    combinations: int | str = "all"
    kind: str = "scaled"
    limit: int = MOST_COMBINATIONS
    seed: int = 0

    is_exact = True

    def __post_init__(self) -> None:
        """Check the parts."""
        object.__setattr__(self, "network", as_network("network", self.network))
        require_choice("kind", self.kind, KINDS)
        if self.combinations != "all":
            require_positive_integer("combinations (or 'all')", self.combinations)
        require_positive_integer("limit", self.limit)
        object.__setattr__(self, "prior", categorical_spec(self.prior))

    def init(self, key: Array, data: Any) -> dict[str, Any]:
        """Initial parameters: a dictionary of "prior" and "factors"."""
        data = as_data(data)
        _check_complete(data)
        prior_key, factor_key = jax.random.split(key)
        prior = init_prior(self.prior, prior_key, data.inputs)
        network = self._sized(reference_sites(self.prior, prior))
        return {"prior": prior, "factors": network.init(factor_key, data.views)}

    def groups(self, params: dict[str, Any]) -> dict[str, Any]:
        """How each parameter is learned: a pytree like `params` of "prior", "networks" or "none"."""
        return groups_by_part(params, {"prior": "prior", "factors": "networks"})

    def default_batch_size(self, data: Data) -> int:
        """256."""
        del data
        return 256

    def default_feed(self, data: Data, batch_size: int) -> Feed:
        """All data, but the minibatch where there are more than 4 of them."""
        return Minibatch() if data.size > 4 * batch_size else Full()

    def accepts(self, feed: Feed, data: Data) -> None:
        """Raise for feeds whose components have lost their views, of which combinations are made."""
        del data
        if not isinstance(feed, Full | Minibatch):
            raise TypeError(
                "components: a JointRPM combines the views of its components, so these must be all data "
                "or the "
                f"minibatch (rpm_jax.feeds.full(), minibatch()), got {feed!r}"
            )

    def recognise(self, params: dict[str, Any], rows: Batch) -> Block:
        """The joint factor of some data, batch shape (n, 1, T)."""
        _check_complete(rows)
        return self._block(params, rows.views)

    def mixture(self, params: dict[str, Any], source: Source, key: Array | None = None) -> Any:
        """Log F at every state.

        Raises:
            ValueError: If there are more combinations than the limit, and no estimate will do.
        """
        del key
        if isinstance(source, Lazy):
            data, estimate = source.data, source.approximate
            _check_complete(data)
            views = data.views
        else:
            rows = getattr(source, "rows", None)
            if rows is None:
                raise TypeError(
                    "components: a JointRPM combines views, and this source holds factors without them; take "
                    "rpm_jax.feeds.full() or minibatch()"
                )
            views, estimate = rows.views, False
        index = self._index(views[0].shape[0], len(views), estimate)
        return log_mixture(CombinedComponents(partial(self._block, params), views, index))

    def infer(self, params: dict[str, Any], rows: Batch, own: Block, mixture: Any) -> Posteriors:
        """The exact posterior."""
        potentials = log_ratios_at(own, mixture, None).sum(-2)
        return Posteriors(prior_at(self.prior, params["prior"], rows.inputs).condition(potentials))

    def terms(
        self, params: dict[str, Any], rows: Batch, own: Block, mixture: Any, inferred: Posteriors
    ) -> Terms:
        """The log-likelihood of each datum, in nats."""
        del params, rows
        posterior = inferred.posterior
        potentials = log_ratios_at(own, mixture, None).sum(-2)
        divergence = posterior_divergence(posterior, potentials, posterior.sites.mean_parameters())
        return Terms(posterior.log_normalizer, divergence)

    def _index(self, size: int, num_views: int, estimate: bool) -> Array:
        """Which datum each view of each combination comes from, shape (M, J)."""
        key = jax.random.key(self.seed)
        if self.combinations != "all":
            return random_combinations(key, size, num_views, int(self.combinations))
        if estimate and size**num_views > ESTIMATED_COMBINATIONS:
            return random_combinations(key, size, num_views, ESTIMATED_COMBINATIONS)
        return jnp.asarray(all_combinations(size, num_views, limit=self.limit))

    def _block(self, params: dict[str, Any], views: tuple[View, ...]) -> Block:
        """Batch shape (n, 1, T)."""
        sites = reference_sites(self.prior, params["prior"])
        network, shape = self._sized(sites), self._shape(sites)
        raw = to_positions(network.apply(params["factors"], views), *shape, "factors")[:, None]
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


def _check_complete(data: Data | Batch) -> None:
    """Raise `ValueError` for masks and weights, which a joint factor has no place for."""
    if data.mask is not None or data.log_weights is not None or has_missing_cells(data):
        raise ValueError(
            "data: a joint factor takes complete data without log_weights; leave out mask, log_weights "
            "and data with missing cells"
        )
