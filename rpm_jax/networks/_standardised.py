"""Networks of standardised inputs."""

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.incomplete import Incomplete, View
from rpm_jax.networks._protocol import Network, as_network, with_outputs

NORMAL_RANGE = 1.349
"""The distance of the quartiles of a normal distribution, in standard deviations."""

MOST_DEVIATIONS = 10.0
"""Of an input from the median, in deviations, where statistics are robust; those beyond are moved there."""


@record
class Standardised:
    """A network whose inputs are shifted and scaled by statistics of the data that it is initialised with.

    The statistics are parameters under the name "statistics", so they are saved and restored with the others;
    `rpm_jax.fit` leaves parameters of that name as they are. They are taken over what is observed. What is
    missing (of `Incomplete` inputs) reaches the network as 0 after standardisation, the mean; where it was
    initialised with inputs whose cells are `indicated`, it also gets for every cell whether it is observed,
    1 or 0 less the share of observed cells of the feature: behind the features, or as a second channel.

    Attributes:
        network: The network that sees the standardised inputs. With `takes_indicators = False` it is not told
            which cells are observed.
        num_feature_axes: How many trailing axes of the input have statistics of their own, entry by entry;
            all axes before those are averaged over. 0: one mean and one deviation for all entries.
        robust: Whether the statistics are median and distance of the quartiles (over 1.349, the deviation of
            normal data) in the place of mean and deviation, and inputs farther than 10 of these from the
            median are moved there, so that outliers change nothing.
    """

    network: Any
    num_feature_axes: int = 1
    robust: bool = False
    takes_missing = True

    def __post_init__(self) -> None:
        """Take a module of flax.linen as a network, and check the number of axes."""
        number = self.num_feature_axes
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ValueError(f"num_feature_axes must be an integer of at least 0, got {number!r}")
        object.__setattr__(self, "network", as_network("network", self.network))

    @property
    def pointwise(self) -> bool:
        """As the network is."""
        return getattr(self.network, "pointwise", False)

    def with_outputs(self, number: int) -> Self:
        """The same around a network with `number` outputs."""
        return dataclasses.replace(self, network=with_outputs(self.network, number))

    def init(self, key: Array, inputs: View) -> dict:
        """Statistics of all inputs, and the network's parameters for one of them."""
        inputs = inputs if isinstance(inputs, Incomplete) else jnp.asarray(inputs)
        if inputs.ndim <= self.num_feature_axes:
            raise ValueError(
                f"num_feature_axes must be less than the {inputs.ndim} axes of inputs of shape "
                f"{inputs.shape}, since the first is that of the data, got {self.num_feature_axes}"
            )
        axes = tuple(range(inputs.ndim - self.num_feature_axes))
        values, observed = (
            (inputs.values, inputs.observed) if isinstance(inputs, Incomplete) else (inputs, None)
        )
        statistics = moments(values, observed, axes)
        if self.robust:
            statistics = quartiles(values, observed, axes, statistics)
        if isinstance(inputs, Incomplete) and inputs.indicated and self._takes_indicators:
            statistics["observed"] = jnp.mean(inputs.observed, axis=axes, dtype=values.dtype)
        return {
            "statistics": statistics,
            "network": self.network.init(key, self._standardise(statistics, inputs[:1])),
        }

    def apply(self, params: dict, inputs: View) -> Array:
        """The network's outputs for (inputs − mean) / scale."""
        statistics = jax.lax.stop_gradient(params["statistics"])
        return self.network.apply(params["network"], self._standardise(statistics, inputs))

    @property
    def _takes_indicators(self) -> bool:
        return getattr(self.network, "takes_indicators", True)

    def _standardise(self, statistics: dict, inputs: View) -> Array:
        mean, scale = statistics["mean"], statistics["scale"]
        if inputs.shape[inputs.ndim - self.num_feature_axes :] != mean.shape:
            raise ValueError(
                f"inputs must have the shape (n, ..., {', '.join(map(str, mean.shape))}) of those that the "
                f"parameters were made for, got {inputs.shape}"
            )
        if isinstance(inputs, Incomplete):
            values, observed = jnp.where(inputs.observed, inputs.values, mean), inputs.observed
        else:
            values, observed = inputs, jnp.ones((), bool)
        standard = (values - mean) / scale
        if self.robust:
            standard = jnp.clip(standard, -MOST_DEVIATIONS, MOST_DEVIATIONS)
        if "observed" not in statistics:
            return standard
        indicators = jnp.broadcast_to(observed - statistics["observed"], standard.shape)
        # An image (n, H, W) or, at every site, (n, T, H, W) gets a second channel.
        image_axes = 3 + getattr(self.network, "num_site_axes", 0)
        if self.num_feature_axes == 0 and standard.ndim == image_axes:
            return jnp.stack([standard, indicators], axis=-1)
        return jnp.concatenate([standard, indicators], axis=-1)


