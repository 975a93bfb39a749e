"""A Dirichlet prior over the proportions of topics that all sites share, and one topic for every site."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rpm_jax._checks import is_concrete, require_finite, require_positive_integer
from rpm_jax._linalg import inverse_and_log_determinant, matmul, matrix_vector, transpose
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.expfam import Categorical, Dirichlet
from rpm_jax.expfam._dirichlet import _expected_log, _inverse_information, _relative_entropy
from rpm_jax.priors._base import check_potentials


@pytree_dataclass
class DirichletCategorical:
    """The sites' states are drawn from common, unknown proportions: the document of a topic model.

        θ ~ Dirichlet(α),   z_t ~ Categorical(θ) independently given θ,   p(Z) = ∫ p(θ) ∏_t θ_{z_t} dθ

    Sites are `Categorical`s of K states: exchangeable, and correlated since nobody knows θ.

    Attributes:
        concentration: α, positive, shape (K,), K ≥ 2.
        num_sites: T.
        max_iterations: The most updates of coordinate ascent in `condition`.
        tolerance: Coordinate ascent stops once no concentration of q(θ) of the whole batch changes by more
            than this fraction of their total α0 + T in one update. None: the precision of the floating-point
            type to the power ⅔ (4·10⁻¹¹ in float64, 2·10⁻⁵ in float32).

    References:
        D. M. Blei, A. Y. Ng and M. I. Jordan, Latent Dirichlet allocation, JMLR 3, 2003.
    """

    concentration: Array
    num_sites: int = static_field()
    max_iterations: int = static_field(default=200)
    tolerance: float | None = static_field(default=None)

    def __post_init__(self) -> None:
        """Check shapes and, where they are known, numbers."""
        require_positive_integer("DirichletCategorical: num_sites", self.num_sites)
        require_positive_integer("DirichletCategorical: max_iterations", self.max_iterations)
        if self.tolerance is not None and not 0 <= self.tolerance < float("inf"):
            raise ValueError(
                "DirichletCategorical: tolerance must be None, or finite and at least 0, got "
                f"{self.tolerance}"
            )
        concentration = check_concentration("DirichletCategorical: concentration", self.concentration)
        if concentration.ndim != 1 or concentration.shape[0] < 2:
            raise ValueError(
                "DirichletCategorical: concentration must be a vector (K,) of at least two topics, got shape "
                f"{concentration.shape}; use jax.vmap for several priors"
            )
        object.__setattr__(self, "concentration", concentration)

    @property
    def proportions(self) -> Dirichlet:
        """The distribution p(θ), without batch axes."""
        return Dirichlet.from_concentration(self.concentration)

    def sites(self) -> Categorical:
        """The marginals p(z_t = k) = α_k/α0 as log-probabilities, batch shape (T,)."""
        logits = jnp.log(self.concentration / jnp.sum(self.concentration))
        return Categorical(jnp.broadcast_to(logits, (self.num_sites, *logits.shape)))

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw Z from the prior itself: θ, and then all sites given θ.

        `condition` at zero potentials does not lead here: its sites are independent.

        Args:
            key: A random key.
            shape: Of the draws.

        Returns:
            Integers from 0 to K − 1, shape `shape` + (T,).
        """
        proportions_key, site_key = jax.random.split(key)
        # Logarithms of Gamma variates are log θ up to a constant, and do not underflow for small α.
        logits = jax.random.loggamma(proportions_key, self.concentration, (*shape, *self.concentration.shape))
        return jax.random.categorical(site_key, logits[..., None, :], shape=(*shape, self.num_sites))

    def condition(self, potentials: Categorical) -> "DirichletCategoricalPosterior":
        """Approximate p(θ, Z) exp Σ_t λ_t,z_t by independent q(θ) and q(z_1)..q(z_T), by coordinate ascent.

            q(θ) = Dirichlet(γ),   q(z_t = k) = softmax_k(λ_tk + E_q[log θ_k]),   γ = α + Σ_t q(z_t),
            log_normalizer = Σ_t log Σ_k exp(λ_tk + E_q[log θ_k]) − KL(Dirichlet(γ)‖Dirichlet(α)),

        a lower bound on log Σ_Z p(Z) exp Σ_t λ_t,z_t for every γ, which no update decreases. The first γ
        takes q(z_t) from each site's potential and the prior's marginal. The maximum is a local one.

        Derivatives, of all orders and in both modes, are those of the maximum, without differentiating the
        iteration: the first of `log_normalizer` hold γ fixed, at which it is stationary, so that they are
        E_q[t(z_t)] = `sites.mean()` and E_q[log θ] − E_p[log θ]; those of γ follow from the implicit function
        theorem. Where the iteration ends at no strict maximum, those of γ hold E_q[log θ] fixed: equal
        potentials of all topics with equal α < ½ are a saddle point.

        Args:
            potentials: λ, batch shape (..., T), K states. States of −∞ are excluded; each site needs one that
                is finite, or the result is NaN.

        Returns:
            The posterior, batch shape (...).
        """
        check_potentials("DirichletCategorical", potentials, self.sites())
        tilts = potentials.logits
        concentration, iterations, residual = lax.stop_gradient(self._ascend(*self._fixed(tilts)))
        concentration = _fixed_point(self.concentration, tilts, concentration)
        batch = potentials.batch_shape[:-1]
        return DirichletCategoricalPosterior(
            _maximum(self.concentration, tilts, concentration),
            Categorical(jax.nn.log_softmax(_site_logits(tilts, concentration), axis=-1)),
            concentration,
            jnp.broadcast_to(iterations, batch),
            residual,
        )

    def bound_history(self, potentials: Categorical, num_iterations: int) -> Array:
        """The bound at the start of coordinate ascent and after each of its updates.

        Args:
            potentials: As in `condition`.
            num_iterations: How many updates.

        Returns:
            In nats, shape (num_iterations + 1, ...). It never decreases but for rounding.
        """
        check_potentials("DirichletCategorical", potentials, self.sites())
        require_positive_integer("num_iterations", num_iterations)
        prior, tilts = self._fixed(potentials.logits)

        def step(concentration: Array, _: None) -> tuple[Array, Array]:
            return _update(prior, tilts, concentration), _bound(prior, tilts, concentration)

        return lax.scan(step, _start(prior, tilts), length=num_iterations + 1)[1]

    def _fixed(self, tilts: Array) -> tuple[Array, Array]:
        """α and λ of one type, without derivatives."""
        dtype = jnp.result_type(self.concentration, tilts)
        return lax.stop_gradient((self.concentration.astype(dtype), tilts.astype(dtype)))

    def _ascend(self, prior: Array, tilts: Array) -> tuple[Array, Array, Array]:
        """γ (..., K), the number of updates and the last change relative to the total, shape (...)."""
        tolerance = jnp.finfo(prior.dtype).eps ** (2 / 3) if self.tolerance is None else self.tolerance
        total = jnp.sum(prior) + self.num_sites

        def unfinished(state: tuple[Array, Array, Array]) -> Array:
            count, _, change = state
            return (count < self.max_iterations) & jnp.any(change > tolerance)

        def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            count, concentration, _ = state
            updated = _update(prior, tilts, concentration)
            return count + 1, updated, jnp.max(jnp.abs(updated - concentration), axis=-1) / total

        start = _start(prior, tilts)
        first = jnp.full_like(start[..., 0], jnp.inf)
        count, concentration, change = lax.while_loop(unfinished, step, (jnp.asarray(0), start, first))
        return concentration, count, change


