"""Recover a linear system, its rotations and decays, with inputs and without.

Sensors see a state that rotates, decays and is driven by noise and inputs
(`rpm_jax.datasets.linear_system`). The prior is a linear-Gaussian chain; views are conditionally independent
given its latents, those of different times too, so that one group of sensors is enough. Latents are found
up to a linear map, which leaves the eigenvalues of the transition: they are compared with the true ones,
next to those of a regression of the true states on their predecessors, which a model can't be expected to
beat.

With inputs there are two models, one whose chain they drive and one that takes what they do for noise. What
inputs explain shows in the bound of held-out sequences. The run is chosen by its bound on the training
sequences; the true states only score it.
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
from experiments._linear_system_options import Options, check
from experiments._output import Files
from experiments._spectra import eigenvalue_error, eigenvalues
from rpm_jax import plots
from rpm_jax.datasets import LinearSystem


class Sequences(NamedTuple):
    """Sequences of one system.

    Attributes:
        train: To fit, of T steps.
        held_out: Others of T steps.
        longer: The held-out ones with the H steps behind.
    """

    train: LinearSystem
    held_out: LinearSystem
    longer: LinearSystem


TITLES = {"driven": "inputs drive the chain", "undriven": "no inputs"}


class Recovered(NamedTuple):
    """What a model says about the sequences to fit and the held-out ones, on the scale of the true states.

    Attributes:
        mean: Of both parts, the regressed posterior means, each of shape (N, T, K).
        deviation: Their posterior standard deviations.
        eigenvalues: Of the transition, shape (K,).
        r2: Of the held-out states, regressed on those of the training sequences.
    """

    mean: tuple[np.ndarray, np.ndarray]
    deviation: tuple[np.ndarray, np.ndarray]
    eigenvalues: np.ndarray
    r2: float


# Data, model, fit.


def load(options: Options) -> Sequences:
    """Sequences to fit, and held-out ones, of which the end is only to be forecast."""
    data = options.data
    train, longer = _fits.draw(
        rpm.datasets.linear_system,
        data,
        "num_sequences",
        data.num_held_out,
        renamed={"num_latents": "num_states"},
        num_steps=data.sequence_length + data.forecast,
    )
    first = slice(None, data.sequence_length)
    return Sequences(steps_of(train, first), steps_of(longer, first), longer)


def steps_of(system: LinearSystem, which: slice) -> LinearSystem:
    """Some of the steps of all sequences."""
    parts = {name: getattr(system, name) for name in ("views", "states", "inputs", "expected")}
    return system._replace(**jax.tree.map(lambda array: array[:, which], parts))


def kinds(options: Options) -> tuple[str, ...]:
    """Which models are fitted."""
    if not options.data.num_inputs:
        return ("undriven",)
    return {"both": ("driven", "undriven"), "on": ("driven",), "off": ("undriven",)}[options.model.inputs]


def build_model(options: Options, kind: str) -> rpm.RPM:
    """The model, with everything that was not asked for left to the library."""
    wanted = options.model
    chain: Callable[..., Any] = functools.partial(
        rpm.priors.linear_gaussian,
        wanted.num_latents or options.data.num_states,
        options.data.sequence_length,
        transition=wanted.transition,
    )
    prior = chain()
    if kind == "driven":
        # What inputs leave for noise need not be alike in all directions.
        free = chain(noise="free", initial="free")
        prior = rpm.priors.driven_linear_gaussian(free, rpm.networks.PointwiseMLP(()))
    return rpm.RPM(prior, rpm.factors.per_view(rpm.networks.PointwiseMLP(wanted.hidden)))


def as_data(part: LinearSystem, kind: str) -> rpm.Data:
    """Sequences as this kind of model sees them."""
    return rpm.as_data(part.views, inputs=part.inputs if kind == "driven" else None)


def fit_all(options: Options, data: Sequences, kind: str, files: Files) -> Runs:
    """A fit from each seed."""
    settings = _fits.arguments(options, options.data.num_sequences)
    train, held_out = (as_data(part, kind) for part in data[:2])
    model = build_model(options, kind)
    return _fits.fit_seeds(model, train, options, files, name=kind, held_out=held_out, **settings)


# Results.


def run(options: Options, data: Sequences, files: Files) -> _run.Results:
    """Fit each kind of model, choose a run by its bound, score it by the true system."""
    runs = {kind: fit_all(options, data, kind, files) for kind in kinds(options)}
    recovered = {kind: [recover(fitted, data, kind) for fitted in found.fits] for kind, found in runs.items()}
    true = eigenvalues(data[0].transition)
    metrics: dict[str, Any] = {"eigenvalue_error_regression": regression_error(data[0])}
    for kind, found in runs.items():
        scores = [
            {
                **_fits.scores(fitted),
                "bound_heldout": _fits.bound_held_out(fitted),
                "r2_heldout": each.r2,
                "eigenvalue_error": eigenvalue_error(true, each.eigenvalues),
            }
            for fitted, each in zip(found.fits, recovered[kind], strict=True)
        ]
        metrics[kind] = found.metrics(scores, tuple(scores[0]))
    if len(runs) == 2:
        metrics["gain_of_inputs"] = metrics["driven"]["bound_heldout"] - metrics["undriven"]["bound_heldout"]
    chosen = {kind: recovered[kind][found.chosen] for kind, found in runs.items()}
    arrays = all_arrays(data, chosen, runs)
    drawn = figures(arrays, runs)
    times = np.arange(1, 1 + data.longer.states.shape[1])
    names = [f"state {d + 1}" for d in range(data.longer.states.shape[2])]
    for kind, found in runs.items() if options.data.forecast else ():
        each = forecast(options, found.best, data, kind)
        metrics[kind]["forecast"] = each.scores(np.asarray(data.train.states))
        arrays |= {f"{name}_{kind}": values for name, values in each.arrays().items()}
        made = _forecasts.figures(each, metrics[kind]["forecast"], times, names)
        drawn |= {with_kind(name, kind, runs): draw for name, draw in made.items()}
    note = f"of {options.training.seeds} seeds the best by bound"
    return _run.Results(metrics, arrays, drawn, summary(metrics, runs), note)


def recover(fitted: rpm.train.Fit, data: Sequences, kind: str) -> Recovered:
    """Posterior means on the scale of the true states, by regression on the training sequences."""
    posteriors: tuple[Any, Any] = fitted.posterior(), fitted.infer(as_data(data[1], kind))
    means = [np.asarray(posterior.mean) for posterior in posteriors]
    states = np.concatenate([np.asarray(part.states) for part in data[:2]])
    fraction = len(means[0]) / len(states)
    aligned = rpm.metrics.align_latent(states, np.concatenate(means), fit_fraction=fraction)
    slope = np.asarray(aligned.slope)
    deviations = [
        np.sqrt(np.einsum("kd,ntkl,ld->ntd", slope, np.asarray(posterior.covariance), slope))
        for posterior in posteriors
    ]
    regressed = np.asarray(aligned.mean)
    return Recovered(
        (regressed[: len(means[0])], regressed[len(means[0]) :]),
        (deviations[0], deviations[1]),
        eigenvalues(transition_of(fitted)),
        float(rpm.metrics.linear_r2(states, np.concatenate(means), fit_fraction=fraction)),
    )


def forecast(options: Options, fitted: rpm.train.Fit, data: Sequences, kind: str) -> Forecasts:
    """States of the held-out sequences' last H steps from their first T, with the inputs to come known."""
    steps, horizon = options.data.sequence_length, options.data.forecast
    inputs = data.longer.inputs if kind == "driven" else None
    if inputs is not None:
        inputs = inputs[:, steps - 1 : steps + horizon - 1]  # the first leads to step T + 1
    held_out = as_data(data.held_out, kind)
    found, known = fitted.forecast(horizon, held_out, inputs=inputs), fitted.infer(held_out)
    aligned = rpm.metrics.align_latent(data.train.states, fitted.posterior().mean)
    slope, intercept = np.asarray(aligned.slope), np.asarray(aligned.intercept)
    variance = np.einsum("kd,nhkl,ld->nhd", slope, np.asarray(found.covariance), slope)
    return Forecasts(
        np.asarray(found.mean) @ slope + intercept,
        np.sqrt(variance),
        np.asarray(data.longer.states)[:, steps:],
        np.asarray(known.mean) @ slope + intercept,
    )


