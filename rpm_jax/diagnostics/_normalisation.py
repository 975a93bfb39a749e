"""Whether factors and implicit models are normalised."""

import warnings
from typing import Any

from jax import Array

from rpm_jax._checks import is_concrete
from rpm_jax._jit import jit
from rpm_jax.data import Data, as_data
from rpm_jax.model import complete, recognise_in_blocks, require_ability
from rpm_jax.objectives import ImplicitIntegral, LogPartitionError, implicit_integral
from rpm_jax.objectives import log_partition_error as error_of_factors


def log_partition_error(fitted: Any, views: Any = None) -> LogPartitionError:
    """How far the log-partition ψ_jt = −h_jt of unnormalised factors is from their family's A(η_jt).

    For every view and site the mean of ψ − A over data, which cancels in f_jt / F_jt, its standard
    deviation, which does not, and the correlation of ψ and A; see
    `rpm_jax.objectives.log_partition_error`. h may come from a learned log-partition
    (`factors.per_view(log_partition=...)`) or be free; normalised factors have ψ = A.

    An implicit model has no F_jt in which the means would cancel: their sum over views and sites stays, and
    should be near 0.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM` or `ImplicitRPM`.
        views: Any data: `Data` (with a mask or weights) or a tuple of J views; None: those of the fit.

    Returns:
        Means, deviations and correlations, shape (J, T), ψ and A themselves, shape (n, J, T).
    """
    data = as_data(fitted.data if views is None else views)
    return _log_partition_error(fitted.model, fitted.params, data)


@jit
def _log_partition_error(model: Any, params: Any, data: Data) -> LogPartitionError:
    natural, _, log_scale, mask = recognise_in_blocks(model, params, data.all())
    return error_of_factors(natural, log_scale, log_weights=data.log_weights, mask=mask)


def integral(
    fitted: Any, key: Array, *, views: Any = None, num_blocks: int = 20, num_shifts: int = 20
) -> ImplicitIntegral:
    """Estimate ∫ p(X) dX of an implicit model, and warn where it is not 1 within three standard errors.

    Args:
        fitted: A `Fit` or `Fitted` of an `ImplicitRPM`.
        key: A random key.
        views: Complete data; only their marginals matter, since views of different data are put together.
            None: those of the fit.
        num_blocks: See `rpm_jax.objectives.implicit_integral`.
        num_shifts: See there.

    Returns:
        The estimate and its standard error.
    """
    require_ability(fitted.model, "log_density", "integral")
    data = complete(fitted.data if views is None else views)
    result = _integral(fitted.model, fitted.params, data, key, num_blocks, num_shifts)
    if is_concrete(result) and bool(result.deviates):
        warnings.warn(
            f"the implicit model is not normalised: ∫ p(x) dx is {float(result.value):.4g} ± "
            f"{float(result.standard_error):.2g}, not 1, since the mixtures F_j differ from the prior; "
            "subtract the logarithm of that (log_value) from its log-densities, fit with a higher "
            "integral_weight, or use rpm_jax.RPM, which is always normalised",
            stacklevel=2,
        )
    return result


@jit
def _integral(
    model: Any, params: Any, data: Data, key: Array, num_blocks: int, num_shifts: int
) -> ImplicitIntegral:
    own = model.recognise(params, data.all())
    return implicit_integral(
        model.prior_of(params),
        own.natural,
        key,
        log_scale=own.log_scale,
        log_weights=data.log_weights,
        num_blocks=num_blocks,
        num_shifts=num_shifts,
    )
