"""Fitting a model from one seed."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from rpm_jax._checks import as_keys, is_concrete
from rpm_jax.data import Data, as_data
from rpm_jax.feeds import Feed
from rpm_jax.model import Model, ability, check_model
from rpm_jax.train._alternation import Alternation
from rpm_jax.train._devices import check_mesh, replicate, spread_data
from rpm_jax.train._held_out import as_held_out
from rpm_jax.train._options import FitOptions
from rpm_jax.train._result import Fit
from rpm_jax.train._run import Callback, EarlyStopping
from rpm_jax.train._runner import Runner
from rpm_jax.train._warm_start import WarmStart


def fit(
    model: Model,
    views: Any,
    *,
    key: Array,
    num_steps: int = 2000,
    batch_size: int | None = None,
    replacement: bool = False,
    mask: Any = None,
    log_weights: Any = None,
    inputs: Any = None,
    held_out: Any = None,
    params: Any = None,
    objective: Any = None,
    components: Feed | None = None,
    optimizer: Any = None,
    freeze: Sequence[str] = (),
    alternate: Alternation | None = None,
    update: Callable[[Any, Data, Any], Any] | None = None,
    warm_start: WarmStart | None = None,
    stopping: EarlyStopping | None = None,
    steps_per_call: int | None = None,
    progress: bool | None = None,
    callback: Callback | None = None,
    mesh: Mesh | None = None,
) -> Fit:
    """Fit a model to data by maximising its bound.

    Args:
        model: An `RPM`, or anything else with the methods of `rpm_jax.model.Model`.
        views: `Data`, or J arrays with first axis N.
        key: A random key, for the initial parameters, the minibatches and what else is drawn.
        num_steps: Optimisation steps.
        batch_size: Data per step; None: all up to 32, or up to 256 where likelihoods are exact (categorical
            sites).
        replacement: Whether minibatches are drawn with replacement.
        mask: See `rpm_jax.as_data`.
        log_weights: Log-weights of the empirical marginals, shape (N,).
        inputs: What the prior of each datum depends on, for priors that do; a pytree with first axis N.
        held_out: Data whose bound is recorded along the way, never learned from: `Data`, J views, or
            `rpm_jax.train.HeldOut`, which also says whose components F_j has for them.
        params: Initial parameters; None: `model.init`.
        objective: `rpm_jax.train.Bound` with options of the bound (EM, a weight β on KL(q‖p)), or another
            pure loss (params, batch, data, key) -> scalar in the place of minus the mean bound.
        components: What F_j averages over, a feed: `rpm_jax.feeds.full()`, all data; `minibatch()`, which is
            cheaper and biased; `queue(length)`, the minibatch and the last data before it;
            `random_subset(size)`, the minibatch and others drawn at random. None: what the model likes best,
            all data, but the minibatch where likelihoods are exact and there are more than 4 of them.
        optimizer: `rpm_jax.train.Adam`, with a learning rate for each group of parameters and a schedule, the
            default; or any optax optimiser (without line search).
        freeze: Groups ("networks", "prior", "rows") or parts ("prior", "factors", "posterior",
            "auxiliary") whose parameters stay as they are.
        alternate: Groups that take turns, such as `rpm_jax.train.alternate(("networks", 50), ("prior", 50))`;
            None: all learn in every step.
        update: A pure function (params, data, fraction of the run done) -> params, applied after every
            `steps_per_call` steps: a closed-form M-step (`rpm_jax.train.maximise_prior`), a projection.
        warm_start: Steps on the posterior and auxiliary strategies first; None: 200 steps to match each
            network among them, none for tables, which start matched. `WarmStart()` for none at all.
        stopping: When to stop before `num_steps`.
        steps_per_call: Compiled steps between two looks; None: a fiftieth of the run, at least 20.
        progress: Whether to show the progress; None: in an interactive terminal or a notebook.
        callback: Called with a `Progress` at each look; return True to stop.
        mesh: Devices to spread data, components and minibatches over, all axes as one; parameters are the
            same on each. With several processes (`jax.distributed`), `views`, `mask` and `log_weights` are
            those of this process alone (weights sum to its share of the data), and everything else is the
            same in all. Exchanged in a step are the minibatch, its tilts and log-integrals, B·J·T each, and
            the parameters' gradient, whatever N is. The minibatch is split too where `batch_size` is a
            multiple of the number of devices.

    Returns:
        The fit: model, parameters, data, history, bounds, and what it can be asked.

    Raises:
        ValueError: For arguments that do not fit; the message names the argument.
        TypeError: For arguments of another kind.
    """
    check_model(model)
    options = FitOptions(
        num_steps=num_steps,
        batch_size=batch_size,
        replacement=replacement,
        held_out=held_out,
        params=params,
        objective=objective,
        components=components,
        optimizer=optimizer,
        freeze=freeze,
        alternate=alternate,
        update=update,
        warm_start=warm_start,
        stopping=stopping,
        steps_per_call=steps_per_call,
        progress=progress,
        callback=callback,
    )
    data = as_data(views, mask, log_weights, inputs)
    watched = as_held_out(held_out)
    key = as_keys("key", key, 0)
    if mesh is None:
        outcome = Runner(model, prepared(model, data), watched, options, {}).run(key)
        return Fit(model, outcome.params, data, *outcome[1:])
    mesh = check_mesh(mesh)
    whole = None if jax.process_count() > 1 else prepared(model, data)
    placed, spread = spread_data(data if whole is None else whole, mesh)
    outcome = Runner(model, placed, watched, options, {}, spread=spread, whole=whole).run(
        replicate(key, mesh)
    )
    params = jax.tree.map(jnp.asarray, jax.device_get(outcome.params))
    return Fit(model, params, data, *outcome[1:])


def prepared(model: Model, data: Data) -> Data:
    """Data as the model likes them best, where it has a preference, after a look at them."""
    return ability(model, "prepare", lambda data: data)(data) if is_concrete(data) else data
