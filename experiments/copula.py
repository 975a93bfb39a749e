"""Recover the joint density of two numbers, and their mutual information, by several models.

The pairs have a Gaussian copula with known marginals, or lie around the curve (z, tanh z); either way the
true density is known, and KL(true‖model) is computed by quadrature over a rectangle. Models: a Gaussian
latent with the inner bound, a discrete one, the implicit model, and unnormalised factors. With --seeds S, S
data sets are fitted at once, and medians are reported.
"""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _fits, _run
from experiments._copula_grid import NUM_NODES, Grid, divergence, log_independent, quantile_grid
from experiments._copula_models import Variant, build
from experiments._copula_options import (
    CORRELATION,
    LATENT_SCALE,
    LOCATIONS,
    NOISE,
    RATES,
    SCALES,
    Options,
    check,
)
from experiments._copula_truth import LinkedPair
from experiments._output import Files
from rpm_jax import copulas, marginals, plots

DRAWN = (0.01, 0.96)
"""Quantiles of the true marginals between which densities and factors are drawn."""

NUM_DRAWN = 80
"""Values of each view that they are drawn at."""

SCORED = (
    "kl",
    "kl_kernel_density",
    "mass",
    "log_integral",
    "mutual_information",
    "mutual_information_error",
    "bound_train",
    "bound_heldout",
    "log_likelihood_heldout",
    "kl_mixture_1",
    "kl_mixture_2",
)
"""Numbers of every fit, of which medians are reported."""


class Truth(NamedTuple):
    """A true distribution and data from it.

    Attributes:
        correlation: Of the copula, or None.
        pair: Has sample, log_prob, marginals and mutual_information.
        train: Data sets to fit, one for each seed.
        held_out: Data sets that are held out.
    """

    correlation: float | None
    pair: Any
    train: list[tuple[jax.Array, ...]]
    held_out: list[tuple[jax.Array, ...]]


# Data.


def load(options: Options) -> list[Truth]:
    """The true distributions, with a data set of each for every seed."""
    data, truths = options.data, []
    sizes = {"train": data.num_data, "held_out": data.num_held_out}
    for correlation, pair in true_pairs(options).items():
        sets: dict[str, list[Any]] = {name: [] for name in sizes}
        sample = jax.jit(pair.sample, static_argnums=1)
        for seed in range(data.data_seed, data.data_seed + options.training.seeds):
            keys = jax.random.split(_fits.data_key(seed))
            for own_key, (name, size) in zip(keys, sizes.items(), strict=True):
                sets[name].append(sample(own_key, (size,)))
        truths.append(Truth(correlation, pair, sets["train"], sets["held_out"]))
    return truths


def true_pairs(options: Options) -> dict[float | None, Any]:
    """The true distribution of each correlation."""
    data = options.data
    if data.marginals == "tanh":
        return {None: LinkedPair(data.latent_scale or LATENT_SCALE, data.noise or NOISE)}
    if data.marginals == "exponential":
        own: list[Any] = [marginals.Exponential(rate) for rate in data.rates or RATES]
    else:
        locations, scales = data.locations or LOCATIONS, data.scales or SCALES
        own = [marginals.Normal(*both) for both in zip(locations, scales, strict=True)]
    return {
        correlation: copulas.joint(copulas.Gaussian(copulas.equicorrelation(correlation)), own)
        for correlation in data.correlation or CORRELATION
    }


# Fits.


def run(options: Options, data: list[Truth], files: Files) -> _run.Results:
    """Fit every variant to all data sets at once, and score it by the true density."""
    names: tuple[str, ...] = options.model.variants
    variants = {name: build(name, options.model, data[0].pair.marginals) for name in names}
    sets = [views for truth in data for views in truth.train]
    stacked = _fits.stack_views(sets)
    keys = jax.random.split(_fits.model_key(options.training.model_seed), len(sets))
    sweeps = {}
    for name, variant in variants.items():
        sweeps[name] = rpm.fit_seeds(
            variant.model,
            stacked,
            keys=keys,
            stacked_data=True,
            **_fits.arguments(options, options.data.num_data, **variant.fit_options),
        )
        files.checkpoint(name, sweeps[name].params if len(sets) > 1 else sweeps[name].run(0).params)
    scored = [
        score_truth(options, truth, variants, {n: fits_of(sweeps[n], i, options) for n in names})
        for i, truth in enumerate(data)
    ]
    scores = [each for each, _ in scored]
    metrics = {"truths": scores, "seeds": options.training.seeds}
    fits = {name: sweeps[name].run(0) for name in names}
    arrays = all_arrays(data[0], variants, fits, scored[0][1])
    drawn = figures(arrays, variants, data[0].correlation)
    return _run.Results(metrics, arrays, drawn, summary(scores), note(options))


