"""What a decoder's error is: of real numbers, counts, and probabilities."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logit, xlogy

from rpm_jax._record import record


class Loss(Protocol):
    """The negative log-likelihood of an observed number x given the output r of a network, m = `mean(r)`.

    Networks give r = offset + scale · outputs, with the offset and scale of `start`.
    """

    def valid(self, values: Array) -> Array:
        """Whether numbers are such as can be observed, elementwise."""
        ...

    def start(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        """Offset and scale of r, of numbers with these means and variances, shape (D,) each."""
        ...

    def loss(self, outputs: Array, values: Array, scale: Array) -> Array:
        """−log p(x | r), up to what does not depend on r; elementwise."""
        ...

    def mean(self, outputs: Array) -> Array:
        """E[x | r]."""
        ...

    def deviance(self, mean: Array, values: Array) -> Array:
        """2 (log p(x | x) − log p(x | m)) ≥ 0, elementwise."""
        ...


@record
class Squared:
    """Squared error: x = r + noise, in units of the standard deviation of each output."""

    def valid(self, values: Array) -> Array:
        """Any finite number."""
        return jnp.isfinite(values)

    def start(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        """Mean and standard deviation."""
        return mean, jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 1.0)

    def loss(self, outputs: Array, values: Array, scale: Array) -> Array:
        """(x − r)² / 2 scale²."""
        return 0.5 * ((values - outputs) / scale) ** 2

    def mean(self, outputs: Array) -> Array:
        """The output r itself."""
        return outputs

    def deviance(self, mean: Array, values: Array) -> Array:
        """(x − m)²."""
        return (values - mean) ** 2


@record
class Poisson:
    """Counts with rate m = exp r."""

    def valid(self, values: Array) -> Array:
        """Not negative."""
        return jnp.isfinite(values) & (values >= 0)

    def start(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        """The logarithm of the mean."""
        least = jnp.finfo(mean.dtype).eps
        return jnp.log(jnp.maximum(mean, least)), jnp.ones_like(mean)

    def loss(self, outputs: Array, values: Array, scale: Array) -> Array:
        """Exp r − x r."""
        return jnp.exp(outputs) - values * outputs

    def mean(self, outputs: Array) -> Array:
        """The rate exp r."""
        return jnp.exp(outputs)

    def deviance(self, mean: Array, values: Array) -> Array:
        """2 (x log(x / m) − x + m)."""
        rate = jnp.maximum(mean, jnp.finfo(mean.dtype).tiny)
        return 2 * (xlogy(values, values) - xlogy(values, rate) - values + rate)


@record
class Bernoulli:
    """Zeros and ones, or shares between, with probability m = 1 / (1 + exp −r)."""

    def valid(self, values: Array) -> Array:
        """From 0 to 1."""
        return (values >= 0) & (values <= 1)

    def start(self, mean: Array, variance: Array) -> tuple[Array, Array]:
        """The logit of the mean."""
        eps = jnp.finfo(mean.dtype).eps
        return logit(jnp.clip(mean, eps, 1 - eps)), jnp.ones_like(mean)

    def loss(self, outputs: Array, values: Array, scale: Array) -> Array:
        """Log(1 + exp r) − x r."""
        return jax.nn.softplus(outputs) - values * outputs

    def mean(self, outputs: Array) -> Array:
        """The probability."""
        return jax.nn.sigmoid(outputs)

    def deviance(self, mean: Array, values: Array) -> Array:
        """2 (x log(x / m) + (1 − x) log((1 − x) / (1 − m)))."""
        eps = jnp.finfo(mean.dtype).eps
        share = jnp.clip(mean, eps, 1 - eps)
        own = xlogy(values, values) + xlogy(1 - values, 1 - values)
        return 2 * (own - xlogy(values, share) - xlogy(1 - values, 1 - share))


LOSSES: dict[str, Any] = {"squared": Squared(), "poisson": Poisson(), "bernoulli": Bernoulli()}
"""By the names that `fit_decoder` knows them by."""


def as_loss(loss: Any) -> Any:
    """A loss, by its name or as it is.

    Raises:
        ValueError: For an unknown name.
        TypeError: For an object without the methods of a loss.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(map(repr, LOSSES))}, got {loss!r}")
        return LOSSES[loss]
    methods = ("valid", "start", "loss", "mean", "deviance")
    if isinstance(loss, type) or not all(hasattr(loss, method) for method in methods):
        raise TypeError(
            f"loss must be one of {', '.join(map(repr, LOSSES))}, or an object with the methods "
            f"{', '.join(methods)} of rpm_jax.decoding.Loss, got {loss!r}"
        )
    return loss
