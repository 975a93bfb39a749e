"""Learn digits and the order they come in from chains of images, without labels.

A hidden Markov chain walks round the ring of digits, and each step shows an image of its digit
(`rpm_jax.datasets.digit_chains`). Nobody says which digit an image is: what images at different times have
in common is where the chain is. A hidden Markov prior and one network for all images recover the digits and
the transitions; the run is chosen by its likelihood on the training chains, and labels only score it.
Held-out chains show other images.
"""

import functools
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _fits, _run
from experiments._cli import naming_options
from experiments._digit_chain_options import BATCH_SIZE, PSEUDO_COUNT, Options, check
from experiments._digit_images import grey_values, labelled_images, network_for
from experiments._fits import Runs
from experiments._options import given
from experiments._output import Files
from rpm_jax import plots
from rpm_jax.datasets import DigitChains

Pair: TypeAlias = tuple[DigitChains, DigitChains]
"""Chains to fit, and others of held-out images."""

SUMMARISED = ("accuracy_train", "accuracy_heldout", "transition_error")


class Recovered(NamedTuple):
    """What a model says about the chains to fit and the held-out ones.

    Attributes:
        states: The most probable state of every step, both of shape (N, T).
        paths: The most probable paths, both of shape (N, T).
        alone: The most probable state of every held-out image without regard to its chain, shape (N, T).
        transition: Probabilities, [i, j] from i to j, shape (K, K).
        matching: Of states to digits, on the training chains.
    """

    states: tuple[np.ndarray, np.ndarray]
    paths: tuple[np.ndarray, np.ndarray]
    alone: np.ndarray
    transition: np.ndarray
    matching: rpm.metrics.Matching


# Data, model, fit.


def load(options: Options) -> Pair:
    """Chains of images to fit, and chains of held-out images."""
    data = options.data
    split_key, *keys = jax.random.split(_fits.data_key(data.data_seed), 3)
    with naming_options("hold_out", {"fraction": "held_out"}):
        parts = labelled_images(options, split_key)
    made = []
    for key, images, number in zip(keys, parts, (data.num_sequences, data.num_held_out), strict=True):
        size = int(np.max(images.labels)) + 1
        with naming_options("ring_transition"):
            ring = rpm.datasets.ring_transition(size, forward=data.forward, width=data.width)
        chains = rpm.datasets.digit_chains(
            key, *images, num_sequences=number, num_steps=data.sequence_length, transition=ring
        )
        made.append(chains._replace(views=grey_values(chains.views)))
    return made[0], made[1]


def build_model(options: Options, train: DigitChains) -> rpm.RPM:
    """The model, with everything that was not asked for left to the library."""
    wanted = options.model
    prior = rpm.priors.hidden_markov(wanted.num_states or len(train.transition), options.data.sequence_length)
    network = network_for(wanted.network, [train.views.shape[2:4]], wanted.hidden)
    # The chain is as likely at any digit at all times.
    return rpm.RPM(prior, rpm.factors.per_view(network, kind=wanted.kind), pooled=True)


def fit_all(options: Options, data: Pair, files: Files) -> Runs:
    """A fit from each seed, its prior by expected counts between gradient steps of the network."""
    model = build_model(options, data[0])
    update = rpm.train.maximise_prior(
        model, pseudo_count=PSEUDO_COUNT, **given(perturbation=options.model.perturbation)
    )
    own: dict[str, Any] = {
        "freeze": ("prior",),
        "update": update,
        "steps_per_call": options.training.steps_per_update,
    }
    settings = _fits.arguments(options, options.data.num_sequences, default_batch=BATCH_SIZE, **own)
    return _fits.fit_seeds(model, (data[0].views,), options, files, held_out=(data[1].views,), **settings)


# Results.


def run(options: Options, data: Pair, files: Files) -> _run.Results:
    """Fit, choose a run by its likelihood, score it by the labels."""
    started = time.perf_counter()
    runs = fit_all(options, data, files)
    seconds = time.perf_counter() - started
    recovered = [recover(each, data) for each in runs.fits]
    scores = [
        _fits.scores(fitted) | {"bound_heldout": _fits.bound_held_out(fitted)} | score(data, each)
        for fitted, each in zip(runs.fits, recovered, strict=True)
    ]
    metrics = {
        **runs.metrics(scores, tuple(scores[0])),
        "num_states": len(recovered[0].transition),
        "steps": runs.num_steps,
        "seconds_fit": seconds,
    }
    arrays = all_arrays(data, recovered[runs.chosen], runs)
    note = f"seed {runs.chosen} of {len(runs.fits)} by likelihood"
    return _run.Results(metrics, arrays, figures(arrays, runs.chosen), summary(metrics), note)


