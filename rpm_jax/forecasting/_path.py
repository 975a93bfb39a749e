"""The most likely path of a hidden Markov chain."""

from typing import Any, NamedTuple

from jax import Array

from rpm_jax.forecasting._models import inferred_of, require_prior
from rpm_jax.inference import Against


class MostLikelyPath(NamedTuple):
    """The path argmax_Z p(Z | X) of each datum.

    Attributes:
        states: Integers, shape (n, T).
        log_probability: log p(Z | X) of it, in nats, shape (n,).
    """

    states: Array
    log_probability: Array


def most_likely_path(fitted: Any, data: Any = None, *, against: Against | str = "train") -> MostLikelyPath:
    """The states that are most probable together, by Viterbi's algorithm in O(T).

    The states that are most probable one by one, `posterior.mean.argmax(-1)`, may be a path of probability
    zero.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM` with a hidden Markov prior and the exact posterior.
        data: `Data` or a tuple of J views, some of which may be missing; None: the fit's.
        against: Whose components F_j has, as for `rpm_jax.inference.infer`.

    Raises:
        TypeError: For other models, priors and posteriors; the message says why.
    """
    model = fitted.model
    require_prior("most_likely_path", model)
    if not model.needs_mixture:
        raise TypeError(
            "most_likely_path needs the exact posterior of a hidden Markov chain (posteriors.exact(), the "
            f"default of categorical sites), got {type(model.posterior).__name__}; of a hidden Markov chain "
            "posterior().most_probable() is then the best path under this approximation"
        )
    posterior = inferred_of(fitted, data, against)[0].posterior
    if not hasattr(posterior, "most_probable"):
        raise TypeError(
            "most_likely_path needs a hidden Markov prior, whose posterior has most_probable(), got "
            f"{type(posterior).__name__}; where sites are independent, posterior().mean.argmax(-1) is it"
        )
    states = posterior.most_probable()
    return MostLikelyPath(states, posterior.log_prob(states))
