"""Find places and the paths between them in what an agent sees on its way through a maze.

It sees the textured floor around it, with noise, and nobody says where it is. A hidden Markov prior over
time, with as many states as there are places, and one network that looks at every view recover both the
places and the graph of steps between them. The run is chosen by its likelihood on the training data, and the
true places only score it. The walks are `rpm_jax.datasets.maze_walk`.
"""

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _fits, _run
from experiments._fits import Runs
from experiments._maze_options import (
    BATCH_SIZE,
    PRIOR_LEARNING_RATE,
    PSEUDO_COUNT,
    STEPS_PER_UPDATE,
    Options,
    check,
    sizes,
)
from experiments._maze_scores import (
    Pair,
    Recovered,
    flattened,
    gaussian_baseline,
    in_order_of_places,
    match,
    of_the_true_model,
    recovered_from,
    require_hmmlearn,
    score,
)
from experiments._maze_warm_start import kmeans_responsibilities, match_factors
from experiments._options import OptionError, given
from experiments._output import Files
from rpm_jax import plots

NUM_DRAWN = 12
"""The most states whose views are drawn."""

SUMMARISED = ("accuracy_train", "accuracy_heldout", "transition_error")


# Data, model, fit.


def load(options: Options) -> Pair:
    """Walks to fit, and held-out ones through the same maze."""
    data = options.data
    if options.comparison.baseline:
        require_hmmlearn()
    num_sequences, num_held_out, num_steps = sizes(options)
    train, held_out = _fits.draw(
        rpm.datasets.maze_walk,
        data,
        num_sequences,
        num_held_out,
        renamed={"num_steps": "sequence_length"},
        num_steps=num_steps,
        walls=None if data.walls is None else read_walls(data.walls),
    )
    num_states = options.model.num_states or len(train.places)
    num_views = num_sequences * train.times.size
    if num_states > num_views:
        raise OptionError(
            f"--num-states must be at most the number of training views {num_views}, got {num_states}"
        )
    return train, held_out


def read_walls(path: Any) -> np.ndarray:
    """Where there is a # in the lines of a text file."""
    try:
        rows = path.expanduser().read_text("utf-8").strip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--walls: cannot read {path}: {error}") from error
    rows = [row.strip() for row in rows]
    if not rows or len({len(row) for row in rows}) > 1 or set("".join(rows)) - set("#."):
        raise OptionError(f"--walls: {path} must hold lines of # and . only, all of one length")
    return np.array([list(row) for row in rows]) == "#"


def build_model(options: Options, num_places: int) -> rpm.RPM:
    """The model, with everything that was not asked for left to the library."""
    wanted = options.model
    prior = rpm.priors.hidden_markov(
        wanted.num_states or num_places,
        sizes(options).sequence_length,
        stickiness=wanted.stickiness,
        parallel=wanted.parallel,
    )
    network = rpm.networks.PointwiseMLP(wanted.hidden)
    return rpm.RPM(prior, rpm.factors.per_view(network, kind=wanted.kind), pooled=wanted.pooled)


def fit_arguments(options: Options, model: rpm.RPM) -> dict[str, Any]:
    """Arguments of `rpm.fit_seeds`: the prior's updates, and those that were given."""
    own: dict[str, Any] = {"learning_rates": {"prior": PRIOR_LEARNING_RATE}}
    if options.model.transition == "closed-form":
        pseudo_count = options.model.pseudo_count
        update = rpm.train.maximise_prior(
            model,
            pseudo_count=PSEUDO_COUNT if pseudo_count is None else pseudo_count,
            **given(perturbation=options.model.perturbation),
        )
        steps = options.training.steps_per_update or STEPS_PER_UPDATE
        own |= {"freeze": ("prior",), "update": update, "steps_per_call": steps}
    return _fits.arguments(options, sizes(options).num_sequences, default_batch=BATCH_SIZE, **own)


