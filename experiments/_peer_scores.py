"""How well the states or numbers of a latent agree with the labels of images."""

from typing import Any, NamedTuple

import numpy as np

import rpm_jax as rpm


class DigitData(NamedTuple):
    """Sets of images to fit, and images and sets that are held out.

    Attributes:
        train: Sets to fit.
        held_out: Sets of held-out images.
        num_labels: How many digits there are.
    """

    train: rpm.datasets.Peers
    held_out: rpm.datasets.Peers
    num_labels: int


class Recovery(NamedTuple):
    """What one fit says, scored."""

    scores: dict[str, Any]
    arrays: dict[str, Any]


def state_recovery(fitted: rpm.train.Fit, data: DigitData) -> Recovery:
    """States matched to labels on the training data, and accuracies with this matching."""
    train, held_out = data.train, data.held_out
    given_set, given_image = zip(
        *(state_probabilities(fitted, part) for part in (train, held_out)), strict=True
    )
    states, states_held_out = (p.argmax(-1) for p in given_set)
    number = given_set[0].shape[-1]
    matching = rpm.metrics.match_states(train.labels, states, data.num_labels, number)
    assignment = matching.assignment

    def accuracy(labels: Any, states: Any) -> float:
        return float(rpm.metrics.matched_accuracy(labels, states, assignment))

    scores: dict[str, Any] = {
        "accuracy_train": float(matching.accuracy),
        "accuracy_heldout_sets": accuracy(held_out.labels, states_held_out),
        "mutual_information": float(rpm.metrics.mutual_information(held_out.labels, states_held_out)),
        "states_in_use": int(rpm.metrics.states_in_use(given_set[0])),
    }
    scores["accuracy_heldout"] = scores["accuracy_heldout_sets"]
    if given_image[1] is not None:
        single = given_image[1].argmax(-1)
        each = [accuracy(held_out.labels, single[:, j]) for j in range(single.shape[1])]
        scores["accuracy_heldout"] = float(np.mean(each))
        scores["accuracy_heldout_by_view"] = each
    arrays = {
        "probabilities": given_set[0],
        "probabilities_heldout": given_set[1],
        "confusion": matching.confusion,
        "assignment": assignment,
    }
    return Recovery(scores, arrays)


def state_probabilities(
    fitted: rpm.train.Fit, part: rpm.datasets.Peers
) -> tuple[np.ndarray, np.ndarray | None]:
    """p(z|X) of each set, (N, K), and p(z|x_j) of each image, (N, J, K), where views are independent."""
    if hasattr(fitted.model, "uses_log_mixture"):
        ratios = fitted.log_ratios(part.views)
        prior = fitted.prior
        whole, single = (
            prior.condition(potentials).sites.probabilities[..., 0, :]
            for potentials in (ratios.sum(-2), ratios)
        )
        return np.asarray(whole), np.asarray(single)
    return np.asarray(fitted.infer(part.views).sites.probabilities[:, 0]), None


def gaussian_recovery(fitted: rpm.train.Fit, data: DigitData) -> Recovery:
    """How well a nearest-neighbour rule reads the labels off the posterior means."""
    from sklearn.neighbors import KNeighborsClassifier

    train, held_out = data.train, data.held_out
    means = [np.asarray(fitted.infer(part.views).mean[:, 0]) for part in (train, held_out)]
    classifier = KNeighborsClassifier(n_neighbors=10).fit(means[0], np.asarray(train.labels))
    scores = {
        "accuracy_train": float(classifier.score(means[0], np.asarray(train.labels))),
        "accuracy_heldout": float(classifier.score(means[1], np.asarray(held_out.labels))),
    }
    return Recovery(scores, {"means": means[0], "means_heldout": means[1]})
