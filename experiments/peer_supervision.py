"""Learn digits from nothing but sets of images of the same digit.

Each set holds J images of one digit, and nobody says which. A latent with K states explains what they have in
common; the run is chosen by its likelihood, and labels only score it. Default data are scikit-learn's 8 x 8
digits; --data DIR reads MNIST.
"""

import functools
import math
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _devices, _fits, _run
from experiments._cli import naming_options
from experiments._digit_images import grey_values, labelled_images, network_for, part_of
from experiments._fits import Runs
from experiments._options import OptionError, given
from experiments._output import Files
from experiments._peer_options import NUM_STEPS, TORCHRPM, Options, check
from experiments._peer_scores import DigitData, gaussian_recovery, state_recovery
from rpm_jax import plots

# Data.


def load(options: Options) -> DigitData:
    """Images in sets of one label: of several processes each has its share of those to fit."""
    _devices.check_seeds(options.devices, options.training.seeds)
    key = _fits.data_key(options.data.data_seed)
    split_key, train_key, held_out_key, *view_keys = jax.random.split(key, 7)
    train, held_out = labelled_images(options, split_key)
    wanted, there = options.data.num_images, len(train.labels)
    if wanted is not None and wanted > there:
        raise OptionError(f"--num-images must be at most the {there} images to fit, got {wanted}")
    train = part_of(train, slice(wanted))
    sets = []
    own = jax.process_index(), jax.process_count()
    for part, part_key, keys, share in zip(
        (train, held_out),
        (train_key, held_out_key),
        (view_keys[:2], view_keys[2:]),
        (own, (0, 1)),
        strict=True,
    ):
        with naming_options("peers"):
            peers = rpm.datasets.peers(
                part_key,
                *part,
                options.data.num_views,
                shares=None if options.data.shares is None else np.array(options.data.shares),
                reuse=options.data.reuse,
                share=share,
            )
        peers = peers._replace(views=tuple(grey_values(view) for view in peers.views))
        if options.data.views == "rotated-coloured":
            grey, other = peers.views
            views = rpm.datasets.rotated(keys[0], grey)[0], rpm.datasets.coloured(keys[1], other)[0]
            peers = peers._replace(views=views)
        sets.append(peers)
    batch_size, size = options.training.batch_size, _devices.total(len(sets[0].labels))
    if batch_size is not None and batch_size > size:
        raise OptionError(f"--batch-size must be at most the number of sets {size}, got {batch_size}")
    return DigitData(sets[0], sets[1], int(np.max(train.labels)) + 1)


# Model.


def build_model(options: Options, data: DigitData) -> Any:
    """The model, with everything that was not asked for left to the library."""
    wanted = options.model
    if wanted.latent == "gaussian":
        size = wanted.num_states or 2
        natural: Any = rpm.expfam.DiagonalGaussian(jnp.zeros(size), jnp.full(size, -0.5))
    else:
        natural = rpm.expfam.Categorical(jnp.zeros(wanted.num_states or data.num_labels))
    prior = rpm.priors.static(natural, learnable=wanted.learn_prior)
    sizes = [view.shape[1:3] for view in data.train.views]
    network = network_for(wanted.network, sizes, wanted.hidden)
    if wanted.joint:
        return rpm.JointRPM(
            prior,
            rpm.networks.concatenated(network, standardise=False),
            kind="scaled" if wanted.kind == "normalised" else wanted.kind,
            **given(combinations=wanted.combinations),
        )
    alike = options.data.views == "same"
    shared = alike if wanted.networks == "auto" else wanted.networks == "shared"
    factors = (rpm.factors.shared if shared else rpm.factors.per_view)(network, kind=wanted.kind)
    if wanted.local_states is not None:
        return rpm.LocalLatentRPM(prior, factors, num_local_states=wanted.local_states)
    return rpm.RPM(prior, factors, rpm.posteriors.conjugate() if wanted.posterior == "conjugate" else None)


def fit_arguments(options: Options, size: int) -> dict[str, Any]:
    """Arguments of `rpm.fit`: those that were given."""
    wanted = options.training
    own: dict[str, Any] = {"num_steps": NUM_STEPS}
    if wanted.queue is not None:
        own["components"] = rpm.feeds.queue(wanted.queue)
    elif options.model.joint:
        is_sampled = options.model.combinations is not None
        own["components"] = rpm.feeds.full() if is_sampled else rpm.feeds.minibatch()
    return _fits.arguments(options, size, most=rpm.model.EXACT_BATCH_SIZE, **own)


# Run.


