"""Recover what sensors of different kinds have in common, also while one of them is missing.

A camera sees agents as blobs, and beacons measure how far they are (`rpm_jax.datasets.agents`). A
convolutional network looks at the images and a perceptron at the distances; their factors meet in one latent
over time. One view is dropped for part of the time, at another time in each sequence: its factor is then left
out, and the other view and the prior tell what they can. The run is chosen by its bound on the training
sequences; true positions only score it.

--data FILE.npz takes sequences of one's own: arrays view_NAME of shape (N, T), (N, T, D) or, images,
(N, T, H, W) with or without channels; optionally mask_NAME (N, T), True where there is a view, and states
(N, T, S), to score by.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

import rpm_jax as rpm
from experiments import _fits, _run
from experiments._fits import Runs
from experiments._modalities_data import Modalities, load
from experiments._modalities_options import BATCH_SIZE, Options, check
from experiments._output import Files
from rpm_jax import plots

Pair: TypeAlias = tuple[Modalities, Modalities]
"""Sequences to fit, and held-out ones."""


class Recovered(NamedTuple):
    """Posterior moments of the latents of held-out sequences, by what is seen of them.

    Attributes:
        train: Means of the training sequences, as they were fitted, shape (N, T, K).
        mean: By "observed" (one view dropped for part of the time), "all" and the names of single views.
        deviation: Standard deviations, likewise.
    """

    train: np.ndarray
    mean: dict[str, np.ndarray]
    deviation: dict[str, np.ndarray]


# Model and fit.


def build_model(options: Options, train: Modalities) -> rpm.RPM:
    """The model, with everything that was not asked for left to the library."""
    wanted = options.model
    num_steps = train.present.shape[-1]
    of_states = 2 if train.states is None else train.states.shape[-1]
    size = wanted.num_latents or of_states
    if wanted.prior == "chain":
        prior = rpm.priors.linear_gaussian(size, num_steps)
    else:
        prior = rpm.priors.gaussian_process(np.arange(num_steps) / 10, "matern32", num_latents=size)
    image = rpm.networks.CNN(channels=wanted.channels, hidden=wanted.hidden, kernel_size=wanted.kernel_size)
    other = rpm.networks.PointwiseMLP(wanted.hidden)
    networks = [image if view.ndim > 3 else other for view in train.views.values()]
    # Views are as certain at all times where they are there, and such mixtures are much faster.
    factors = rpm.factors.per_view(networks, precision="shared")
    return rpm.RPM(prior, factors, pooled=wanted.pooled)


# Results.


def run(options: Options, data: Pair, files: Files) -> _run.Results:
    """Fit, choose a run by its bound, score it by the true states."""
    train, held_out = data
    settings = _fits.arguments(options, len(train.present), default_batch=BATCH_SIZE)
    model = build_model(options, train)
    runs = _fits.fit_seeds(model, train.data(), options, files, held_out=held_out.data(), **settings)
    recovered = [recover(each, held_out) for each in runs.fits]
    scores = [
        {**_fits.scores(fitted), "bound_heldout": _fits.bound_held_out(fitted), **score(data, each)}
        for fitted, each in zip(runs.fits, recovered, strict=True)
    ]
    metrics = {**runs.metrics(scores, tuple(scores[0])), "steps": runs.num_steps}
    arrays = all_arrays(data, recovered[runs.chosen], runs)
    note = f"seed {runs.chosen} of {len(runs.fits)} by bound"
    return _run.Results(metrics, arrays, figures(data, arrays, runs.chosen), summary(metrics), note)


def recover(fitted: rpm.train.Fit, held_out: Modalities) -> Recovered:
    """What the model says when it sees this or that."""
    seen = {"observed": held_out.data(), "all": held_out.data(with_dropped=True)}
    if len(held_out.views) > 1:
        seen |= {name: held_out.data((name,), with_dropped=True) for name in held_out.views}
    posteriors = {name: fitted.infer(each) for name, each in seen.items()}
    return Recovered(
        np.asarray(fitted.posterior().mean),
        {name: np.asarray(each.mean) for name, each in posteriors.items()},
        {name: np.asarray(each.standard_deviation) for name, each in posteriors.items()},
    )


def score(data: Pair, recovered: Recovered) -> dict[str, float]:
    """R² of the held-out states by a regression on the training sequences, and how far views agree.

    Agreement is the R² of latents inferred from all views, regressed on those from one.
    """
    train, held_out = data
    together = recovered.mean["all"]
    scores = {
        f"agreement_{name}": r2(together, on_scale_of(together, mean, mean)[0])
        for name, mean in recovered.mean.items()
        if name in held_out.views
    }
    if train.states is None or held_out.states is None:
        return scores
    for name, mean in recovered.mean.items():
        predicted = on_scale_of(train.states, recovered.train, mean)[0]
        scores[f"r2_{name}"] = r2(held_out.states, predicted)
        if name == "observed":
            gone = held_out.dropped.any(1)
            scores["r2_while_dropped"] = r2(held_out.states[gone], predicted[gone])
            scores["r2_else"] = r2(held_out.states[~gone], predicted[~gone])
    return scores


def on_scale_of(states: np.ndarray, train: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latents under the affine map that takes those of the training sequences closest to states.

    Returns:
        The mapped latents, and the map's slope, shape (K, S).
    """
    aligned = rpm.metrics.align_latent(states, train)
    return mean @ np.asarray(aligned.slope) + np.asarray(aligned.intercept), np.asarray(aligned.slope)


