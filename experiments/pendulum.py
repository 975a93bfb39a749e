"""Find a pendulum in films of it and of something brighter that moves, too.

Two cameras look at a driven pendulum; a brighter blob of light walks through the image of each, on a path of
its own (`rpm_jax.datasets.pendulum`). A linear-Gaussian chain that the torque drives has to explain what the
cameras have in common and what goes on from frame to frame. A factor sees a pair of frames of one camera, so
that it can tell a velocity; pairs do not overlap. Each distractor is in one camera alone, so that there is no
place for it in the latents, whereas a variational autoencoder spends its code on the brightest pixels. (With
one camera the distractor is as predictable as the pendulum, and found as well.)

Scores are R² of sin θ, cos θ and the angular velocity by kernel ridge regression on the training films'
latents, next to those of the autoencoder's codes, each with its neighbours in time. The run is chosen by its
bound on the training films.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import rpm_jax as rpm
from experiments import _fits, _forecasts, _run
from experiments._fits import Runs
from experiments._forecasts import Forecasts
from experiments._output import Files
from experiments._pendulum_autoencoder import codes, with_neighbours
from experiments._pendulum_options import BATCH_SIZE, Options, check
from experiments._pendulum_states import state_regression
from experiments._spectra import eigenvalues
from rpm_jax import plots
from rpm_jax.datasets import Pendulum


class Films(NamedTuple):
    """Films to fit and others.

    Attributes:
        train: To fit.
        held_out: Others of as many frames.
        longer: The held-out ones with the frames behind, which are to be forecast.
    """

    train: Pendulum
    held_out: Pendulum
    longer: Pendulum


NUM_DRAWS = 100
"""Of the latents of a forecast."""

NUM_DRAWN = 3
"""Held-out films whose states are drawn."""

TARGETS = ("sin", "cos", "velocity")
TITLES = ("sin θ", "cos θ", "angular velocity (1/s)")


class Recovered(NamedTuple):
    """Latents of the films to fit and the held-out ones.

    Attributes:
        mean: Posterior means of both, each of shape (N, T, K).
        draws: Of some held-out ones, shape (S, n, T, K).
        eigenvalues: Of the transition, shape (K,).
    """

    mean: tuple[np.ndarray, np.ndarray]
    draws: np.ndarray
    eigenvalues: np.ndarray


# Data, model, fit.


def load(options: Options) -> Films:
    """Films to fit, and held-out ones, of which the end is only to be forecast."""
    data = options.data
    train, longer = _fits.draw(
        rpm.datasets.pendulum,
        data,
        "num_sequences",
        data.num_held_out,
        num_steps=data.num_frames + data.forecast * options.model.frames,
    )
    return Films(first_frames(train, data.num_frames), first_frames(longer, data.num_frames), longer)


def first_frames(films: Pendulum, number: int) -> Pendulum:
    """The beginning of all films."""
    fields = ("views", "angle", "velocity", "torque", "distractors")
    parts = jax.tree.map(lambda array: array[:, :number], {name: getattr(films, name) for name in fields})
    return films._replace(**parts, times=films.times[:number])


def together(values: Any, frames: int) -> np.ndarray:
    """Values (N, frames · T, ...) with the frames of a site on an axis of their own, (N, T, frames, ...)."""
    array = np.asarray(values)
    return array.reshape(array.shape[0], -1, frames, *array.shape[2:])


def as_data(options: Options, films: Pendulum) -> rpm.Data:
    """Frames of a site as channels, (N, T, H, W, frames), and the torque of each, (N, T, frames)."""
    frames = options.model.frames
    views = tuple(np.moveaxis(together(view, frames), 2, -1) for view in films.views)
    return rpm.as_data(views, inputs=together(films.torque, frames) if options.model.inputs else None)


def states_of(options: Options, films: Pendulum) -> np.ndarray:
    """Sin θ, cos θ and the velocity, averaged over the frames of a site, shape (N, T, 3)."""
    return together(films.states, options.model.frames).mean(2)


def build_network(options: Options) -> Any:
    """From the frames of a site to a factor."""
    wanted = options.model
    if wanted.network == "mlp":
        return rpm.networks.MLP(wanted.hidden)
    return rpm.networks.CNN(channels=wanted.channels, hidden=wanted.hidden, kernel_size=wanted.kernel_size)


def build_model(options: Options) -> rpm.RPM:
    """The model, with everything that was not asked for left to the library."""
    wanted = options.model
    num_sites = options.data.num_frames // wanted.frames
    chain: Callable[..., Any] = functools.partial(
        rpm.priors.linear_gaussian, wanted.num_latents, num_sites, transition=wanted.transition
    )
    prior = chain()
    if wanted.inputs:
        free = chain(noise="free", initial="free")
        prior = rpm.priors.driven_linear_gaussian(free, rpm.networks.PointwiseMLP(()))
    # Cameras are alike, and as certain at all times; such mixtures are much faster.
    return rpm.RPM(prior, rpm.factors.shared(build_network(options), precision="shared"))


def fit_all(options: Options, data: Films, files: Files) -> Runs:
    """A fit from each seed."""
    size = options.data.num_sequences
    batch_size = options.training.batch_size or min(BATCH_SIZE, size)
    others = options.training.others
    components = rpm.feeds.random_subset(others) if others else rpm.feeds.minibatch()
    settings = _fits.arguments(options, size, batch_size=batch_size, components=components)
    return _fits.fit_seeds(build_model(options), as_data(options, data[0]), options, files, **settings)


# Results.


def run(options: Options, data: Films, files: Files) -> _run.Results:
    """Fit, choose a run by its bound, score it by the true states; the autoencoder beside it."""
    runs = fit_all(options, data, files)
    recovered = [recover(options, each, data) for each in runs.fits]
    scores = []
    for fitted, each in zip(runs.fits, recovered, strict=True):
        held_out = np.mean(fitted.evaluate(as_data(options, data[1])))
        scores.append(
            {**_fits.scores(fitted), "bound_heldout": float(held_out), **score(options, data, each.mean)}
        )
    metrics: dict[str, Any] = {**runs.metrics(scores, tuple(scores[0])), "steps": runs.num_steps}
    arrays = all_arrays(options, data, recovered[runs.chosen], runs)
    if options.comparison.autoencoder:
        coded = compare(options, data)
        metrics["autoencoder"] = score(options, data, coded)
        arrays |= {"codes": coded[0], "codes_heldout": coded[1]}
    drawn = figures(options, data, arrays, recovered[runs.chosen], runs.chosen)
    if options.data.forecast:
        found = forecast(options, runs.best, data)
        metrics["forecast"] = found.scores(arrays["states"])
        arrays |= found.arrays()
        times = together(data.longer.times[None], options.model.frames)[0].mean(-1)
        drawn |= _forecasts.figures(found, metrics["forecast"], times, TITLES)
    note = f"seed {runs.chosen} of {len(runs.fits)} by bound"
    return _run.Results(metrics, arrays, drawn, summary(metrics), note)


def recover(options: Options, fitted: rpm.train.Fit, data: Films) -> Recovered:
    """What the model says about the films to fit and the held-out ones."""
    posteriors: list[Any] = [fitted.posterior(), fitted.infer(as_data(options, data[1]))]
    transition = np.asarray(fitted.prior.transition)
    return Recovered(
        (np.asarray(posteriors[0].mean), np.asarray(posteriors[1].mean)),
        np.asarray(posteriors[1].sample(jax.random.key(0), (NUM_DRAWS,)))[:, :NUM_DRAWN],
        eigenvalues(transition),
    )


def score(options: Options, data: Films, latents: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """R² of the held-out states, and of all distractors, which are to be ignored."""
    fraction = len(latents[0]) / (len(latents[0]) + len(latents[1]))

    def scored(true: list[np.ndarray]) -> np.ndarray:
        return np.asarray(
            rpm.metrics.kernel_ridge_r2(
                np.concatenate(true), np.concatenate(latents), fit_fraction=fraction, per_dimension=True
            )
        )

    found = scored([states_of(options, part) for part in data[:2]])
    scores = {f"r2_{name}": float(value) for name, value in zip(TARGETS, found, strict=True)}
    if options.data.distractor > 0:
        paths = [together(part.distractors, options.model.frames).mean(2) for part in data[:2]]
        scores["r2_distractor"] = float(scored([path.reshape(*path.shape[:2], -1) for path in paths]).mean())
    return scores


def forecast(options: Options, fitted: rpm.train.Fit, data: Films) -> Forecasts:
    """States of the held-out films behind their end, with the torque to come known.

    Latents become states by the regression on the training films; intervals are as wide as the states of
    draws of the latents, and its own error. What persistence goes on from is what the model makes of the last
    site.
    """
    frames, horizon = options.model.frames, options.data.forecast
    num_sites = options.data.num_frames // frames
    inputs = None
    if options.model.inputs:
        torque = together(data.longer.torque, frames)
        inputs = torque[
            :, num_sites - 1 : num_sites + horizon - 1
        ]  # the first leads to the first site to come
    train = np.asarray(fitted.posterior().mean)
    states = states_of(options, data.train)
    predict = state_regression(train, states)
    own = (states - predict(train)).reshape(-1, states.shape[-1]).var(0)
    found = fitted.forecast(horizon, as_data(options, data.held_out), inputs=inputs)
    mean = predict(np.asarray(found.mean))
    draws = predict(np.asarray(found.sample(jax.random.key(options.training.model_seed), (NUM_DRAWS,))))
    known = predict(np.asarray(fitted.infer(as_data(options, data.held_out)).mean))
    truth = states_of(options, data.longer)[:, num_sites:]
    return Forecasts(mean, np.sqrt(((draws - mean) ** 2).mean(0) + own), truth, known)


def compare(options: Options, data: Films) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the autoencoder, which sees what both factors of a site see, and as often; with neighbours."""
    training, wanted = options.training, options.model
    parts = [
        np.concatenate([np.asarray(view) for view in as_data(options, part).views], axis=-1)
        for part in data[:2]
    ]
    batch = training.batch_size or min(BATCH_SIZE, options.data.num_sequences)
    found = codes(
        build_network(options),
        (parts[0], parts[1]),
        wanted.num_latents,
        wanted.hidden,
        num_steps=training.num_steps,
        batch_size=batch * parts[0].shape[1],
        learning_rate=training.learning_rate,
        seed=training.model_seed,
    )
    return with_neighbours(found[0]), with_neighbours(found[1])


