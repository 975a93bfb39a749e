"""How well topics agree with textures, and the methods that are compared."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

import rpm_jax as rpm
from experiments._texture_options import Options
from rpm_jax.datasets import TextureSets

NUM_COMPONENTS = 20
"""Principal components that the baseline keeps."""

# Compiled as a whole: far faster the first time than operation by operation.
mutual_information = jax.jit(rpm.metrics.mutual_information, static_argnums=(2, 3))

Pair: TypeAlias = tuple[TextureSets, TextureSets]
"""Sets to fit, and others."""


class Recovered(NamedTuple):
    """What a method says about some sets.

    Attributes:
        topics: The topic of each patch, shape (N, T).
        proportions: Of each set, shape (N, K).
        probabilities: q(z_t = k), shape (N, T, K); None for methods that have none.
        iterations: Updates of the coordinate ascent, and the change in the last one; None likewise.
        residual: The change in the last one, relative to all concentrations; None likewise.
    """

    topics: np.ndarray
    proportions: np.ndarray
    probabilities: np.ndarray | None = None
    iterations: int | None = None
    residual: float | None = None


def score(data: Pair, recovered: tuple[Recovered, Recovered]) -> dict[str, Any]:
    """Topics matched to textures on the training sets, and all scores under this matching."""
    matching = match(data, recovered)
    assignment, sizes = matching.assignment, matching.confusion.shape
    scores: dict[str, Any] = {}
    for name, true, found in zip(("train", "heldout"), data, recovered, strict=True):
        matched = in_order_of_textures(found.proportions, assignment, sizes[0])
        error = rpm.metrics.matched_proportions_error(true.proportions, found.proportions, assignment)
        scores |= {
            f"accuracy_{name}": float(rpm.metrics.matched_accuracy(true.topics, found.topics, assignment)),
            f"mutual_information_{name}": float(mutual_information(true.topics, found.topics, *sizes)),
            f"proportions_error_{name}": float(error),
            f"proportions_correlation_{name}": correlation(true.proportions, matched),
        }
    return scores | {"topics_in_use": int(rpm.metrics.states_in_use(recovered[0].topics))}


def match(data: Pair, recovered: tuple[Recovered, Recovered]) -> rpm.metrics.Matching:
    """Topics matched to textures on the training sets."""
    num_textures, num_topics = data[0].proportions.shape[1], recovered[0].proportions.shape[1]
    return rpm.metrics.match_states(data[0].topics, recovered[0].topics, num_textures, num_topics)


def in_order_of_textures(proportions: np.ndarray, assignment: Any, num_textures: int) -> np.ndarray:
    """The proportions of the topics that are matched to each texture, shape (N, S); 0 where none is."""
    return proportions @ (np.asarray(assignment)[:, None] == np.arange(num_textures))


def correlation(true: Any, found: np.ndarray) -> float:
    """Pearson's, over all sets and textures; NaN where one of the two does not vary."""
    pair = [values - values.mean() for values in (np.asarray(true, float), found)]
    scale = np.sqrt(np.prod([np.sum(values**2) for values in pair]))
    return float(np.sum(pair[0] * pair[1]) / scale) if scale > 0 else float("nan")


def coordinate_ascent(recovered: tuple[Recovered, Recovered]) -> dict[str, Any]:
    """Updates of the slowest set, and the largest change in the last update."""
    train, held_out = recovered
    return {
        "iterations_train": train.iterations,
        "iterations_heldout": held_out.iterations,
        "residual_train": train.residual,
        "residual_heldout": held_out.residual,
    }


def true_counts(data: Pair) -> dict[str, float]:
    """The scores of those who know every texture and count: T patches tell no more about the proportions."""
    truth = [
        Recovered(np.asarray(part.topics), frequencies(part.topics, part.proportions.shape[1]))
        for part in data
    ]
    scores = score(data, (truth[0], truth[1]))
    names = ("proportions_error_heldout", "proportions_correlation_heldout")
    return {f"{name}_of_true_textures": scores[name] for name in names}


def frequencies(topics: Any, number: int) -> np.ndarray:
    """How often each topic occurs in each set, shape (N, K)."""
    return np.mean(np.asarray(topics)[..., None] == np.arange(number), axis=1)


# Baselines.


def baselines(options: Options, data: Pair) -> dict[str, dict[str, Any]]:
    """Scores of k-means on features of single patches, with as many clusters as topics."""
    from sklearn.decomposition import PCA

    pixels = [np.asarray(part.views, float).reshape(-1, options.data.patch_size**2) for part in data]
    number = min(NUM_COMPONENTS, *pixels[0].shape)
    components = PCA(number, random_state=options.training.model_seed).fit(pixels[0])
    features = {
        "power_spectra": [spectra(np.asarray(part.views, float)) for part in data],
        "principal_components": [components.transform(part) for part in pixels],
    }
    return {name: score(data, clusters(options, data, values)) for name, values in features.items()}


def spectra(patches: np.ndarray) -> np.ndarray:
    """Logarithms of one and the power at every frequency, which do not depend on shifts; one row a patch."""
    centred = patches - patches.mean((-2, -1), keepdims=True)
    power = np.abs(np.fft.rfft2(centred)) ** 2 / patches.shape[-1] ** 2
    return np.log1p(power).reshape(-1, power.shape[-2] * power.shape[-1])


def clusters(options: Options, data: Pair, features: Sequence[np.ndarray]) -> tuple[Recovered, Recovered]:
    """k-means of the training patches, and the nearest mean of the others."""
    from sklearn.cluster import KMeans

    number = options.model.num_topics or options.data.num_textures
    means = KMeans(number, n_init=10, random_state=options.training.model_seed).fit(features[0])
    found = [
        means.predict(values).reshape(part.topics.shape) for part, values in zip(data, features, strict=True)
    ]
    first, second = (Recovered(topics, frequencies(topics, number)) for topics in found)
    return first, second