def r2(true: np.ndarray, predicted: np.ndarray) -> float:
    """1 − Σ (z − ẑ)² / Σ (z − z̄)² of arrays (..., S), summed over all; NaN of nothing."""
    if not true.size:
        return float("nan")
    true, predicted = (values.reshape(-1, values.shape[-1]) for values in (true, predicted))
    return float(1 - ((true - predicted) ** 2).sum() / ((true - true.mean(0)) ** 2).sum())


def summary(metrics: dict[str, Any]) -> str:
    """The most important numbers in words."""
    shown = [name for name in metrics if name.startswith("r2_")] or [
        name for name in metrics if name.startswith("agreement_")
    ]
    words = [f"{name} {metrics[name]:.4f}" for name in shown]
    return ", ".join([*words, f"bound {metrics['bound_train']:.2f}"])


def all_arrays(data: Pair, recovered: Recovered, runs: Runs) -> dict[str, np.ndarray]:
    """All that figures are made of; the bounds of all seeds, the rest of the chosen one."""
    train, held_out = data
    arrays: dict[str, Any] = {
        "mean": recovered.train,
        "dropped": train.dropped,
        "dropped_heldout": held_out.dropped,
        **{f"mean_heldout_{name}": mean for name, mean in recovered.mean.items()},
        **{f"deviation_heldout_{name}": each for name, each in recovered.deviation.items()},
        **{f"view_heldout_{name}": view for name, view in held_out.views.items()},
        **runs.histories(),
    }
    if train.states is not None:
        arrays |= {"states": train.states, "states_heldout": held_out.states}
    return {name: np.asarray(value) for name, value in arrays.items()}


def figures(data: Pair, arrays: dict[str, np.ndarray], chosen: int) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw; all but the bound are of held-out sequences."""
    held_out = data[1]
    mean, deviation = arrays["mean_heldout_observed"], arrays["deviation_heldout_observed"]
    if "states" in arrays:
        states = arrays["states_heldout"]
        mean, slope = on_scale_of(arrays["states"], arrays["mean"], mean)
        deviation = np.sqrt(deviation**2 @ slope**2)
    else:
        states = arrays["mean_heldout_all"]
    drawn: dict[str, Callable[[], Any]] = {
        "states.png": lambda: plots.latents_over_time(
            np.arange(1, 1 + mean.shape[1]),
            mean,
            deviation,
            truth=states,
            shaded=held_out.dropped.any(1),
            shade="a view dropped",
        ),
        "bound.png": lambda: plots.learning_curves(
            arrays["bound_train"], chosen, label="bound (nats per sequence)"
        ),
    }
    for name, view in held_out.views.items():
        if view.ndim == 4:
            drawn[f"{name}.png"] = functools.partial(plots.image_chains, view)
    return drawn


EXPERIMENT = _run.Experiment("modalities", Options, check, load, run)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
