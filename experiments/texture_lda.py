"""Learn textures from nothing but sets of patches that mix them in unknown proportions.

A set's proportions have a Dirichlet prior, each of its patches a topic drawn from them, and one network looks
at every patch: latent Dirichlet allocation with recognition factors in the place of words. The run is chosen
by its bound on the training data, and the true textures only score it. The patches are
`rpm_jax.datasets.texture_sets`.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import rpm_jax as rpm
from experiments import _fits, _run
from experiments._fits import Runs
from experiments._options import OptionError, given
from experiments._output import Files
from experiments._texture_options import BATCH_SIZE, Options, check
from experiments._texture_scores import (
    Pair,
    Recovered,
    baselines,
    coordinate_ascent,
    in_order_of_textures,
    match,
    score,
    true_counts,
)
from rpm_jax import plots

# Data, model, fit.


def load(options: Options) -> Pair:
    """Sets to fit, and held-out ones of the same textures."""
    data = options.data
    concentration = np.array(data.concentration) if len(data.concentration) > 1 else data.concentration[0]
    train, held_out = _fits.draw(
        rpm.datasets.texture_sets, data, "num_sets", data.num_held_out, concentration=concentration
    )
    try:
        jax.eval_shape(build_model(options).init, jax.random.key(0), (train.views,))
    except ValueError as error:
        raise OptionError(f"--patch-size, --channels or --kernel-size: {error}") from error
    return train, held_out


def build_model(options: Options) -> rpm.RPM:
    """The model, with everything that was not asked for left to the library."""
    wanted = options.model
    prior = rpm.priors.dirichlet_topics(
        wanted.num_topics or options.data.num_textures,
        options.data.num_patches,
        concentration=wanted.initial_concentration,
        symmetric=wanted.symmetric,
        learnable=wanted.learn_concentration,
        **given(max_iterations=wanted.max_iterations, tolerance=wanted.tolerance),
    )
    network: Any = rpm.networks.MLP(**given(hidden=wanted.hidden))
    if wanted.network == "cnn":
        network = rpm.networks.CNN(
            channels=wanted.channels, **given(kernel_size=wanted.kernel_size, hidden=wanted.hidden)
        )
    return rpm.RPM(prior, rpm.factors.per_view(network, kind=wanted.kind), pooled=wanted.pooled)


def run(options: Options, data: Pair, files: Files) -> _run.Results:
    """Fit, choose a run by its bound, score it by the true textures."""
    train, held_out = ((part.views,) for part in data)
    settings = _fits.arguments(options, options.data.num_sets, default_batch=BATCH_SIZE)
    runs = _fits.fit_seeds(build_model(options), train, options, files, held_out=held_out, **settings)
    recovered = [recover(each, held_out) for each in runs.fits]
    scores = [
        _fits.scores(fitted)
        | {"bound_heldout": _fits.bound_held_out(fitted)}
        | score(data, each)
        | coordinate_ascent(each)
        | {"concentration": np.asarray(fitted.prior.concentration, float).tolist()}
        for fitted, each in zip(runs.fits, recovered, strict=True)
    ]
    accuracies = np.array([each["accuracy_heldout"] for each in scores])
    metrics: dict[str, Any] = {
        **runs.metrics(scores),
        **true_counts(data),
        "accuracy_heldout_median": float(np.median(accuracies)),
        "share_above_90": float(np.mean(accuracies >= 0.9)),
        "steps": runs.num_steps,
    }
    if options.comparison.baselines:
        metrics["baselines"] = baselines(options, data)
    arrays = all_arrays(data, recovered[runs.chosen], runs)
    return _run.Results(
        metrics,
        arrays,
        figures(arrays, runs.chosen),
        summary(metrics, accuracies),
        note=f"seed {runs.chosen} of {len(runs.fits)} by bound",
    )


def recover(fitted: rpm.train.Fit, held_out: Any) -> tuple[Recovered, Recovered]:
    """Posterior topics and proportions, E_q[θ], of the sets to fit and of the held-out ones."""
    posteriors: Any = fitted.posterior(), fitted.infer(held_out)
    first, second = (
        Recovered(
            np.asarray(q.mean).argmax(-1),
            np.asarray(q.concentration / q.concentration.sum(-1, keepdims=True)),
            np.asarray(q.mean),
            int(q.iterations.max()),
            float(q.residual.max()),
        )
        for q in posteriors
    )
    return first, second


# Results.


def summary(metrics: dict[str, Any], accuracies: np.ndarray) -> str:
    """The most important numbers in words."""
    words = (
        f"held-out accuracy {metrics['accuracy_heldout']:.4f} (all seeds {accuracies.min():.4f} to "
        f"{accuracies.max():.4f}), error of the proportions {metrics['proportions_error_heldout']:.4f} "
        f"(counts of true textures {metrics['proportions_error_heldout_of_true_textures']:.4f}), "
        f"bound {metrics['bound_train']:.3f}"
    )
    for name, scores in metrics.get("baselines", {}).items():
        words += f", {name.replace('_', ' ')} {scores['accuracy_heldout']:.4f}"
    return words


def all_arrays(data: Pair, recovered: tuple[Recovered, Recovered], runs: Runs) -> dict[str, np.ndarray]:
    """All that figures are made of; the bounds of all seeds, the rest of the chosen one."""
    matching = match(data, recovered)
    arrays: dict[str, Any] = {
        "examples": data[0].examples,
        "confusion": matching.confusion,
        "assignment": matching.assignment,
        **runs.histories(),
    }
    for suffix, true, found in zip(("", "_heldout"), data, recovered, strict=True):
        arrays |= {
            f"views{suffix}": true.views,
            f"topics{suffix}": true.topics,
            f"proportions{suffix}": true.proportions,
            f"probabilities{suffix}": found.probabilities,
            f"recovered_proportions{suffix}": found.proportions,
        }
    return {name: np.asarray(value) for name, value in arrays.items()}


def figures(arrays: dict[str, np.ndarray], chosen: int) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw; all but the bound are of the held-out sets."""
    confusion, assignment = arrays["confusion"], arrays["assignment"]
    true, probabilities = arrays["proportions_heldout"], arrays["probabilities_heldout"]
    names = [f"texture {label}" for label in range(true.shape[1])]
    titles = [str(label) if label >= 0 else "–" for label in assignment]
    recovered = in_order_of_textures(arrays["recovered_proportions_heldout"], assignment, true.shape[1])
    held_out = rpm.metrics.confusion_matrix(
        arrays["topics_heldout"], probabilities.argmax(-1), *confusion.shape
    )
    return {
        "proportions.png": lambda: plots.topic_proportions(true, recovered, names),
        "patches.png": lambda: plots.patches_by_topic(
            arrays["views_heldout"], probabilities.argmax(-1), probabilities, titles=titles
        ),
        "confusion.png": lambda: plots.confusion_matrices(
            held_out, plots.matched_columns(held_out, assignment), names
        ),
        "bound.png": lambda: plots.learning_curves(
            arrays["bound_train"], chosen, label="bound (nats per set)"
        ),
    }


EXPERIMENT = _run.Experiment("texture_lda", Options, check, load, run)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
