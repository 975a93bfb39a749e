"""Recover the Lorenz attractor from the spikes of neurons that follow it.

A state with three coordinates moves on the attractor, and drives the log-rates of 200 neurons
(`rpm_jax.datasets.lorenz_spikes`). Groups of neurons are the views; the square roots of a group's counts at a
step make a Gaussian factor by a linear map, with one precision for the group, and the prior is a
linear-Gaussian chain, or with --prior process independent Matérn processes. F_j averages over all steps of
all paths, which is right since the prior is stationary.

Latents are found up to an affine map: it is fitted on the paths of the fit, and scored on held-out ones. The
states score the runs and choose nothing; a run keeps its parameters with the best held-out bound. Where
held-out paths go on behind their last step is forecast, beside persistence and an autoregression.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _fits, _forecasts, _run
from experiments._fits import Runs
from experiments._forecasts import Forecasts
from experiments._lorenz_options import BATCH_SIZE, Options, check
from experiments._output import Files
from rpm_jax import plots
from rpm_jax.datasets import LorenzSpikes


class Paths(NamedTuple):
    """Paths seen by the same neurons.

    Attributes:
        train: To fit, of T steps.
        held_out: Others of T steps.
        longer: The held-out ones with the H steps behind.
    """

    train: LorenzSpikes
    held_out: LorenzSpikes
    longer: LorenzSpikes


COORDINATES = ("x", "y", "z")

MEDIANS = (
    *(f"r2_{coordinate}_{part}" for part in ("train", "heldout") for coordinate in COORDINATES),
    "coverage_95_heldout",
    "bound_train",
    "bound_heldout",
)


class Recovered(NamedTuple):
    """The latents of held-out paths on the scale of the states.

    Attributes:
        mean: Posterior means, shape (M, T, 3).
        deviation: Standard deviations, shape (M, T, 3).
        factor_means: Of each group's factor by itself, shape (M, J, T, 3).
        scores: Numbers.
    """

    mean: np.ndarray
    deviation: np.ndarray
    factor_means: np.ndarray
    scores: dict[str, float]


def load(options: Options) -> list[Paths]:
    """For each seed paths to fit, and held-out ones, of which the end is only to be forecast."""
    return [_load(options, options.data.data_seed + seed) for seed in range(options.training.seeds)]


def _load(options: Options, seed: int) -> Paths:
    data = options.data
    train, longer = _fits.draw(
        rpm.datasets.lorenz_spikes,
        data,
        "num_sequences",
        data.num_held_out,
        seed=seed,
        num_steps=data.sequence_length + data.forecast,
    )
    return Paths(first_steps(train, data.sequence_length), first_steps(longer, data.sequence_length), longer)


def first_steps(spikes: LorenzSpikes, number: int) -> LorenzSpikes:
    """Some of the steps of all paths."""
    return spikes._replace(
        views=tuple(view[:, :number] for view in spikes.views),
        states=spikes.states[:, :number],
        times=spikes.times[:number],
        rates=spikes.rates[:, :number],
    )


def build_model(options: Options, times: jax.Array) -> rpm.RPM:
    """The model, with everything that was not asked for left to the library."""
    wanted = options.model
    prior: Any = rpm.priors.linear_gaussian(wanted.num_latents, times.size)
    if wanted.prior == "process":
        kernel = wanted.kernel or "matern32"
        prior = rpm.priors.gaussian_process(times, kernel, num_latents=wanted.num_latents)
    network = rpm.networks.PointwiseMLP(wanted.hidden)
    return rpm.RPM(prior, rpm.factors.per_view(network, precision=wanted.precision), pooled=True)


def views_of(options: Options, spikes: LorenzSpikes) -> tuple[jax.Array, ...]:
    """What the networks see."""
    return tuple(map(jnp.sqrt, spikes.views)) if options.model.square_roots else spikes.views


def fit_all(options: Options, data: Sequence[Paths]) -> Runs:
    """A fit to each seed's data."""
    training = options.training
    settings = _fits.arguments(
        options,
        options.data.num_sequences,
        default_batch=BATCH_SIZE,
        components=rpm.feeds.random_sites(training.num_components),
        stopping=rpm.EarlyStopping(training.early_stopping),
    )
    sweep = rpm.fit_seeds(
        build_model(options, data[0].train.times),
        _fits.stack_views([views_of(options, each.train) for each in data]),
        keys=jnp.stack([_fits.model_key(training.model_seed + seed) for seed in range(len(data))]),
        stacked_data=True,
        held_out=_fits.stack_views([views_of(options, each.held_out) for each in data]),
        **settings,
    )
    return _fits.runs_of([sweep.run(seed) for seed in range(sweep.size)])


def run(options: Options, data: Sequence[Paths], files: Files) -> _run.Results:
    """Fit, score by the true states, draw."""
    runs = fit_all(options, data)
    runs.save(files)
    recovered = [recover(options, *each) for each in zip(runs.fits, data, strict=True)]
    scores = [
        found.scores | _fits.scores(fitted) | {"bound_heldout": _fits.bound_held_out(fitted)}
        for fitted, found in zip(runs.fits, recovered, strict=True)
    ]
    metrics = {
        **_fits.medians_of(scores, MEDIANS),
        "per_seed": _fits.columns(scores),
        "best_seed": runs.chosen,
        "steps": runs.num_steps,
    }
    arrays = all_arrays(data, recovered, runs)
    drawn = figures(arrays, runs.chosen)
    words = ""
    if options.data.forecast:
        forecasts = [forecast(options, *each) for each in zip(runs.fits, data, strict=True)]
        metrics["forecast"] = forecast_scores(forecasts, data)
        arrays |= _fits.stack([each.arrays() for each in forecasts])
        words = f"; {_forecasts.words(metrics['forecast'])}"
        times = np.asarray(data[0].longer.times)
        drawn |= _forecasts.figures(forecasts[runs.chosen], metrics["forecast"], times, COORDINATES)
    numbers = " ".join(f"{metrics[f'r2_{coordinate}_heldout']:.4f}" for coordinate in COORDINATES)
    return _run.Results(
        metrics,
        arrays,
        drawn,
        f"held-out R² of {', '.join(COORDINATES)}: {numbers}, 95 % intervals cover "
        f"{100 * metrics['coverage_95_heldout']:.1f} %, bound {metrics['bound_train']:.1f}, held out "
        f"{metrics['bound_heldout']:.1f}{words}",
        f"medians of {len(scores)} seeds",
    )


