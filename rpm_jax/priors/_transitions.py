"""Forms of the transition A of a linear-Gaussian chain, in unconstrained numbers.

In the coordinates in which a stationary chain has the invariant law N(μ, I), its noise is Q = I − A Aᵀ, so
that A is a contraction: every stable A is one in some coordinates. Each form maps real numbers to
contractions, and Q is computed without that difference.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._linalg import cholesky_with_inverse, inverse_and_log_determinant, matmul, transpose
from rpm_jax._record import record

DECAYS = (0.8, 0.95)
"""The range of the moduli of the eigenvalues to start from."""

ANGLES = (0.1, 0.5)
"""The range of the angles of rotation to start from, in radians a step."""


class Transition(Protocol):
    """A form of A with real numbers as parameters."""

    def start(self, size: int) -> Array:
        """The A that is started from where none is given, (size, size)."""
        ...

    def params(self, transition: Array) -> Any:
        """The parameters of a contraction of this form."""
        ...

    def stationary(self, params: Any) -> tuple[Array, Array]:
        """A, and Q = I − A Aᵀ, each (K, K)."""
        ...


@record
class Full:
    """Any contraction: A = M C⁻ᵀ with C Cᵀ = I + Mᵀ M, M any matrix, and Q = (I + M Mᵀ)⁻¹.

    It starts from the same as `Rotations`.
    """

    def start(self, size: int) -> Array:
        """That of `Rotations`."""
        return Rotations().start(size)

    def params(self, transition: Array) -> Array:
        """M = A Cᵀ with C⁻¹ C⁻ᵀ = I − Aᵀ A."""
        identity = jnp.eye(transition.shape[-1], dtype=transition.dtype)
        factor_inverse, factor = cholesky_with_inverse(identity - matmul(transpose(transition), transition))
        del factor_inverse
        return matmul(transition, transpose(factor))

    def stationary(self, params: Array) -> tuple[Array, Array]:
        """A and Q."""
        identity = jnp.eye(params.shape[-1], dtype=params.dtype)
        _, inverse = cholesky_with_inverse(identity + matmul(transpose(params), params))
        noise, _ = inverse_and_log_determinant(identity + matmul(params, transpose(params)))
        return matmul(params, transpose(inverse)), noise


@record
class Diagonal:
    """Independent latents, each with a decay of its own in (0, 1): A = diag σ(r)."""

    def start(self, size: int) -> Array:
        """Decays spread over `DECAYS`."""
        return jnp.diag(_spread(DECAYS, size))

    def params(self, transition: Array) -> Array:
        """The logits of the diagonal."""
        return _logit(jnp.diagonal(transition))

    def stationary(self, params: Array) -> tuple[Array, Array]:
        """A and Q."""
        decay = jax.nn.sigmoid(params)
        return jnp.diag(decay), jnp.diag(jax.nn.sigmoid(-params) * (1.0 + decay))


@record
class Rotations:
    """Pairs of latents that rotate and decay, and for odd K one that decays.

    Each block is ρ [[cos θ, −sin θ], [sin θ, cos θ]]: its eigenvalues are ρ exp(±iθ), ρ in (0, 1).
    """

    def start(self, size: int) -> Array:
        """Decays spread over `DECAYS`, angles over `ANGLES`."""
        pairs = size // 2
        decay = jnp.repeat(_spread(DECAYS, pairs + size % 2), 2)[:size]
        return self._matrix(decay, _spread(ANGLES, pairs))

    def params(self, transition: Array) -> dict[str, Array]:
        """The logits of the decays, (K + 1) // 2, and the angles, K // 2."""
        size = transition.shape[-1]
        even = np.arange(0, size - 1, 2)
        cosine, sine = transition[even, even], transition[even + 1, even]
        decay = jnp.sqrt(cosine**2 + sine**2)
        if size % 2:
            decay = jnp.append(decay, transition[-1, -1])
        return {"decay": _logit(decay), "angle": jnp.arctan2(sine, cosine)}

    def stationary(self, params: dict[str, Array]) -> tuple[Array, Array]:
        """A and Q."""
        size = params["decay"].shape[-1] + params["angle"].shape[-1]
        decay = jax.nn.sigmoid(params["decay"])
        rest = jax.nn.sigmoid(-params["decay"]) * (1.0 + decay)
        each = [jnp.repeat(x, 2)[:size] for x in (decay, rest)]
        return self._matrix(each[0], params["angle"]), jnp.diag(each[1])

    def _matrix(self, decay: Array, angle: Array) -> Array:
        size, even = decay.shape[-1], 2 * np.arange(angle.shape[-1])
        cosine = jnp.ones(size, decay.dtype).at[even].set(jnp.cos(angle)).at[even + 1].set(jnp.cos(angle))
        matrix = jnp.diag(decay * cosine)
        sine = decay[even] * jnp.sin(angle)
        return matrix.at[even + 1, even].set(sine).at[even, even + 1].set(-sine)


TRANSITIONS: dict[str, Transition] = {"full": Full(), "diagonal": Diagonal(), "rotations": Rotations()}


def _spread(bounds: tuple[float, float], number: int) -> Array:
    """Numbers over a range, in equal steps, without its ends."""
    low, high = bounds
    return low + (high - low) * (jnp.arange(number) + 0.5) / max(number, 1)


def _logit(probability: Array) -> Array:
    return jnp.log(probability) - jnp.log1p(-probability)
