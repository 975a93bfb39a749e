"""How tight the bound of a model is: its likelihood by sampling or quadrature, and the parts of the gap."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import as_keys, require_positive_integer
from rpm_jax.data import Batch, Data, as_data
from rpm_jax.model._blocks import map_blocks
from rpm_jax.model._inference import EVALUATED_AT_ONCE
from rpm_jax.model._sampling import Sampling
from rpm_jax.objectives import (
    BoundGap,
    ImportanceEstimate,
    MixtureDivergence,
    Quadrature,
    estimate_log_likelihood,
    gap_from_quadrature,
    gap_from_weights,
    log_likelihood_quadrature,
    mixture_divergence,
)


@dataclass(frozen=True, eq=False, init=False)
class Diagnostics(Sampling):
    """Likelihoods, gaps and divergences; see `RPM`."""

    def log_likelihood_estimate(
        self,
        params: dict[str, Any],
        views: Any,
        key: Array,
        *,
        num_samples: int = 1000,
        data: Any = None,
        mixture: str = "train",
        num_steps: int = 500,
        learning_rate: float = 0.05,
    ) -> ImportanceEstimate:
        """The log-likelihood log w(X) of each datum by importance sampling from q.

            log w(X) ≈ log 1/K Σ_k p(Z_k) ∏_jt [f_jt(z_kt|x_jt)/F_jt(z_kt)] / q(Z_k),   Z_k ~ q(Z|X)

        Its expectation lies between the inner bound and log w(X), and grows with K. Without bias for w(X)
        itself. Draws are made in blocks: memory does not grow with K × N.

        Args:
            params: The model's parameters.
            views: The data to evaluate: `Data` or a tuple of J views. The data of the fit themselves, the
                same object as `data`, keep the rows of a saturated strategy; new data get rows of their own.
            key: A random key.
            num_samples: K.
            data: The data of the fit.
            mixture: Whose components F_j has, as for `infer`.
            num_steps: As for `infer`.
            learning_rate: As for `infer`.

        Returns:
            Estimates, standard errors and effective sample sizes, each of shape (n,).

        Raises:
            TypeError: For a prior whose conditioning is itself a variational bound.

        References:
            Burda, Grosse & Salakhutdinov, Importance weighted autoencoders, ICLR 2016.
        """
        require_positive_integer("num_samples", num_samples)
        key = as_keys("key", key, 0)
        params, new, components = self._evaluated(params, views, data, mixture, num_steps, learning_rate)
        return self._estimate(params, new, components, key, num_samples)[0]

    def log_likelihood_quadrature(
        self,
        params: dict[str, Any],
        views: Any,
        *,
        data: Any = None,
        mixture: str = "train",
        tolerance: float | None = None,
        max_points: int = 2**21,
        num_steps: int = 500,
        learning_rate: float = 0.05,
    ) -> Quadrature:
        """The log-likelihood log w(X) of each datum by integration, for one site of one or two dimensions.

        See `rpm_jax.objectives.log_likelihood_quadrature`.

        Args:
            params: The model's parameters.
            views: As for `log_likelihood_estimate`.
            data: The data of the fit.
            mixture: Whose components F_j has, as for `infer`.
            tolerance: The change under a refinement of the grid that is small enough, in nats; None: 10⁻⁸ in
                float64, 10⁻³ in float32.
            max_points: The most points of a grid.
            num_steps: As for `infer`.
            learning_rate: As for `infer`.

        Returns:
            Integrals, shape (n,).

        Raises:
            TypeError: For discrete latents and families without known coordinates.
            ValueError: For more sites or dimensions, or grids that would be too large.
        """
        params, new, components = self._evaluated(params, views, data, mixture, num_steps, learning_rate)
        return self._integrals(params, new, components, tolerance, max_points)

    def bound_gap(
        self,
        params: dict[str, Any],
        views: Any,
        key: Array | None = None,
        *,
        num_samples: int = 1000,
        data: Any = None,
        mixture: str = "train",
        num_steps: int = 500,
        learning_rate: float = 0.05,
    ) -> BoundGap:
        """How far the inner bound is below log w(X), and why.

            log w(X) − bound = KL(q‖p(Z|X)) + Σ_jt (U_jt − E_q[log F_jt])

        The first part asks for a better q (other potentials), the second for a better ξ.

        Args:
            params: The model's parameters.
            views: As for `log_likelihood_estimate`.
            key: A random key, for an estimate by `num_samples` draws of q; None: by quadrature, for one site
                of one or two dimensions.
            num_samples: K.
            data: The data of the fit.
            mixture: Whose components F_j has, as for `infer`.
            num_steps: As for `infer`.
            learning_rate: As for `infer`.

        Returns:
            Both parts with standard errors, each of shape (n,).
        """
        require_positive_integer("num_samples", num_samples)
        params, new, components = self._evaluated(params, views, data, mixture, num_steps, learning_rate)
        if key is None:
            integrals = self._integrals(params, new, components, None, 2**21)
            return gap_from_quadrature(self._evaluate(params, new, components), integrals)
        return self._estimate(params, new, components, as_keys("key", key, 0), num_samples)[1]

    def mixture_divergence(
        self, params: dict[str, Any], data: Any, key: Array, *, num_samples: int = 1000
    ) -> MixtureDivergence:
        """KL(F_jt‖p(z_t)) of every view and site, with F over `data`: 0 where conjugate posteriors are exact.

        Args:
            params: The model's parameters.
            data: The components of F.
            key: A random key.
            num_samples: Draws for every view and site.

        Returns:
            Divergences and standard errors, shape (J, T), (J, 1) where the model pools the sites.
        """
        require_positive_integer("num_samples", num_samples)
        return self._mixture_divergence(params, as_data(data), as_keys("key", key, 0), num_samples)

    # What these are made of.

    @partial(jax.jit, static_argnums=(0, 5))
    def _estimate(
        self, params: dict, new: Data, components: Data, key: Array, num_samples: int
    ) -> tuple[ImportanceEstimate, BoundGap]:
        mixture = self.held_mixture(params, components)

        def estimate(batch: Batch) -> tuple[ImportanceEstimate, BoundGap]:
            factors = self.factors(params, batch.views, batch.mask)
            inferred = self.infer_batch(params, batch, mixture, factors)
            own_key = jax.random.fold_in(key, batch.index[0])
            log_ratios = self._sampled(params, inferred, mixture, own_key, num_samples)
            bound = self._bound(params, batch, mixture, factors=factors)
            return estimate_log_likelihood(log_ratios), gap_from_weights(bound, log_ratios)

        return map_blocks(estimate, new.batch(jnp.arange(new.size)), EVALUATED_AT_ONCE)

    def _integrals(
        self, params: dict, new: Data, components: Data, tolerance: float | None, max_points: int
    ) -> Quadrature:
        prior, factors, potentials, held = self._for_quadrature(params, new, components)
        if tolerance is None:
            tolerance = 1e-8 if factors.natural.dtype == jnp.float64 else 1e-3
        return log_likelihood_quadrature(
            prior,
            factors.natural,
            held.natural,
            potentials=potentials,
            log_scale=factors.log_scale,
            mixture_log_scale=held.log_scale,
            log_weights=held.log_weights,
            mask=factors.mask,
            mixture_mask=held.mask,
            tolerance=tolerance,
            max_points=max_points,
        )

    @partial(jax.jit, static_argnums=0)
    def _for_quadrature(self, params: dict, new: Data, components: Data) -> tuple:
        mixture = self.held_mixture(params, components)
        factors = self._factors_in_blocks(params, new)
        inferred = self.infer_batch(params, new.batch(jnp.arange(new.size)), mixture, factors)
        return self.prior(params), factors, inferred.potentials, mixture.components or mixture.log_values

    @partial(jax.jit, static_argnums=(0, 4))
    def _mixture_divergence(
        self, params: dict, data: Data, key: Array, num_samples: int
    ) -> MixtureDivergence:
        components = self.held_mixture(params, data).components
        assert components is not None
        return mixture_divergence(
            self.prior(params),
            components.natural,
            key,
            num_samples=num_samples,
            mixture_log_scale=components.log_scale,
            log_weights=components.log_weights,
            mixture_mask=components.mask,
        )
