"""The bound of a linear-Gaussian chain against RP-GSSM's numbers and against dense joint Gaussians.

RP-GSSM writes it as Σ_jt [log N + log Γ_jt − KL(q‖q g_jt)] − KL(q‖p), where g_jt is what factor j says of
z_t, and its mixtures are the batch. Its covariances carry 10⁻⁵ I, so its numbers are good to 10⁻³.
"""

import dataclasses
import functools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpm_jax as rpm
from rpm_jax.expfam import Gaussian
from rpm_jax.factors import Recognition, stack_views
from rpm_jax.normalizers import as_components, log_tilted_mixture

REFERENCE = dict(np.load(pathlib.Path(__file__).parents[1] / "reference" / "rp_gssm.npz"))
J, N, T, K = REFERENCE["precision_mean"].shape
NUMBERS = J * T * N


@dataclasses.dataclass(frozen=True)
class Given:
    """Views hold (λ1, −2λ2) of every site; each view's is multiplied by a learned gain."""

    def init(self, key, views, sites):
        del key, sites
        return jnp.ones(len(views))

    def apply(self, params, views, sites):
        del sites
        potentials = [
            Gaussian(gain * view[..., 0], -0.5 * gain * view[..., 1:])
            for gain, view in zip(params, views, strict=True)
        ]
        return stack_views([Recognition(potential) for potential in potentials])


PRIOR = rpm.priors.linear_gaussian(K, T, transition="full", start=REFERENCE["A"])
MODEL = rpm.RPM(PRIOR, Given())
VIEWS = tuple(
    np.concatenate([linear[..., None], precision], axis=-1)
    for linear, precision in zip(REFERENCE["precision_mean"], REFERENCE["precision"], strict=True)
)
DATA = rpm.as_data(VIEWS)
PARAMS = {
    "prior": PRIOR.init(jax.random.key(0)),
    "factors": np.array([1.0, 1.0]),
    "posterior": {},
    "auxiliary": {},
}
transition_of = jax.jit(lambda prior: PRIOR.apply(prior).transition)


# The library.


class Parts(NamedTuple):
    """What RP-GSSM names."""

    mean: np.ndarray  # (N, T, K)
    covariance: np.ndarray  # (N, T, K, K)
    cross_covariance: np.ndarray  # (N, T − 1, K, K), of z_t with z_t+1
    divergence: np.ndarray  # KL(q‖p), (N,)
    factor_divergence: np.ndarray  # KL(q‖q g_jt), (N, J, T)
    log_gamma: np.ndarray  # (N, J, T)
    bound: np.ndarray  # (N,)


@functools.cache
def ours():
    @jax.jit
    def parts(params, data):
        batch = data.all()
        own = MODEL.recognise(params, batch)
        mixture = MODEL.mixture(params, rpm.feeds.Lazy(data))
        inferred = MODEL.infer(params, batch, own, mixture)
        terms = MODEL.terms(params, batch, own, mixture, inferred)
        q = inferred.posterior
        # Γ is how much of ∫ q F_j, N times over, is due to the datum's own factor.
        marginals = q.sites[:, None]
        tilts = (marginals - MODEL.reference(params)).broadcast_to((N, J, T))
        everything = log_tilted_mixture(as_components(own.natural, None), tilts) + np.log(N)
        own_mass = (own.natural + tilts).log_partition() - own.natural.log_partition()
        said = own.natural - MODEL.reference(params)
        factor_divergence = marginals.kl_divergence((marginals + said).broadcast_to((N, J, T)))
        return Parts(
            q.mean,
            q.covariance,
            q.cross_covariance,
            terms.divergence,
            factor_divergence,
            own_mass - everything,
            terms.bound,
        )

    return Parts(*map(np.asarray, parts(PARAMS, DATA)))


def bound_and_gradient(em, params, views, beta):
    """The mean over the data, and its gradient in parameters and views."""

    def mean(arguments):
        params, views = arguments
        data = DATA._replace(views=views)
        return rpm.bound(MODEL, params, data.all(), data, em=em, beta=beta).mean()

    return jax.value_and_grad(mean)((params, views))


