"""How well states agree with the places of a maze, and the models that are compared."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _fits
from experiments._maze_options import Options
from experiments._options import OptionError
from rpm_jax.datasets import MazeWalk

Pair: TypeAlias = tuple[MazeWalk, MazeWalk]
"""Walks to fit, and others through the same maze."""


class Recovered(NamedTuple):
    """What a hidden Markov model says about the walks to fit and the held-out ones.

    Attributes:
        probabilities: q(z_t = k) of both, each of shape (N, T, K).
        paths: The most probable paths of both, integers of shape (N, T).
        transition: Probabilities, [i, j] from i to j, shape (K, K).
    """

    probabilities: tuple[np.ndarray, np.ndarray]
    paths: tuple[np.ndarray, np.ndarray]
    transition: np.ndarray

    @property
    def states(self) -> tuple[np.ndarray, np.ndarray]:
        """The most probable state of every step by itself."""
        first, second = (probabilities.argmax(-1) for probabilities in self.probabilities)
        return first, second


def flattened(walks: MazeWalk) -> np.ndarray:
    """The views as vectors, shape (N, T, V²)."""
    return np.asarray(walks.views).reshape(*walks.states.shape, -1)


def match(data: Pair, recovered: Recovered) -> rpm.metrics.Matching:
    """States matched to places on the training walks."""
    num_places, num_states = len(data[0].places), len(recovered.transition)
    return rpm.metrics.match_states(data[0].states, recovered.states[0], num_places, num_states)


def score(data: Pair, recovered: Recovered) -> dict[str, Any]:
    """All scores, under the matching of the training walks' most probable states."""
    assignment = match(data, recovered).assignment
    scores: dict[str, Any] = {}
    for name, walks, states, paths in zip(
        ("train", "heldout"), data, recovered.states, recovered.paths, strict=True
    ):
        scores |= {
            f"accuracy_{name}": float(rpm.metrics.matched_accuracy(walks.states, states, assignment)),
            f"accuracy_viterbi_{name}": float(rpm.metrics.matched_accuracy(walks.states, paths, assignment)),
            f"mutual_information_{name}": float(rpm.metrics.mutual_information(walks.states, states)),
        }
    error = rpm.metrics.transition_error(data[0].transition, recovered.transition, assignment)
    in_use = rpm.metrics.states_in_use(recovered.states[0], threshold=0.1 / len(recovered.transition))
    return scores | {"transition_error": float(error), "states_in_use": int(in_use)}


def in_order_of_places(transition: np.ndarray, assignment: np.ndarray, num_places: int) -> np.ndarray:
    """The transitions between the states that places are matched to, NaN from places without one."""
    matched = np.flatnonzero(assignment >= 0)
    ordered = np.full((num_places, num_places), np.nan)
    ordered[assignment[matched]] = 0.0
    ordered[np.ix_(assignment[matched], assignment[matched])] = transition[np.ix_(matched, matched)]
    return ordered


def of_the_true_model(options: Options, data: Pair) -> dict[str, Any]:
    """What can be reached: the scores of those who know the maze, its floor and the noise.

    Their transitions are the frequencies of the training walks' true steps.
    """
    wanted, num_places = options.data, len(data[0].places)
    prior = rpm.priors.HiddenMarkov(
        jnp.log(data[0].initial), jnp.log(data[0].transition), data[0].states.shape[1]
    )
    fits = [view_log_likelihood(walks, wanted.noise, wanted.flips, wanted.jitter) for walks in data]
    posteriors = [prior.condition(rpm.expfam.Categorical(jnp.asarray(fit))) for fit in fits]
    states = np.asarray(data[0].states)
    counts = np.zeros((num_places, num_places))
    np.add.at(counts, (states[:, :-1], states[:, 1:]), 1)
    totals = counts.sum(1, keepdims=True)
    frequencies = np.where(totals > 0, counts / np.maximum(totals, 1), 1 / num_places)
    return score(data, recovered_from(posteriors, frequencies))


