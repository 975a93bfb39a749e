"""Fits from one or several seeds: their data, their options, and the best one."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from experiments import _devices
from experiments._cli import naming_options
from experiments._options import AllOptions, given
from experiments._output import Files

COMPONENTS = {"data": rpm.feeds.full, "batch": rpm.feeds.minibatch}
"""Feeds by the names that options have for them."""


def data_key(seed: int) -> jax.Array:
    """The key of data; it differs from `model_key` even where the seeds are alike."""
    return jax.random.fold_in(jax.random.key(seed), 0)


def model_key(seed: int) -> jax.Array:
    """The key of initial parameters and minibatches."""
    return jax.random.fold_in(jax.random.key(seed), 1)


def draw(
    dataset: Callable[..., Any],
    data: Any,
    number: str | int,
    num_held_out: int,
    *,
    seed: int | None = None,
    renamed: Mapping[str, str] | None = None,
    **own: Any,
) -> Any:
    """Data to fit and held-out ones of the same kind, by a function of `rpm_jax.datasets`.

    Args:
        dataset: The function; its arguments are the options of the same names.
        data: The group of options.
        number: The option that says how many there are to fit, or how many sequences.
        num_held_out: How many others.
        seed: None: that of the options.
        renamed: Options by the names of arguments that are called something else.
        **own: Other arguments.
    """
    renamed = dict(renamed or {})
    names = {name: name for name in vars(data) if name in inspect.signature(dataset).parameters} | renamed
    values: dict[str, Any] = {argument: getattr(data, option) for argument, option in names.items()}
    size: int = getattr(data, number) if isinstance(number, str) else number
    counted = number if isinstance(number, str) else "num_sequences"
    values |= {counted: size + num_held_out, **own}
    with naming_options(dataset.__name__, renamed):
        both = dataset(data_key(data.data_seed if seed is None else seed), **values)
    return both.split(size)


def arguments(
    options: AllOptions, size: int, *, default_batch: int | None = None, most: int = 0, **own: Any
) -> dict[str, Any]:
    """Arguments of `rpm.fit`: those that were given, for the library decides over the others.

    Args:
        options: All options.
        size: N.
        default_batch: An experiment's own minibatch, of at most N data.
        most: The library's own, where epochs are counted.
        **own: Arguments of an experiment, before those that were given.
    """
    wanted = vars(options.groups()["training"])
    devices = options.groups().get("devices")
    batch_size = wanted.get("batch_size") or (default_batch and min(default_batch, size))
    num_steps = wanted["num_steps"]
    if wanted.get("epochs") is not None:
        num_steps = wanted["epochs"] * max(1, size // (batch_size or min(most, size)))
    rates = own.pop("learning_rates", {}) | given(
        networks=wanted.get("learning_rate"),
        prior=wanted.get("prior_learning_rate"),
        rows=wanted.get("row_learning_rate"),
    )
    adam = given(learning_rates=rates or None, schedule=wanted.get("schedule"))
    components = wanted.get("components")
    return own | given(
        num_steps=num_steps,
        batch_size=batch_size,
        optimizer=rpm.train.Adam(**adam) if adam else None,
        components=None if components is None else COMPONENTS[components](),
        replacement=wanted.get("replacement") or None,
        objective=rpm.train.Bound(em=True) if wanted.get("em") else None,
        progress=not options.run.quiet,
        mesh=None if devices is None else _devices.mesh(devices),
    )


def scores(fit: rpm.train.Fit) -> dict[str, Any]:
    """The bound on its data and the steps that were skipped."""
    return {"bound_train": float(fit.bound), "steps_skipped": int(fit.history.skipped)}


def bound_held_out(fit: rpm.train.Fit) -> float:
    """The mean bound of held-out data, NaN where there are none."""
    return float(np.nan if fit.held_out_bound is None else fit.held_out_bound)


class Runs(NamedTuple):
    """Fits from several seeds, and the one with the highest bound.

    Attributes:
        fits: One for each seed.
        chosen: Which of them.
    """

    fits: list[rpm.train.Fit]
    chosen: int

    @property
    def best(self) -> rpm.train.Fit:
        """The chosen one."""
        return self.fits[self.chosen]

    @property
    def curves(self) -> np.ndarray:
        """The bound over training, shape (seeds, steps)."""
        return np.stack([each.history.train for each in self.fits])

    def histories(self) -> dict[str, Any]:
        """The bound over training on the fits' data and on held-out ones, and the steps of the latter."""
        history = self.best.history
        return {
            "bound_train": self.curves,
            "bound_heldout": np.stack([each.history.held_out for each in self.fits]),
            "bound_heldout_steps": history.held_out_steps,
        }

    @property
    def num_steps(self) -> int:
        """How many steps every fit has made."""
        return int(self.best.history.train.shape[-1])

    def metrics(self, scores: Sequence[Mapping[str, Any]], medians: Sequence[str] = ()) -> dict[str, Any]:
        """Scores of the chosen seed, those of all seeds, and medians of some."""
        return {
            **scores[self.chosen],
            **({"medians": medians_of(scores, medians)} if medians else {}),
            "per_seed": columns(scores),
            "chosen_seed": self.chosen,
        }

    def save(self, files: Files, name: str = "") -> None:
        """Checkpoints: the fit's, or the chosen seed's and those of all seeds, stacked.

        Args:
            files: Of the run.
            name: Of the model, where there are several.
        """
        fit, all_seeds = (f"{name}_{what}" if name else what for what in ("fit", "all_seeds"))
        if len(self.fits) == 1:
            files.checkpoint(fit, self.best.params)
            return
        files.checkpoint(fit, self.best.params, seed=self.chosen)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(each.params for each in self.fits))
        files.checkpoint(all_seeds, stacked, seeds=len(self.fits))