bound_and_gradient = jax.jit(bound_and_gradient, static_argnums=0)


# The same from matrices over all T K numbers of a trajectory.


class Dense(NamedTuple):
    """Of each trajectory: the joint law of q, and KL(q‖p)."""

    mean: np.ndarray  # (N, T K)
    covariance: np.ndarray  # (N, T K, T K)
    divergence: np.ndarray  # (N,)


def dense_prior(transition):
    """The covariance of a stationary chain with N(0, I) at every site: Aⁿ between sites n apart."""
    joint = np.zeros((T, K, T, K))
    for t in range(T):
        for s in range(t, T):
            joint[s, :, t] = np.linalg.matrix_power(transition, s - t)
            joint[t, :, s] = joint[s, :, t].T
    return joint.reshape(T * K, T * K)


def divergence(mean, covariance, prior):
    """KL(N(mean, covariance)‖N(0, prior)) of each of some Gaussians."""
    solved = np.linalg.solve(prior, covariance)
    distance = np.einsum("ni,ij,nj->n", mean, np.linalg.inv(prior), mean)
    return 0.5 * (
        np.trace(solved, axis1=1, axis2=2) + distance - mean.shape[1] - np.linalg.slogdet(solved)[1]
    )


def dense_posterior(transition, linear, precision):
    prior = dense_prior(transition)
    total = np.zeros((N, T, K, T, K))
    for t in range(T):
        total[:, t, :, t] = precision.sum(0)[:, t]
    covariance = np.linalg.inv(np.linalg.inv(prior) + total.reshape(N, T * K, T * K))
    mean = np.einsum("nij,nj->ni", covariance, linear.sum(0).reshape(N, T * K))
    return Dense(mean, covariance, divergence(mean, covariance, prior))


def log_partition(linear, precision):
    """Without 2π."""
    squared = np.einsum("...i,...ij,...j->...", linear, np.linalg.inv(precision), linear)
    return 0.5 * (squared - np.linalg.slogdet(precision)[1])


def dense_views(mean, covariance, linear, precision):
    """KL(q‖q g_jt) and log Γ_jt, (N, J, T), of q with these joint moments; ξ = ηq."""
    mean = mean.reshape(N, T, K)
    sites = covariance.reshape(N, T, K, T, K)[:, range(T), :, range(T)].swapaxes(0, 1)  # (N, T, K, K)
    q_precision = np.linalg.inv(sites)
    q_linear = np.einsum("ntij,ntj->nti", q_precision, mean)
    linear, precision = np.moveaxis(linear, 0, 1), np.moveaxis(precision, 0, 1)  # (N, J, T, …)
    second = sites + mean[..., :, None] * mean[..., None, :]
    said = np.einsum("njti,nti->njt", linear, mean) - 0.5 * np.einsum("njtab,ntab->njt", precision, second)
    # ∫ q g_j^m in all pairs (n, m), and what normalises f_j^m = p g_j^m with p(z_t) = N(0, I).
    tilted = log_partition(q_linear[:, None, None] + linear, q_precision[:, None, None] + precision)
    tilted = tilted - log_partition(q_linear, q_precision)[:, None, None]
    masses = tilted - log_partition(linear, np.eye(K) + precision)
    own = np.arange(N)
    return tilted[own, own] - said, masses[own, own] - np.logaddexp.reduce(masses, axis=1)


@functools.cache
def dense():
    linear, precision = REFERENCE["precision_mean"], REFERENCE["precision"]
    q = dense_posterior(REFERENCE["A"], linear, precision)
    factor_divergence, log_gamma = dense_views(q.mean, q.covariance, linear, precision)
    blocks = q.covariance.reshape(N, T, K, T, K)
    bound = (np.log(N) + log_gamma - factor_divergence).sum((1, 2)) - q.divergence
    return Parts(
        q.mean.reshape(N, T, K),
        blocks[:, range(T), :, range(T)].swapaxes(0, 1),
        blocks[:, range(T - 1), :, range(1, T)].swapaxes(0, 1),
        q.divergence,
        factor_divergence,
        log_gamma,
        bound,
    )


