"""The pieces of a training step, each as a function that can be compiled alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import rpm_jax as rpm
from benchmarks import _torchrpm_ours as models
from benchmarks._torchrpm_cases import CASES, Case
from rpm_jax import normalizers

PROFILED = {
    "temporal-100": CASES["temporal-continuous"],
    "temporal-1000": Case("temporal-1000", "temporal", "textures", 1000, 10, 8, 50),
    "static-50": CASES["static-50"]._replace(inputs="textures"),
    "cnn-64": CASES["cnn-64"],
}
"""Continuous inputs, so that no two components of F_j are the same."""


STREAMED_BLOCK = 32
"""Data whose factors are evaluated at once where they are streamed, about as many as the normalizer takes."""


class Piece(NamedTuple):
    """A part of a step.

    Attributes:
        name: Of the table.
        function: Pure.
        arguments: Its arguments.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def pieces_of(case: Case) -> list[Piece]:
    """The whole step first, then its parts, every one with its gradient.

    The parts are taken from outside: networks on all data whose components F_j has and on the batch, where
    F_j is not over the batch; the mixtures of held arrays, with gradients of components and tilts; the prior
    conditioned on potentials, with gradients of both; and the default optimiser's update.
    """
    views = tuple(jnp.asarray(view) for view in models.make_views(case))
    data = rpm.as_data(views)
    model = models.FAMILIES[case.family](case)
    params = jax.jit(model.init)(jax.random.key(0), data)
    batch = data.batch(jnp.arange(case.batch_size))
    optimizer = rpm.train.Adam().for_run(1000).make(model.groups(params), {})
    state = optimizer.init(params)
    over_batch = case.family == "discrete"

    def update(params: Any, gradient: Any, state: Any) -> Any:
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    def loss(params: Any, batch: rpm.Batch, data: rpm.Data) -> jax.Array:
        feed = rpm.feeds.minibatch() if over_batch else rpm.feeds.full()
        terms, _ = rpm.model.batch_terms(model, params, batch, data, feed, ())
        return -jnp.mean(terms.bound)

    def step(params: Any, state: Any, batch: rpm.Batch, data: rpm.Data) -> Any:
        return update(params, jax.grad(loss)(params, batch, data), state)

    def networks(params: Any, batch: rpm.Batch, data: rpm.Data) -> jax.Array:
        of_batch = _total(model.recognise(params, batch).natural)
        return of_batch if over_batch else of_batch + _total_of_components(model, params, data)

    held = jax.jit(model.recognise)(params, batch if over_batch else data.all()).natural
    potentials = jax.jit(lambda p: model.recognise(p, batch).conjugate())(params)

    def conditioned(prior_params: Any, potentials: Any) -> jax.Array:
        posterior = model.prior.apply(prior_params).condition(potentials)
        return jnp.sum(posterior.log_normalizer) + _total(posterior.sites)

    return [
        Piece("step", step, (params, state, batch, data)),
        Piece("networks", jax.value_and_grad(networks), (params, batch, data)),
        _mixture(model, params, held, potentials),
        Piece("posterior", jax.value_and_grad(conditioned, (0, 1)), (params["prior"], potentials)),
        Piece("optimiser", update, (params, params, state)),
    ]


def _mixture(model: rpm.RPM, params: Any, held: Any, potentials: Any) -> Piece:
    """The mixtures that the model's bound takes: at every state, or tilted."""
    if model.is_exact:

        def exact(held: Any) -> jax.Array:
            return _total(normalizers.log_mixture(normalizers.ArrayComponents(held)))

        return Piece("mixture", jax.value_and_grad(exact), (held,))
    prior = model.prior_of(params)
    sites = jax.jit(lambda potentials: prior.condition(potentials).sites)(potentials)
    tilts = jax.tree.map(
        lambda leaf: jnp.repeat(leaf[:, None], held.batch_shape[1], 1), sites - prior.sites()
    )

    def tilted(held: Any, tilts: Any) -> jax.Array:
        return jnp.sum(normalizers.log_tilted_mixture(normalizers.ArrayComponents(held), tilts))

    return Piece("mixture", jax.value_and_grad(tilted, (0, 1)), (held, tilts))


def _total_of_components(model: rpm.RPM, params: Any, data: rpm.Data) -> jax.Array:
    """The networks on all data: block by block and, in the gradient, twice, where the model does so."""
    components = model.mixture(params, rpm.feeds.Lazy(data)).components
    assert components is not None
    if not isinstance(components.natural, normalizers.Components):
        return _total(components.natural)
    source, size = components.natural, data.size
    length = max(number for number in range(1, STREAMED_BLOCK + 1) if size % number == 0)

    @jax.checkpoint
    def add(total: jax.Array, start: jax.Array) -> tuple[jax.Array, None]:
        return total + _total(source.block(start, length).natural), None

    return jax.lax.scan(add, jnp.zeros(()), jnp.arange(0, size, length))[0]


def _total(natural: Any) -> jax.Array:
    """A scalar that depends on every natural parameter, not equally."""
    return sum((jnp.sum(jnp.sin(leaf)) for leaf in natural.natural_parameters), jnp.zeros(()))