def runs_of(fits: Sequence[rpm.train.Fit]) -> Runs:
    """Fits and the best of them; NaN is no bound."""
    bounds = np.array([fit.bound for fit in fits])
    return Runs(list(fits), int(np.argmax(np.where(np.isnan(bounds), -np.inf, bounds))))


def fit_seeds(
    model: Any, views: Any, options: AllOptions, files: Files, *, name: str = "", **settings: Any
) -> Runs:
    """A fit to the same data from each seed, saved at once, under a name where there are several models."""
    training = options.groups()["training"]
    keys = jax.random.split(model_key(training.model_seed), training.seeds)
    sweep = rpm.fit_seeds(model, views, keys=keys, **settings)
    runs = runs_of([sweep.run(seed) for seed in range(sweep.size)])
    runs.save(files, name)
    return runs


def columns(scores: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Each score of all seeds."""
    return {name: [score[name] for score in scores] for name in scores[0]}


def medians_of(scores: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Medians over seeds."""
    return {name: float(np.median([score[name] for score in scores])) for name in names}


def stack(arrays: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Arrays of each seed with a leading axis of seeds."""
    return {name: np.stack([np.asarray(each[name]) for each in arrays]) for name in arrays[0]}


def stack_views(data: Sequence[Any]) -> tuple[jax.Array, ...]:
    """Views of each seed with a leading axis of seeds."""
    return tuple(jnp.stack(view) for view in zip(*data, strict=True))


def normalised_components(model: Any, params: Any, views: Any) -> tuple[Any, jax.Array]:
    """Natural parameters of the components of F_j, and the logarithms of their masses.

    The scale of F_j is as free as that of f_j.
    """
    data = rpm.as_data(views)
    mixture = rpm.model.components_of(model, model.recognise(params, data.all()), data.log_weights)
    log_mass = jnp.zeros(mixture.natural.batch_shape)
    if mixture.log_scale is not None:
        log_mass = mixture.log_scale + mixture.natural.log_partition()
    return mixture.natural, log_mass
