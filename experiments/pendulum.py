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
from typing import Any, NamedTuple, TypeAlias

import numpy as np

import rpm_jax as rpm
from experiments import _fits, _run
from experiments._fits import Runs
from experiments._output import Files
from experiments._pendulum_autoencoder import codes, with_neighbours
from experiments._pendulum_options import BATCH_SIZE, Options, check
from experiments._pendulum_scores import kernel_ridge_r2
from experiments._spectra import eigenvalues
from rpm_jax import plots
from rpm_jax.datasets import Pendulum

Pair: TypeAlias = tuple[Pendulum, Pendulum]
"""Films to fit, and held-out ones."""

TARGETS = ("sin", "cos", "velocity")
TITLES = ("sin θ", "cos θ", "angular velocity (1/s)")


class Recovered(NamedTuple):
    """Latents of the films to fit and the held-out ones.

    Attributes:
        mean: Posterior means of both, each of shape (N, T, K).
        covariance: Of the held-out ones, shape (N, T, K, K).
        eigenvalues: Of the transition, shape (K,).
    """

    mean: tuple[np.ndarray, np.ndarray]
    covariance: np.ndarray
    eigenvalues: np.ndarray


# Data, model, fit.


def load(options: Options) -> Pair:
    """Films to fit, and held-out ones."""
    data = options.data
    renamed = {"num_steps": "num_frames"}
    return _fits.draw(rpm.datasets.pendulum, data, "num_sequences", data.num_held_out, renamed=renamed)


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


def fit_all(options: Options, data: Pair, files: Files) -> Runs:
    """A fit from each seed."""
    settings = _fits.arguments(options, options.data.num_sequences, default_batch=BATCH_SIZE)
    return _fits.fit_seeds(build_model(options), as_data(options, data[0]), options, files, **settings)


# Results.


def run(options: Options, data: Pair, files: Files) -> _run.Results:
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
    note = f"seed {runs.chosen} of {len(runs.fits)} by bound"
    drawn = figures(options, data, arrays, recovered[runs.chosen], runs.chosen)
    return _run.Results(metrics, arrays, drawn, summary(metrics), note)


def recover(options: Options, fitted: rpm.train.Fit, data: Pair) -> Recovered:
    """What the model says about the films to fit and the held-out ones."""
    posteriors: list[Any] = [fitted.posterior(), fitted.infer(as_data(options, data[1]))]
    transition = np.asarray(fitted.prior.transition)
    return Recovered(
        (np.asarray(posteriors[0].mean), np.asarray(posteriors[1].mean)),
        np.asarray(posteriors[1].covariance),
        eigenvalues(transition),
    )


def score(options: Options, data: Pair, latents: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """R² of the held-out states, and of the first camera's distractor, which is to be ignored."""
    frames = options.model.frames
    states = np.concatenate([states_of(options, part) for part in data])
    fraction = len(latents[0]) / len(states)
    found = kernel_ridge_r2(states, np.concatenate(latents), fraction)
    scores = {f"r2_{name}": float(value) for name, value in zip(TARGETS, found, strict=True)}
    if options.data.distractor > 0:
        paths = [together(part.distractors[:, :, 0], frames).mean(2) for part in data]
        ignored = kernel_ridge_r2(np.concatenate(paths), np.concatenate(latents), fraction)
        scores["r2_distractor"] = float(ignored.mean())
    return scores


def compare(options: Options, data: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the autoencoder, which sees what both factors of a site see, and as often; with neighbours."""
    training, wanted = options.training, options.model
    parts = [
        np.concatenate([np.asarray(view) for view in as_data(options, part).views], axis=-1) for part in data
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
    return f"{text}; bound {metrics['bound_train']:.2f}, held-out {metrics['bound_heldout']:.2f}"


def all_arrays(options: Options, data: Pair, found: Recovered, runs: Runs) -> dict[str, np.ndarray]:
    """All that figures are made of; the bounds of all seeds, the rest of the chosen one."""
    train, held_out = data
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
    options: Options, data: Pair, arrays: dict[str, np.ndarray], found: Recovered, chosen: int
) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw; states are linear images of the latents here."""
    aligned = rpm.metrics.align_latent(arrays["states"], found.mean[0])
    slope = np.asarray(aligned.slope)
    mean = found.mean[1] @ slope + np.asarray(aligned.intercept)
    deviation = np.sqrt(np.einsum("kd,ntkl,ld->ntd", slope, found.covariance, slope))
    return {
        "states.png": lambda: plots.states_over_time(
            arrays["states_heldout"],
            mean,
            deviation,
            TITLES,
            times=together(data[1].times[None], options.model.frames)[0].mean(-1),
            time_label="time (s)",
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