@jax.jit
def _factor_means(model: Any, params: Any, data: Any) -> jax.Array:
    return model.recognise(params, data.all()).natural.mean()


def recover(options: Options, fitted: rpm.train.Fit, paths: Paths) -> Recovered:
    """Held-out latents by the affine map that is the best on the paths of the fit, and scores."""
    train, held_out, _ = paths
    new = rpm.as_data(views_of(options, held_out))
    own, posterior = fitted.posterior(), fitted.infer(new)
    aligned = rpm.metrics.align_latent(train.states, own.mean)
    mean, deviation = on_scale_of_states(aligned, posterior)
    states = jnp.concatenate([train.states, held_out.states])
    means = jnp.concatenate([own.mean, posterior.mean])
    r2 = {
        "train": rpm.metrics.linear_r2(train.states, own.mean, per_dimension=True),
        "heldout": rpm.metrics.linear_r2(
            states, means, fit_fraction=len(train.states) / len(states), per_dimension=True
        ),
    }
    coverage = rpm.metrics.interval_coverage(held_out.states, mean, deviation, levels=(0.95,))
    scores = {
        f"r2_{coordinate}_{part}": float(value)
        for part, values in r2.items()
        for coordinate, value in zip(COORDINATES, values, strict=True)
    }
    return Recovered(
        mean,
        deviation,
        np.asarray(aligned.apply(_factor_means(fitted.model, fitted.params, new))),
        scores | {"coverage_95_heldout": float(coverage[0])},
    )


def on_scale_of_states(aligned: rpm.metrics.AlignedLatent, found: Any) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of a posterior or a forecast by an affine map, shape (M, T, 3) each."""
    mean, slope = aligned.apply(found.mean), aligned.slope
    covariance: Any = getattr(found, "covariance", None)
    if covariance is None or covariance.shape != (*mean.shape[:-1], slope.shape[0], slope.shape[0]):
        deviation = aligned.standard_deviation(found.standard_deviation)
    else:
        deviation = jnp.sqrt(jnp.einsum("kd,ntkl,ld->ntd", slope, covariance, slope))
    return np.asarray(mean), np.asarray(deviation)


def forecast(options: Options, fitted: rpm.train.Fit, paths: Paths) -> Forecasts:
    """States of the held-out paths' last H steps from their first T."""
    held_out = rpm.as_data(views_of(options, paths.held_out))
    aligned = rpm.metrics.align_latent(paths.train.states, fitted.posterior().mean)
    found = fitted.forecast(options.data.forecast, held_out)
    truth = np.asarray(paths.longer.states)[:, options.data.sequence_length :]
    known = np.asarray(aligned.apply(fitted.infer(held_out).mean))
    return Forecasts(*on_scale_of_states(aligned, found), truth, known)


def forecast_scores(forecasts: Sequence[Forecasts], data: Sequence[Paths]) -> dict[str, Any]:
    """Medians over seeds, by horizon, whether all seeds beat persistence at all horizons, and each seed's."""
    scores = [
        each.scores(np.asarray(paths.train.states)) for each, paths in zip(forecasts, data, strict=True)
    ]
    columns = _fits.columns(scores)
    return {
        **{name: np.median(np.asarray(values), axis=0) for name, values in columns.items()},
        "beats_persistence": all(columns["beats_persistence"]),
        "coverage": float(np.median(columns["coverage"])),
        "per_seed": columns,
    }


def all_arrays(data: Sequence[Paths], recovered: Sequence[Recovered], runs: Runs) -> dict[str, np.ndarray]:
    """All that figures are made of; every array but times and steps has a leading axis of seeds."""
    arrays = [
        {
            "counts": np.asarray(paths.train.counts),
            "states": paths.train.states,
            "counts_heldout": np.asarray(paths.held_out.counts),
            "states_heldout": paths.held_out.states,
            "mean_heldout": found.mean,
            "deviation_heldout": found.deviation,
            "factor_means_heldout": found.factor_means,
        }
        for paths, found in zip(data, recovered, strict=True)
    ]
    return {**_fits.stack(arrays), "times": np.asarray(data[0].train.times), **runs.histories()}


def figures(arrays: dict[str, np.ndarray], best: int) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw; the paths are held-out ones of the seed with the best bound."""
    times, states, mean = arrays["times"], arrays["states_heldout"][best], arrays["mean_heldout"][best]
    return {
        "trajectories.png": lambda: plots.trajectories(mean, states, times=times, names=COORDINATES),
        "latents.png": lambda: plots.latents_over_time(
            times,
            mean,
            arrays["deviation_heldout"][best],
            truth=states,
            factor_means=arrays["factor_means_heldout"][best],
            names=COORDINATES,
        ),
        "bound.png": lambda: plots.learning_curves(
            arrays["bound_train"],
            best,
            label="bound (nats per path)",
            held_out_steps=arrays["bound_heldout_steps"],
            held_out=arrays["bound_heldout"],
        ),
    }


EXPERIMENT = _run.Experiment("lorenz", Options, check, load, run)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
