"""Fit an RPM to bouncing balls, score it, draw it."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _devices, _fits, _run
from experiments._bouncing_balls_options import Options
from experiments._fits import Runs
from experiments._options import OptionError, given
from experiments._output import Files
from rpm_jax import plots

Pair: TypeAlias = tuple[rpm.datasets.BouncingBalls, rpm.datasets.BouncingBalls]
"""Sequences to fit, and others."""

# Compiled as a whole: far faster the first time than operation by operation.
linear_r2 = jax.jit(rpm.metrics.linear_r2)
torchrpm_r2 = jax.jit(rpm.metrics.torchrpm_r2)

MEDIANS = (
    "r2",
    "r2_torchrpm",
    "r2_heldout",
    "r2_torchrpm_heldout",
    "bound_train",
    "bound_heldout",
)


class Result(NamedTuple):
    """One fitted model with its data.

    Attributes:
        fitted: The fit.
        train: The data it was fitted on.
        held_out: Other sequences.
        mean: Posterior mean of the fit's data, shape (N, T, K).
        deviation: Posterior standard deviation, shape (N, T, K).
        held_out_mean: Of the held-out sequences.
        held_out_deviation: Of the held-out sequences.
    """

    fitted: rpm.train.Fit
    train: rpm.datasets.BouncingBalls
    held_out: rpm.datasets.BouncingBalls
    mean: np.ndarray
    deviation: np.ndarray
    held_out_mean: np.ndarray
    held_out_deviation: np.ndarray


def run(options: Options, pairs: Sequence[Pair], files: Files) -> _run.Results:
    """Fit, score and draw."""
    started = time.perf_counter()
    runs = fit_all(build_model(options, pairs[0][0].times), options, pairs)
    seconds = time.perf_counter() - started
    runs.save(files)
    results = [recover(fitted, *pair) for fitted, pair in zip(runs.fits, pairs, strict=True)]
    scores = [score(result) for result in results]
    metrics, note = scores[0], ""
    if options.training.seeds is not None:
        metrics = _fits.medians_of(scores, MEDIANS)
        metrics |= {"per_seed": _fits.columns(scores), "best_seed": runs.chosen}
        note = f"medians of {options.training.seeds} seeds"
    numbers = [f"{key} {metrics[key]:.4f}" for key in MEDIANS[:2]]
    numbers += [f"{key} {metrics[key]:.2f}" for key in MEDIANS[-2:]]
    return _run.Results(
        metrics | {"seconds_fit": seconds},
        arrays(results, options),
        figures(results, runs.chosen, options),
        ", ".join(numbers),
        note,
    )


# Data, model, fit.


def load(balls: Callable[..., rpm.datasets.BouncingBalls], options: Options) -> list[Pair]:
    """The data of each seed; of several processes each makes them all, and fits its share."""
    if jax.process_count() > 1 and options.training.seeds is not None:
        raise OptionError("--seeds does not go together with several processes; run one process")
    _devices.check_seeds(options.devices, options.training.seeds or 0)
    return [sample(balls, options, seed) for seed in range(options.training.seeds or 1)]


def sample(balls: Callable[..., rpm.datasets.BouncingBalls], options: Options, seed: int) -> Pair:
    """N sequences to fit and N others, seen by the same pixels."""
    data = options.data
    return _fits.draw(
        balls,
        data,
        "num_sequences",
        data.num_sequences,
        seed=data.data_seed + seed,
        renamed={"num_steps": "sequence_length"},
    )


def build_model(options: Options, times: jax.Array) -> rpm.RPM:
    """The model, with everything that was not asked for left to the library."""
    wanted = options.model
    kernel: Any = wanted.kernel
    if wanted.bandwidth is not None:
        kernel = rpm.priors.kernels.rbf_from_bandwidth(wanted.bandwidth)
    if wanted.lengthscale is not None and wanted.kernel is not None:
        order = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}[wanted.kernel]
        kernel = rpm.priors.kernels.Matern(order, wanted.lengthscale)
    prior_options = given(kernel=kernel)
    output_options: dict[str, Any] = {}
    if wanted.static:
        prior = rpm.priors.joint_gaussian_process(times, **prior_options)
        output_options["output"] = rpm.outputs.DiagonalPrecision()
    else:
        prior_options |= given(mean=wanted.mean, num_latents=wanted.num_latents)
        prior = rpm.priors.gaussian_process(times, **prior_options)
    network = rpm.networks.PointwiseMLP(**given(hidden=wanted.hidden))
    all_views = rpm.networks.stacked(network)
    posteriors: dict[str, Callable[[], Any]] = {
        "conjugate": rpm.posteriors.conjugate,
        "amortized": lambda: rpm.posteriors.amortized(all_views, **output_options),
        "saturated": lambda: rpm.posteriors.saturated(**output_options),
    }
    source = all_views if wanted.auxiliary_amortized else None
    auxiliaries: dict[str, Callable[[], Any]] = {
        "posterior": rpm.auxiliaries.posterior,
        "shifted": lambda: rpm.auxiliaries.shifted(source, **output_options),
        "free": lambda: rpm.auxiliaries.free(source, **output_options),
    }
    factor_options = output_options | given(kind="unnormalised" if wanted.unnormalised else None)
    return rpm.RPM(
        prior=prior,
        factors=rpm.factors.per_view(network, **factor_options),
        posterior=posteriors[wanted.posterior](),
        auxiliary=auxiliaries[wanted.auxiliary](),
        pooled=wanted.pooled,
    )


def fit_all(model: rpm.RPM, options: Options, pairs: Sequence[Pair]) -> Runs:
    """One fit, or a sweep's."""
    wanted = options.training
    settings = fit_arguments(options)
    keys = [_fits.model_key(wanted.model_seed + seed) for seed in range(len(pairs))]
    data = [train.views for train, _ in pairs]
    if wanted.seeds is None:
        own = _devices.share(options.data.num_sequences)
        views = tuple(view[own] for view in data[0])
        fit = rpm.fit(model, views, key=keys[0], held_out=pairs[0][1].views, **settings)
        # Each of several processes has all data, and fitted its share.
        return _fits.runs_of([dataclasses.replace(fit, data=rpm.as_data(data[0]))])
    held_out = _fits.stack_views([held_out.views for _, held_out in pairs])
    sweep = rpm.fit_seeds(
        model,
        _fits.stack_views(data),
        keys=jnp.stack(keys),
        stacked_data=True,
        held_out=held_out,
        **settings,
    )
    return _fits.runs_of([sweep.run(seed) for seed in range(sweep.size)])