@pytree_dataclass
class DirichletCategoricalPosterior:
    """A `DirichletCategorical` conditioned on potentials: q(θ) q(z_1)..q(z_T), all independent.

    Σ_t ⟨λ_t, μ_t⟩ − `log_normalizer` is KL(q(θ, Z)‖p(θ, Z)).

    Attributes:
        log_normalizer: The lower bound, shape (...).
        sites: The factors q(z_t) with normalised logits, batch shape (..., T).
        concentration: γ of q(θ), shape (..., K).
        iterations: How many updates were made, the same for all of one call, integers of shape (...).
        residual: The largest change of γ in the last update, relative to γ's total, shape (...). Above the
            prior's tolerance coordinate ascent ended at `max_iterations`. Where potentials are weak next to
            the number of sites, updates are small and many, and γ is still several changes off.
        exact: False.
    """

    log_normalizer: Array
    sites: Categorical
    concentration: Array
    iterations: Array
    residual: Array
    exact: bool = static_field(default=False)

    @property
    def proportions(self) -> Dirichlet:
        """The factor q(θ), batch shape (...)."""
        return Dirichlet.from_concentration(self.concentration)

    @property
    def mean(self) -> Array:
        """The probabilities q(z_t = k), shape (..., T, K)."""
        return self.sites.mean()

    @property
    def standard_deviation(self) -> Array:
        """Those of the one-hot vectors' entries, shape (..., T, K)."""
        variance = self.sites.variance()
        certain = variance == 0
        return jnp.where(certain, 0.0, jnp.sqrt(jnp.where(certain, 1.0, variance)))

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw the sites from q(z_1)..q(z_T), which are independent, without their correlation through θ.

        Draws from the prior are `DirichletCategorical.sample`, not this at zero potentials.

        Args:
            key: A random key.
            shape: Of the draws.

        Returns:
            Integers from 0 to K − 1, shape `shape` + (..., T).
        """
        return self.sites.sample(key, shape)

    def sample_proportions(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw θ from q(θ), shape `shape` + (..., K)."""
        return self.proportions.sample(key, shape)


