"""Find where nodes are on a circle from noisy graphs of them.

The J views are graphs of the same nodes, drawn together N times: the closer two nodes, the more often they
are connected (`rpm_jax.datasets.circle_graphs`). Every node is a site with an angle, uniform by the prior; a
graph network makes each graph a factor of all of them, and F_j averages over the nodes.

What makes the angles identifiable. A network that is equivariant to relabelling nodes could not turn one
graph the same way round as another; so nodes keep their labels, and each has a learned embedding, by which
the network knows in which direction a neighbour lies, alike in all graphs and views. A network that knew
a node's own label could answer by it instead, and views would agree without a look at their edges; so a node
receives the embeddings of others only. The prior then leaves one circle: F_j over all nodes has to be
uniform, so angles are right up to one rotation and reflection of them all, as far as nodes are spread evenly.

The run is chosen by its bound on the training graphs; the true angles only score it.
"""

import functools
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _fits, _run
from experiments._fits import Runs
from experiments._graph_baselines import informed_angles, spectral_angles
from experiments._graph_options import BATCH_SIZE, Options, check
from experiments._options import given
from experiments._output import Files
from rpm_jax import plots
from rpm_jax.datasets import CircleGraphs

Pair: TypeAlias = tuple[CircleGraphs, CircleGraphs]
"""Graphs to fit, and others of the same nodes."""

MEDIANS = (
    "error_train",
    "error_heldout",
    "error_nodes",
    "correlation_heldout",
    "bound_train",
)


class Recovered(NamedTuple):
    """Posterior angles, all turned and reflected alike.

    Attributes:
        train: From the J graphs drawn together, shape (N, T).
        held_out: From held-out ones, shape (M, T).
        nodes: From all training graphs together, shape (T,).
        concentration: Of the posterior of `train`, shape (N, T).
    """

    train: np.ndarray
    held_out: np.ndarray
    nodes: np.ndarray
    concentration: np.ndarray


def load(options: Options) -> Pair:
    """Graphs to fit, and held-out ones."""
    data = options.data
    return _fits.draw(rpm.datasets.circle_graphs, data, "num_graphs", data.num_held_out)


def build_model(options: Options) -> rpm.RPM:
    """The model, with everything that was not asked for left to the library."""
    wanted = options.model
    network = rpm.networks.GraphNetwork(
        num_features=wanted.features, num_rounds=wanted.rounds, **given(hidden=wanted.hidden)
    )
    factors = rpm.factors.shared if wanted.shared else rpm.factors.per_view
    return rpm.RPM(
        rpm.priors.Independent(rpm.expfam.VonMises(jnp.zeros((1, 2))), options.data.num_nodes),
        factors(network, standardise=False),
        pooled=wanted.pooled,
    )


def run(options: Options, data: Pair, files: Files) -> _run.Results:
    """Fit, choose a run by its bound, score it by the true angles."""
    settings = _fits.arguments(options, options.data.num_graphs, default_batch=BATCH_SIZE)
    runs = _fits.fit_seeds(build_model(options), data[0].views, options, files, **settings)
    recovered = [recover(each, data) for each in runs.fits]
    scores = [
        score(data, found) | _fits.scores(each) for each, found in zip(runs.fits, recovered, strict=True)
    ]
    others = compare(options, data)
    metrics = {
        **runs.metrics(scores, MEDIANS),
        "steps": runs.num_steps,
        **{name: errors(data, each) for name, each in others.items()},
    }
    arrays = all_arrays(data, recovered[runs.chosen], others, runs)
    return _run.Results(
        metrics,
        arrays,
        figures(arrays, runs.chosen),
        summary(metrics),
        f"seed {runs.chosen} of {len(runs.fits)} by bound",
    )


def recover(fitted: rpm.train.Fit, data: Pair) -> Recovered:
    """Mean directions under the posterior, and of what all training graphs say together."""
    train, held_out = data
    sites, new = fitted.posterior().sites, fitted.infer(held_out.views).sites
    # Natural parameters of independent evidence add up.
    evidence = jnp.sum(sites.eta, axis=0)
    found = [np.asarray(each[..., 0]) for each in (sites.mean(), new.mean())]
    aligned = rpm.metrics.align_angles(np.broadcast_to(train.angles, found[0].shape), found[0])
    turned = [np.asarray(aligned.apply(each)) for each in found]
    nodes = aligned.apply(jnp.arctan2(evidence[:, 0, 1], evidence[:, 0, 0]))
    return Recovered(turned[0], turned[1], np.asarray(nodes), np.asarray(sites.concentration[..., 0]))


