"""Missing values of a view, from everything else that is observed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import as_keys, is_concrete, require_boolean, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax._record import record
from rpm_jax.data import Data, as_data
from rpm_jax.generation._prediction import check_view, key_of_predictions, log_weights_given
from rpm_jax.incomplete import Incomplete, View, expand_mask, site_mask
from rpm_jax.inference import Against, evaluated, infer_data
from rpm_jax.priors import Posterior


@record
class Imputed:
    """A view with its missing entries filled in.

    Attributes:
        values: The view: what is observed as it is, E[x_it | X] where it is missing.
        standard_deviation: Of p(x_it | X), of the same shape; 0 where observed.
        missing: Boolean, shape (n, T).
        log_weights: log p(x_it = x_it^m | X) of the stored values, shape (n, N, T), or (n, N·T, T) where the
            model pools the sites; where x_it is observed, those of another observation there.
        posterior: q(Z | X) of all that is observed.
        stored: The stored values of the view, shape (N, T, ...), or (N·T, 1, ...).
    """

    values: Array
    standard_deviation: Array
    missing: Array
    log_weights: Array
    posterior: Posterior
    stored: View

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draws of the view, `shape` + its shape: stored values where it is missing, each site by itself."""
        return _sample(self, as_keys("key", key, 0), tuple(shape))


def impute(
    fitted: Any,
    data: Any,
    view: int,
    *,
    key: Array | None = None,
    num_samples: int | None = None,
    importance: bool | None = None,
    against: Against | str = "train",
) -> Imputed:
    """The missing values of one view, given all that is observed: other views, and its own at other sites.

        p(x_it = x_it^m | X) = E[ w_m f_it(z_t|x_it^m) / F_it(z_t) | X ]

    over the values of the view that the fit has seen: an RPM has no other model of a view than these. It is
    exact for categorical latents. For others it is a mean over draws of q(Z|X), with importance weights for a
    single site, which make the mean that under p(Z|X), and without for sequences: over many sites one draw's
    weight would be nearly all, and the mean little but that draw.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`.
        data: `Data` whose mask (n, J, T) or (n, J) says what is missing, or a tuple of J views; None: the
            fit's.
        view: i.
        key: A random key; not needed for categorical latents.
        num_samples: Draws of q; None: 1000 with importance weights, 100 without.
        importance: Whether draws have importance weights; None: where there is one site.
        against: Options of rows for these data, where a strategy is saturated; the components are the fit's.

    Returns:
        The filled view, its standard deviations, weights of the stored values and draws.

    Raises:
        TypeError: For models without p(x_i | Z).
        ValueError: For a view that there is not, one without sites on its axis 1, or one with some cells
            missing at a site where others are observed.
    """
    model = fitted.model
    if not hasattr(model, "pooled"):
        raise TypeError(
            "impute needs p(x_i | Z) of single views over the stored data, which an rpm_jax.RPM has, got "
            f"{type(model).__name__}"
        )
    own = as_data(fitted.data)
    check_view(view, len(own.views))
    key = key_of_predictions(model, key)
    params, new, components = evaluated(fitted, fitted.data if data is None else data, against)
    num_sites = model.num_sites(params)
    importance = num_sites == 1 if importance is None else importance
    require_boolean("importance", importance)
    number = (1000 if importance else 100) if num_samples is None else num_samples
    require_positive_integer("num_samples", number)
    missing = _missing(new, view, num_sites)
    key = as_keys("key", key, 0)
    log_weights = log_weights_given(model, params, new, own, key, view, number, bool(importance))
    stored = _stored(own.views[view], num_sites, model.pooled)
    mean, deviation = _moments(log_weights, stored)
    values = new.views[view]
    values = values.values if isinstance(values, Incomplete) else values
    mean, deviation = (x.reshape(values.shape).astype(values.dtype) for x in (mean, deviation))
    shown = expand_mask(~missing, values)
    return Imputed(
        jnp.where(shown, values, mean),
        jnp.where(shown, 0.0, deviation),
        missing,
        log_weights,
        infer_data(model, params, new, components if model.needs_mixture else None).posterior,
        stored,
    )


def _missing(data: Data, view: int, num_sites: int) -> Array:
    """Where nothing of a view is observed, shape (n, T).

    Raises:
        ValueError: For a view without sites, or with some cells missing where others are not.
    """
    values = data.views[view]
    if num_sites > 1 and (values.ndim < 2 or values.shape[1] != num_sites):
        raise ValueError(
            f"view {view} must have the prior's {num_sites} sites on axis 1 to be imputed site by site, got "
            f"shape {values.shape}"
        )
    mask = site_mask(data.views, data.mask, num_sites)
    shape = (data.size, num_sites)
    missing = jnp.zeros(shape, bool) if mask is None else ~mask[:, view]
    if isinstance(values, Incomplete) and is_concrete((values, missing)):
        cells = np.asarray(values.observed).reshape(*shape, -1)
        partly = ~cells.all(-1) & ~np.asarray(missing)
        if partly.any():
            where = tuple(int(i) for i in np.argwhere(partly)[0])
            raise ValueError(
                f"view {view} has cells missing at sites at which others are observed, the first at datum "
                f"and site {where}; the model knows whole observations of a view at a site alone, so mask "
                "these sites, or make views of the cells"
            )
    return missing


def _stored(values: View, num_sites: int, pooled: bool) -> View:
    """The stored values by component and site, shape (N, T, D), or (N·T, 1, D)."""
    return values.reshape(
        *((-1, 1) if pooled else (values.shape[0], num_sites)), values.size // (values.shape[0] * num_sites)
    )


@jit
def _moments(log_weights: Array, stored: View) -> tuple[Array, Array]:
    """The mean and standard deviation of stored values under weights (n, M, T), shape (n, T, D)."""
    values = stored.values if isinstance(stored, Incomplete) else stored
    observed = stored.observed if isinstance(stored, Incomplete) else jnp.ones(values.shape, bool)
    centre = jnp.sum(jnp.where(observed, values, 0.0), axis=(0, 1)) / jnp.maximum(observed.sum((0, 1)), 1)
    values = jnp.where(observed, values - centre, 0.0)
    weights = jnp.exp(log_weights)

    def average(numbers: Array) -> Array:
        if numbers.shape[1] == 1:
            return jnp.einsum("nmt,md->ntd", weights, numbers[:, 0], precision="highest")
        return jnp.einsum("nmt,mtd->ntd", weights, numbers, precision="highest")

    total = average(observed.astype(values.dtype))
    mean = average(values) / total
    variance = jnp.maximum(average(values**2) / total - mean**2, 0.0)
    return centre + mean, jnp.sqrt(variance)


@jit
def _sample(imputed: Imputed, key: Array, shape: tuple[int, ...]) -> Array:
    log_weights, values = imputed.log_weights, imputed.values
    stored = imputed.stored.values if isinstance(imputed.stored, Incomplete) else imputed.stored
    size, _, num_sites = log_weights.shape
    index = jax.random.categorical(key, log_weights, axis=1, shape=(*shape, size, num_sites))
    drawn = stored[index, 0 if stored.shape[1] == 1 else jnp.arange(num_sites)]
    shown = expand_mask(~imputed.missing, values)
    return jnp.where(shown, values, drawn.reshape(*shape, *values.shape).astype(values.dtype))