def fit_arguments(options: Options) -> dict[str, Any]:
    """Arguments of `rpm.fit`: those that were given."""
    wanted = options.training
    steps = given(
        match_posterior=wanted.warm_start_posterior,
        match_auxiliary=wanted.warm_start_auxiliary,
        bound=wanted.warm_start_bound,
    )
    return _fits.arguments(
        options,
        options.data.num_sequences,
        most=rpm.model.BATCH_SIZE,
        **given(
            warm_start=rpm.WarmStart(**steps) if steps else None,
            stopping=wanted.early_stopping and rpm.EarlyStopping(patience=wanted.early_stopping),
        ),
    )


# Results.


def recover(
    fitted: rpm.train.Fit, train: rpm.datasets.BouncingBalls, held_out: rpm.datasets.BouncingBalls
) -> Result:
    """What the model says about the latents of its data and of the held-out sequences."""
    posterior, new = fitted.posterior(), fitted.infer(held_out.views)
    shape = (*train.latent.shape, -1)

    def over_time(values: jax.Array) -> np.ndarray:
        # A trajectory as one site has the times in the place of the latents.
        return np.asarray(values).reshape(shape)

    return Result(
        fitted,
        train,
        held_out,
        *(over_time(x) for q in (posterior, new) for x in (q.mean, q.standard_deviation)),
    )