def recover(fitted: rpm.train.Fit, data: Pair) -> Recovered:
    """What the model says about the chains to fit and the held-out ones."""
    posteriors: list[Any] = [fitted.posterior(), fitted.infer((data[1].views,))]
    states = [np.asarray(posterior.mean).argmax(-1) for posterior in posteriors]
    paths = [np.asarray(posterior.most_probable()) for posterior in posteriors]
    # A single image says what its factor says, against F, times the prior at its step.
    ratios = np.asarray(fitted.log_ratios((data[1].views,)).logits)[:, 0]
    alone = (ratios + np.asarray(fitted.prior.sites().log_probabilities)).argmax(-1)
    transition = np.asarray(jnp.exp(fitted.prior.transition), float)
    matching = rpm.metrics.match_states(data[0].states, states[0], len(data[0].transition), len(transition))
    return Recovered((states[0], states[1]), (paths[0], paths[1]), alone, transition, matching)


def score(data: Pair, recovered: Recovered) -> dict[str, Any]:
    """All scores, under the matching of the training chains' most probable states."""
    labels = recovered.matching.assignment

    def accuracy(chains: DigitChains, states: np.ndarray) -> float:
        return float(rpm.metrics.matched_accuracy(chains.states, states, labels))

    return {
        "accuracy_train": accuracy(data[0], recovered.states[0]),
        "accuracy_heldout": accuracy(data[1], recovered.states[1]),
        "accuracy_viterbi_train": accuracy(data[0], recovered.paths[0]),
        "accuracy_viterbi_heldout": accuracy(data[1], recovered.paths[1]),
        "accuracy_alone_heldout": accuracy(data[1], recovered.alone),
        "transition_error": float(
            rpm.metrics.transition_error(data[0].transition, recovered.transition, labels)
        ),
    }


def summary(metrics: dict[str, Any]) -> str:
    """The most important numbers in words."""
    words = [f"{name} {metrics[name]:.4f}" for name in SUMMARISED]
    words[1] += f" (median {metrics['medians']['accuracy_heldout']:.4f})"
    return ", ".join([*words, f"bound_train {metrics['bound_train']:.2f}"])


def all_arrays(data: Pair, recovered: Recovered, runs: Runs) -> dict[str, np.ndarray]:
    """All that figures are made of; the bounds of all seeds, the rest of the chosen one."""
    arrays: dict[str, Any] = {
        "transition": data[0].transition,
        "recovered_transition": recovered.transition,
        "assignment": recovered.matching.assignment,
        "confusion": recovered.matching.confusion,
        **runs.histories(),
    }
    for suffix, chains, states, paths in zip(
        ("", "_heldout"), data, recovered.states, recovered.paths, strict=True
    ):
        arrays |= {
            f"views{suffix}": chains.views,
            f"states{suffix}": chains.states,
            f"recovered_states{suffix}": states,
            f"paths{suffix}": paths,
        }
    return {name: np.asarray(value) for name, value in arrays.items()}


def figures(arrays: dict[str, np.ndarray], chosen: int) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw; the transitions are in the order of the digits."""
    true, labels = arrays["transition"], arrays["assignment"]
    found = in_order_of_labels(arrays["recovered_transition"], labels, len(true))
    counts = arrays["confusion"]
    return {
        "transitions.png": lambda: plots.matrix_pair(true, found, rows="from digit", columns="to digit"),
        "confusion.png": lambda: plots.confusion_matrices(counts, plots.matched_columns(counts, labels)),
        "chains.png": lambda: draw_chains(arrays),
        "bound.png": lambda: plots.learning_curves(
            arrays["bound_train"], chosen, label="log-likelihood (nats per chain)"
        ),
    }


def in_order_of_labels(transition: np.ndarray, assignment: np.ndarray, number: int) -> np.ndarray:
    """The transitions between the states that labels are matched to, NaN where there is none."""
    matched = np.flatnonzero(assignment >= 0)
    ordered = np.full((number, number), np.nan)
    ordered[np.ix_(assignment[matched], assignment[matched])] = transition[np.ix_(matched, matched)]
    return ordered


def draw_chains(arrays: dict[str, np.ndarray]) -> Any:
    """Held-out chains, each image with the digit that its state is matched to."""
    labels = arrays["assignment"]
    names = np.where(labels >= 0, labels.astype(str), "–")[arrays["recovered_states_heldout"]]
    return plots.image_chains(arrays["views_heldout"], names, arrays["states_heldout"].astype(str))


EXPERIMENT = _run.Experiment("digit_chain", Options, check, load, run)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
