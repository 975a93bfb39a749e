"""Posteriors, and bounds, of the data of a fit and of others."""

from typing import Any

import jax
from jax import Array

from rpm_jax._jit import jit
from rpm_jax.data import Data, as_data, choose_mixture
from rpm_jax.feeds import Lazy
from rpm_jax.inference._against import Against, as_against
from rpm_jax.inference._rows import check_rows, fit_rows, row_parts
from rpm_jax.model import ability, bounds, recognise_in_blocks
from rpm_jax.priors import Posterior


def posterior(fitted: Any) -> Posterior:
    """q(Z|X^n) of the data of the fit.

    Args:
        fitted: A `Fit` or `Fitted`.

    Returns:
        A posterior of batch shape (N,), with mean, standard_deviation and sample(key, shape).

    Raises:
        ValueError: If the parameters hold rows for another number of data.
    """
    return inferred(fitted).posterior


def inferred(fitted: Any) -> Any:
    """All that the model infers for the data of the fit: `Inferred` of an `RPM`, or `LocalLatents`."""
    data = as_data(fitted.data)
    check_rows(fitted.model, fitted.params, data.size)
    needs_mixture = ability(fitted.model, "needs_mixture", True)
    return infer_data(fitted.model, fitted.params, data, data if needs_mixture else None)


def infer(fitted: Any, views: Any, *, against: str | Against = "train") -> Posterior:
    """q(Z|X) of data that the model was not fitted on, under every posterior strategy.

    Exact, conjugate and amortized posteriors are evaluated. For a saturated one, rows for the new data
    start at the conjugate potentials and maximise the bound with the model held fixed.

    Args:
        fitted: A `Fit` or `Fitted`.
        views: The data: `Data` (with a mask, say) or a tuple of J views.
        against: Whose components F_j has: those of the fit ("train"), of these data ("given"), of both; or
            `Against` with the options of new rows.

    Returns:
        A posterior whose batch is these data.
    """
    return infer_all(fitted, views, against=against).posterior


def infer_all(fitted: Any, views: Any, *, against: str | Against = "train") -> Any:
    """All that the model infers for other data; arguments as for `infer`."""
    against, new = as_against(against), as_data(views)
    ability(fitted.model, "check_data", lambda data: None)(new)
    params = fitted.params
    if "posterior" in row_parts(fitted.model):
        params = fit_rows(fitted, new, against=against)
    components = None
    if ability(fitted.model, "needs_mixture", True):
        components = choose_mixture(new, fitted.data, against.components)
    return infer_data(fitted.model, params, new, components)


@jit
def infer_data(model: Any, params: Any, data: Data, components: Data | None) -> Any:
    """What the model infers for data, with F_j over `components` where it needs them."""
    mixture = None
    if components is not None:
        mixture = model.mixture(params, Lazy(components, approximate=True))
    batch = data.all()
    return model.infer(params, batch, recognise_in_blocks(model, params, batch), mixture)


def evaluate(fitted: Any, views: Any, *, against: str | Against = "train") -> Array:
    """The bound of data that the model was not fitted on, in nats, shape (n,); arguments as for `infer`."""
    params, new, components = evaluated(fitted, views, against)
    return evaluate_data(fitted.model, params, new, components)


def evaluated(fitted: Any, views: Any, against: str | Against = "train") -> tuple[Any, Data, Data]:
    """Parameters with rows for the data to evaluate, these data, and the components of F_j.

    Args:
        fitted: A `Fit` or `Fitted`.
        views: The data. Those of the fit themselves, `fitted.data` or the same arrays, keep their rows.
        against: As for `infer`.
    """
    against = as_against(against)
    new = as_data(views)
    ability(fitted.model, "check_data", lambda data: None)(new)
    params = fitted.params
    if row_parts(fitted.model) and _are_those_of(fitted, views, new):
        check_rows(fitted.model, params, new.size)
    elif row_parts(fitted.model):
        params = fit_rows(fitted, new, against=against)
    return params, new, choose_mixture(new, fitted.data, against.components)


def _are_those_of(fitted: Any, views: Any, new: Data) -> bool:
    """Whether data are those of a fit: the same object, or made of the same arrays."""
    if views is fitted.data:
        return True
    own = as_data(fitted.data)
    ours, theirs = (jax.tree.leaves_with_path((data.views, data.mask, data.inputs)) for data in (new, own))
    return len(ours) == len(theirs) and all(
        path == other and leaf is its for (path, leaf), (other, its) in zip(ours, theirs, strict=True)
    )


@jit
def evaluate_data(model: Any, params: Any, new: Data, components: Data) -> Array:
    """The bound of each datum, with F_j over `components`."""
    return bounds(model, params, new.all(), components)
