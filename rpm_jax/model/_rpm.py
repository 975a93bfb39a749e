"""The recognition-parametrised model: binds a prior, factors, a posterior and an auxiliary strategy."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax import Array

from rpm_jax.data import (
    Data,
    as_data,
)
from rpm_jax.model._generative import check_latents, component_log_joint, draw_prior
from rpm_jax.model._pooling import pool_components
from rpm_jax.model._prediction import Prediction
from rpm_jax.model._records import Components, Draw


@dataclass(frozen=True, eq=False, init=False)
class RPM(Prediction):
    """p(X, Z) = p(Z) ∏_jt p0(x_jt) f_jt(z_t|x_jt)/F_jt(z_t), with an approximate posterior q(Z|X).

    Everything is a pure function of `params`, a dictionary with the groups "prior", "factors", "posterior"
    and "auxiliary".

    The factors' natural parameters are η0_t + g_jt(x_jt), so that every posterior is valid; where sites have
    one-hot statistics every logit is, and they are g_jt(x_jt) alone.

    Args:
        prior: A prior or a specification of one (`rpm_jax.priors`).
        factors: Recognition factors (`rpm_jax.factors`).
        posterior: How q gets its potentials (`rpm_jax.posteriors`); None: exact for sites with one-hot
            statistics (Categorical), conjugate for all others.
        auxiliary: How E_q[log F_jt] is bounded (`rpm_jax.auxiliaries`); None: not at all but exact for
            one-hot statistics, by the posterior's marginals for all others.
        pooled: Whether F_j averages over the sites too ("ergodic"); for priors whose marginals are the same
            at every site, or one-hot statistics.
    """

    # The model as a generative model over the data it holds.

    def component_log_weights(self, params: dict[str, Any], data: Any, latents: Array) -> Array:
        """Log p(x_jt^n | z_t) = log w_n + log f_jt(z_t|x_jt^n) − log Σ_m w_m f_jt(z_t|x_jt^m).

        Args:
            params: The model's parameters.
            data: The data of the fit.
            latents: z, shape (..., T) + event.

        Returns:
            Shape (..., N, J, T), normalised over N; −inf where missing. (..., N·T, J, T) where the model
            pools the sites, component n·T + t being datum n at site t.
        """
        return jax.nn.log_softmax(self._component_log_joint(params, as_data(data), latents), axis=-3)

    def mixture_log_density(self, params: dict[str, Any], data: Any, latents: Array) -> Array:
        """Log F_jt(z_t), in nats.

        Args:
            params: The model's parameters.
            data: The data of the fit.
            latents: z, shape (..., T) + event.

        Returns:
            Shape (..., J, T).
        """
        log_density = jax.nn.logsumexp(self._component_log_joint(params, as_data(data), latents), axis=-3)
        return log_density + self.prior(params).sites().log_base_measure(latents)[..., None, :]

    def _component_log_joint(self, params: dict, data: Data, latents: Array) -> Array:
        """Log w + ⟨η, t(z)⟩ + h, shape (..., N, J, T)."""
        return self._component_log_joint_of(params, data, check_latents(self.prior(params), latents))

    @partial(jax.jit, static_argnums=0)
    def _component_log_joint_of(self, params: dict, data: Data, latents: Array) -> Array:
        natural, _, log_scale, mask = self._factors_in_blocks(params, data)
        components = Components(natural, log_scale, data.log_weights, mask)
        components = pool_components(components) if self.pooled else components
        return component_log_joint(self.prior(params), components, latents)

    def sample(self, params: dict[str, Any], data: Any, key: Array, shape: tuple[int, ...] = ()) -> Draw:
        """Draw z from the prior, then for each view and site a datum n from p(x_jt^n | z_t).

        Args:
            params: The model's parameters.
            data: The data of the fit, which are all the values that x_j can take.
            key: A random key.
            shape: Of the draws.

        Returns:
            Latents `shape` + (T,) + event and indices `shape` + (J, T), into the components of
            `component_log_weights`.
        """
        latent_key, index_key = jax.random.split(key)
        latents = draw_prior(self.prior(params), latent_key, shape)
        log_weights = self.component_log_weights(params, data, latents)
        return Draw(latents, jax.random.categorical(index_key, log_weights, axis=-3))
