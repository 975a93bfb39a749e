"""What a model says about data: named tuples of natural parameters."""

from typing import Any, NamedTuple

from jax import Array

from rpm_jax.expfam import ExponentialFamily
from rpm_jax.normalizers import OwnShare


class Factors(NamedTuple):
    """Natural parameters of the recognition factors of some data.

    Attributes:
        natural: η_jt(x_jt), a family of batch shape (n, J, T); η0 where missing.
        potentials: η_jt(x_jt) − η0_t, batch shape (n, J, T); 0 where missing.
        log_scale: h_jt(x_jt), shape (n, J, T), or None for normalised factors.
        mask: Boolean (n, J, T), or None.
    """

    natural: Any
    potentials: Any
    log_scale: Array | None
    mask: Array | None

    def conjugate(self) -> Any:
        """The conjugate potentials λ_t = Σ_j (η_jt − η0_t), batch shape (n, T)."""
        return self.potentials.sum(-2)


class Components(NamedTuple):
    """The components of the mixtures F_jt.

    Attributes:
        natural: η_jt^m, a family of batch shape (N, J, T), or `normalizers.Components` that make blocks of
            them, and of their log-scales.
        log_scale: h_jt^m of unnormalised factors, shape (N, J, T), or None.
        log_weights: log w_m, shape (N,), or None for uniform weights.
        mask: Boolean (N, J, T), False for missing components, or None.
    """

    natural: Any
    log_scale: Array | None
    log_weights: Array | None
    mask: Array | None


class Mixture(NamedTuple):
    """The mixtures F_jt, as the strategies of a model need them.

    Attributes:
        components: Their components, or None where no strategy needs them.
        log_values: log F_jt at every state, natural parameters of batch shape (J, T), or None.
        own: What each datum's own factor weighs, where components were drawn at random; else None.
    """

    components: Components | None
    log_values: Any
    own: OwnShare | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether the components are made again by networks whenever they are needed."""
        if self.components is None:
            return False
        natural = self.components.natural
        return not (isinstance(natural, ExponentialFamily) or getattr(natural, "is_held", False))


class Inferred(NamedTuple):
    """What a model says about the latents of some data.

    Attributes:
        conjugate: The potentials that the posterior strategy starts from, batch shape (B, T): Σ_j g_j, or
            Σ_j (log f_j − log F_j) where it asks for the mixtures.
        potentials: The posterior strategy's λ, batch shape (B, T).
        posterior: The prior conditioned on them.
        auxiliary: ξ, batch shape (B, J, T), or None for the posterior's marginals.
        marginals: q(z_t) where they are held fixed in an M-step, batch shape (B, T); None: the posterior's.
    """

    conjugate: Any
    potentials: Any
    posterior: Any
    auxiliary: Any
    marginals: Any = None


class Posteriors(NamedTuple):
    """What a model without strategies infers.

    Attributes:
        posterior: The prior conditioned on what the data say.
    """

    posterior: Any