def fit_all(options: Options, model: rpm.RPM, data: Pair, files: Files) -> Runs:
    """A fit from each seed."""
    train, held_out = ((flattened(walks),) for walks in data)
    settings = fit_arguments(options, model)
    if options.training.warm_start == "kmeans":
        settings["params"] = initial_parameters(options, model, rpm.as_data(train))
    return _fits.fit_seeds(model, train, options, files, held_out=held_out, **settings)


def initial_parameters(options: Options, model: rpm.RPM, views: rpm.Data) -> Any:
    """Parameters of each seed, with networks that tell apart the clusters of k-means."""
    wanted = options.training
    keys = jax.random.split(_fits.model_key(wanted.model_seed), wanted.seeds)
    params = jax.jit(jax.vmap(model.init, in_axes=(0, None)))(keys, views)
    num_states = params["prior"]["initial"].shape[-1]
    targets = [
        kmeans_responsibilities(np.asarray(views.views[0]), num_states, wanted.kmeans_restarts, seed)
        for seed in shown(options, "k-means")(seeds_of_others(options))
    ]
    return match_factors(
        model, params, views, jnp.asarray(np.stack(targets)), wanted.warm_start_steps, shown(options, "match")
    )


def seeds_of_others(options: Options) -> list[int]:
    """Seeds for what JAX does not draw, one for each run."""
    sequence = np.random.SeedSequence((options.training.model_seed, 1))
    return [int(seed) for seed in sequence.generate_state(options.training.seeds)]


def shown(options: Options, description: str) -> Callable[[Any], Any]:
    """Wraps what is iterated over in a progress bar, unless that is not wanted."""
    from tqdm.auto import tqdm

    return lambda items: tqdm(items, desc=description, disable=options.run.quiet)


# Results.


def run(options: Options, data: Pair, files: Files) -> _run.Results:
    """Fit, choose a run by its likelihood, score it by the true places."""
    started = time.perf_counter()
    runs = fit_all(options, build_model(options, len(data[0].places)), data, files)
    seconds = time.perf_counter() - started
    recovered = [recover(each, data) for each in runs.fits]
    scores = [
        _fits.scores(fitted) | {"bound_heldout": _fits.bound_held_out(fitted)} | score(data, each)
        for fitted, each in zip(runs.fits, recovered, strict=True)
    ]
    frequencies = np.bincount(np.asarray(data[0].states).ravel()) / data[0].states.size
    metrics = {
        **runs.metrics(scores, tuple(scores[0])),
        "true_model": of_the_true_model(options, data),
        "num_places": len(data[0].places),
        "num_states": len(recovered[runs.chosen].transition),
        "entropy_of_places": float(-np.sum(frequencies * np.log(np.where(frequencies > 0, frequencies, 1)))),
        "steps": runs.num_steps,
        "seconds_fit": seconds,
    }
    if options.comparison.baseline:
        metrics["baseline"] = compare(options, data, metrics["num_states"])
    arrays = all_arrays(data, recovered[runs.chosen], runs)
    note = f"seed {runs.chosen} of {len(runs.fits)} by likelihood"
    return _run.Results(metrics, arrays, figures(arrays, runs.chosen), summary(metrics), note)


def recover(fitted: rpm.train.Fit, data: Pair) -> Recovered:
    """What the model says about the walks to fit and the held-out ones."""
    posteriors = fitted.posterior(), fitted.infer((flattened(data[1]),))
    return recovered_from(posteriors, jnp.exp(fitted.prior.transition))


def compare(options: Options, data: Pair, num_states: int) -> dict[str, Any]:
    """The baseline's scores and time."""
    started = time.perf_counter()
    progress = shown(options, "Gaussian HMM")
    scores = gaussian_baseline(options, data, seeds_of_others(options), num_states, progress)
    return scores | {"seconds_fit": time.perf_counter() - started}


