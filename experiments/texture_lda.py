"""Learn textures from nothing but sets of patches that mix them in unknown proportions.

A set's proportions have a Dirichlet prior, each of its patches a topic drawn from them, and one network looks
at every patch: latent Dirichlet allocation with recognition factors in the place of words. The run is chosen
by its bound on the training data, and the true textures only score it. The patches are
`rpm_jax.datasets.texture_sets`.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np
import tyro

import rpm_jax as rpm
from experiments import _cli, _run, _seeds
from experiments._cli import OptionError, Run, default_of, given, naming_options, optional, refuse
from experiments._output import Files
from rpm_jax import plots
from rpm_jax.datasets import TextureSets

BATCH_SIZE = 25
"""Sets per step; small batches are much faster than all sets and reach the same bound."""

NUM_COMPONENTS = 20
"""Principal components that the baseline keeps."""

LIBRARY_DEFAULTS: dict[str, Any] = {
    "kernel_size": rpm.networks.CNN().kernel_size,
    "hidden": f"{' '.join(map(str, rpm.networks.CNN().hidden))} for the convolutional network, "
    f"{' '.join(map(str, rpm.networks.MLP().hidden))} for the perceptron",
    "max_iterations": default_of(rpm.priors.dirichlet_topics, "max_iterations"),
    "tolerance": "the precision of the numbers to the power 2/3",
    "learning_rate": rpm.train.LEARNING_RATES["networks"],
    "prior_learning_rate": rpm.train.LEARNING_RATES["prior"],
    "schedule": default_of(rpm.fit, "schedule"),
    "components": "data where there are few minibatches, else batch",
}
"""What the library does where an option is not given."""

# Compiled as a whole: far faster the first time than operation by operation.
mutual_information = jax.jit(rpm.metrics.mutual_information, static_argnums=(2, 3))

Pair: TypeAlias = tuple[TextureSets, TextureSets]
"""Sets to fit, and others."""


# Options.


def _library(text: str, name: str, metavar: str) -> Any:
    return _cli.library(text, LIBRARY_DEFAULTS[name], metavar)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Sets of patches."""

    num_sets: Annotated[int, tyro.conf.arg(aliases=["-N"])] = default_of(
        rpm.datasets.texture_sets, "num_sets"
    )
    """N, sets to fit."""
    num_held_out: int = 50
    """Sets that are held out."""
    num_patches: Annotated[int, tyro.conf.arg(aliases=["-T"])] = default_of(
        rpm.datasets.texture_sets, "num_patches"
    )
    """T, patches of a set."""
    num_textures: Annotated[int, tyro.conf.arg(aliases=["-S"])] = default_of(
        rpm.datasets.texture_sets, "num_textures"
    )
    """S, textures in all sets together."""
    patch_size: int = default_of(rpm.datasets.texture_sets, "patch_size")
    """Pixels along a patch."""
    concentration: tuple[float, ...] = (default_of(rpm.datasets.texture_sets, "concentration"),)
    """Concentration of the Dirichlet distribution that the proportions are drawn from, one number or one for
    each texture; the smaller, the fewer textures in a set."""
    noise: float = default_of(rpm.datasets.texture_sets, "noise")
    """Standard deviation of the pixels' noise; that of the textures is about 1."""
    data_seed: int = 0
    """Seed of the patches."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The recognition-parametrised model."""

    num_topics: Annotated[
        int | None,
        tyro.conf.arg(
            aliases=["-K"],
            help="K, topics that the model has.",
            help_behavior_hint="(default: as many as textures)",
            metavar="K",
        ),
    ] = None
    initial_concentration: float = 10.0
    """Concentration of the prior at first. Large ones that fall slowly keep topics from merging early on."""
    learn_concentration: bool = True
    """Learn the concentrations, or leave them as they are."""
    symmetric: bool = default_of(rpm.priors.dirichlet_topics, "symmetric")
    """Keep one concentration for all topics."""
    max_iterations: Annotated[
        int | None, _library("Most updates of the coordinate ascent.", "max_iterations", "INT")
    ] = None
    tolerance: Annotated[
        float | None,
        _library("Relative change at which the coordinate ascent stops.", "tolerance", "FLOAT"),
    ] = None
    network: Literal["cnn", "mlp"] = "cnn"
    """Convolutional network or perceptron. The latter has to learn every shift of a texture by itself."""
    channels: tuple[int, ...] = (16,)
    """Channels of each convolution."""
    kernel_size: Annotated[
        int | None, _library("Pixels along a convolution's kernel.", "kernel_size", "INT")
    ] = None
    hidden: Annotated[
        tuple[int, ...] | None, _library("Units of each hidden layer.", "hidden", "UNITS ...")
    ] = None
    kind: Literal["normalised", "scaled", "unnormalised"] = "normalised"
    """Factors that sum to 1 over the topics, those times a free scale, or free ones."""
    pooled: bool = True
    """Average F over the patches of all sets, or over those at one place of every set."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How it is fitted."""

    num_steps: int = 500
    """Optimisation steps."""
    batch_size: Annotated[
        int | None, optional("Sets per step.", f"{BATCH_SIZE}, or all of fewer", metavar="INT")
    ] = None
    learning_rate: Annotated[
        float | None, _library("Peak learning rate of the network.", "learning_rate", "FLOAT")
    ] = None
    prior_learning_rate: Annotated[
        float | None,
        _library("Peak learning rate of the concentrations' logarithms.", "prior_learning_rate", "FLOAT"),
    ] = None
    schedule: Annotated[
        Literal["cosine", "constant"] | None,
        _library("Course of the learning rates.", "schedule", "{cosine,constant}"),
    ] = None
    components: Annotated[
        Literal["data", "batch"] | None,
        _library("What F averages over: all sets, or those of the minibatch.", "components", "{data,batch}"),
    ] = None
    em: bool = default_of(rpm.fit, "em")
    """Hold q fixed in the gradients of prior and factors, as EM does."""
    model_seed: int = 0
    """Seed of the initial parameters and the minibatches."""
    seeds: int = 6
    """Runs from different seeds, of which the bound on the training data chooses one."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What it is compared with."""

    baselines: bool = False
    """Also cluster all patches by k-means, regardless of their sets: by their power spectra, and by their
    principal components."""