def score(result: Result) -> dict[str, Any]:
    """Numbers of one fit."""
    fitted = result.fitted
    kernel = rpm.priors.kernels.describe(fitted.params["prior"].get("kernel", {}))
    hyperparameters = {
        name: np.atleast_1d(np.asarray(value, float)).tolist() for name, value in kernel.items()
    }
    truth, unseen = result.train.latent, result.held_out.latent
    return {
        "r2": float(linear_r2(truth, result.mean)),
        "r2_torchrpm": float(torchrpm_r2(truth, result.mean)),
        "r2_heldout": float(linear_r2(unseen, result.held_out_mean)),
        "r2_torchrpm_heldout": float(torchrpm_r2(unseen, result.held_out_mean)),
        **_fits.scores(fitted),
        "bound_heldout": _fits.bound_held_out(fitted),
        **{name: value[0] if len(value) == 1 else value for name, value in hyperparameters.items()},
        "steps": int(fitted.history.train.shape[-1]),
        "stopped": fitted.history.stopped,
    }


def arrays(results: Sequence[Result], options: Options) -> dict[str, np.ndarray]:
    """All that figures are made of; with --seeds every array but times has a leading axis of seeds."""
    each = [
        {
            "views": r.train.stacked,
            "latent": r.train.latent,
            "locations": r.train.locations,
            "posterior_mean": r.mean,
            "posterior_sd": r.deviation,
            "heldout_views": r.held_out.stacked,
            "heldout_latent": r.held_out.latent,
            "heldout_posterior_mean": r.held_out_mean,
            "heldout_posterior_sd": r.held_out_deviation,
            "bound_train": r.fitted.history.train,
            "bound_heldout": r.fitted.history.held_out,
        }
        for r in results
    ]
    single = options.training.seeds is None
    joined = {name: np.asarray(each[0][name]) for name in each[0]} if single else _fits.stack(each)
    history = results[0].fitted.history
    return joined | {
        "times": np.asarray(results[0].train.times),
        "bound_train_steps": np.arange(1, history.train.shape[-1] + 1),
        "bound_heldout_steps": history.held_out_steps,
    }


def figures(results: Sequence[Result], best: int, options: Options) -> dict[str, Callable[[], Any]]:
    """Functions that draw each figure, of the best seed if there are several."""
    result = results[best]
    drawn: dict[str, Callable[[], Any]] = {
        "observations.png": lambda: draw_observations(result),
        "bound.png": lambda: draw_bounds([result]),
        "mixtures.png": lambda: draw_mixtures(result, options),
    }
    if len(results) > 1:
        drawn["bound_all_seeds.png"] = lambda: draw_bounds(results)
    return drawn


def draw_observations(result: Result) -> Any:
    """The pixels with the true latent and the posterior, on the latent's scale."""
    train = result.train
    aligned = rpm.metrics.align_latent(train.latent, result.mean)
    deviation = aligned.standard_deviation(result.deviation)
    return plots.bouncing_balls(train.stacked, train.times, train.latent, aligned.mean, deviation)


def draw_bounds(results: Sequence[Result]) -> Any:
    """The bound over training, on the fit's data and on held-out ones."""
    histories = [result.fitted.history for result in results]
    steps = np.arange(1, histories[0].train.shape[-1] + 1)
    train, held_out = (np.stack([getattr(h, name) for h in histories]) for name in ("train", "held_out"))
    return plots.bound_history(steps, train, histories[0].held_out_steps, held_out)


def draw_mixtures(result: Result, options: Options) -> Any:
    """The prior's marginal at the middle of the trajectory against each F_j, for the first latent."""
    middle = result.train.times.shape[0] // 2
    site = (0, middle) if options.model.static else (middle, 0)
    mixture_site = (0, 0) if options.model.pooled else site

    fitted = result.fitted

    @jax.jit
    def marginals(params: Any, views: Any) -> tuple[jax.Array, ...]:
        prior = fitted.model.reference(params)
        natural, log_mass = _fits.normalised_components(fitted.model, params, views)
        return (
            prior.mean()[site],
            prior.variance()[site],
            natural.mean()[..., *mixture_site],
            natural.variance()[..., *mixture_site],
            jax.nn.softmax(log_mass[..., mixture_site[0]], axis=0),
        )

    drawn = marginals(fitted.params, result.train.views)
    centre, spread, means, variances, weights = map(np.asarray, drawn)
    grid = centre + np.linspace(-4, 4, 401) * np.sqrt(spread)
    densities = np.sum(weights[..., None] * _normal(grid, means[..., None], variances[..., None]), axis=0)
    return plots.prior_against_mixtures(grid, _normal(grid, centre, spread), densities)


def _normal(grid: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * (grid - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
