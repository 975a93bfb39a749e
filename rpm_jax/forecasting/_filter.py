"""What is known of each site from what came up to it."""

from typing import Any

from rpm_jax._jit import jit
from rpm_jax.forecasting._marginals import SiteMarginals
from rpm_jax.forecasting._models import inferred_of, require_prior, views_of
from rpm_jax.inference import Against
from rpm_jax.priors import filtered


def filter(fitted: Any, data: Any = None, *, against: Against | str = "train") -> SiteMarginals:
    """p(z_t | x_1..x_t) of every site: the posterior of each prefix of a sequence, at its last site.

    In O(T) for chains and processes of states, in O(T³) for dense Gaussian processes, by T conditionings for
    priors of your own without `filter(potentials)`. `filter_step` takes sites as they come.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM` whose posterior is conjugate or exact and whose factors look
            at one site alone; with others, later views would change what earlier sites are said to be.
        data: `Data` or a tuple of J views of T sites, some of which may be missing; None: the fit's.
        against: Whose components F_j has, as for `rpm_jax.inference.infer`.

    Returns:
        Marginals of batch shape (n, T).

    Raises:
        TypeError: For other models, posteriors, factors and priors; the message says why.
    """
    model = fitted.model
    require_prior("filter", model)
    model.require_sitewise("filter", views_of(fitted))
    own, new = inferred_of(fitted, data, against)
    return SiteMarginals(_filtered(model, fitted.params, own.potentials, new.inputs))


@jit
def _filtered(model: Any, params: Any, potentials: Any, inputs: Any) -> Any:
    return filtered(model.prior_of(params, inputs), potentials)
