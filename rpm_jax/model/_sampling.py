"""Draws from q and their importance weights, with the mixtures F_j evaluated at them."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.data import Batch, Data, as_data, choose_mixture, require_batch, require_data
from rpm_jax.model._inference import Inference
from rpm_jax.model._records import Factors, Inferred, Mixture
from rpm_jax.objectives import check_exact, estimate_log_likelihood, log_importance_weights_at

SAMPLED_AT_ONCE = 2**20
"""Terms, of a draw of the latents and a component of a mixture, that are evaluated at once."""


@dataclass(frozen=True, eq=False, init=False)
class Sampling(Inference):
    """The importance-weighted bound, and what estimates are made of; see `RPM`."""

    def importance_weighted_bound(
        self, params: dict[str, Any], batch: Batch, data: Data, key: Array, *, num_samples: int
    ) -> Array:
        """The importance-weighted bound of a batch, F_j over `data` evaluated at K draws of q.

        An objective in the place of `bound`: `rpm_jax.train.ImportanceWeighted`. Differentiable for families
        with reparametrised draws (Gaussian, Gamma, Beta, Dirichlet); see
        `rpm_jax.objectives.importance_weighted_bound`.

        Args:
            params: The model's parameters.
            batch: B data.
            data: The components of F_j.
            key: A random key.
            num_samples: K.

        Returns:
            In nats, shape (B,).
        """
        require_batch("batch", batch)
        require_data("data", data)
        mixture = self.mixture(params, data)
        factors = self.factors(params, batch.views, batch.mask)
        inferred = self.infer_batch(params, batch, mixture, factors)
        latents = inferred.posterior.sample(key, (num_samples,))
        log_ratios = self._log_importance_weights(params, inferred, mixture, latents)
        return estimate_log_likelihood(log_ratios).log_likelihood

    @property
    def has_differentiable_draws(self) -> bool:
        """Whether draws of q can be differentiated: not those of discrete families, nor of von Mises."""

        def draw(key: Array) -> Array:
            prior = self.prior_spec.apply(self.prior_spec.init(key))
            zero = prior.sites().zeros()

            def sample(potentials: Any) -> Array:
                return prior.condition(potentials).sample(key)

            draws, change = jax.jvp(sample, (zero,), (zero,))
            return draws if change.dtype == draws.dtype else change

        try:
            return jnp.issubdtype(jax.eval_shape(draw, jax.random.key(0)).dtype, jnp.floating)
        except TypeError:
            return False

    def _evaluated(
        self, params: dict, views: Any, data: Any, mixture: str, num_steps: int, learning_rate: float
    ) -> tuple[dict, Data, Data]:
        """Parameters with rows for the data to evaluate, these data, and the components of F_j."""
        new = as_data(views)
        components = choose_mixture(new, data, mixture)
        if self.has_rows and views is data:
            self._check_rows(params, new.size)
        elif self.has_rows:
            params = self.fit_rows(
                params, new, data=data, mixture=mixture, num_steps=num_steps, learning_rate=learning_rate
            )
        return params, new, components

    def _sampled(
        self, params: dict, inferred: Inferred, mixture: Mixture, key: Array, num_samples: int
    ) -> Array:
        """Log-weights of K draws of q, shape (K, B), a block of draws at a time."""
        length = samples_at_once(inferred.factors, mixture, num_samples)
        keys = jax.random.split(key, -(-num_samples // length))

        def weights(key: Array) -> Array:
            latents = inferred.posterior.sample(key, (length,))
            return self._log_importance_weights(params, inferred, mixture, latents)

        log_ratios = jax.lax.map(weights, keys)
        return log_ratios.reshape(-1, *log_ratios.shape[2:])[:num_samples]

    def _log_importance_weights(
        self, params: dict, inferred: Inferred, mixture: Mixture, latents: Array
    ) -> Array:
        """Log-weights of draws of q, shape (K, B)."""
        prior = self.prior(params)
        check_exact(prior, inferred.posterior)
        if self.is_exact:
            # log F_jt is known at every state: the evidence is linear in the statistics.
            statistics = prior.sites().sufficient_statistics(latents)
            evidence = self._evidence(inferred.factors, mixture)
            change = evidence.dot(statistics) - inferred.potentials.dot(statistics)
            return inferred.posterior.log_normalizer + jnp.sum(change, axis=-1)
        components = mixture.components
        assert components is not None
        return log_importance_weights_at(
            inferred.posterior,
            prior.sites(),
            inferred.potentials,
            inferred.factors.natural,
            components.natural,
            latents,
            log_scale=inferred.factors.log_scale,
            mixture_log_scale=components.log_scale,
            log_weights=components.log_weights,
            mask=inferred.factors.mask,
            mixture_mask=components.mask,
        )


def samples_at_once(factors: Factors, mixture: Mixture, num_samples: int) -> int:
    """How many draws of a block of data are evaluated at once, such that blocks are about equal."""
    components = mixture.components
    size = 1 if components is None else components.natural.batch_shape[0]
    terms = factors.natural.reshape((-1,)).batch_shape[0] * size
    most = min(num_samples, max(1, SAMPLED_AT_ONCE // terms))
    return -(-num_samples // -(-num_samples // most))
