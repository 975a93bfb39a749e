"""Learn digits from nothing but sets of images of the same digit.

Each set holds J images of one digit, and nobody says which. A latent with K states explains what they have in
common; the run is chosen by its likelihood, and labels only score it. Default data are scikit-learn's 8 x 8
digits; --data DIR reads MNIST.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _devices, _run, _seeds
from experiments._cli import OptionError, given, naming_options
from experiments._output import Files
from experiments._peer_options import LIBRARY_DEFAULTS, NUM_STEPS, TORCHRPM, Options, check
from rpm_jax import plots


class DigitData(NamedTuple):
    """Sets of images to fit, and images and sets that are held out.

    Attributes:
        train: Sets to fit.
        held_out: Sets of held-out images.
        num_labels: How many digits there are.
    """

    train: rpm.datasets.Peers
    held_out: rpm.datasets.Peers
    num_labels: int


# Data.


def load(options: Options) -> DigitData:
    """Images in sets of one label: of several processes each has its share of those to fit."""
    _devices.check_seeds(options.devices, options.training.seeds)
    key = jax.random.fold_in(jax.random.key(options.data.data_seed), 0)
    split_key, train_key, held_out_key, *view_keys = jax.random.split(key, 7)
    train, held_out = images(options, split_key)
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
    return DigitData(sets[0], sets[1], int(np.max(train.labels)) + 1)


def grey_values(view: jax.Array) -> jax.Array:
    """From 0 to 1; files have them from 0 to 255."""
    return view.astype(jnp.float32) / 255 if view.dtype == jnp.uint8 else view


def images(
    options: Options, key: jax.Array
) -> tuple[rpm.datasets.LabelledImages, rpm.datasets.LabelledImages]:
    """Images to fit and held-out ones."""
    if options.data.data is None:
        digits = rpm.datasets.load_digits()
        return rpm.datasets.hold_out(key, *digits, options.data.held_out)
    folder = options.data.data.expanduser()
    if options.data.download:
        rpm.datasets.download_mnist(folder, progress=not options.run.quiet)
    try:
        test = rpm.datasets.load_mnist(folder, "test", memory_map=True)
        if any(folder.glob("train-*")):
            return rpm.datasets.load_mnist(folder, "train", memory_map=True), test
    except (FileNotFoundError, ValueError) as error:
        raise OptionError(f"--data: {error}; --download fetches MNIST into {folder}") from error
    number = test.labels.shape[0]
    stay = number - round(number * options.data.held_out)
    if not 0 < stay < number:
        raise OptionError(f"--held-out {options.data.held_out} of {number} images leaves none in a part")
    return part_of(test, slice(stay)), part_of(test, slice(stay, None))


def part_of(images: rpm.datasets.LabelledImages, rows: slice) -> rpm.datasets.LabelledImages:
    """Some of the images."""
    return rpm.datasets.LabelledImages(images.images[rows], images.labels[rows])


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
    network = build_network(options, data)
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


def build_network(options: Options, data: DigitData) -> Any:
    """A perceptron for small images, a convolutional network for large ones."""
    wanted = options.model
    sides = [min(view.shape[1:3]) for view in data.train.views]
    kind = wanted.network if wanted.network != "auto" else ("cnn" if min(sides) >= 16 else "mlp")
    network = rpm.networks.CNN if kind == "cnn" else rpm.networks.MLP
    return network(**given(hidden=wanted.hidden))


def fit_options(options: Options, size: int) -> dict[str, Any]:
    """Arguments of `rpm.fit`: those that were given."""
    wanted = options.training
    if wanted.batch_size is not None and wanted.batch_size > size:
        raise OptionError(f"--batch-size must be at most the number of sets {size}, got {wanted.batch_size}")
    num_steps = wanted.num_steps or NUM_STEPS
    if wanted.epochs is not None:
        batch_size = wanted.batch_size or min(rpm.train.EXACT_BATCH_SIZE, size)
        num_steps = wanted.epochs * max(1, size // batch_size)
    rates = given(networks=wanted.learning_rate, prior=wanted.prior_learning_rate)
    components: Any = wanted.components
    if wanted.queue is not None:
        components = rpm.normalizers.queue(wanted.queue)
    if components is None and options.model.joint:
        components = "data" if options.model.combinations is not None else "batch"
    return given(
        num_steps=num_steps,
        batch_size=wanted.batch_size,
        learning_rates=rates or None,
        schedule=wanted.schedule,
        components=components,
        progress=not options.run.quiet or None,
        mesh=_devices.mesh(options.devices),
    )


# Run.


class Drift:
    """A callback that keeps Σ_k f_j(k|x) of free factors, averaged over some data, at every look."""

    def __init__(self, model: rpm.RPM, views: tuple[jax.Array, ...]) -> None:
        self.steps: list[int] = []
        self.log_masses: list[np.ndarray] = []
        views = tuple(jnp.asarray(view[:256]) for view in views)

        def log_mass(params: Any) -> jax.Array:
            factors = model.factors(params, views)
            mass = factors.natural.log_partition() + factors.log_scale
            return jnp.mean(mass[..., 0], axis=0)

        self._log_mass = jax.jit(jax.vmap(log_mass))

    def __call__(self, progress: rpm.train.Progress) -> None:
        """Note the masses of all seeds."""
        self.steps.append(progress.step)
        self.log_masses.append(np.asarray(self._log_mass(progress.params)))


def run(options: Options, data: DigitData, files: Files) -> _run.Results:
    """Fit, choose a run by its likelihood, score it by the labels."""
    train, held_out = data.train, data.held_out
    num_sets = _devices.total(len(train.labels))
    settings = fit_options(options, num_sets)
    model = build_model(options, data)
    drift = None
    if isinstance(model, rpm.RPM) and options.model.kind != "normalised":
        drift = Drift(model, train.views)
    key = jax.random.fold_in(jax.random.key(options.training.model_seed), 1)
    keys = jax.random.split(key, options.training.seeds)
    if jax.process_count() > 1:
        fits = [rpm.fit(model, train.views, key=keys[0], **settings)]
    else:
        sweep = rpm.fit_seeds(model, train.views, keys=keys, callback=drift, **settings)
        fits = [sweep.run(seed) for seed in range(sweep.size)]
    chosen = _seeds.best(fits)
    _seeds.save(files, fits, chosen)
    recover = gaussian_recovery if options.model.latent == "gaussian" else state_recovery
    results = [recover(model, fit.params, data) for fit in fits]
    scores = [
        {"log_likelihood": float(fit.bound), **result.scores, "steps_skipped": int(fit.history.skipped)}
        for fit, result in zip(fits, results, strict=True)
    ]
    best = scores[chosen]
    limit = maximum(options, data)
    accuracies = np.array([score["accuracy_heldout"] for score in scores])
    metrics = {
        **best,
        "maximum": limit,
        "chosen_seed": chosen,
        "share_above_90": float(np.mean(accuracies >= 0.9)),
        "per_seed": {name: [score[name] for score in scores] for name in best},
        "num_sets": num_sets,
        "num_sets_heldout": len(held_out.labels),
        "steps": int(fits[0].history.train.shape[-1]),
    }
    arrays = {
        "labels": train.labels,
        "labels_heldout": held_out.labels,
        "indices": train.indices,
        "likelihood_curves": np.stack([fit.history.train for fit in fits]),
        **results[chosen].arrays,
    }
    if drift is not None:
        arrays |= {"drift_steps": np.array(drift.steps), "log_masses": np.array(drift.log_masses)[:, chosen]}
    low, high = accuracies.min(), accuracies.max()
    summary = (
        f"held-out accuracy {best['accuracy_heldout']:.4f} (all seeds {low:.4f} to {high:.4f}), "
        f"log-likelihood {best['log_likelihood']:.4f}" + (f" of at most {limit:.4f}" if limit else "")
    )
    note = f"seed {chosen} of {len(fits)} by likelihood"
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


class Recovery(NamedTuple):
    """What one fit says, scored."""

    scores: dict[str, Any]
    arrays: dict[str, Any]


def state_recovery(model: Any, params: Any, data: DigitData) -> Recovery:
    """States matched to labels on the training data, and accuracies with this matching."""
    train, held_out = data.train, data.held_out
    given_set, given_image = zip(
        *(state_probabilities(model, params, part, train) for part in (train, held_out)), strict=True
    )
    states, states_held_out = (p.argmax(-1) for p in given_set)
    number = given_set[0].shape[-1]
    matching = rpm.metrics.match_states(train.labels, states, data.num_labels, number)
    assignment = matching.assignment

    def accuracy(labels: Any, states: Any) -> float:
        return float(rpm.metrics.matched_accuracy(labels, states, assignment))

    scores: dict[str, Any] = {
        "accuracy_train": float(matching.accuracy),
        "accuracy_heldout_sets": accuracy(held_out.labels, states_held_out),
        "mutual_information": float(rpm.metrics.mutual_information(held_out.labels, states_held_out)),
        "states_in_use": int(rpm.metrics.states_in_use(given_set[0])),
    }
    scores["accuracy_heldout"] = scores["accuracy_heldout_sets"]
    if given_image[1] is not None:
        single = given_image[1].argmax(-1)
        each = [accuracy(held_out.labels, single[:, j]) for j in range(single.shape[1])]
        scores["accuracy_heldout"] = float(np.mean(each))
        scores["accuracy_heldout_by_view"] = each
    arrays = {
        "probabilities": given_set[0],
        "probabilities_heldout": given_set[1],
        "confusion": matching.confusion,
        "assignment": assignment,
    }
    return Recovery(scores, arrays)


def state_probabilities(
    model: Any, params: Any, part: rpm.datasets.Peers, train: rpm.datasets.Peers
) -> tuple[np.ndarray, np.ndarray | None]:
    """p(z|X) of each set, (N, K), and p(z|x_j) of each image, (N, J, K), where views are independent."""
    if isinstance(model, rpm.RPM):
        ratios = model.log_ratios(params, part.views, data=train.views)
        prior = model.prior(params)
        whole, single = (
            prior.condition(potentials).sites.probabilities[..., 0, :]
            for potentials in (ratios.sum(-2), ratios)
        )
        return np.asarray(whole), np.asarray(single)
    if isinstance(model, rpm.LocalLatentRPM):
        posterior = model.infer(params, part.views, data=train.views).posterior
    else:
        posterior = model.posterior(params, part.views, data=train.views)
    return np.asarray(posterior.sites.probabilities[:, 0]), None


def gaussian_recovery(model: Any, params: Any, data: DigitData) -> Recovery:
    """How well a nearest-neighbour rule reads the labels off the posterior means."""
    from sklearn.neighbors import KNeighborsClassifier

    train, held_out = data.train, data.held_out
    means = [
        np.asarray(model.infer(params, part.views, data=train.views).mean[:, 0]) for part in (train, held_out)
    ]
    classifier = KNeighborsClassifier(n_neighbors=10).fit(means[0], np.asarray(train.labels))
    scores = {
        "accuracy_train": float(classifier.score(means[0], np.asarray(train.labels))),
        "accuracy_heldout": float(classifier.score(means[1], np.asarray(held_out.labels))),
    }
    return Recovery(scores, {"means": means[0], "means_heldout": means[1]})


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


EXPERIMENT = _run.Experiment("peer_supervision", Options, check, load, run, TORCHRPM, LIBRARY_DEFAULTS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment with these command-line arguments; the exit status."""
    return _run.main(EXPERIMENT, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