@dataclass(frozen=True, kw_only=True)
class Options(_cli.Options):
    """All options."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    comparison: Comparison = Comparison()
    run: Run = field(default_factory=Run)


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit, alone or together."""
    data, model, training = options.data, options.model, options.training
    _cli.require_integers(options, ("num_sets", "num_patches", "num_textures", "num_topics"), 2)
    sizes = ("num_held_out", "patch_size", "max_iterations", "channels", "kernel_size", "hidden")
    _cli.require_integers(options, (*sizes, "num_steps", "seeds"), 1)
    _cli.require_integers(options, ("batch_size",), 2)
    _cli.require_integers(options, ("data_seed", "model_seed"), 0)
    numbers = ("concentration", "initial_concentration", "tolerance", "learning_rate", "prior_learning_rate")
    _cli.require_positive(options, numbers)
    if len(data.concentration) not in (1, data.num_textures):
        raise OptionError(
            f"--concentration must be one number or one for each of {data.num_textures} textures, got "
            f"{' '.join(map(str, data.concentration))}"
        )
    if training.batch_size is not None and training.batch_size > data.num_sets:
        raise OptionError(
            f"--batch-size must be at most --num-sets {data.num_sets}, got {training.batch_size}"
        )
    reason = "which has no convolutions; take --network cnn"
    refuse(model.network == "mlp" and model.kernel_size is not None, "--kernel-size", "--network mlp", reason)
    refuse(
        model.network == "mlp" and model.channels != Model().channels, "--channels", "--network mlp", reason
    )
    refuse(
        model.symmetric and not model.learn_concentration,
        "--symmetric",
        "--no-learn-concentration",
        "which keeps one concentration for all topics anyway",
    )


# Data, model, fit.


def load(options: Options) -> Pair:
    """Sets to fit, and held-out ones of the same textures."""
    data = options.data
    sizes = {name: getattr(data, name) for name in ("num_patches", "num_textures", "patch_size", "noise")}
    concentration = np.array(data.concentration) if len(data.concentration) > 1 else data.concentration[0]
    # Data and model keys differ even where the seeds are alike.
    key = jax.random.fold_in(jax.random.key(data.data_seed), 0)
    with naming_options("texture_sets"):
        both = rpm.datasets.texture_sets(
            key, num_sets=data.num_sets + data.num_held_out, concentration=concentration, **sizes
        )
    train, held_out = both.split(data.num_sets)
    try:
        jax.eval_shape(build_model(options).init, jax.random.key(0), (train.views,))
    except ValueError as error:
        raise OptionError(f"--patch-size, --channels or --kernel-size: {error}") from error
    return train, held_out


