"""What a fitted model says about new data: their density, the dependence of views, one view from others."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import as_keys, require_choice, require_positive_integer
from rpm_jax.data import Batch, Data, as_data
from rpm_jax.incomplete import full_mask
from rpm_jax.model._blocks import map_blocks
from rpm_jax.model._diagnostics import Diagnostics
from rpm_jax.model._generative import component_log_joint
from rpm_jax.model._inference import EVALUATED_AT_ONCE
from rpm_jax.model._records import Components, Mixture
from rpm_jax.model._sampling import samples_at_once
from rpm_jax.normalizers import log_sum_exp

METHODS = ("bound", "estimate", "quadrature")


class Dependence(NamedTuple):
    """The dependence of views, in nats.

    Attributes:
        total_correlation: Σ_j H(x_j) − H(X); for two views their mutual information.
        standard_error: Of the mean over data.
    """

    total_correlation: Array
    standard_error: Array


@dataclass(frozen=True, eq=False, init=False)
class Prediction(Diagnostics):
    """Densities, dependence and conditionals of new data; see `RPM`."""

    def log_density_ratio(
        self,
        params: dict[str, Any],
        views: Any,
        *,
        data: Any = None,
        mixture: str = "train",
        method: str = "bound",
        key: Array | None = None,
        num_samples: int = 1000,
        num_steps: int = 500,
        learning_rate: float = 0.05,
    ) -> Array:
        """Log p(X) − Σ_j log p0(x_j) = log w(X): how much likelier the views are together than apart.

        A score for ranking and for anomalies: low where views do not belong together. The same for
        categorical latents by every method but "quadrature", exact.

        Args:
            params: The model's parameters.
            views: The data to evaluate: `Data` or a tuple of J views.
            data: The data of the fit.
            mixture: Whose components F_j has, as for `infer`.
            method: "bound", the inner bound, a lower bound; "estimate", by importance sampling
                (`log_likelihood_estimate`), which needs a key; "quadrature" (`log_likelihood_quadrature`).
            key: A random key, for "estimate".
            num_samples: Draws, for "estimate".
            num_steps: As for `infer`.
            learning_rate: As for `infer`.

        Returns:
            In nats, shape (n,).
        """
        require_choice("method", method, METHODS)
        rows: dict[str, Any] = {"data": data, "mixture": mixture}
        rows |= {"num_steps": num_steps, "learning_rate": learning_rate}
        if method == "quadrature":
            return self.log_likelihood_quadrature(params, views, **rows).log_likelihood
        if method == "estimate":
            if key is None:
                raise ValueError("key: method='estimate' draws latents; pass a key, as jax.random.key(0)")
            estimate = self.log_likelihood_estimate(params, views, key, num_samples=num_samples, **rows)
            return estimate.log_likelihood
        params, new, components = self._evaluated(params, views, data, mixture, num_steps, learning_rate)
        return self._evaluate(params, new, components)

    def total_correlation(self, params: dict[str, Any], views: Any, **options: Any) -> Dependence:
        """The dependence of the views: for two, their mutual information.

            I ≈ 1/n Σ_n log w(X^n)

        On data that the fit has not seen, the mean is in expectation the truth less KL(truth‖model), up to
        how well `data` represent the marginals, and so rather too low; on the data of the fit it may be too
        high. By the bound it is lower still.

        Args:
            params: The model's parameters.
            views: Held-out data.
            **options: As for `log_density_ratio`: data, mixture, method, key, ...

        Returns:
            The estimate and its standard error over data.
        """
        ratios = self.log_density_ratio(params, views, **options)
        return Dependence(jnp.mean(ratios), jnp.std(ratios) / jnp.sqrt(max(1, ratios.shape[0] - 1)))

    def predictive_log_weights(
        self,
        params: dict[str, Any],
        views: Any,
        view: int,
        *,
        data: Any,
        given: Sequence[int] | None = None,
        key: Array | None = None,
        num_samples: int = 1000,
        num_steps: int = 500,
        learning_rate: float = 0.05,
    ) -> Array:
        """One view from others: log p(x_i = x_i^m | x_j, j ∈ given) for every value that the fit has seen.

            p(x_it = x_it^m | x_given) = E[ w_m f_it(z_t|x_it^m) / F_it(z_t) | x_given ],

        under p(Z|x_given) ∝ p(Z) ∏_j,t f_jt/F_jt: exactly for categorical latents, by importance sampling
        from q(Z|x_given) for all others. A function of x_i is predicted by its mean under these weights.

        Args:
            params: The model's parameters.
            views: Data of which the given views are looked at; others may hold anything of the right shape.
            view: i.
            data: The data of the fit.
            given: The views to predict from; None: all but i.
            key: A random key; not needed for categorical latents.
            num_samples: Draws of q.
            num_steps: As for `infer`.
            learning_rate: As for `infer`.

        Returns:
            Shape (n, N, T), normalised over N; −inf where missing. (n, N·T, T) where the model pools the
            sites, as in `component_log_weights`.
        """
        require_positive_integer("num_samples", num_samples)
        components = as_data(data)
        new = self._given(params, views, view, given, len(components.views))
        if self.is_exact and self._needs_mixture:
            key = jax.random.key(0)
        elif key is None:
            raise ValueError("key: this model's predictions draw latents; pass a key, as jax.random.key(0)")
        if self.has_rows:
            params = self.fit_rows(
                params, new, data=components, num_steps=num_steps, learning_rate=learning_rate
            )
        return self._predictive(params, new, components, as_keys("key", key, 0), view, num_samples)

    def predict(
        self,
        params: dict[str, Any],
        views: Any,
        view: int,
        key: Array,
        shape: tuple[int, ...] = (),
        **options: Any,
    ) -> Array:
        """Draws from p(x_i | x_given): which datum of the fit x_it is taken from.

        Args:
            params: The model's parameters.
            views: As for `predictive_log_weights`.
            view: i.
            key: A random key.
            shape: Of the draws.
            **options: As for `predictive_log_weights`: data, given, num_samples, ...

        Returns:
            Integers, `shape` + (n, T). Sites are drawn one by one, each given x_given alone.
        """
        own_key, draw_key = jax.random.split(as_keys("key", key, 0))
        log_weights = self.predictive_log_weights(params, views, view, key=own_key, **options)
        size, _, num_sites = log_weights.shape
        return jax.random.categorical(draw_key, log_weights, axis=1, shape=(*shape, size, num_sites))

    def _given(
        self, params: dict, views: Any, view: int, given: Sequence[int] | None, num_views: int
    ) -> Data:
        """The data with all but the given views masked."""
        if isinstance(view, bool) or not isinstance(view, int) or not 0 <= view < num_views:
            raise ValueError(f"view must be one of the views 0..{num_views - 1}, got {view!r}")
        given = tuple(j for j in range(num_views) if j != view) if given is None else tuple(given)
        if not given or view in given or not set(given) <= set(range(num_views)):
            raise ValueError(
                f"given must be some of the views 0..{num_views - 1} without view {view} itself, got {given}"
            )
        own, mask = (views.views, views.mask) if isinstance(views, Data) else (views, None)
        if len(own) != num_views:
            raise ValueError(f"views must hold the J = {num_views} views of the fit, got {len(own)}")
        is_given = jnp.zeros(num_views, bool).at[jnp.asarray(given)].set(True)
        mask = full_mask(mask, self.prior(params).sites().batch_shape[0])
        shape = (len(own[0]), num_views, 1) if mask is None else mask.shape
        is_given = jnp.broadcast_to(is_given[:, None], shape)
        return as_data(own, is_given if mask is None else mask & is_given)

    @partial(jax.jit, static_argnums=(0, 5, 6))
    def _predictive(
        self, params: dict, new: Data, data: Data, key: Array, view: int, num_samples: int
    ) -> Array:
        prior = self.prior(params)
        mixture = self.held_mixture(params, data)
        # Every datum is to have a weight, not every distinct value.
        natural, log_scale, weights, mask = self._components_of(
            self._factors_in_blocks(params, data), data.log_weights
        )
        part = slice(view, view + 1)
        if weights is not None and weights.ndim == 3:
            weights = weights[:, part]
        target = Components(
            natural[:, part],
            None if log_scale is None else log_scale[:, part],
            weights,
            None if mask is None else mask[:, part],
        )

        def conditional(latents: Array) -> Array:
            log_joint = component_log_joint(prior, target, latents)
            return jax.nn.log_softmax(log_joint, axis=-3)[..., 0, :]

        def weighted(batch: Batch) -> Array:
            factors = self.factors(params, batch.views, batch.mask)
            inferred = self.infer_batch(params, batch, mixture, factors)
            if self.is_exact and self._needs_mixture:
                return _exact_conditional(conditional, inferred.posterior.sites)
            length = samples_at_once(factors, Mixture(target, None), num_samples)
            keys = jax.random.split(jax.random.fold_in(key, batch.index[0]), -(-num_samples // length))

            def block(key: Array) -> tuple[Array, Array]:
                latents = inferred.posterior.sample(key, (length,))
                log_ratios = self._log_importance_weights(params, inferred, mixture, latents)
                values = conditional(latents) + log_ratios[..., None, None]
                return log_sum_exp(values, 0), log_sum_exp(log_ratios, 0)

            def add(total: tuple, key: Array) -> tuple[tuple, None]:
                return jax.tree.map(jnp.logaddexp, total, block(key)), None

            start = jax.eval_shape(block, keys[0])
            start = jax.tree.map(lambda leaf: jnp.full(leaf.shape, -jnp.inf, leaf.dtype), start)
            (values, total), _ = jax.lax.scan(add, start, keys)
            return values - total[:, None, None]

        return map_blocks(weighted, new.batch(jnp.arange(new.size)), EVALUATED_AT_ONCE)


def _exact_conditional(conditional: Any, sites: Any) -> Array:
    """Log Σ_k q(z_t = k) p(x_it^m | z_t = k), shape (n, N, T)."""
    log_probabilities = jax.nn.log_softmax(sites.natural_parameters[0])
    num_sites, num_states = log_probabilities.shape[1:]
    states = jnp.broadcast_to(jnp.arange(num_states)[:, None], (num_states, num_sites))
    by_state = conditional(states)
    return log_sum_exp(by_state[:, None] + jnp.moveaxis(log_probabilities, -1, 0)[:, :, None], 0)
