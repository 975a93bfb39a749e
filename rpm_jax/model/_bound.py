"""The one bound of a batch, with any feed of components, and what wraps it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax import Array

from rpm_jax.data import Batch, Data, require_batch, require_data
from rpm_jax.feeds import Feed, Full
from rpm_jax.model._protocol import Model, Terms, ability
from rpm_jax.normalizers import DeviceAxis, take_rows


class Seen(NamedTuple):
    """What a model recognised in a step, and what is made of it.

    Attributes:
        own: The batch's part of what the networks saw.
        mixture: The mixtures F_j.
    """

    own: Any
    mixture: Any


def bound(
    model: Model, params: Any, batch: Batch, data: Data, *, em: bool = False, beta: Array | float = 1.0
) -> Array:
    """The bound of each datum of a batch, with F_j over `data`: pure, for loops of one's own.

        loss = lambda params: -rpm_jax.bound(model, params, data.batch(index), data).mean()

    Args:
        model: The model.
        params: Its parameters.
        batch: B data (`data.batch(index)`).
        data: The components of F_j: usually all data of the fit.
        em: See `em_terms`.
        beta: The weight of KL(q‖p).

    Returns:
        In nats, shape (B,). The empirical marginals' log p0(x_j) are not in it.
    """
    require_batch("batch", batch)
    require_data("data", data)
    terms, _ = (em_terms if em else batch_terms)(model, params, batch, data, Full(), ())
    return weighted(terms, beta)


def weighted(terms: Terms, beta: Array | float) -> Array:
    """The bound with a weight on the divergence; as it is where the weight is the number 1."""
    return terms.bound if isinstance(beta, float | int) and beta == 1 else terms.weighted(beta)


def see(
    model: Model,
    params: Any,
    batch: Batch,
    data: Data,
    feed: Feed,
    state: Any,
    *,
    key: Array | None = None,
    devices: DeviceAxis | None = None,
) -> tuple[Seen, Any]:
    """One look of the networks at what the feed shows, and the mixtures made of it.

    Args:
        model: The model.
        params: Its parameters.
        batch: B data.
        data: The data of the fit; with `devices` this device's share, weights as by `weights_among_all`.
        feed: Which components F_j has.
        state: The feed's.
        key: A random key for models that draw.
        devices: Inside `jax.shard_map`, the devices that data (and batch) are divided among.

    Returns:
        The batch's factors and the mixtures; the feed's new state.
    """
    rows, state = feed.rows(state, batch, data)
    seen = model.recognise(params, rows)
    source, state = feed.source(state, seen, rows, data, devices)
    own = seen if rows.index.shape == batch.index.shape else take_rows(seen, slice(0, batch.index.shape[0]))
    return Seen(own, model.mixture(params, source, key)), state


def batch_terms(
    model: Model, params: Any, batch: Batch, data: Data, feed: Feed, state: Any, **options: Any
) -> tuple[Terms, Any]:
    """The terms of a batch, and the feed's new state; arguments as for `see`."""
    (own, mixture), state = see(model, params, batch, data, feed, state, **options)
    inferred = model.infer(params, batch, own, mixture)
    return model.terms(params, batch, own, mixture, inferred), state


def em_terms(
    model: Any, params: Any, batch: Batch, data: Data, feed: Feed, state: Any, **options: Any
) -> tuple[Terms, Any]:
    """The terms of a batch with the gradients of EM; arguments as for `see`.

    Those of prior and factors are of an M-step, with q and ξ held fixed, and those of the strategies'
    parameters of an E-step, with the model held fixed, its mixtures too. The values are those of
    `batch_terms`.
    """
    (own, mixture), new_state = see(model, params, batch, data, feed, state, **options)
    held = model.hold(params, batch, model.infer(params, batch, own, mixture))
    m_step = model.terms(params, batch, own, mixture, held)
    strategies: Mapping[str, str] = ability(model, "strategies", {})
    if all(group == "none" for group in strategies.values()):
        return m_step, new_state
    fixed = {name: part for name, part in params.items() if name not in strategies}
    (own, mixture), _ = see(model, jax.lax.stop_gradient(params), batch, data, feed, state, **options)
    params = {**params, **jax.lax.stop_gradient(fixed)}
    inferred = model.infer(params, batch, own, mixture)
    e_step = model.terms(params, batch, own, mixture, inferred)
    return jax.tree.map(lambda m, e: m + e - jax.lax.stop_gradient(e), m_step, e_step), new_state


def check_em(model: Any) -> None:
    """Raise `TypeError` for models without an M-step of their own."""
    if not hasattr(model, "hold"):
        raise TypeError(
            "em=True needs a model whose posterior can be held fixed, such as an rpm_jax.RPM; the "
            "likelihood of "
            f"{type(model).__name__} is exact or has no separate q, so leave em out"
        )