def moments(values: Array, observed: Array | None, axes: tuple[int, ...]) -> dict[str, Array]:
    """Mean and standard deviation of what is observed, without overflow or underflow on the way.

    Args:
        values: Numbers.
        observed: Boolean, of the same shape, or None: all.
        axes: The axes to take them over.

    Returns:
        "mean" and "scale", which is 1 where all numbers are equal up to rounding, or none is observed (the
        mean is then 0).
    """
    shown = jnp.ones((), bool) if observed is None else observed
    extremes = (
        jnp.max(values, axis=axes, initial=-jnp.inf, where=shown, keepdims=True),
        jnp.min(values, axis=axes, initial=jnp.inf, where=shown, keepdims=True),
    )
    some = extremes[0] >= extremes[1]
    highest, lowest = (jnp.where(some, extreme, 0) / 2 for extreme in extremes)
    centre, radius = highest + lowest, highest - lowest
    unit = jnp.where(radius > 0, radius, 1)
    relative = jnp.where(shown, (values - centre) / unit, 0)
    number = jnp.maximum(jnp.sum(jnp.broadcast_to(shown, values.shape), axis=axes, keepdims=True), 1)
    mean = jnp.sum(relative, axis=axes, keepdims=True) / number
    square = jnp.sum(jnp.where(shown, (relative - mean) ** 2, 0), axis=axes, keepdims=True) / number
    centre, unit, mean, deviation = (
        jnp.squeeze(part, axis=axes) for part in (centre, unit, mean, jnp.sqrt(square))
    )
    mean, deviation = centre + unit * mean, unit * deviation
    rounding = 100 * jnp.finfo(values.dtype).eps * jnp.abs(mean)
    return {"mean": mean, "scale": jnp.where(deviation > rounding, deviation, 1.0)}


def quartiles(
    values: Array, observed: Array | None, axes: tuple[int, ...], otherwise: dict[str, Array]
) -> dict[str, Array]:
    """Median and scaled distance of the quartiles of what is observed; `otherwise` where these are equal."""
    shown = values if observed is None else jnp.where(observed, values, jnp.nan)
    lower, median, upper = jnp.nanquantile(shown, jnp.asarray([0.25, 0.5, 0.75], values.dtype), axis=axes)
    deviation = (upper - lower) / NORMAL_RANGE
    rounding = 100 * jnp.finfo(values.dtype).eps * jnp.abs(median)
    good = deviation > rounding
    return {
        "mean": jnp.where(good, median, otherwise["mean"]),
        "scale": jnp.where(good, deviation, otherwise["scale"]),
    }


def standardised(network: Network, num_feature_axes: int = 1, *, robust: bool = False) -> Standardised:
    """A network that standardises its inputs by statistics of the data it is initialised with.

    Args:
        network: Any network of one array.
        num_feature_axes: Trailing axes with statistics of their own: 1 for vectors and sequences of
            vectors, 0 for images.
        robust: Whether by median and quartiles in the place of mean and deviation; see `Standardised`.
    """
    return Standardised(network, num_feature_axes, robust)