def summary(metrics: dict[str, Any]) -> str:
    """The most important numbers in words."""

    def words(scores: dict[str, Any]) -> str:
        return " ".join(f"{name.removeprefix('r2_')} {scores[name]:.3f}" for name in scores if "r2_" in name)

    own = {name: value for name, value in metrics.items() if name.startswith("r2_")}
    text = f"R² {words(own)}"
    if "autoencoder" in metrics:
        text += f"; autoencoder {words(metrics['autoencoder'])}"
    if "forecast" in metrics:
        text += f"; {_forecasts.words(metrics['forecast'])}"
    return f"{text}; bound {metrics['bound_train']:.2f}, held-out {metrics['bound_heldout']:.2f}"


def all_arrays(options: Options, data: Films, found: Recovered, runs: Runs) -> dict[str, np.ndarray]:
    """All that figures are made of; the bounds of all seeds, the rest of the chosen one."""
    train, held_out, _ = data
    arrays = {
        "states": states_of(options, train),
        "states_heldout": states_of(options, held_out),
        "films_heldout": np.stack(held_out.views)[:, :20],
        "mean": found.mean[0],
        "mean_heldout": found.mean[1],
        "eigenvalues": found.eigenvalues,
        "bound_train": runs.curves,
    }
    return {name: np.asarray(value) for name, value in arrays.items()}


def figures(
    options: Options, data: Films, arrays: dict[str, np.ndarray], found: Recovered, chosen: int
) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw; states are regressed on the latents."""
    predict = state_regression(found.mean[0], arrays["states"])
    mean = predict(found.mean[1][:NUM_DRAWN])
    deviation = np.sqrt(((predict(found.draws) - mean) ** 2).mean(0))
    return {
        "states.png": lambda: plots.latents_over_time(
            together(data[1].times[None], options.model.frames)[0].mean(-1),
            mean,
            deviation,
            truth=arrays["states_heldout"][: len(mean)],
            names=TITLES,
        ),
        "films.png": lambda: plots.image_chains(
            arrays["films_heldout"][:, :3].swapaxes(0, 1).reshape(-1, *arrays["films_heldout"].shape[2:])
        ),
        "bound.png": lambda: plots.learning_curves(
            arrays["bound_train"], chosen, label="bound (nats per film)"
        ),
    }


EXPERIMENT = _run.Experiment("pendulum", Options, check, load, run)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