def build_model(options: Options) -> rpm.RPM:
    """The model, with everything that was not asked for left to the library."""
    wanted = options.model
    prior = rpm.priors.dirichlet_topics(
        wanted.num_topics or options.data.num_textures,
        options.data.num_patches,
        concentration=wanted.initial_concentration,
        symmetric=wanted.symmetric,
        learnable=wanted.learn_concentration,
        **given(max_iterations=wanted.max_iterations, tolerance=wanted.tolerance),
    )
    network: Any = rpm.networks.MLP(**given(hidden=wanted.hidden))
    if wanted.network == "cnn":
        network = rpm.networks.CNN(
            channels=wanted.channels, **given(kernel_size=wanted.kernel_size, hidden=wanted.hidden)
        )
    return rpm.RPM(prior, rpm.factors.per_view(network, kind=wanted.kind), pooled=wanted.pooled)


def fit_options(options: Options) -> dict[str, Any]:
    """Arguments of `rpm.fit`: those that were given."""
    wanted = options.training
    rates = given(networks=wanted.learning_rate, prior=wanted.prior_learning_rate)
    return given(
        num_steps=wanted.num_steps,
        batch_size=wanted.batch_size or min(BATCH_SIZE, options.data.num_sets),
        learning_rates=rates or None,
        schedule=wanted.schedule,
        components=wanted.components,
        em=wanted.em or None,
        progress=not options.run.quiet,
    )


def run(options: Options, data: Pair, files: Files) -> _run.Results:
    """Fit, choose a run by its bound, score it by the true textures."""
    train, held_out = data
    model: Any = build_model(options)
    key = jax.random.fold_in(jax.random.key(options.training.model_seed), 1)
    sweep = rpm.fit_seeds(
        model,
        (train.views,),
        keys=jax.random.split(key, options.training.seeds),
        held_out=(held_out.views,),
        **fit_options(options),
    )
    fits = [sweep.run(seed) for seed in range(sweep.size)]
    chosen = _seeds.best(fits)
    _seeds.save(files, fits, chosen)
    recovered = [recover(model, fit.params, data) for fit in fits]
    scores = [
        {"bound_train": float(fit.bound), "bound_heldout": float(bound_of_held_out(fit)), **score(data, each)}
        | coordinate_ascent(each)
        | {
            "concentration": np.asarray(model.prior(fit.params).concentration, float).tolist(),
            "steps_skipped": int(fit.history.skipped),
        }
        for fit, each in zip(fits, recovered, strict=True)
    ]
    accuracies = np.array([each["accuracy_heldout"] for each in scores])
    metrics = {
        **scores[chosen],
        **true_counts(data),
        "chosen_seed": chosen,
        "accuracy_heldout_median": float(np.median(accuracies)),
        "share_above_90": float(np.mean(accuracies >= 0.9)),
        "per_seed": {name: [each[name] for each in scores] for name in scores[0]},
        "steps": int(sweep.history.train.shape[-1]),
    }
    if options.comparison.baselines:
        metrics["baselines"] = baselines(options, data)
    arrays = all_arrays(data, recovered[chosen], sweep.history)
    return _run.Results(
        metrics,
        arrays,
        figures(arrays, chosen),
        summary(metrics, accuracies),
        note=f"seed {chosen} of {sweep.size} by bound",
    )


def bound_of_held_out(fit: rpm.train.Fit) -> Any:
    """NaN where there is none."""
    return np.nan if fit.held_out_bound is None else fit.held_out_bound


# Scores.


class Recovered(NamedTuple):
    """What a method says about some sets.

    Attributes:
        topics: The topic of each patch, shape (N, T).
        proportions: Of each set, shape (N, K).
        probabilities: q(z_t = k), shape (N, T, K); None for methods that have none.
        iterations: Updates of the coordinate ascent, and the change in the last one; None likewise.
        residual: The change in the last one, relative to all concentrations; None likewise.
    """

    topics: np.ndarray
    proportions: np.ndarray
    probabilities: np.ndarray | None = None
    iterations: int | None = None
    residual: float | None = None