def transition_of(fitted: rpm.train.Fit) -> np.ndarray:
    """A, which inputs do not change here, shape (K, K)."""
    return np.asarray(fitted.prior.transition)


def regression_error(train: LinearSystem) -> float:
    """The error of eigenvalues of the states' regression on their predecessors, and on inputs."""
    states = np.asarray(train.states)
    size = states.shape[-1]
    before = [states[:, :-1]]
    if train.inputs is not None:
        before.append(np.asarray(train.inputs)[:, :-1])
    design = np.concatenate(before, axis=-1)
    slope = np.linalg.lstsq(
        design.reshape(-1, design.shape[-1]), states[:, 1:].reshape(-1, size), rcond=None
    )[0]
    return eigenvalue_error(eigenvalues(train.transition), eigenvalues(slope[:size].T))


def summary(metrics: dict[str, Any], runs: dict[str, Runs]) -> str:
    """The most important numbers in words."""
    words = []
    for kind in runs:
        own = metrics[kind]
        words.append(
            f"{TITLES[kind]}: eigenvalues to {own['eigenvalue_error']:.4f}, held-out R² "
            f"{own['r2_heldout']:.4f} and bound {own['bound_heldout']:.2f}"
        )
        if "forecast" in own:
            words.append(_forecasts.words(own["forecast"]))
    words.append(
        f"regression of the true states: eigenvalues to {metrics['eigenvalue_error_regression']:.4f}"
    )
    return "; ".join(words)


