"""Measure how tight the bound is: its gap in two parts, next to importance sampling and quadrature.

Models with one Gaussian latent are fitted to pairs of numbers. Gaussian pairs are those that a conjugate
posterior suits, since every F_j can be the prior; others are not. For each fit the inner bound, estimates of
the log-likelihood from K draws of q, and its exact value by quadrature are those of the data it was fitted
on, and the gap is split into what q and what ξ lose. All in float64: some gaps are smaller than single
precision.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _fits, _run
from experiments._bound_study_data import CASES, Pair
from experiments._bound_study_models import VARIANTS, build_model, objective_of
from experiments._bound_study_options import Options, check
from experiments._output import Files
from rpm_jax import plots

DIVERGENCE_SAMPLES = 10_000
DRAWS_AT_ONCE = 500


class Measured(NamedTuple):
    """What one fit gives, in nats, means over its data.

    Attributes:
        bound: The inner bound.
        log_likelihood: By quadrature.
        posterior_gap: What q loses.
        auxiliary_gap: What ξ loses.
        estimates: From K draws of q, for each K, shape (S,).
        standard_errors: Of `estimates`, shape (S,).
        effective_sample_size: At the largest K, as a share of K, the median over data.
        divergence: KL(F_j‖prior), shape (J,).
    """

    bound: float
    log_likelihood: float
    posterior_gap: float
    auxiliary_gap: float
    estimates: np.ndarray
    standard_errors: np.ndarray
    effective_sample_size: float
    divergence: np.ndarray


def titles(options: Options) -> list[str]:
    """The data sets' names: one for each correlation, then the others."""
    names = []
    for case in options.data.cases:
        if case == "gaussian":
            names += [f"Gaussian, correlation {value:g}" for value in options.data.correlations]
        else:
            names.append(case)
    return names


def load(options: Options) -> list[list[Pair]]:
    """For each seed, pairs of every data set in the order of `titles`."""
    data = options.data
    keys = [_fits.data_key(data.data_seed + seed) for seed in range(options.training.seeds)]
    samplers: list[Callable[..., Pair]] = []
    for case in data.cases:
        if case == "gaussian":
            samplers += [partial(CASES[case], correlation=value) for value in data.correlations]
        else:
            samplers.append(CASES[case])
    return [[draw(key, data.size) for draw in samplers] for key in keys]


def run(options: Options, data: list[list[Pair]], files: Files) -> _run.Results:
    """Fit every variant to every data set, and measure."""
    with jax.enable_x64(True):
        stacked = [
            jax.tree.map(lambda view: jnp.asarray(view, jnp.float64), pair) for seed in data for pair in seed
        ]
        measured = [study(options, name, stacked, files) for name in options.model.variants]
    # From (variants, seeds × data sets) to (data sets, variants, seeds).
    shape = len(options.model.variants), options.training.seeds, len(titles(options))
    arrays: dict[str, np.ndarray] = {"num_samples": np.array(options.study.num_samples)}
    for field in Measured._fields:
        values = np.array([[getattr(each, field) for each in row] for row in measured])
        arrays[field] = np.moveaxis(values.reshape(*shape, *values.shape[2:]), (2, 0, 1), (0, 1, 2))
    metrics = {
        "results": table(options, arrays),
        "excess": excess(arrays),
        "steps": options.training.num_steps,
    }
    return _run.Results(metrics, arrays, figures(options, arrays), summary(metrics), note(options))


def study(options: Options, name: str, pairs: Sequence[Pair], files: Files) -> list[Measured]:
    """One variant, fitted to all data sets at once."""
    variant = VARIANTS[name]
    model = build_model(variant, options.model.hidden)
    sweep = rpm.fit_seeds(
        model,
        _fits.stack_views(pairs),
        keys=jax.random.split(_fits.model_key(options.training.model_seed), len(pairs)),
        stacked_data=True,
        num_steps=options.training.num_steps,
        progress=not options.run.quiet,
        **objective_of(variant, model, options.training.importance_samples),
    )
    files.checkpoint(name, sweep.params)
    return [measure(options, model, sweep.run(index).params, pair) for index, pair in enumerate(pairs)]


