"""A decoder: what a view is on average, given the latents."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from rpm_jax._arrays import as_floating
from rpm_jax._checks import require_finite
from rpm_jax._folds import sequence_folds
from rpm_jax._record import record
from rpm_jax.decoding._losses import as_loss
from rpm_jax.decoding._network import network
from rpm_jax.decoding._scikit_learn import scikit_learn


@record
class Decoder:
    """A function from latents to the mean of a view, E[x_j | z]; `fit_decoder` makes it.

    Attributes:
        predictor: From rows of latents (m, K) to means (m, D).
        event_shape: Of what a view is at a site.
        single_site: Whether the view has no axis of sites, as those of static models.
        num_latents: K.
        score: Of the chosen candidate on sequences it had not seen: 1 − deviance / deviance of the others'
            mean (for a squared loss an R²), 1 at best, 0 for what needs no latents.
        scores: Of all candidates, shape (candidates,).
        candidate: The chosen one.
        candidates: What there was to choose from.
    """

    predictor: Any
    event_shape: tuple[int, ...]
    single_site: bool
    num_latents: int
    score: Array
    scores: Array
    candidate: Any
    candidates: Any

    def __call__(self, latents: ArrayLike) -> Array:
        """The mean of the view.

        Args:
            latents: Shape (..., T, K), of any number of sites: means, draws, forecasts.

        Returns:
            Shape (..., T, *event), or (..., *event) where the view has no axis of sites.

        Raises:
            ValueError: For another number of latents, or of sites where the view has one.
        """
        inputs = as_floating("latents", latents)
        fits = inputs.ndim > 1 and inputs.shape[-1] == self.num_latents
        if not fits or (self.single_site and inputs.shape[-2] != 1):
            sites = "1" if self.single_site else "T"
            raise ValueError(
                f"latents must have shape (..., {sites}, {self.num_latents}), as those that the decoder was "
                f"fitted to, got {inputs.shape}"
            )
        means = self.predictor(inputs.reshape(-1, self.num_latents))
        before = inputs.shape[:-2] if self.single_site else inputs.shape[:-1]
        return means.reshape(*before, *self.event_shape)


def fit_decoder(
    latents: ArrayLike,
    view: ArrayLike,
    regressor: Any = None,
    *,
    key: Any = None,
    loss: Any = "squared",
    mask: ArrayLike | None = None,
    num_folds: int = 5,
) -> Decoder:
    """Learn what a view is on average given the latents, site by site.

    The model is not touched. Which of the regressor's candidates is taken, such as the strength of a ridge,
    is decided by cross-validation over whole sequences, whose score is also that of the decoder; it is then
    fitted to all of them.

    Args:
        latents: Such as the means of `fit.posterior()`, shape (N, T, K).
        view: What was observed with them, shape (N, T) or (N, T, ...); of models with one site (N, ...).
        regressor: A network (a flax.linen module, any `rpm_jax.networks.Network`) or a regressor of
            scikit-learn, or `decoding.network(...)` and `decoding.scikit_learn(...)` with their options, or
            any `decoding.Regressor`; None: `decoding.network()`, a perceptron with 64 hidden units.
        key: Random key; regressors of scikit-learn need none.
        loss: "squared", "poisson" (counts), "bernoulli" (numbers from 0 to 1), or a `decoding.Loss`.
        mask: Boolean, shape (N, T) or of one site (N,), False where the view is missing; None: nowhere.
        num_folds: Of the cross-validation, at most N.

    Returns:
        The decoder, a function of latents with a held-out `score`.

    Raises:
        TypeError: For a regressor, loss or key that is none.
        ValueError: If shapes do not match, there are fewer than two sequences, or numbers that the loss does
            not allow.
    """
    inputs, values = as_floating("latents", latents), as_floating("view", view)
    if inputs.ndim != 3 or not inputs.size or not values.size:
        raise ValueError(
            f"latents must have shape (N, T, K) and view not be empty, got {inputs.shape} and {values.shape}"
        )
    num_sequences, num_sites, num_latents = inputs.shape
    single_site = num_sites == 1
    sites = (num_sequences,) if single_site else (num_sequences, num_sites)
    if values.shape[: len(sites)] != sites:
        wanted = "(N, ...)" if single_site else "(N, T) or (N, T, ...)"
        raise ValueError(
            f"view must have shape {wanted} with the latents' {sites} on its first axes, got {values.shape}"
        )
    require_finite("latents", inputs)
    known = _known(mask, sites)
    judge, way = as_loss(loss), _as_regressor(regressor)

    rows = inputs.reshape(-1, num_latents)
    weights = jnp.asarray(known.reshape(-1), rows.dtype)
    targets = values.reshape(len(rows), -1).astype(rows.dtype)
    targets = jnp.where(weights[:, None] > 0, targets, 0.0)
    _check_values(judge, targets)
    sequence = np.repeat(np.arange(num_sequences), num_sites)
    folds = [
        tuple(jnp.asarray(np.isin(sequence, part), rows.dtype) * weights for part in fold)
        for fold in sequence_folds("fit_decoder", num_sequences, num_folds)
    ]
    scores = jnp.stack([_score(way, judge, rows, targets, folds, each, key) for each in way.candidates])
    best = int(jnp.argmax(jnp.where(jnp.isnan(scores), -jnp.inf, scores)))
    chosen = way.candidates[best]
    predictor = way.fit(rows, targets, weights, judge, chosen, key)
    return Decoder(
        predictor,
        values.shape[len(sites) :],
        single_site,
        num_latents,
        scores[best],
        scores,
        chosen,
        tuple(way.candidates),
    )


def _known(mask: ArrayLike | None, sites: tuple[int, ...]) -> np.ndarray:
    if mask is None:
        return np.ones(sites, bool)
    known = np.asarray(mask)
    if known.dtype != bool or known.shape != sites or not known.any():
        raise ValueError(
            f"mask must be boolean of shape {sites} and True somewhere, got {known.dtype} of shape "
            f"{known.shape}, {int(np.count_nonzero(known))} of them True"
        )
    return known


def _as_regressor(regressor: Any) -> Any:
    if regressor is None:
        return network()
    if hasattr(regressor, "candidates") and hasattr(regressor, "fit"):
        return regressor
    if hasattr(regressor, "fit") and hasattr(regressor, "predict") and not hasattr(regressor, "apply"):
        return scikit_learn(regressor)
    return network(regressor)


def _check_values(loss: Any, targets: Array) -> None:
    valid = np.asarray(loss.valid(targets))
    if not valid.all():
        where = tuple(int(i) for i in np.argwhere(~valid)[0])
        raise ValueError(
            f"view must hold numbers that the loss {type(loss).__name__} allows, got "
            f"{np.asarray(targets)[where]} (and {int((~valid).sum()) - 1} others); hide missing ones by mask="
        )


def _score(way: Any, loss: Any, rows: Array, targets: Array, folds: list, candidate: Any, key: Any) -> Array:
    """1 − deviance of sequences not seen / deviance of the others' mean."""
    deviance, around = jnp.zeros((), rows.dtype), jnp.zeros((), rows.dtype)
    for fit, held_out in folds:
        mean = fit @ targets / jnp.maximum(fit.sum(), 1.0)
        found = way.fit(rows, targets, fit, loss, candidate, key)(rows)
        deviance += held_out @ loss.deviance(found, targets).sum(-1)
        around += held_out @ loss.deviance(jnp.broadcast_to(mean, targets.shape), targets).sum(-1)
    return 1.0 - deviance / around