def recover(model: Any, params: Any, data: Pair) -> tuple[Recovered, Recovered]:
    """Posterior topics and proportions, E_q[θ], of the sets to fit and of the held-out ones."""
    train, held_out = data
    posteriors = (
        model.posterior(params, (train.views,)),
        model.infer(params, (held_out.views,), data=(train.views,)),
    )
    first, second = (
        Recovered(
            np.asarray(q.mean).argmax(-1),
            np.asarray(q.concentration / q.concentration.sum(-1, keepdims=True)),
            np.asarray(q.mean),
            int(q.iterations.max()),
            float(q.residual.max()),
        )
        for q in posteriors
    )
    return first, second


def score(data: Pair, recovered: tuple[Recovered, Recovered]) -> dict[str, Any]:
    """Topics matched to textures on the training sets, and all scores under this matching."""
    matching = match(data, recovered)
    assignment, sizes = matching.assignment, matching.confusion.shape
    scores: dict[str, Any] = {}
    for name, true, found in zip(("train", "heldout"), data, recovered, strict=True):
        matched = in_order_of_textures(found.proportions, assignment, sizes[0])
        error = rpm.metrics.matched_proportions_error(true.proportions, found.proportions, assignment)
        scores |= {
            f"accuracy_{name}": float(rpm.metrics.matched_accuracy(true.topics, found.topics, assignment)),
            f"mutual_information_{name}": float(mutual_information(true.topics, found.topics, *sizes)),
            f"proportions_error_{name}": float(error),
            f"proportions_correlation_{name}": correlation(true.proportions, matched),
        }
    return scores | {"topics_in_use": int(rpm.metrics.states_in_use(recovered[0].topics))}


def match(data: Pair, recovered: tuple[Recovered, Recovered]) -> rpm.metrics.Matching:
    """Topics matched to textures on the training sets."""
    num_textures, num_topics = data[0].proportions.shape[1], recovered[0].proportions.shape[1]
    return rpm.metrics.match_states(data[0].topics, recovered[0].topics, num_textures, num_topics)


def in_order_of_textures(proportions: np.ndarray, assignment: Any, num_textures: int) -> np.ndarray:
    """The proportions of the topics that are matched to each texture, shape (N, S); 0 where none is."""
    return proportions @ (np.asarray(assignment)[:, None] == np.arange(num_textures))


def correlation(true: Any, found: np.ndarray) -> float:
    """Pearson's, over all sets and textures; NaN where one of the two does not vary."""
    pair = [values - values.mean() for values in (np.asarray(true, float), found)]
    scale = np.sqrt(np.prod([np.sum(values**2) for values in pair]))
    return float(np.sum(pair[0] * pair[1]) / scale) if scale > 0 else float("nan")


def coordinate_ascent(recovered: tuple[Recovered, Recovered]) -> dict[str, Any]:
    """Updates of the slowest set, and the largest change in the last update."""
    train, held_out = recovered
    return {
        "iterations_train": train.iterations,
        "iterations_heldout": held_out.iterations,
        "residual_train": train.residual,
        "residual_heldout": held_out.residual,
    }


def true_counts(data: Pair) -> dict[str, float]:
    """The scores of those who know every texture and count: T patches tell no more about the proportions."""
    truth = [
        Recovered(np.asarray(part.topics), frequencies(part.topics, part.proportions.shape[1]))
        for part in data
    ]
    scores = score(data, (truth[0], truth[1]))
    names = ("proportions_error_heldout", "proportions_correlation_heldout")
    return {f"{name}_of_true_textures": scores[name] for name in names}


def frequencies(topics: Any, number: int) -> np.ndarray:
    """How often each topic occurs in each set, shape (N, K)."""
    return np.mean(np.asarray(topics)[..., None] == np.arange(number), axis=1)


# Baselines.


def baselines(options: Options, data: Pair) -> dict[str, dict[str, Any]]:
    """Scores of k-means on features of single patches, with as many clusters as topics."""
    from sklearn.decomposition import PCA

    pixels = [np.asarray(part.views, float).reshape(-1, options.data.patch_size**2) for part in data]
    number = min(NUM_COMPONENTS, *pixels[0].shape)
    components = PCA(number, random_state=options.training.model_seed).fit(pixels[0])
    features = {
        "power_spectra": [spectra(np.asarray(part.views, float)) for part in data],
        "principal_components": [components.transform(part) for part in pixels],
    }
    return {name: score(data, clusters(options, data, values)) for name, values in features.items()}