def summary(metrics: dict[str, Any]) -> str:
    """The most important numbers in words."""
    words = [f"{name} {metrics[name]:.4f}" for name in SUMMARISED]
    words[0] += f" (median {metrics['medians']['accuracy_train']:.4f})"
    words.append(f"bound_train {metrics['bound_train']:.2f}")
    for name in ("true_model", "baseline"):
        if name in metrics:
            numbers = " ".join(f"{metrics[name][key]:.4f}" for key in SUMMARISED)
            words.append(f"{name.replace('_', ' ')} {numbers}")
    return ", ".join(words)


def all_arrays(data: Pair, recovered: Recovered, runs: Runs) -> dict[str, np.ndarray]:
    """All that figures are made of; the bounds of all seeds, the rest of the chosen one."""
    train = data[0]
    matching = match(data, recovered)
    arrays: dict[str, Any] = {
        "walls": train.walls,
        "places": train.places,
        "scenes": train.scenes,
        "initial": train.initial,
        "transition": train.transition,
        "recovered_transition": recovered.transition,
        "assignment": matching.assignment,
        "confusion": matching.confusion,
        **runs.histories(),
    }
    for suffix, walks, probabilities, paths in zip(
        ("", "_heldout"), data, recovered.probabilities, recovered.paths, strict=True
    ):
        arrays |= {
            f"views{suffix}": walks.views,
            f"states{suffix}": walks.states,
            f"probabilities{suffix}": probabilities.astype(np.float32),
            f"paths{suffix}": paths,
        }
    return {name: np.asarray(value) for name, value in arrays.items()}


def figures(arrays: dict[str, np.ndarray], chosen: int) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw; all but the bound are of the training walks."""
    true = arrays["transition"]
    found = in_order_of_places(arrays["recovered_transition"], arrays["assignment"], len(true))
    return {
        "maze.png": lambda: plots.maze_map(arrays["walls"], arrays["places"], certainty(arrays), true, found),
        "transitions.png": lambda: plots.matrix_pair(true, found, rows="from place", columns="to place"),
        "views.png": lambda: draw_views(arrays),
        "bound.png": lambda: plots.learning_curves(
            arrays["bound_train"], chosen, label="bound (nats per sequence)"
        ),
    }


def certainty(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The mean probability of the state that a place is matched to, while the agent is there, shape (S,)."""
    labels = arrays["assignment"]
    own = np.zeros((len(arrays["places"]), labels.size))
    own[labels[labels >= 0], np.flatnonzero(labels >= 0)] = 1.0
    states = arrays["states"].ravel()
    probabilities = np.sum(own[states] * arrays["probabilities"].reshape(-1, labels.size), axis=-1)
    visits = np.bincount(states, minlength=len(own))
    return np.bincount(states, probabilities, minlength=len(own)) / np.maximum(visits, 1)


def draw_views(arrays: dict[str, np.ndarray]) -> Any:
    """What is seen at a place, the mean view of its state, then the most typical views of it."""
    size = len(arrays["assignment"])
    probabilities = arrays["probabilities"].reshape(-1, size)
    views = arrays["views"].reshape(-1, *arrays["scenes"].shape[1:])
    weights = probabilities / np.maximum(probabilities.sum(0), 1e-12)
    means = np.einsum("nk,nij->kij", weights, views)
    matched = np.flatnonzero(arrays["assignment"] >= 0)
    drawn = matched[np.argsort(-probabilities.sum(0)[matched], kind="stable")][:NUM_DRAWN]
    places = arrays["assignment"][drawn]
    own = probabilities.argmax(-1)
    typical = [np.flatnonzero(own == state) for state in drawn]
    typical = [rows[np.argsort(-probabilities[rows, k])][:6] for rows, k in zip(typical, drawn, strict=True)]
    images = [
        np.concatenate([arrays["scenes"][[place]], means[[state]], views[rows]])
        for place, state, rows in zip(places, drawn, typical, strict=True)
    ]
    groups = np.repeat(np.arange(len(images)), [len(each) for each in images])
    names = [f"place {place}" for place in places]
    return plots.samples_per_state(np.concatenate(images), groups, titles=names)


EXPERIMENT = _run.Experiment("maze_hmm", Options, check, load, run)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
