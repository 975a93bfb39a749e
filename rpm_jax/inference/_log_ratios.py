"""What each view says of categorical latents."""

from typing import Any

from rpm_jax._jit import jit
from rpm_jax.data import Data, as_data, choose_mixture
from rpm_jax.inference._against import Against, as_against
from rpm_jax.model import initial_sites, log_mixture_values, recognise_in_blocks, require_ability
from rpm_jax.normalizers import ArrayComponents, Block
from rpm_jax.objectives import log_ratios_at


def log_ratios(fitted: Any, views: Any, *, against: str | Against = "train") -> Any:
    """Log f_jt − log F_jt = log p(x_jt|z_t)/p0(x_jt) of any data, for sites with one-hot statistics.

    Conditioning the prior on those of some views alone gives the posterior of these views:
    `fitted.model.prior_of(fitted.params).condition(ratios[:, j])` is p(Z|x_j).

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`.
        views: `Data` or a tuple of J views.
        against: Whose components F_j has, as for `infer`.

    Returns:
        A family of batch shape (n, J, T); 0 where missing.

    Raises:
        TypeError: For other families.
    """
    require_ability(fitted.model, "uses_log_mixture", "log_ratios")
    if not initial_sites(fitted.model.prior).one_hot:
        raise TypeError(
            "log_ratios needs a prior whose sites have one-hot statistics, such as Categorical; "
            "mixture_log_density is for all families"
        )
    new = as_data(views)
    components = choose_mixture(new, fitted.data, as_against(against).components)
    return _log_ratios(fitted.model, fitted.params, new, components)


@jit
def _log_ratios(model: Any, params: Any, new: Data, components: Data) -> Any:
    own = recognise_in_blocks(model, params, new.all())
    source = recognise_in_blocks(model, params, components.all())
    held = ArrayComponents(source.natural, source.log_scale)
    mixtures = log_mixture_values(model, held, components.log_weights, source.mask)
    return log_ratios_at(Block(own.natural, own.log_scale), mixtures, own.mask)