def spectra(patches: np.ndarray) -> np.ndarray:
    """Logarithms of one and the power at every frequency, which do not depend on shifts; one row a patch."""
    centred = patches - patches.mean((-2, -1), keepdims=True)
    power = np.abs(np.fft.rfft2(centred)) ** 2 / patches.shape[-1] ** 2
    return np.log1p(power).reshape(-1, power.shape[-2] * power.shape[-1])


def clusters(options: Options, data: Pair, features: Sequence[np.ndarray]) -> tuple[Recovered, Recovered]:
    """k-means of the training patches, and the nearest mean of the others."""
    from sklearn.cluster import KMeans

    number = options.model.num_topics or options.data.num_textures
    means = KMeans(number, n_init=10, random_state=options.training.model_seed).fit(features[0])
    found = [
        means.predict(values).reshape(part.topics.shape) for part, values in zip(data, features, strict=True)
    ]
    first, second = (Recovered(topics, frequencies(topics, number)) for topics in found)
    return first, second


# Results.


def summary(metrics: dict[str, Any], accuracies: np.ndarray) -> str:
    """The most important numbers in words."""
    words = (
        f"held-out accuracy {metrics['accuracy_heldout']:.4f} (all seeds {accuracies.min():.4f} to "
        f"{accuracies.max():.4f}), error of the proportions {metrics['proportions_error_heldout']:.4f} "
        f"(counts of true textures {metrics['proportions_error_heldout_of_true_textures']:.4f}), "
        f"bound {metrics['bound_train']:.3f}"
    )
    for name, scores in metrics.get("baselines", {}).items():
        words += f", {name.replace('_', ' ')} {scores['accuracy_heldout']:.4f}"
    return words


def all_arrays(
    data: Pair, recovered: tuple[Recovered, Recovered], history: rpm.train.History
) -> dict[str, np.ndarray]:
    """All that figures are made of; the bounds of all seeds, the rest of the chosen one."""
    matching = match(data, recovered)
    arrays: dict[str, Any] = {
        "examples": data[0].examples,
        "confusion": matching.confusion,
        "assignment": matching.assignment,
        "bound_train": history.train,
        "bound_heldout": history.held_out,
        "bound_heldout_steps": history.held_out_steps,
    }
    for suffix, true, found in zip(("", "_heldout"), data, recovered, strict=True):
        arrays |= {
            f"views{suffix}": true.views,
            f"topics{suffix}": true.topics,
            f"proportions{suffix}": true.proportions,
            f"probabilities{suffix}": found.probabilities,
            f"recovered_proportions{suffix}": found.proportions,
        }
    return {name: np.asarray(value) for name, value in arrays.items()}


def figures(arrays: dict[str, np.ndarray], chosen: int) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw; all but the bound are of the held-out sets."""
    confusion, assignment = arrays["confusion"], arrays["assignment"]
    true, probabilities = arrays["proportions_heldout"], arrays["probabilities_heldout"]
    names = [f"texture {label}" for label in range(true.shape[1])]
    titles = [str(label) if label >= 0 else "–" for label in assignment]
    recovered = in_order_of_textures(arrays["recovered_proportions_heldout"], assignment, true.shape[1])
    held_out = rpm.metrics.confusion_matrix(
        arrays["topics_heldout"], probabilities.argmax(-1), *confusion.shape
    )
    return {
        "proportions.png": lambda: plots.topic_proportions(true, recovered, names),
        "patches.png": lambda: plots.patches_by_topic(
            arrays["views_heldout"], probabilities.argmax(-1), probabilities, titles=titles
        ),
        "confusion.png": lambda: plots.confusion_matrices(
            held_out, plots.matched_columns(held_out, assignment), names
        ),
        "bound.png": lambda: plots.learning_curves(
            arrays["bound_train"], chosen, label="bound (nats per set)"
        ),
    }


EXPERIMENT = _run.Experiment("texture_lda", Options, check, load, run, library_defaults=LIBRARY_DEFAULTS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment with these command-line arguments; the exit status."""
    return _run.main(EXPERIMENT, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