def fits_of(sweep: rpm.train.Sweep, index: int, options: Options) -> list[rpm.train.Fit]:
    """The fits to the data sets of one true distribution."""
    seeds = options.training.seeds
    return [sweep.run(index * seeds + seed) for seed in range(seeds)]


# Scores.


def score_truth(
    options: Options,
    truth: Truth,
    variants: Mapping[str, Variant],
    fits: Mapping[str, list[rpm.train.Fit]],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Scores of all variants for one true distribution, and what they are measured against.

    Returns:
        The scores, and by variant the log-ratios of the first data set's fit at the `drawn_pairs`.
    """
    grid = quantile_grid(truth.pair.marginals, NUM_NODES)
    log_true = true_log_ratio(truth.pair, grid.pairs)
    of_truth = [float(true_log_ratio(truth.pair, views).mean()) for views in truth.held_out]
    found, drawn = {}, {}
    for name, variant in variants.items():
        both = [
            score(variant, fit.params, truth, seed, grid, log_true) for seed, fit in enumerate(fits[name])
        ]
        scores = [each for each, _ in both]
        drawn[name] = both[0][1]
        for each, fit in zip(scores, fits[name], strict=True):
            each |= {"bound_train": float(fit.bound), "steps_skipped": int(fit.history.skipped)}
        found[name] = {**_fits.medians_of(scores, SCORED), "per_seed": _fits.columns(scores)}
    scored = {
        "correlation": truth.correlation,
        "mutual_information": float(truth.pair.mutual_information()),
        "mutual_information_heldout": {"median": float(np.median(of_truth)), "per_seed": of_truth},
        "kl_independent": divergence(grid, log_true, np.zeros_like(log_true)).divergence,
        "num_data": options.data.num_data,
        "variants": found,
    }
    return scored, drawn


def score(
    variant: Variant, params: Any, truth: Truth, seed: int, grid: Grid, log_true: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
    """How well one fit has recovered its true distribution, and its log-ratios at the `drawn_pairs`.

    The model's marginals p0 are the true ones in "kl", kernel densities of the data in "kl_kernel_density";
    F_j is over the data of the fit in both.
    """
    train, held_out = truth.train[seed], truth.held_out[seed]
    # All pairs at once, since every number of them is compiled for.
    parts = [grid.pairs, held_out, drawn_pairs(truth.pair)]
    together = tuple(jnp.concatenate(views) for views in zip(*parts, strict=True))
    ends = np.cumsum([len(part[0]) for part in parts])[:-1]
    on_grid, log_likelihood, drawn = np.split(variant.log_ratio(params, together, train), ends)
    exact = divergence(grid, log_true, on_grid)
    estimated = [marginals.kernel_density(view[:, 0]) for view in train]
    correction = log_independent(estimated, grid.pairs) - log_independent(truth.pair.marginals, grid.pairs)
    bound = variant.bound(params, held_out, train) if variant.has_gap else log_likelihood
    integral_key, mixture_key = jax.random.split(jax.random.key(seed))
    log_integral = float(variant.log_integral(params, held_out, integral_key))
    information = float(log_likelihood.mean()) - log_integral
    mixtures = variant.mixture_divergence(params, train, mixture_key)
    scores = {
        "kl": exact.divergence,
        "mass": exact.mass,
        "kl_kernel_density": divergence(grid, log_true, on_grid + correction).divergence,
        "log_integral": log_integral,
        "mutual_information": information,
        "mutual_information_error": information - float(truth.pair.mutual_information()),
        "log_likelihood_heldout": float(log_likelihood.mean()),
        "bound_heldout": float(bound.mean()),
        "kl_mixture_1": float(mixtures[0]),
        "kl_mixture_2": float(mixtures[1]),
    }
    return scores, drawn


def true_log_ratio(pair: Any, views: Any) -> np.ndarray:
    """Log p(x) − Σ_j log p(x_j) of the true distribution."""
    return np.asarray(jax.jit(pair.log_prob)(views), float) - log_independent(pair.marginals, views)


# Results.


def note(options: Options) -> str:
    """What the numbers are of."""
    seeds = options.training.seeds
    return f"medians of {seeds} data sets" if seeds > 1 else ""


def summary(scored: Sequence[Mapping[str, Any]]) -> str:
    """KL and mutual information of every variant."""
    words = []
    for truth in scored:
        about = "" if truth["correlation"] is None else f"correlation {truth['correlation']:g}, "
        words.append(f"{about}mutual information {truth['mutual_information']:.4f}")
        words += [
            f"{name} {found['mutual_information']:.4f} KL {found['kl']:.4f}"
            for name, found in truth["variants"].items()
        ]
    return ", ".join(words)


def all_arrays(
    truth: Truth,
    variants: Mapping[str, Variant],
    fits: Mapping[str, rpm.train.Fit],
    log_ratios: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """All that figures are made of, of the first data set of the first true distribution."""
    train = truth.train[0]
    axes = drawn_values(truth.pair)
    pairs = drawn_pairs(truth.pair)
    views = tuple(axis[:, None] for axis in axes)
    independent = log_independent(truth.pair.marginals, pairs)
    shape = (NUM_DRAWN, NUM_DRAWN)
    arrays: dict[str, Any] = {
        "x1": axes[0],
        "x2": axes[1],
        "train": np.concatenate([np.asarray(view) for view in train], axis=-1),
        "held_out": np.concatenate([np.asarray(view) for view in truth.held_out[0]], axis=-1),
        "density_true": np.exp(true_log_ratio(truth.pair, pairs) + independent).reshape(shape),
    }
    for name, variant in variants.items():
        params = fits[name].params
        log_density = log_ratios[name] + independent
        drawn = variant.drawn(params, train, views)
        arrays |= {
            f"density_{name}": np.exp(log_density).reshape(shape),
            f"latent_{name}": drawn.latent,
            f"prior_{name}": drawn.prior,
            f"mixtures_{name}": drawn.mixtures,
            f"bound_{name}": fits[name].history.train,
        }
        if drawn.variances is None:
            arrays[f"states_{name}"] = drawn.factors
        else:
            # z and −z are one model.
            slope = jnp.vdot(drawn.factors[0] - drawn.factors[0].mean(), axes[0])
            arrays |= {f"mean_{name}": drawn.factors * jnp.sign(slope), f"variance_{name}": drawn.variances}
    return {name: np.asarray(value) for name, value in arrays.items()}


def drawn_values(pair: Any) -> list[jax.Array]:
    """Equally spaced values of each view."""
    ends = [rpm.marginals.as_marginal(own).quantile(jnp.asarray(DRAWN)) for own in pair.marginals]
    return [jnp.linspace(low, high, NUM_DRAWN) for low, high in ends]


def drawn_pairs(pair: Any) -> tuple[jax.Array, ...]:
    """All pairs of them, row by row."""
    return tuple(part.reshape(-1, 1) for part in jnp.meshgrid(*drawn_values(pair), indexing="ij"))


def figures(
    arrays: dict[str, np.ndarray], variants: Mapping[str, Variant], correlation: float | None
) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw."""
    truth = "true" if correlation is None else f"true, correlation {correlation:g}"
    values = arrays["x1"], arrays["x2"]
    continuous = [name for name, variant in variants.items() if not variant.is_discrete]

    def densities() -> Any:
        maps = [arrays[f"density_{name}"] for name in ("true", *variants)]
        return plots.density_maps(*values, np.stack(maps), [truth, *variants], points=arrays["train"])

    def mixtures() -> Any:
        parts = ("latent", "prior", "mixtures")
        panels = {name: tuple(arrays[f"{part}_{name}"] for part in parts) for name in variants}
        return plots.mixtures_by_model(panels)  # type: ignore[arg-type]

    def factors() -> Any:
        moments = {
            name: list(zip(arrays[f"mean_{name}"], arrays[f"variance_{name}"], strict=True))
            for name in continuous
        }
        return plots.factor_moments(values, moments, latent="$z$ (prior: 0, 1)")

    drawn: dict[str, Callable[[], Any]] = {"densities.png": densities, "mixtures.png": mixtures}
    if continuous:
        drawn["factors.png"] = factors
    if "discrete" in variants:
        drawn["states.png"] = lambda: plots.factor_states(values, list(arrays["states_discrete"]))
    return drawn


EXPERIMENT = _run.Experiment("copula", Options, check, load, run)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
