"""Latents behind the last site."""

from typing import Any

from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax._jit import jit
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.expfam import concatenate
from rpm_jax.forecasting._marginals import covariance_of
from rpm_jax.forecasting._models import inferred_of, require_prior
from rpm_jax.inference import Against
from rpm_jax.model import prior_at
from rpm_jax.priors import Future, Posterior, extended


@pytree_dataclass
class Forecast:
    """p(z_T+1..z_T+h | x_1..x_T).

    Attributes:
        posterior: Of all T + h sites, those to come being without potentials.
        num_observed: T.
    """

    posterior: Posterior
    num_observed: int = static_field()

    @property
    def sites(self) -> Any:
        """The marginals of the sites to come, a family of batch shape (n, h)."""
        return self.posterior.sites[..., self.num_observed :]

    @property
    def mean(self) -> Array:
        """E[z_t], shape (n, h, K); probabilities of discrete states."""
        return self.posterior.mean[..., self.num_observed :, :]

    @property
    def standard_deviation(self) -> Array:
        """Of each latent, shape (n, h, K)."""
        return self.posterior.standard_deviation[..., self.num_observed :, :]

    @property
    def covariance(self) -> Array:
        """Of the latents of a site, shape (n, h, K, K)."""
        return covariance_of(self.sites)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Joint draws of the sites to come, shape `shape` + (n, h, K), or `shape` + (n, h) of states."""
        draws = self.posterior.sample(key, shape)
        batch = len(shape) + len(self.posterior.log_normalizer.shape)
        return draws[(*[slice(None)] * batch, slice(self.num_observed, None))]


def forecast(
    fitted: Any,
    horizon: int,
    data: Any = None,
    *,
    inputs: Any = None,
    times: Any = None,
    against: Against | str = "train",
) -> Forecast:
    """The latents of the h sites behind the last one, given all that is observed.

    The prior goes on for h sites, with the same parameters, and is conditioned on the potentials of the T
    observed ones: exact for every prior that can be extended (`rpm_jax.priors.extended`), whatever the
    factors are, which see the T sites alone.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`.
        horizon: h.
        data: `Data` or a tuple of J views of T sites, some of which may be missing; None: the fit's.
        inputs: Of a prior that is driven by inputs, those of the steps that lead to the h sites, shape
            (n, h) or (n, h, A), the first being of the step from the last of the T sites.
        times: Of a Gaussian process: of the h sites since the first one of the fit, shape (h,), or of all
            T + h as `gaussian_process` takes them. (n, h), as the inputs are, where each datum has times of
            its own. None: times go on with their last step.
        against: Whose components F_j has, as for `rpm_jax.inference.infer`.

    Returns:
        Marginals of the h sites with mean, standard_deviation and covariance, and joint draws.

    Raises:
        TypeError: For other models, and priors that cannot be extended; the message says why.
        ValueError: For a horizon, inputs or times that do not fit, and a mean that is free at each site.
    """
    require_positive_integer("horizon", horizon)
    model, params = fitted.model, fitted.params
    require_prior("forecast", model)
    future = Future(int(horizon), inputs, times)
    own, new = inferred_of(fitted, data, against)
    longer, all_inputs = extended(model.prior, future, new.inputs)
    posterior = _condition(longer, params["prior"], own.potentials, all_inputs, int(horizon))
    return Forecast(posterior, own.potentials.batch_shape[-1])


@jit
def _condition(spec: Any, params: Any, potentials: Any, inputs: Any, horizon: int) -> Posterior:
    last = potentials[..., -1:].zeros()
    added = last.broadcast_to((*last.batch_shape[:-1], horizon))
    return prior_at(spec, params, inputs).condition(concatenate([potentials, added], axis=-1))