def compare(options: Options, data: Pair) -> dict[str, Recovered]:
    """Angles by eigenvectors, each matrix turned by itself, and those of an informed observer."""
    angles = np.asarray(data[0].angles)
    views = [tuple(np.asarray(view) for view in part.views) for part in data]
    means = [np.mean(part, axis=0) for part in views]
    names = ("width", "peak", "background")
    probability = partial(
        rpm.datasets.circle_edge_probability, **{name: getattr(options.data, name) for name in names}
    )

    def aligned(found: np.ndarray) -> np.ndarray:
        return np.stack([rpm.metrics.align_angles(angles, each).angles for each in found])

    found = [spectral_angles(mean) for mean in (*means, means[0].mean(0, keepdims=True))]
    known = [informed_angles(part, angles, probability) for part in views]
    flat = [views[0][j][n] for j in range(len(views[0])) for n in range(len(views[0][0]))]
    together = informed_angles(tuple(each[None] for each in flat), angles, probability)
    unknown = np.full(known[0].shape, np.nan)
    return {
        "spectral": Recovered(aligned(found[0]), aligned(found[1]), aligned(found[2])[0], unknown),
        "informed": Recovered(known[0], known[1], together[0], unknown),
    }


# Scores.


def errors(data: Pair, recovered: Recovered) -> dict[str, float]:
    """Mean distances from the true angles, in degrees."""
    angles = data[0].angles
    parts = {"train": recovered.train, "heldout": recovered.held_out, "nodes": recovered.nodes}
    return {
        f"error_{name}": float(np.degrees(np.mean(rpm.metrics.angular_distance(found, angles))))
        for name, found in parts.items()
    }


def score(data: Pair, recovered: Recovered) -> dict[str, float]:
    """Errors, and correlations up to reflection."""
    parts = {"train": recovered.train, "heldout": recovered.held_out, "nodes": recovered.nodes}
    scores = errors(data, recovered)
    for name, found in parts.items():
        true = np.broadcast_to(data[0].angles, found.shape)
        scores[f"correlation_{name}"] = float(rpm.metrics.circular_correlation(true, found))
    return scores


# Results.


def summary(metrics: dict[str, Any]) -> str:
    """The most important numbers in words."""
    words = [
        f"error {metrics['error_train']:.2f}°, held out {metrics['error_heldout']:.2f}° (median of seeds "
        f"{metrics['medians']['error_heldout']:.2f}°), all graphs together {metrics['error_nodes']:.2f}°"
    ]
    for name in ("spectral", "informed"):
        values = metrics[name]
        words.append(f"{name} {values['error_heldout']:.2f}° and {values['error_nodes']:.2f}°")
    return ", ".join([*words, f"bound {metrics['bound_train']:.2f}"])


def all_arrays(
    data: Pair, recovered: Recovered, others: dict[str, Recovered], runs: Runs
) -> dict[str, np.ndarray]:
    """All that figures are made of; the bounds of all seeds, the rest of the chosen one."""
    train, held_out = data
    arrays: dict[str, Any] = {
        "angles": train.angles,
        "probabilities": train.probabilities,
        "views": np.stack(train.views).astype(bool),
        "views_heldout": np.stack(held_out.views).astype(bool),
        "concentration": recovered.concentration,
        "bound_train": runs.curves,
    }
    for suffix, each in {"": recovered, **{f"_{name}": each for name, each in others.items()}}.items():
        arrays |= {
            f"recovered{suffix}": each.train,
            f"recovered_heldout{suffix}": each.held_out,
            f"recovered_nodes{suffix}": each.nodes,
        }
    return {name: np.asarray(value) for name, value in arrays.items()}


def figures(arrays: dict[str, np.ndarray], chosen: int) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw; the angles are those of held-out graphs."""
    angles, found = arrays["angles"], arrays["recovered_heldout"]
    ways = [found, arrays["recovered_heldout_spectral"], arrays["recovered_heldout_informed"]]
    titles = ["recognition-parametrised model", "eigenvectors", "positions of others known"]
    graph = arrays["views_heldout"][0, 0]
    return {
        "angles.png": lambda: plots.recovered_angles(angles, np.stack(ways), titles),
        "circle.png": lambda: plots.circle_graphs(
            graph, angles, found[0], ("a held-out graph, true angles", "angles from this and its other views")
        ),
        "adjacency.png": lambda: plots.sorted_adjacency(
            arrays["views"].mean((0, 1)), angles, arrays["recovered_nodes"]
        ),
        "bound.png": lambda: plots.learning_curves(
            arrays["bound_train"], chosen, label="bound (nats per set of graphs)"
        ),
    }


EXPERIMENT = _run.Experiment("graph", Options, check, load, run)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