def all_arrays(data: Sequences, chosen: dict[str, Recovered], runs: dict[str, Runs]) -> dict[str, np.ndarray]:
    """All that figures are made of; the bounds of all seeds, the rest of the chosen ones."""
    train, held_out, _ = data
    arrays: dict[str, Any] = {
        "transition": train.transition,
        "eigenvalues": eigenvalues(train.transition),
        "states": train.states,
        "states_heldout": held_out.states,
        "views": np.stack(train.views),
    }
    if train.inputs is not None:
        arrays |= {"inputs": train.inputs, "input_matrix": train.input_matrix}
    for kind, found in chosen.items():
        arrays |= {
            f"eigenvalues_{kind}": found.eigenvalues,
            f"mean_{kind}": found.mean[0],
            f"mean_heldout_{kind}": found.mean[1],
            f"deviation_{kind}": found.deviation[0],
            f"deviation_heldout_{kind}": found.deviation[1],
            **{f"{name}_{kind}": values for name, values in runs[kind].histories().items()},
        }
    return {name: np.asarray(value) for name, value in arrays.items()}


def figures(arrays: dict[str, np.ndarray], runs: dict[str, Runs]) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw."""
    found = {TITLES[kind]: arrays[f"eigenvalues_{kind}"] for kind in runs}
    drawn: dict[str, Callable[[], Any]] = {
        "eigenvalues.png": lambda: plots.eigenvalues(arrays["eigenvalues"], found)
    }
    for kind, each in runs.items():
        drawn |= {
            with_kind("states.png", kind, runs): functools.partial(
                plots.latents_over_time,
                np.arange(1, 1 + arrays["states_heldout"].shape[1]),
                arrays[f"mean_heldout_{kind}"],
                arrays[f"deviation_heldout_{kind}"],
                truth=arrays["states_heldout"],
                names=[f"state {d + 1}" for d in range(arrays["states_heldout"].shape[2])],
            ),
            with_kind("bound.png", kind, runs): functools.partial(
                plots.learning_curves,
                arrays[f"bound_train_{kind}"],
                each.chosen,
                label="bound (nats per sequence)",
            ),
        }
    return drawn


def with_kind(name: str, kind: str, runs: dict[str, Runs]) -> str:
    """The name of a file of one kind of model, where there are two."""
    return name.replace(".", f"_{kind}.") if len(runs) > 1 else name


EXPERIMENT = _run.Experiment("linear_system", Options, check, load, run)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
