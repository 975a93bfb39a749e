"""The models that are fitted to pairs, by name, and what each says about pairs and latents."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

import rpm_jax as rpm
from experiments._copula_options import IMPLICIT_BATCH_SIZE, NUM_STATES, Model

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {"tanh": nn.tanh, "relu": nn.relu}

LOG_PARTITION_HIDDEN = (20, 20)
"""Units of each hidden layer of a learned log-partition."""

LATENT_RANGE, NUM_LATENTS = 4.0, 401
"""Standard deviations of the prior on either side that a latent is drawn over, and at how many values."""


@dataclass(frozen=True, eq=False)
class Variant:
    """A model, and how it is fitted.

    Attributes:
        model: An `RPM` or an `ImplicitRPM`.
        fit_options: Of `_fits.arguments`, where they are not the library's.
    """

    model: Any
    fit_options: Mapping[str, Any]

    @property
    def is_implicit(self) -> bool:
        """Whether F_j is taken to be the prior."""
        return isinstance(self.model, rpm.ImplicitRPM)

    @property
    def is_discrete(self) -> bool:
        """Whether the latent has states."""
        return self.with_mixtures.is_exact

    @property
    def has_gap(self) -> bool:
        """Whether what is fitted is a lower bound."""
        return not self.is_implicit and not self.is_discrete

    @cached_property
    def with_mixtures(self) -> rpm.RPM:
        """The `RPM` of the same prior and factors, which knows F_j."""
        if not self.is_implicit:
            return self.model
        return self.model.explicit

    def log_ratio(self, params: Any, pairs: Any, data: Any) -> NDArray:
        """Log p(x) − Σ_j log p0(x_j) of pairs, in nats, with F_j over `data`; shape (n,).

        Exact for discrete latents and implicit models, by quadrature over a Gaussian one.
        """
        if self.is_implicit:
            return np.asarray(self.model.log_ratio(params, pairs), float)
        method = "bound" if self.is_discrete else "quadrature"
        fitted = rpm.Fitted(self.model, params, data)
        return np.asarray(rpm.diagnostics.log_density_ratio(fitted, pairs, method=method), float)

    def bound(self, params: Any, pairs: Any, data: Any) -> NDArray:
        """The inner bound on `log_ratio`, shape (n,)."""
        fitted = rpm.Fitted(self.model, params, data)
        return np.asarray(rpm.diagnostics.log_density_ratio(fitted, pairs), float)

    @partial(jax.jit, static_argnums=0)
    def log_integral(self, params: Any, pairs: Any, key: Array) -> Array:
        """Log ∫ p(x) dx, estimated from the views of some pairs; 0 for models that are normalised."""
        if not self.is_implicit:
            return jnp.zeros(())
        factors = self.model.recognise(params, rpm.as_data(pairs).all()).natural
        return rpm.objectives.implicit_integral(self.model.prior_of(params), factors, key).log_value

    def mixture_divergence(self, params: Any, data: Any, key: Array) -> NDArray:
        """KL(F_j‖prior) of both views, in nats, shape (2,)."""
        found = rpm.diagnostics.mixture_divergence(rpm.Fitted(self.with_mixtures, params, data), key)
        return np.asarray(found.divergence, float)[:, 0]

    @partial(jax.jit, static_argnums=0)
    def drawn(self, params: Any, data: Any, views: Any) -> "Drawn":
        """What figures show of the latent, with F_j over `data` and factors of `views`, (G, 1) each."""
        model = self.with_mixtures
        sites = model.reference(params)
        factors = self.model.recognise(params, rpm.as_data(views).all()).natural[..., 0]
        if self.is_discrete:
            states = jnp.arange(sites.natural_parameters[0].shape[-1])
            latent, latents, cell = states, states[:, None], 1.0
            moments = jnp.moveaxis(jax.nn.softmax(factors.natural_parameters[0]), 1, 0), None
        else:
            centre, scale = sites.mean().ravel()[0], jnp.sqrt(sites.variance().ravel()[0])
            latent = centre + LATENT_RANGE * scale * jnp.linspace(-1.0, 1.0, NUM_LATENTS)
            latents, cell = latent[:, None, None], latent[1] - latent[0]
            mean, variance = (part[..., 0].T for part in (factors.mean(), factors.variance()))
            moments = (mean - centre) / scale, variance / scale**2
        prior = jnp.exp(sites.log_prob(latents)).reshape(-1)
        fitted = rpm.Fitted(model, params, data)
        mixtures = jnp.exp(rpm.generation.mixture_log_density(fitted, latents))[..., 0].T
        # Unnormalised factors have mixtures of any scale.
        mixtures = mixtures / (cell * jnp.sum(mixtures, axis=-1, keepdims=True))
        return Drawn(latent, prior, mixtures, *moments)


class Drawn(NamedTuple):
    """What figures show of a latent.

    Attributes:
        latent: Values of z, or the states, shape (G,).
        prior: Its density there, shape (G,).
        mixtures: Those of both F_j, normalised, shape (2, G).
        factors: Means of f_j in units in which the prior has mean 0 and variance 1, shape (2, V), or the
            probabilities of its states, (2, V, K).
        variances: In the same units, shape (2, V), or None.
    """

    latent: Array
    prior: Array
    mixtures: Array
    factors: Array
    variances: Array | None


def build(name: str, wanted: Model, marginals: Any) -> Variant:
    """A variant by its name.

    Args:
        name: One of `_copula_options.Name`.
        wanted: The options.
        marginals: The true marginals, which score matching needs.
    """
    return BUILDERS[name](wanted, marginals)


def _gaussian(wanted: Model, marginals: Any, **factor_options: Any) -> Variant:
    del marginals
    return Variant(rpm.RPM(_normal_prior(), _factors(wanted, **factor_options)), {})


def _discrete(wanted: Model, marginals: Any) -> Variant:
    del marginals
    states = rpm.expfam.Categorical(jnp.zeros(wanted.num_states or NUM_STATES))
    return Variant(rpm.RPM(rpm.priors.static(states, learnable=True), _factors(wanted)), {})


def _implicit(wanted: Model, marginals: Any) -> Variant:
    model = rpm.ImplicitRPM(_normal_prior(), _factors(wanted), marginals)
    return Variant(model, {"default_batch": IMPLICIT_BATCH_SIZE, "components": rpm.feeds.minibatch()})


def _score(wanted: Model, marginals: Any) -> Variant:
    model = _implicit(wanted, marginals).model
    # Exponential densities do not vanish at 0, so that their scores are weighted by x.
    positive = all(isinstance(marginal, rpm.marginals.Exponential) for marginal in marginals)
    objective = rpm.train.ScoreMatching(model, weight=_itself if positive else None)
    return Variant(model, {"default_batch": IMPLICIT_BATCH_SIZE, "objective": objective})


def _unnormalised(wanted: Model, marginals: Any) -> Variant:
    return _gaussian(wanted, marginals, kind="unnormalised")


def _learned(wanted: Model, marginals: Any) -> Variant:
    log_partition = rpm.networks.MLP(LOG_PARTITION_HIDDEN, activation=nn.softplus)
    return _gaussian(wanted, marginals, kind="unnormalised", log_partition=log_partition)


def _convex(wanted: Model, marginals: Any) -> Variant:
    log_partition = rpm.networks.InputConvex(LOG_PARTITION_HIDDEN)
    return _gaussian(wanted, marginals, kind="unnormalised", log_partition=log_partition)


BUILDERS: Mapping[str, Callable[[Model, Any], Variant]] = {
    "gaussian": _gaussian,
    "discrete": _discrete,
    "implicit": _implicit,
    "score": _score,
    "unnormalised": _unnormalised,
    "learned": _learned,
    "convex": _convex,
}


def _normal_prior() -> Any:
    return rpm.priors.static(rpm.expfam.DiagonalGaussian(jnp.zeros(1), -0.5 * jnp.ones(1)), learnable=True)


def _factors(wanted: Model, **options: Any) -> Any:
    network = rpm.networks.MLP(wanted.hidden, activation=ACTIVATIONS[wanted.activation])
    return rpm.factors.per_view(network, **options)


def _itself(views: Any) -> Any:
    return views
