"""Gaussian process priors as Markov chains of a few states, at a cost linear in the number of sites."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import is_concrete
from rpm_jax._jit import jit
from rpm_jax._linalg import matmul, transpose
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.priors._base import check_potentials
from rpm_jax.priors._covariance_factor import factor_conditioned, factor_covariance
from rpm_jax.priors._gaussian_process import GaussianProcess
from rpm_jax.priors.chains import GaussianChain, filtered, smooth
from rpm_jax.priors.chains import _scalar_sites as scalars
from rpm_jax.priors.chains import _small as small
from rpm_jax.priors.kernels import MarkovForm

MOST_STATES = 4
"""Beyond, elementwise operations are too many to compile, and chains of matrices are taken."""


@pytree_dataclass
class MarkovGaussianProcess:
    """K independent Gaussian processes over T sites, each a Markov chain of S states, at a cost of O(T).

        z_tk = m_tk + x_tk1,   x_1k ~ N(0, P_1k),   x_t+1,k = A_tk x_tk + N(0, Q_tk)

    The same prior as the `GaussianProcess` with the kernels' dense covariance, which `dense()` gives. Batch
    axes of A, P, Q, if any (a prior that differs by datum), are the first ones.

    Attributes:
        mean: m, shape (..., K, T).
        states: P_t, the states' covariances at each time, shape (..., K, T, S, S).
        transition: A, shape (..., K, T − 1, S, S).
        noise: Q, shape (..., K, T − 1, S, S).
        parallel: Whether sites are computed by an associative scan, in O(log T) steps of more work, or one
            after the other; None: the latter on CPUs.
    """

    mean: Array
    states: Array
    transition: Array
    noise: Array
    parallel: bool | None = static_field(default=None)

    @classmethod
    def from_forms(
        cls, mean: Array, forms: MarkovForm, parallel: bool | None = None
    ) -> "MarkovGaussianProcess":
        """The process of kernels' Markov forms.

        Args:
            mean: Shape (K, T), or (..., K, T).
            forms: Arrays with axes (..., K) before their own.
            parallel: As in the class.

        Raises:
            ValueError: Where the first entry of an observation h is 0.
        """
        if is_concrete(forms.observation) and not np.all(np.asarray(forms.observation)[..., 0]):
            raise ValueError(
                "the Markov form's observation must not be 0 in its first entry; put a state first that the "
                f"process is made of, got {forms.observation}"
            )
        forms = observed_first(forms)
        mean = jnp.broadcast_to(mean, forms.covariance.shape[:-2])
        return cls(mean, forms.covariance, forms.transition, forms.noise, parallel)

    @property
    def num_sites(self) -> int:
        """T."""
        return self.mean.shape[-1]

    def sites(self) -> DiagonalGaussian:
        """The marginals of z_tk, batch shape (..., T), K latents each."""
        return DiagonalGaussian.from_mean_and_variance(
            transpose(self.mean), transpose(self.states[..., 0, 0])
        )

    def condition(self, potentials: DiagonalGaussian) -> "MarkovGaussianProcessPosterior":
        """Condition on potentials (λ1, λ2) at every site, λ2 ≤ 0, W = −2λ2, by filtering and smoothing.

        Args:
            potentials: Batch shape (..., T), K latents.

        Returns:
            The posterior, batch shape (...). NaN where λ2 is positive.
        """
        check_potentials("MarkovGaussianProcess", potentials, self.sites())
        prior = self.with_batch_axes(potentials.eta1.ndim - 2)
        log_normalizers, mean, variance = _smooth(prior, potentials)
        return MarkovGaussianProcessPosterior(log_normalizers, mean, variance, prior, potentials)

    def filter(self, potentials: DiagonalGaussian) -> DiagonalGaussian:
        """The marginals given the potentials up to each site, batch shape (..., T), in O(T)."""
        check_potentials("MarkovGaussianProcess", potentials, self.sites())
        prior = self.with_batch_axes(potentials.eta1.ndim - 2)
        return DiagonalGaussian.from_mean_and_variance(*_filter(prior, potentials))

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw whole trajectories from the prior, shape `shape` + (..., T, K)."""
        return _sample_prior(self, key, shape)

    @property
    def covariance(self) -> Array:
        """The covariance over the sites, for each latent, shape (..., K, T, T); computed when asked for."""
        return _dense_covariance(self)

    def dense(self) -> GaussianProcess:
        """The same process with a dense covariance."""
        return GaussianProcess(self.mean, self.covariance)

    def with_batch_axes(self, number: int) -> "MarkovGaussianProcess":
        """The same with this number of batch axes, of size 1 where there were none."""
        missing = number - (self.mean.ndim - 2)
        if missing <= 0:
            return self
        return jax.tree.map(lambda x: x.reshape(*(1,) * missing, *x.shape), self)