def view_log_likelihood(walks: MazeWalk, noise: float, flips: float, jitter: float) -> np.ndarray:
    """Log p(x_t|z_t) for each place, up to a number for each view, shape (N, T, S).

    Without flips and looks aside it is Gaussian; else of a mixture over both.
    """
    scale, views = max(noise, 1e-3), flattened(walks)
    looks = [(walks.scenes, 1.0 - jitter), *((scenes, jitter / 4) for scenes in walks.asides)]
    total = np.full((*views.shape[:2], len(walks.places)), -np.inf)
    for scenes, chance in looks:
        if chance == 0:
            continue
        for place, scene in enumerate(np.asarray(scenes).reshape(len(walks.places), -1)):
            right = -0.5 * ((views - scene) / scale) ** 2
            if flips:
                wrong = -0.5 * ((views + scene) / scale) ** 2
                right = np.logaddexp(right + np.log1p(-flips), wrong + np.log(flips)) if flips < 1 else wrong
            total[..., place] = np.logaddexp(total[..., place], np.log(chance) + right.sum(-1))
    return total


def recovered_from(posteriors: Sequence[Any], transition: Any) -> Recovered:
    """Of the posteriors of both parts of the data."""
    probabilities = [np.asarray(posterior.mean) for posterior in posteriors]
    paths = [np.asarray(posterior.most_probable()) for posterior in posteriors]
    return Recovered(
        (probabilities[0], probabilities[1]), (paths[0], paths[1]), np.asarray(transition, float)
    )


# Baseline.


def require_hmmlearn() -> Any:
    """The module, or an `OptionError` that says how to get it."""
    try:
        from hmmlearn import hmm
    except ImportError as error:
        raise OptionError('--baseline needs hmmlearn: pip install -e ".[bench]", or leave it out') from error
    return hmm


def gaussian_baseline(
    options: Options, data: Pair, seeds: Sequence[int], num_states: int, shown: Callable[[Any], Any]
) -> dict[str, Any]:
    """Scores of the Gaussian hidden Markov model of the highest likelihood, fitted by EM.

    It starts as its library does, from k-means with 10 restarts.

    Args:
        options: All options.
        data: Walks to fit, and others.
        seeds: One for each start.
        num_states: K.
        shown: Wraps an iterable of seeds in a progress bar.
    """
    from threadpoolctl import threadpool_limits

    hmm = require_hmmlearn()
    # A step that lowers the likelihood by rounding alone is reported at length.
    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    wanted = options.comparison
    features = [flattened(walks).reshape(walks.states.size, -1).astype(float) for walks in data]
    if wanted.baseline_components is not None:
        from sklearn.decomposition import PCA

        components = PCA(wanted.baseline_components, random_state=0).fit(features[0])
        features = [components.transform(part) for part in features]
    lengths = [[walks.states.shape[1]] * len(walks.states) for walks in data]
    scores, likelihoods = [], []
    for seed in shown(seeds):
        model = hmm.GaussianHMM(
            num_states,
            covariance_type=wanted.baseline_covariance,
            n_iter=wanted.baseline_iterations,
            random_state=seed,
        )
        # The threads of k-means, from which it starts, wait for each other much longer than they work.
        with threadpool_limits(1):
            model.fit(features[0], lengths[0])
        shapes = [walks.states.shape for walks in data]
        probabilities = [
            model.predict_proba(part, length).reshape(*shape, -1)
            for part, length, shape in zip(features, lengths, shapes, strict=True)
        ]
        paths = [
            model.predict(part, length).reshape(shape)
            for part, length, shape in zip(features, lengths, shapes, strict=True)
        ]
        found = Recovered((probabilities[0], probabilities[1]), (paths[0], paths[1]), model.transmat_)
        likelihoods.append(float(model.score(features[0], lengths[0])) / len(lengths[0]))
        scores.append(score(data, found))
    chosen = int(np.argmax(likelihoods))
    return {
        **scores[chosen],
        "log_likelihood_train": likelihoods[chosen],
        "chosen_seed": chosen,
        "per_seed": _fits.columns(scores) | {"log_likelihood_train": likelihoods},
    }
