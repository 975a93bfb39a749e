"""What a prior offers, and what conditioning it returns."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array

from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.expfam import ExponentialFamily


@runtime_checkable
class Posterior(Protocol):
    """q(Z) ∝ p(Z) exp Σ_t ⟨λ_t, t(z_t)⟩: a prior conditioned on potentials λ.

    One whose log-normaliser is a sum over the sites may have it as `log_normalizers`, shape (..., T),
    so that `divergence_from_prior` keeps its digits over many sites.

    Attributes:
        log_normalizer: log ∫ p(Z) exp Σ_t ⟨λ_t, t(z_t)⟩ dZ, shape (...); a lower bound unless `exact`.
        sites: The marginals q(z_t), a family of batch shape (..., T).
        exact: Whether `log_normalizer` and `sites` are those of q itself.
        mean: E[z_t], shape (..., T, K).
        standard_deviation: Marginal standard deviations of the latents, shape (..., T, K).
    """

    @property
    def log_normalizer(self) -> Array: ...

    @property
    def sites(self) -> Any: ...

    @property
    def exact(self) -> bool: ...

    @property
    def mean(self) -> Array: ...

    @property
    def standard_deviation(self) -> Array: ...

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw Z jointly over the sites, shape `shape` + (..., T) + event."""
        ...


@runtime_checkable
class Prior(Protocol):
    """p(Z) over T sites z_1..z_T whose distributions all lie in one exponential family."""

    def sites(self) -> Any:
        """The marginals p(z_t): a family of batch shape (T,)."""
        ...

    def condition(self, potentials: Any) -> Posterior:
        """Condition on additive natural parameters at every site.

        Args:
            potentials: λ, of the sites' family, batch shape (..., T).

        Returns:
            The posterior q(Z) ∝ p(Z) exp Σ_t ⟨λ_t, t(z_t)⟩.
        """
        ...


@runtime_checkable
class PriorSpec(Protocol):
    """A prior with learnable parameters, in unconstrained form.

    A prior that depends on inputs of every datum (`Data.inputs`) has `init(key, inputs)`,
    `apply(params, inputs)`, whose prior has the inputs' first axis as its batch axis, and
    `reference(params)`: sites η̄0_t that do not depend on a datum, batch shape (T,), which factors are
    relative to. `init(key, None)` says of which family and how many they are, before there are data. It may
    have `check_inputs(inputs)`, which raises for inputs that do not fit, where they are known.
    """

    def init(self, key: Array) -> Any:
        """The initial parameters: a pytree of arrays, empty if nothing is learnable."""
        ...

    def apply(self, params: Any) -> Prior:
        """The prior with these parameters."""
        ...


def divergence_from_prior(posterior: Posterior, potentials: Any, mean: tuple[Array, ...]) -> Array:
    """KL(q‖p) = Σ_t ⟨λ_t, μ_t⟩ − log ∫ p(Z) exp Σ_t ⟨λ_t, t(z_t)⟩ dZ of a conditioned prior.

    Where the log-normaliser is a sum over the sites, differences are summed, and not a sum subtracted from
    another one: over 10⁴ sites float32 would have few digits left of two sums that are nearly equal.

    Args:
        posterior: `prior.condition(potentials)`.
        potentials: λ, batch shape (..., T).
        mean: μ_t = E_q[t(z_t)], the mean parameters of `posterior.sites`.

    Returns:
        In nats, shape (...).
    """
    return -sum_over_sites(posterior, -potentials.dot(mean))


def sum_over_sites(posterior: Posterior, terms: Array) -> Array:
    """log_normalizer + Σ_t terms_t, site by site where that is possible; terms of shape (..., T)."""
    by_site = getattr(posterior, "log_normalizers", None)
    if by_site is None:
        return posterior.log_normalizer + jnp.sum(terms, axis=-1)
    return jnp.sum(by_site + terms, axis=-1)


@pytree_dataclass
class RelativePrior:
    """A prior that differs by datum, with the sites that factors are relative to.

    Attributes:
        prior: p(Z) of each datum.
        natural: η̄0, batch shape (T,).
    """

    prior: Any
    natural: Any

    def sites(self) -> Any:
        """The marginals p(z_t) of each datum."""
        return self.prior.sites()

    def reference(self) -> Any:
        """η̄0."""
        return self.natural

    def condition(self, potentials: Any) -> Posterior:
        """The prior of each datum, conditioned."""
        return self.prior.condition(potentials)


@pytree_dataclass
class SitePosterior:
    """A posterior under which the sites are independent.

    Attributes:
        log_normalizer: Shape (...).
        sites: The factors q(z_t), a family of batch shape (..., T).
        exact: Whether these are the conditioned prior itself.
    """

    log_normalizer: Array
    sites: Any
    exact: bool = static_field(default=True)

    @property
    def mean(self) -> Array:
        """E[z_t], shape (..., T, K)."""
        return self.sites.mean()

    @property
    def standard_deviation(self) -> Array:
        """The standard deviation of each latent, shape (..., T, K)."""
        return jnp.sqrt(self.sites.variance())

    @property
    def covariance(self) -> Array:
        """The covariance of each site where the family has one, shape (..., T, K, K)."""
        return self.sites.covariance()

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw all sites, shape `shape` + (..., T) + event."""
        return self.sites.sample(key, shape)


def check_single(prior: str, natural: Any) -> None:
    """Raise unless `natural` is one distribution of an exponential family, not a batch."""
    if not isinstance(natural, ExponentialFamily):
        raise TypeError(
            f"{prior}: natural must be a member of an exponential family (rpm_jax.expfam), got "
            f"{type(natural).__name__}"
        )
    if natural.batch_shape != ():
        raise ValueError(
            f"{prior}: natural must be a single distribution without batch axes, got batch shape "
            f"{natural.batch_shape}"
        )


def check_potentials(prior: str, potentials: Any, sites: ExponentialFamily) -> None:
    """Raise where potentials do not belong to the prior's sites: family, number of sites, event shape."""
    if type(potentials) is not type(sites):
        raise TypeError(
            f"{prior}.condition takes potentials of the sites' family {type(sites).__name__}, got "
            f"{type(potentials).__name__}"
        )
    expected = [parameter.shape for parameter in sites.natural_parameters]
    got = [parameter.shape for parameter in potentials.natural_parameters]
    if any(g[-len(e) :] != e for g, e in zip(got, expected, strict=True)):
        raise ValueError(
            f"{prior}.condition: the potentials' natural parameters must end in the shapes {expected} "
            f"(sites first, batch axes before), got {got}"
        )