def check_concentration(name: str, concentration: float | Array) -> Array:
    """Concentrations in floating point.

    Raises:
        ValueError: Where a known one is not positive and finite.
    """
    concentration = jnp.asarray(concentration)
    concentration = concentration.astype(jnp.result_type(concentration, 0.0))
    require_finite(name, concentration)
    if is_concrete(concentration) and not np.all(np.asarray(concentration) > 0):
        raise ValueError(f"{name} must be positive, got {np.asarray(concentration)}")
    return concentration


def _site_logits(tilts: Array, concentration: Array) -> Array:
    """λ_tk + E_q[log θ_k], shape (..., T, K)."""
    return tilts + _expected_log(concentration)[..., None, :]


def _start(prior: Array, tilts: Array) -> Array:
    """The γ of sites that do not know of each other: q(z_t = k) ∝ α_k exp λ_tk."""
    return prior + jnp.sum(jax.nn.softmax(tilts + jnp.log(prior), axis=-1), axis=-2)


def _update(prior: Array, tilts: Array, concentration: Array) -> Array:
    """The γ that maximises the bound given the q(z_t) that maximise it given γ, shape (..., K)."""
    return prior + jnp.sum(jax.nn.softmax(_site_logits(tilts, concentration), axis=-1), axis=-2)


def _bound(prior: Array, tilts: Array, concentration: Array) -> Array:
    """The bound at q(θ) = Dirichlet(γ) and the best q(z_t), in nats, shape (...)."""
    evidence = jax.scipy.special.logsumexp(_site_logits(tilts, concentration), axis=-1)
    return jnp.sum(evidence, axis=-1) - _relative_entropy(concentration, prior)


@jax.custom_jvp
def _maximum(prior: Array, tilts: Array, concentration: Array) -> Array:
    """The bound where it is stationary in γ.

    The rule leaves out what is zero at the maximum, ∂/∂γ; the rest is differentiated again with γ moving,
    which makes the second derivative exact.
    """
    return _bound(prior, tilts, concentration)


@_maximum.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    prior, tilts, concentration = primals
    prior_dot, tilts_dot, _ = tangents
    probabilities = jax.nn.softmax(_site_logits(tilts, concentration), axis=-1)
    gap = _expected_log(concentration) - _expected_log(prior)
    change = jnp.sum(probabilities * tilts_dot, axis=(-2, -1)) + jnp.sum(gap * prior_dot, axis=-1)
    return _maximum(*primals), change


@jax.custom_jvp
def _fixed_point(prior: Array, tilts: Array, concentration: Array) -> Array:
    """γ itself, with the derivative of the solution of γ = α + Σ_t softmax(λ_t + E_γ[log θ]).

    With p_t the softmax, D the Fisher information of Dirichlet(γ), and therefore dE[log θ] = D dγ:

        b = dα + Σ_t (diag p_t − p_t p_tᵀ) dλ_t,   C = Σ_t (diag p_t − p_t p_tᵀ),
        (D⁻¹ − C) y = b,   dγ = b + C y,   y = D dγ

    C − D⁻¹ is the bound's Hessian in the mean parameters E[log θ]: negative definite at a strict maximum.
    """
    return concentration


@_fixed_point.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    prior_dot, tilts_dot, _ = tangents
    concentration = _fixed_point(*primals)
    probabilities = jax.nn.softmax(_site_logits(primals[1], concentration), axis=-1)
    expected = jnp.sum(probabilities * tilts_dot, axis=-1, keepdims=True)
    direct = prior_dot + jnp.sum(probabilities * (tilts_dot - expected), axis=-2)
    identity = jnp.eye(concentration.shape[-1], dtype=concentration.dtype)
    counts = jnp.sum(probabilities, axis=-2)
    spread = identity * counts[..., None] - matmul(transpose(probabilities), probabilities)
    inverse_information = _inverse_information(concentration[..., None, :], identity)
    moved = matrix_vector(_inverse_if_positive(inverse_information - spread), direct)
    return concentration, direct + matrix_vector(spread, moved)


@jax.custom_jvp
def _inverse_if_positive(matrix: Array) -> Array:
    """The inverse of positive-definite matrices (..., K, K), zero for others."""
    inverse, _ = inverse_and_log_determinant(matrix)
    return jnp.where(jnp.all(jnp.isfinite(inverse), axis=(-2, -1), keepdims=True), inverse, 0.0)


@_inverse_if_positive.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    inverse = _inverse_if_positive(*primals)
    return inverse, -matmul(inverse, *tangents, inverse)