def measure(options: Options, model: rpm.RPM, params: Any, pair: Pair) -> Measured:
    """Bound, estimates, quadrature and gaps of one fit on its own data."""
    key = jax.random.key(options.training.model_seed)
    data = rpm.as_data(pair)
    fitted = rpm.Fitted(model, params, data)
    gap = rpm.diagnostics.bound_gap(fitted, fitted.data)
    counts = options.study.num_samples
    log_ratios = draw_log_ratios(model, params, data, key, max(counts))
    estimates = [rpm.objectives.estimate_log_likelihood(log_ratios[:count]) for count in counts]
    values = np.array([each.log_likelihood for each in estimates])
    number = options.study.divergence_samples or DIVERGENCE_SAMPLES
    own_key = jax.random.fold_in(key, 1)
    divergence = rpm.diagnostics.mixture_divergence(fitted, own_key, num_samples=number)
    # Of one draw, the estimates of a datum have no standard error; those of all data do.
    spread = np.std(values - np.asarray(gap.log_likelihood), axis=1, ddof=1)
    sizes = np.asarray(estimates[-1].effective_sample_size) / counts[-1]
    return Measured(
        float(jnp.mean(gap.bound)),
        float(jnp.mean(gap.log_likelihood)),
        float(jnp.mean(gap.posterior_gap)),
        float(jnp.mean(gap.auxiliary_gap)),
        values.mean(1),
        spread / np.sqrt(data.size),
        float(np.median(sizes)),
        np.asarray(divergence.divergence[:, 0]),
    )


@partial(jax.jit, static_argnums=(0, 4))
def draw_log_ratios(model: rpm.RPM, params: Any, data: rpm.Data, key: Any, number: int) -> Any:
    """Log-weights of so many draws of q, shape (K, N): the estimates of all K are means of the first ones."""
    own = model.recognise(params, data.all())
    inferred = model.infer(params, data.all(), own)
    length = min(number, DRAWS_AT_ONCE)

    def draw(key: Any) -> Any:
        return rpm.objectives.log_importance_weights(
            model.prior_of(params),
            own.natural,
            own.natural,
            key,
            num_samples=length,
            potentials=inferred.potentials,
        )

    log_ratios = jax.lax.map(draw, jax.random.split(key, -(-number // length)))
    return log_ratios.reshape(-1, data.size)[:number]


# Results.


def table(options: Options, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """For each data set and variant, medians over seeds, and all values of several."""
    results: dict[str, Any] = {}
    for d, title in enumerate(titles(options)):
        results[title] = {}
        for v, variant in enumerate(options.model.variants):
            values = {field: arrays[field][d, v] for field in Measured._fields}
            results[title][variant] = {
                field: np.median(each, axis=0).tolist() for field, each in values.items()
            }
            if options.training.seeds > 1:
                results[title][variant]["per_seed"] = {field: each.tolist() for field, each in values.items()}
    return results


def excess(arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest violations of bound ≤ estimate ≤ exact value, in standard errors, by chance up to 3."""
    exact = arrays["log_likelihood"][..., None]
    errors = np.maximum(arrays["standard_errors"], 1e-12)
    return {
        "bound_above_estimate": float(np.max((arrays["bound"][..., None] - arrays["estimates"]) / errors)),
        "estimate_above_exact": float(np.max((arrays["estimates"] - exact) / errors)),
        "last_estimate_from_exact": float(
            np.max(np.abs(arrays["estimates"] - exact)[..., -1] / errors[..., -1])
        ),
        "bound_above_exact_nats": float(np.max(arrays["bound"] - arrays["log_likelihood"])),
    }


def note(options: Options) -> str:
    """What the numbers are of."""
    number = options.training.seeds
    return f"median of {number} seeds" if number > 1 else ""


def summary(metrics: dict[str, Any]) -> str:
    """The gap of the first variant on every data set, and the worst violation."""
    words = []
    for title, variants in metrics["results"].items():
        name, values = next(iter(variants.items()))
        words.append(
            f"{title}: {name} gap {values['posterior_gap'] + values['auxiliary_gap']:.4f} of "
            f"{values['log_likelihood']:.4f}"
        )
    worst = max(metrics["excess"][name] for name in ("bound_above_estimate", "estimate_above_exact"))
    return ", ".join([*words, f"bound ≤ estimate ≤ exact up to {worst:.1f} standard errors"])


def figures(options: Options, arrays: dict[str, np.ndarray]) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw; medians over seeds, and the first seed's estimates."""
    names = [VARIANTS[name].name for name in options.model.variants]
    headings = titles(options)
    median = {field: np.median(arrays[field], axis=2) for field in Measured._fields}
    first = {field: arrays[field][:, :, 0] for field in Measured._fields}
    return {
        "estimates.png": lambda: plots.likelihood_estimates(
            arrays["num_samples"],
            first["estimates"],
            first["standard_errors"],
            first["bound"],
            first["log_likelihood"],
            names,
            headings,
        ),
        "gap.png": lambda: plots.gap_parts(median["posterior_gap"], median["auxiliary_gap"], names, headings),
        "divergence.png": lambda: plots.mixture_divergences(median["divergence"], names, headings),
    }


EXPERIMENT = _run.Experiment("bound_study", Options, check, load, run)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
