"""What a recognition-parametrised model says about the data of its fit and about new ones."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rpm_jax._checks import require_number, require_positive_integer
from rpm_jax.data import (
    Batch,
    Data,
    as_data,
    choose_mixture,
)
from rpm_jax.incomplete import as_taken_by, mark_missing
from rpm_jax.model._blocks import map_blocks
from rpm_jax.model._core import Core
from rpm_jax.model._records import Mixture
from rpm_jax.normalizers import ArrayComponents, Block, DeviceAxis
from rpm_jax.objectives import log_ratios_at
from rpm_jax.priors import Posterior

MOST_EVALUATED = 1000
"""How many data a mean bound is taken over at most."""

EVALUATED_AT_ONCE = 64
"""How many data are evaluated at once."""


def evenly_spread(size: int, number: int) -> np.ndarray:
    """At most `number` of the integers from 0 to `size` − 1."""
    return np.linspace(0, size - 1, min(size, number)).round().astype(np.int32)


@dataclass(frozen=True, eq=False, init=False)
class Inference(Core):
    """Posteriors, bounds and rows of saturated strategies, for any data; see `RPM`."""

    def posterior(self, params: dict[str, Any], data: Any) -> Posterior:
        """q(Z|X^n) of the data that the model is fitted on.

        Args:
            params: The model's parameters.
            data: The data of the fit: `Data` or a tuple of J views.

        Returns:
            A posterior of batch shape (N,), with mean, standard_deviation and sample(key, shape).

        Raises:
            ValueError: If the parameters hold rows for another number of data; use `infer` for new data.
        """
        data = as_data(data)
        self._check_rows(params, data.size)
        return self._posterior(params, data, data if self._needs_mixture else None)

    @partial(jax.jit, static_argnums=0)
    def _posterior(self, params: dict, data: Data, mixture_data: Data | None) -> Posterior:
        mixture = None
        if mixture_data is not None:
            mixture = Mixture(None, self.mixture(params, mixture_data).log_values)
        factors = self._factors_in_blocks(params, data)
        return self.infer_batch(params, data.batch(jnp.arange(data.size)), mixture, factors).posterior

    def log_ratios(
        self, params: dict[str, Any], views: Any, *, data: Any = None, mixture: str = "train"
    ) -> Any:
        """Log f_jt − log F_jt = log p(x_jt|z_t)/p0(x_jt) of any data, for sites with one-hot statistics.

        Conditioning the prior on those of some views alone gives the posterior of these views:
        `model.prior(params).condition(ratios[:, j])` is p(Z|x_j).

        Args:
            params: The model's parameters.
            views: `Data` or a tuple of J views.
            data: The data of the fit.
            mixture: Whose components F_j has, as for `infer`.

        Returns:
            A family of batch shape (n, J, T); 0 where missing.

        Raises:
            TypeError: For other families.
        """
        if not self.one_hot:
            raise TypeError(
                "log_ratios needs a prior whose sites have one-hot statistics, such as Categorical; "
                "mixture_log_density is for all families"
            )
        new = as_data(views)
        return self._log_ratios(params, new, choose_mixture(new, data, mixture))

    @partial(jax.jit, static_argnums=0)
    def _log_ratios(self, params: dict, new: Data, mixture_data: Data) -> Any:
        factors = self._factors_in_blocks(params, new)
        source = self._factors_in_blocks(params, mixture_data)
        components = ArrayComponents(source.natural, source.log_scale)
        mixtures = self._log_mixture(components, mixture_data.log_weights, source.mask)
        return log_ratios_at(Block(factors.natural, factors.log_scale), mixtures, factors.mask)

    def infer(
        self,
        params: dict[str, Any],
        views: Any,
        *,
        data: Any = None,
        mixture: str = "train",
        num_steps: int = 500,
        learning_rate: float = 0.05,
    ) -> Posterior:
        """q(Z|X) of new data, under every posterior strategy.

        Exact, conjugate and amortized posteriors are evaluated. For a saturated one, rows for the new data
        start at the conjugate potentials and maximise the bound with the model held fixed.

        Args:
            params: The model's parameters.
            views: The new data: `Data` (with a mask, say) or a tuple of J views.
            data: The data of the fit; an exact or saturated posterior with `mixture` "train" or "both" needs
                them.
            mixture: Whose components F_j has: the fit's data ("train"), the new data ("given"), or both.
            num_steps: Steps of Adam on new rows.
            learning_rate: Of these steps.

        Returns:
            A posterior whose batch is the new data.
        """
        new = as_data(views)
        if self.posterior_strategy.group == "rows":
            params = self.fit_rows(
                params, new, data=data, mixture=mixture, num_steps=num_steps, learning_rate=learning_rate
            )
        return self._posterior(
            params, new, choose_mixture(new, data, mixture) if self._needs_mixture else None
        )

    def evaluate(
        self,
        params: dict[str, Any],
        views: Any,
        *,
        data: Any = None,
        mixture: str = "train",
        num_steps: int = 500,
        learning_rate: float = 0.05,
    ) -> Array:
        """The inner bound of new data, in nats, shape (n,); arguments as for `infer`."""
        new = as_data(views)
        if self.has_rows:
            params = self.fit_rows(
                params, new, data=data, mixture=mixture, num_steps=num_steps, learning_rate=learning_rate
            )
        return self._evaluate(params, new, choose_mixture(new, data, mixture))

    @partial(jax.jit, static_argnums=0)
    def _evaluate(self, params: dict, new: Data, mixture: Data) -> Array:
        return self.bounds(params, new.batch(jnp.arange(new.size)), mixture)

    @partial(jax.jit, static_argnums=0)
    def mean_bound(self, params: dict[str, Any], data: Data, mixture: Data) -> Array:
        """The mean bound of data, with F_j over `mixture`.

        Where E_q[log F_jt] is bounded, at a cost of n · N, it is that of 1000 evenly spread data of more.
        """
        number = data.size if self.is_exact else MOST_EVALUATED
        return jnp.mean(
            self.bounds(params, data.batch(jnp.asarray(evenly_spread(data.size, number))), mixture)
        )

    def bounds(
        self, params: dict[str, Any], batch: Batch, data: Data, *, devices: DeviceAxis | None = None
    ) -> Array:
        """`bound` of many data, not all of whose activations are in memory at once; arguments as there."""
        mixture = self.mixture(params, data, devices=devices)
        if self.is_exact:
            factors = self._factors_in_blocks(params, Data(batch.views, batch.mask))
            return self._bound(params, batch, mixture, factors=factors)
        if mixture.is_streamed:
            # The networks are then evaluated once for all of these data.
            return self._bound(params, batch, mixture)
        return map_blocks(lambda rows: self._bound(params, rows, mixture), batch, EVALUATED_AT_ONCE)

    def fit_rows(
        self,
        params: dict[str, Any],
        views: Any,
        *,
        data: Any = None,
        mixture: str = "train",
        num_steps: int = 500,
        learning_rate: float = 0.05,
    ) -> dict[str, Any]:
        """Replace the rows of saturated strategies by rows for new data; arguments as for `infer`.

        Returns:
            Parameters with the same prior, factors and networks.
        """
        if num_steps != 0:
            require_positive_integer("num_steps", num_steps)
        require_number("learning_rate", learning_rate, above=0.0)
        new = as_data(views)
        components = choose_mixture(new, data, mixture)
        params = self.with_new_rows(params, new)
        return self.optimise_rows(params, new, components, num_steps=num_steps, learning_rate=learning_rate)

    @partial(jax.jit, static_argnums=0)
    def with_new_rows(self, params: dict[str, Any], new: Data) -> dict[str, Any]:
        """Initial rows of saturated strategies for new data, in the place of the fit's."""
        prior = self.prior(params)
        sites = prior.sites()
        factors = self._factors_in_blocks(params, new)
        conjugate = self._start(factors, sites, new)
        marked = mark_missing(new.views, factors.mask)
        own = new._replace(views=as_taken_by(self.posterior_strategy, marked))
        key = jax.random.key(0)
        if "posterior" in self.row_parts:
            rows = self.posterior_strategy.init(key, own, conjugate, sites)
            params = {**params, "posterior": rows}
        if "auxiliary" in self.row_parts:
            batch = own.batch(jnp.arange(new.size))
            potentials = self.posterior_strategy.potentials(params["posterior"], batch, conjugate, sites)
            evidence = prior.condition(potentials).sites - sites
            own = new._replace(views=as_taken_by(self.auxiliary_strategy, marked))
            params = {**params, "auxiliary": self.auxiliary_strategy.init(key, own, evidence, sites)}
        return params

    @partial(jax.jit, static_argnums=0, static_argnames="num_steps")
    def optimise_rows(
        self,
        params: dict[str, Any],
        new: Data,
        components: Data,
        *,
        num_steps: int,
        learning_rate: Array | float,
    ) -> dict[str, Any]:
        """Maximise the bound of new data over their rows by Adam, everything else held fixed."""
        batch = new.batch(jnp.arange(new.size))
        rows = {name: params[name] for name in self.row_parts}
        optimizer = optax.apply_if_finite(optax.adam(learning_rate), max_consecutive_errors=num_steps)
        mixture = self.mixture(params, components)

        def loss(rows: dict) -> Array:
            return -jnp.sum(self._bound({**params, **rows}, batch, mixture))

        def step(state: tuple, _: None) -> tuple[tuple, None]:
            rows, optimizer_state = state
            updates, optimizer_state = optimizer.update(jax.grad(loss)(rows), optimizer_state)
            return (optax.apply_updates(rows, updates), optimizer_state), None

        (rows, _), _ = jax.lax.scan(step, (rows, optimizer.init(rows)), None, length=num_steps)
        return {**params, **rows}

    def _check_rows(self, params: dict, size: int) -> None:
        for name in self.row_parts:
            rows = {leaf.shape[0] for leaf in jax.tree.leaves(params[name])}
            if rows != {size}:
                raise ValueError(
                    f"data must be the {sorted(rows)[0]} data of the fit, for which the saturated {name} "
                    f"strategy has rows, got {size}; use infer(params, views, data=...) for new data"
                )