def dense_bound(params, views, beta=1.0, held=None):
    """The mean bound; `held` are joint moments of q that do not follow the arguments."""
    transition = np.asarray(transition_of(params["prior"]))
    gains = np.asarray(params["factors"])
    linear = np.stack([gain * view[..., 0] for gain, view in zip(gains, views, strict=True)])
    precision = np.stack([gain * view[..., 1:] for gain, view in zip(gains, views, strict=True)])
    if held is None:
        held = dense_posterior(transition, linear, precision)
    divergences = divergence(held.mean, held.covariance, dense_prior(transition))
    factor_divergence, log_gamma = dense_views(held.mean, held.covariance, linear, precision)
    return np.mean((np.log(N) + log_gamma - factor_divergence).sum((1, 2)) - beta * divergences)


# Tests.


def test_numbers_of_rp_gssm():
    parts, close = ours(), functools.partial(np.testing.assert_allclose, atol=1e-3, rtol=0)
    close(parts.mean, REFERENCE["q_mean"])
    close(parts.covariance, REFERENCE["q_cov"])
    close(parts.cross_covariance.swapaxes(-1, -2), REFERENCE["q_cross_cov"])
    shares = {
        "kl_qp": parts.divergence.sum() / NUMBERS,
        "kl_qf": parts.factor_divergence.mean(),
        "log_gamma": parts.log_gamma.mean(),
    }
    for name, value in shares.items():
        close(value, REFERENCE[name], err_msg=name)
    close(shares["kl_qp"] + shares["kl_qf"] - shares["log_gamma"], REFERENCE["loss"])
    close(parts.bound.mean(), REFERENCE["elbo_mean"])


@pytest.mark.parametrize("part", Parts._fields)
def test_parts_are_those_of_dense_gaussians(part):
    np.testing.assert_allclose(getattr(ours(), part), getattr(dense(), part), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize("em", [False, True], ids=["together", "EM"])
def test_gradients_are_finite_differences(em, beta):
    """With a weight on KL(q‖p); of EM with q and ξ as they are, whatever else moves."""
    rng = np.random.default_rng(0)
    arguments = PARAMS, VIEWS
    value, gradient = bound_and_gradient(em, *arguments, beta)
    np.testing.assert_allclose(value, dense_bound(*arguments, beta), rtol=1e-9)
    held = (
        dense_posterior(REFERENCE["A"], REFERENCE["precision_mean"], REFERENCE["precision"]) if em else None
    )

    def direction(part):
        """Random, of one part of the arguments; symmetric where precisions are."""
        params, views = jax.tree.map(lambda x: np.zeros(np.shape(x)), arguments)
        if part == "views":
            views = tuple(rng.normal(size=view.shape) for view in views)
            views = tuple(
                np.concatenate([v[..., :1], v[..., 1:] + np.swapaxes(v[..., 1:], -1, -2)], -1) for v in views
            )
        else:
            params = {**params, part: jax.tree.map(lambda x: rng.normal(size=np.shape(x)), params[part])}
        return params, views

    for part in ("prior", "factors", "views"):
        along = direction(part)
        size = 1e-5
        ahead, behind = (
            dense_bound(*jax.tree.map(lambda x, d: np.asarray(x) + step * d, arguments, along), beta, held)  # noqa: B023
            for step in (size, -size)
        )
        expected = (ahead - behind) / (2 * size)
        got = sum(np.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, along)), strict=True))
        assert abs(expected) > 1e-2, part
        np.testing.assert_allclose(got, expected, rtol=1e-6, err_msg=part)


def test_the_weight_of_the_divergence():
    """`Terms.weighted`, from the same terms: β = 0 is the evidence alone."""
    parts = ours()
    terms = rpm.model.Terms(parts.bound, parts.divergence)
    evidence = (np.log(N) + parts.log_gamma - parts.factor_divergence).sum((1, 2))
    for beta in (0.0, 0.3, 1.0, 2.0):
        np.testing.assert_allclose(terms.weighted(beta), evidence - beta * dense().divergence, rtol=1e-9)