class Drift:
    """A callback that keeps Σ_k f_j(k|x) of free factors, averaged over some data, at every look."""

    def __init__(self, model: rpm.RPM, views: tuple[jax.Array, ...]) -> None:
        self.steps: list[int] = []
        self.log_masses: list[np.ndarray] = []
        data = rpm.as_data(tuple(view[:256] for view in views))

        def log_mass(params: Any) -> jax.Array:
            factors = model.recognise(params, data.all())
            mass = factors.natural.log_partition() + factors.log_scale
            return jnp.mean(mass[..., 0], axis=0)

        self._log_mass = jax.jit(jax.vmap(log_mass))

    def __call__(self, progress: rpm.train.Progress) -> None:
        """Note the masses of all seeds."""
        self.steps.append(progress.step)
        self.log_masses.append(np.asarray(self._log_mass(progress.params)))


def fit_all(options: Options, model: Any, data: DigitData, files: Files, drift: Drift | None) -> Runs:
    """A fit from each seed, or one that several processes share."""
    views = data.train.views
    settings = fit_arguments(options, _devices.total(len(data.train.labels)))
    if jax.process_count() == 1:
        return _fits.fit_seeds(model, views, options, files, callback=drift, **settings)
    keys = jax.random.split(_fits.model_key(options.training.model_seed), options.training.seeds)
    runs = _fits.runs_of([rpm.fit(model, views, key=keys[0], **settings)])
    runs.save(files)
    return runs


def run(options: Options, data: DigitData, files: Files) -> _run.Results:
    """Fit, choose a run by its likelihood, score it by the labels."""
    train, held_out = data.train, data.held_out
    model = build_model(options, data)
    drift = None
    if isinstance(model, rpm.RPM) and options.model.kind != "normalised":
        drift = Drift(model, train.views)
    runs = fit_all(options, model, data, files, drift)
    chosen = runs.chosen
    recover = gaussian_recovery if options.model.latent == "gaussian" else state_recovery
    results = [recover(fitted, data) for fitted in runs.fits]
    scores = [
        {
            "log_likelihood": float(fitted.bound),
            **result.scores,
            "steps_skipped": int(fitted.history.skipped),
        }
        for fitted, result in zip(runs.fits, results, strict=True)
    ]
    best = scores[chosen]
    limit = maximum(options, data)
    accuracies = np.array([score["accuracy_heldout"] for score in scores])
    metrics = {
        **runs.metrics(scores),
        "maximum": limit,
        "share_above_90": float(np.mean(accuracies >= 0.9)),
        "num_sets": _devices.total(len(train.labels)),
        "num_sets_heldout": len(held_out.labels),
        "steps": runs.num_steps,
    }
    arrays = {
        "labels": train.labels,
        "labels_heldout": held_out.labels,
        "indices": train.indices,
        "likelihood_curves": runs.curves,
        **results[chosen].arrays,
    }
    if drift is not None:
        arrays |= {"drift_steps": np.array(drift.steps), "log_masses": np.array(drift.log_masses)[:, chosen]}
    low, high = accuracies.min(), accuracies.max()
    summary = (
        f"held-out accuracy {best['accuracy_heldout']:.4f} (all seeds {low:.4f} to {high:.4f}), "
        f"log-likelihood {best['log_likelihood']:.4f}" + (f" of at most {limit:.4f}" if limit else "")
    )
    note = f"seed {chosen} of {len(runs.fits)} by likelihood"
    if jax.process_count() > 1:
        note = f"scored on the first of {jax.process_count()} shares of the sets"
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    return _run.Results(metrics, arrays, figures(options, data, arrays, chosen, limit), summary, note)


def maximum(options: Options, data: DigitData) -> float | None:
    """(J − 1) log K, which no likelihood of J views given one of K equally probable states exceeds."""
    wanted = options.model
    if wanted.latent == "gaussian" or wanted.joint or wanted.local_states or wanted.learn_prior:
        return None
    return (len(data.train.views) - 1) * math.log(wanted.num_states or data.num_labels)


def figures(
    options: Options, data: DigitData, arrays: dict[str, np.ndarray], chosen: int, limit: float | None
) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw."""
    drawn: dict[str, Callable[[], Any]] = {
        "likelihood.png": lambda: plots.learning_curves(
            arrays["likelihood_curves"], chosen, limit, "log-likelihood of a minibatch in nats"
        )
    }
    if options.model.latent == "gaussian":
        drawn["latent.png"] = lambda: plots.labelled_points(arrays["means"], arrays["labels"])
        return drawn
    confusion, assignment = arrays["confusion"], arrays["assignment"]
    drawn["confusion.png"] = lambda: plots.confusion_matrices(
        confusion, plots.matched_columns(confusion, assignment)
    )
    drawn["states.png"] = lambda: plots.samples_per_state(
        np.asarray(data.train.views[0]), arrays["probabilities"].argmax(-1), arrays["probabilities"].max(-1)
    )
    if "log_masses" in arrays:
        drawn["drift.png"] = lambda: plots.drift(arrays["drift_steps"], arrays["log_masses"])
    return drawn


EXPERIMENT = _run.Experiment("peer_supervision", Options, check, load, run, TORCHRPM)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
