"""Recover the Lorenz attractor from the spikes of neurons that follow it.

A state with three coordinates moves on the attractor, and drives the log-rates of 200 neurons
(`rpm_jax.datasets.lorenz_spikes`). Groups of neurons are the views; the square roots of a group's counts at a
step make a Gaussian factor by a linear map, with one precision for the group, and the prior is a
linear-Gaussian chain, or with --prior process independent Matérn processes. F_j averages over all steps of
all paths, which is right since the prior is stationary.

Latents are found up to an affine map: it is fitted on the paths of the fit, and scored on held-out ones. The
states score the runs and choose nothing; a run keeps its parameters with the best held-out bound.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _fits, _run
from experiments._fits import Runs
from experiments._lorenz_options import BATCH_SIZE, Options, check
from experiments._output import Files
from rpm_jax import plots
from rpm_jax.datasets import LorenzSpikes

Pair: TypeAlias = tuple[LorenzSpikes, LorenzSpikes]
"""Paths to fit, and others of the same neurons."""

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


def load(options: Options) -> list[Pair]:
    """For each seed paths to fit, and held-out ones."""
    data = options.data
    return [
        _fits.draw(
            rpm.datasets.lorenz_spikes,
            data,
            "num_sequences",
            data.num_held_out,
            seed=data.data_seed + seed,
            renamed={"num_steps": "sequence_length"},
        )
        for seed in range(options.training.seeds)
    ]


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


def fit_all(options: Options, pairs: Sequence[Pair]) -> Runs:
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
        build_model(options, pairs[0][0].times),
        _fits.stack_views([views_of(options, train) for train, _ in pairs]),
        keys=jnp.stack([_fits.model_key(training.model_seed + seed) for seed in range(len(pairs))]),
        stacked_data=True,
        held_out=_fits.stack_views([views_of(options, held_out) for _, held_out in pairs]),
        **settings,
    )
    return _fits.runs_of([sweep.run(seed) for seed in range(sweep.size)])


def run(options: Options, pairs: Sequence[Pair], files: Files) -> _run.Results:
    """Fit, score by the true states, draw."""
    runs = fit_all(options, pairs)
    runs.save(files)
    recovered = [recover(options, *each) for each in zip(runs.fits, pairs, strict=True)]
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
    arrays = all_arrays(pairs, recovered, runs)
    numbers = " ".join(f"{metrics[f'r2_{coordinate}_heldout']:.4f}" for coordinate in COORDINATES)
    return _run.Results(
        metrics,
        arrays,
        figures(arrays, runs.chosen),
        f"held-out R² of {', '.join(COORDINATES)}: {numbers}, 95 % intervals cover "
        f"{100 * metrics['coverage_95_heldout']:.1f} %, bound {metrics['bound_train']:.1f}, held out "
        f"{metrics['bound_heldout']:.1f}",
        f"medians of {len(scores)} seeds",
    )


@jax.jit
def _factor_means(model: Any, params: Any, data: Any) -> jax.Array:
    return model.recognise(params, data.all()).natural.mean()


def recover(options: Options, fitted: rpm.train.Fit, pair: Pair) -> Recovered:
    """Held-out latents by the affine map that is the best on the paths of the fit, and scores."""
    train, held_out = pair
    new = rpm.as_data(views_of(options, held_out))
    own, posterior = fitted.posterior(), fitted.infer(new)
    aligned = rpm.metrics.align_latent(train.states, own.mean)
    mean, slope = aligned.apply(posterior.mean), aligned.slope
    covariance: Any = getattr(posterior, "covariance", None)
    if covariance is None or covariance.shape != (*mean.shape[:-1], slope.shape[0], slope.shape[0]):
        deviation = aligned.standard_deviation(posterior.standard_deviation)
    else:
        deviation = jnp.sqrt(jnp.einsum("kd,ntkl,ld->ntd", slope, covariance, slope))
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
        np.asarray(mean),
        np.asarray(deviation),
        np.asarray(aligned.apply(_factor_means(fitted.model, fitted.params, new))),
        scores | {"coverage_95_heldout": float(coverage[0])},
    )


def all_arrays(pairs: Sequence[Pair], recovered: Sequence[Recovered], runs: Runs) -> dict[str, np.ndarray]:
    """All that figures are made of; every array but times and steps has a leading axis of seeds."""
    arrays = [
        {
            "counts": np.asarray(train.counts),
            "states": train.states,
            "counts_heldout": np.asarray(held_out.counts),
            "states_heldout": held_out.states,
            "mean_heldout": found.mean,
            "deviation_heldout": found.deviation,
            "factor_means_heldout": found.factor_means,
        }
        for (train, held_out), found in zip(pairs, recovered, strict=True)
    ]
    return {**_fits.stack(arrays), "times": np.asarray(pairs[0][0].times), **runs.histories()}


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