@pytree_dataclass
class MarkovGaussianProcessPosterior:
    """A `MarkovGaussianProcess` conditioned on potentials.

    Attributes:
        log_normalizers: What each site adds to `log_normalizer`, given those before it, shape (..., T).
        mean: E[z_t], shape (..., T, K).
        variance: Var[z_t], shape (..., T, K).
        prior: With as many batch axes.
        potentials: λ, batch shape (..., T).
        exact: True.
    """

    log_normalizers: Array
    mean: Array
    variance: Array
    prior: MarkovGaussianProcess
    potentials: DiagonalGaussian
    exact: bool = static_field(default=True)

    @property
    def log_normalizer(self) -> Array:
        """Shape (...)."""
        return jnp.sum(self.log_normalizers, axis=-1)

    @property
    def standard_deviation(self) -> Array:
        """The marginal standard deviations, shape (..., T, K)."""
        return jnp.sqrt(self.variance)

    @property
    def sites(self) -> DiagonalGaussian:
        """The marginals q(z_t), batch shape (..., T), K latents each."""
        return DiagonalGaussian.from_mean_and_variance(self.mean, self.variance)

    @property
    def joint_mean(self) -> Array:
        """The mean, shape (..., K, T)."""
        return transpose(self.mean)

    @property
    def joint_variance(self) -> Array:
        """The marginal variances, shape (..., K, T)."""
        return transpose(self.variance)

    @property
    def joint_covariance(self) -> Array:
        """The covariance over the sites, for each latent, shape (..., K, T, T), in O(T³) when asked for."""
        return _joint_covariance(self)

    @property
    def covariance(self) -> Array:
        """The same as `joint_covariance`."""
        return self.joint_covariance

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw whole trajectories in O(T), shape `shape` + (..., T, K), differentiable in the parameters.

        A trajectory z of the prior, corrected by how its noisy potentials differ from those given,

            z + S (d − W z − W^½ ε),   S = (C⁻¹ + W)⁻¹,   ε standard normal.

        References:
            Wilson et al., Pathwise conditioning of Gaussian processes, 2021.
        """
        return _sample_posterior(self, key, shape)


def observed_first(form: MarkovForm) -> MarkovForm:
    """A form in coordinates of the state whose first is the process itself, h = e_1.

    The other coordinates are kept: x' = R x, where R is the identity but for its first row h.

    Args:
        form: Arrays may have axes before their own; the first entry of h is not 0.
    """
    observation = form.observation
    size = observation.shape[-1]
    if size == 1:
        scale = observation[..., None, None]
        return form._replace(
            covariance=form.covariance * scale**2,
            noise=form.noise * scale**2,
            observation=jnp.ones_like(observation),
        )
    identity = jnp.eye(size, dtype=observation.dtype)
    rest = jnp.broadcast_to(identity[1:], (*observation.shape[:-1], size - 1, size))
    turned = jnp.concatenate([observation[..., None, :], rest], axis=-2)
    first = identity[0] - observation * (jnp.arange(size) > 0)
    back = jnp.concatenate([(first / observation[..., :1])[..., None, :], rest], axis=-2)
    turned, back = turned[..., None, :, :], back[..., None, :, :]

    def product(left: Array, middle: Array, right: Array) -> Array:
        return jnp.sum(
            jnp.sum(left[..., :, :, None] * middle[..., None, :, :], axis=-2)[..., :, :, None]
            * right[..., None, :, :],
            axis=-2,
        )

    return MarkovForm(
        product(turned, form.covariance, transpose(turned)),
        product(turned, form.transition, back),
        product(turned, form.noise, transpose(turned)),
        jnp.broadcast_to(identity[0], observation.shape),
    )


# What a process computes, with the sites first and the latents next: times (T, K, ...), batch axes last.


def _sites_first(array: Array) -> Array:
    """(..., T, K) as (T, K, ...)."""
    return jnp.moveaxis(array, (-2, -1), (0, 1))


def _sites_last(array: Array) -> Array:
    """(T, K, ...) as (..., T, K)."""
    return jnp.moveaxis(array, (0, 1), (-2, -1))


def _matrices_first(array: Array) -> Array:
    """(..., K, T, S, S) as (T, S², K, ...)."""
    *batch, num_latents, num_times, size, _ = array.shape
    return jnp.moveaxis(array.reshape(*batch, num_latents, num_times, size * size), (-2, -1, -3), (0, 1, 2))


def _packed_first(array: Array) -> Array:
    """Symmetric (..., K, T, S, S) as (T, S (S + 1)/2, K, ...)."""
    return jnp.moveaxis(small.pack(array), (-1, 0, -2), (0, 1, 2))


@jax.jit
def _smooth(prior: MarkovGaussianProcess, potentials: DiagonalGaussian) -> tuple[Array, Array, Array]:
    if _by_numbers(prior):
        return _smooth_numbers(prior, potentials)
    return _smooth_matrices(prior, potentials)


def _by_numbers(prior: MarkovGaussianProcess) -> bool:
    in_sequence = prior.parallel is False or (prior.parallel is None and jax.default_backend() == "cpu")
    return in_sequence and prior.states.shape[-1] <= MOST_STATES


@jax.jit
def _filter(prior: MarkovGaussianProcess, potentials: DiagonalGaussian) -> tuple[Array, Array]:
    """The filtered means and variances, shape (..., T, K)."""
    if _by_numbers(prior):
        linear, evidence, mean = _scalar_potentials(prior, potentials)
        filtered_mean, variance = scalars.filter_scalars(
            _packed_first(prior.states)[0],
            _matrices_first(prior.transition),
            _packed_first(prior.noise),
            linear - evidence * mean,
            evidence,
        )
        return _sites_last(mean + filtered_mean), _sites_last(variance)
    chain, linear, evidence, emission = _matrix_potentials(prior, potentials)
    moments = filtered(
        chain,
        (linear - evidence * prior.mean)[..., None],
        evidence[..., None, None],
        emission,
        parallel=prior.parallel,
    )
    return transpose(prior.mean + moments[0][..., 0]), transpose(moments[1][..., 0, 0])


def _smooth_matrices(
    prior: MarkovGaussianProcess, potentials: DiagonalGaussian
) -> tuple[Array, Array, Array]:
    """By the recursions of chains of any size, which may be parallel."""
    chain, linear, evidence, emission = _matrix_potentials(prior, potentials)
    smoothed = smooth(
        chain,
        (linear - evidence * prior.mean)[..., None],
        evidence[..., None, None],
        emission,
        parallel=prior.parallel,
    )
    offset = prior.mean * (linear - 0.5 * evidence * prior.mean)
    return (
        jnp.sum(offset + smoothed.log_normalizers, axis=-2),
        transpose(prior.mean + smoothed.mean[..., 0]),
        transpose(smoothed.covariance[..., 0, 0]),
    )


def _matrix_potentials(
    prior: MarkovGaussianProcess, potentials: DiagonalGaussian
) -> tuple[GaussianChain, Array, Array, Array]:
    """The chain of states, λ1 and W of shape (..., K, T), and what z is of a state."""
    linear, evidence = transpose(potentials.eta1), -2.0 * transpose(potentials.eta2)
    size = prior.states.shape[-1]
    zero = jnp.zeros((1, size), linear.dtype)
    chain = GaussianChain(zero[0], prior.states[..., 0, :, :], prior.transition, zero, prior.noise)
    return chain, linear, evidence, jnp.eye(1, size, dtype=linear.dtype)


def _scalar_potentials(
    prior: MarkovGaussianProcess, potentials: DiagonalGaussian
) -> tuple[Array, Array, Array]:
    """λ1, W and m, shape (T, K, ...); W is NaN where it is negative."""
    linear, evidence = _sites_first(potentials.eta1), -2.0 * _sites_first(potentials.eta2)
    evidence = jnp.where(evidence < 0, jnp.nan, evidence)
    return linear, evidence, _sites_first(transpose(prior.mean))


def _smooth_numbers(prior: MarkovGaussianProcess, potentials: DiagonalGaussian) -> tuple[Array, Array, Array]:
    """Site by site, by elementwise operations."""
    linear, evidence, mean = _scalar_potentials(prior, potentials)
    smoothed = scalars.smooth_scalars(
        _packed_first(prior.states)[0],
        _matrices_first(prior.transition),
        _packed_first(prior.noise),
        linear - evidence * mean,
        evidence,
    )
    offset = mean * (linear - 0.5 * evidence * mean)
    return (
        jnp.moveaxis(jnp.sum(offset + smoothed.log_normalizers, axis=1), 0, -1),
        _sites_last(mean + smoothed.mean),
        _sites_last(smoothed.variance),
    )


def _trajectories(prior: MarkovGaussianProcess, key: Array, shape: tuple[int, ...]) -> Array:
    """Draws of z − m, shape (T, K, ..., *shape)."""
    initial, noise = _packed_first(prior.states)[0], _packed_first(prior.noise)
    lanes = (*initial.shape[1:], *shape)
    draws = jax.random.normal(key, (prior.num_sites, prior.states.shape[-1], *lanes), initial.dtype)
    return scalars.trajectories(initial, _matrices_first(prior.transition), noise, draws)


@jit
def _sample_prior(prior: MarkovGaussianProcess, key: Array, shape: tuple[int, ...]) -> Array:
    drawn = _samples_first(_trajectories(prior, key, shape), len(shape))
    return transpose(prior.mean) + drawn


@jit
def _sample_posterior(posterior: MarkovGaussianProcessPosterior, key: Array, shape: tuple[int, ...]) -> Array:
    prior, potentials = posterior.prior, posterior.potentials
    batch = jnp.broadcast_shapes(prior.mean.shape[:-2], potentials.eta1.shape[:-2])
    prior = jax.tree.map(lambda x: jnp.broadcast_to(x, (*batch, *x.shape[len(batch) :])), prior)
    key, noise_key = jax.random.split(key)
    drawn = _trajectories(prior, key, shape)

    def expanded(array: Array) -> Array:
        return array.reshape(*array.shape, *(1,) * len(shape))

    evidence = -2.0 * _sites_first(potentials.eta2)
    root = expanded(jnp.sqrt(jnp.where(evidence > 0, evidence, 0.0)))
    noise = jax.random.normal(noise_key, drawn.shape, drawn.dtype)
    differences = -expanded(evidence) * drawn - root * noise
    shifts = scalars.smooth_means(
        _packed_first(prior.states)[0],
        _matrices_first(prior.transition),
        _packed_first(prior.noise),
        differences,
        evidence,
    )
    return posterior.mean + _samples_first(drawn + shifts, len(shape))


def _samples_first(array: Array, number: int) -> Array:
    """(T, K, ..., *shape) as (*shape, ..., T, K)."""
    return _sites_last(jnp.moveaxis(array, range(array.ndim - number, array.ndim), range(2, 2 + number)))


@jax.jit
def _joint_covariance(posterior: MarkovGaussianProcessPosterior) -> Array:
    evidence = -2.0 * transpose(posterior.potentials.eta2)
    factor = factor_covariance(posterior.prior.covariance).factor
    conditioned = factor_conditioned(factor, evidence).factor
    return matmul(conditioned, transpose(conditioned))


@jax.jit
def _dense_covariance(prior: MarkovGaussianProcess) -> Array:
    """hᵀ A_t−1 ⋯ A_s P_s h for s ≤ t."""
    num_sites = prior.num_sites
    started = prior.states[..., 0]  # P_s e_1, (..., K, T, S)
    transition = jnp.moveaxis(prior.transition, -3, 0)

    def step(states: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        """From the covariances of x_t with z_s, s ≤ t, (..., K, T, S), to those of x_t+1."""
        transition, place = given
        moved = jnp.sum(transition[..., None, :, :] * states[..., None, :], axis=-1)
        here = (jnp.arange(num_sites) == place)[:, None]
        states = jnp.where(here, started, moved)
        return states, states[..., 0]

    start = jnp.where((jnp.arange(num_sites) == 0)[:, None], started, 0.0)
    _, rows = jax.lax.scan(step, start, (transition, jnp.arange(1, num_sites)))
    lower = jnp.moveaxis(jnp.concatenate([start[None, ..., 0], rows]), 0, -2)
    return lower + transpose(jnp.tril(lower, -1))
