"""Decoders that are networks, trained with Adam."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from rpm_jax._checks import as_keys, require_number, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax._record import record
from rpm_jax.networks import PointwiseMLP, as_network, with_outputs

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
CONSTANTS = "statistics"
"""Parameters under this name are none that are learned."""


@record
class NetworkRegressor:
    """A network with an L2 penalty on its weights; make it by `network`.

    Attributes:
        network: From standardised latents to outputs.
        candidates: Strengths of the penalty.
        num_steps: Of Adam.
        batch_size: Rows, that is sites of sequences, in a step.
        learning_rate: At first; it decays to 0 along a cosine.
    """

    network: Any
    candidates: tuple[float, ...]
    num_steps: int
    batch_size: int
    learning_rate: float

    def fit(
        self, inputs: Array, values: Array, weights: Array, loss: Any, candidate: Any, key: Any
    ) -> Callable[[Array], Array]:
        """Minimise mean_m Σ_d loss_md + ½ candidate ‖weights‖², as `Regressor.fit` says."""
        model = with_outputs(self.network, values.shape[1])
        outputs = jax.eval_shape(
            lambda key, rows: model.apply(model.init(key, rows), rows), jax.random.key(0), inputs[:1]
        )
        if outputs.shape != (1, values.shape[1]):
            raise ValueError(
                f"regressor: the network must map latents (n, {inputs.shape[1]}) to the numbers of a site of "
                f"the view, (n, {values.shape[1]}), got outputs of shape {outputs.shape} for n = 1"
            )
        settings = (jnp.asarray(number, float) for number in (candidate, self.learning_rate))
        size, number = min(self.batch_size, len(inputs)), jnp.asarray(self.num_steps)
        batch = jnp.zeros(size, bool)
        return _train(model, loss, inputs, values, weights, batch, *settings, number, key)


def network(
    network: Any = None,
    *,
    penalties: float | tuple[float, ...] = PENALTIES,
    num_steps: int = 1000,
    batch_size: int = 256,
    learning_rate: float = 1e-2,
) -> NetworkRegressor:
    """A network from the latents of a site to its observation, trained with Adam.

    Latents are standardised, and outputs start at the mean of what was observed.

    Args:
        network: A flax.linen module or any `rpm_jax.networks.Network`; `PointwiseMLP(())` is a linear map;
            None: `PointwiseMLP((64,))`.
        penalties: Strengths of an L2 penalty on all weights but biases, to choose from. With a squared loss
            and a linear network λ is ridge regression's α / M for M rows, on standardised numbers.
        num_steps: Of Adam.
        batch_size: Rows, that is sites of sequences, in a step.
        learning_rate: At first; it decays to 0 along a cosine.

    Raises:
        TypeError: For what is no network, or no number.
        ValueError: For numbers out of range, or no penalty at all.
    """
    penalties = tuple(penalties) if isinstance(penalties, tuple | list) else (penalties,)
    if not penalties:
        raise ValueError("penalties must hold at least one number, got none")
    for penalty in penalties:
        require_number("penalties", penalty, at_least=0.0)
    require_positive_integer("num_steps", num_steps)
    require_positive_integer("batch_size", batch_size)
    require_number("learning_rate", learning_rate, above=0.0)
    made = PointwiseMLP((64,)) if network is None else as_network("network", network)
    return NetworkRegressor(made, tuple(map(float, penalties)), num_steps, batch_size, learning_rate)


@record
class NetworkPredictor:
    """A trained network with what standardises its inputs and outputs.

    Attributes:
        network: The network.
        params: Its parameters.
        loss: Its loss, which knows what an output means.
        centre: Of the latents, shape (K,).
        unit: Of the latents, shape (K,).
        offset: Of the outputs, shape (D,).
        scale: Of the outputs, shape (D,).
    """

    network: Any
    params: Any
    loss: Any
    centre: Array
    unit: Array
    offset: Array
    scale: Array

    def __call__(self, inputs: Array) -> Array:
        """Means (m, D) of latents (m, K)."""
        return self.loss.mean(self.outputs(inputs))

    def outputs(self, inputs: Array) -> Array:
        """What the means are functions of, shape (m, D)."""
        made = self.network.apply(self.params, (inputs - self.centre) / self.unit)
        return self.offset + self.scale * made


@jit
def _train(
    network: Any,
    loss: Any,
    inputs: Array,
    values: Array,
    weights: Array,
    batch: Array,
    penalty: Array,
    rate: Array,
    num_steps: Array,
    key: Any,
) -> NetworkPredictor:
    """Adam on minibatches as large as `batch`."""
    init_key, batch_key = jax.random.split(as_keys("key", key, 0))
    centre, variance = _moments(inputs, weights)
    unit = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 1.0)
    offset, scale = loss.start(*_moments(values, weights))
    start = network.init(init_key, (inputs[:1] - centre) / unit)

    def predictor(params: Any) -> NetworkPredictor:
        return NetworkPredictor(network, params, loss, centre, unit, offset, scale)

    def objective(params: Any, rows: Array) -> Array:
        outputs = predictor(params).outputs(inputs[rows])
        losses = loss.loss(outputs, values[rows], scale).sum(-1)
        mean = jnp.sum(weights[rows] * losses) / jnp.maximum(weights[rows].sum(), 1.0)
        return mean + 0.5 * penalty * _squares(params)

    optimizer = optax.scale_by_adam()

    def step(number: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        params, state = carry
        rows = jnp.arange(len(inputs))
        if len(batch) < len(inputs):
            rows = jax.random.randint(jax.random.fold_in(batch_key, number), batch.shape, 0, len(inputs))
        gradient = jax.grad(objective)(params, rows)
        updates, state = optimizer.update(gradient, state)
        factor = -rate * 0.5 * (1 + jnp.cos(jnp.pi * number / num_steps))
        return jax.tree.map(lambda p, u: p + (factor * u).astype(p.dtype), params, updates), state

    params, _ = lax.fori_loop(0, num_steps, step, (start, optimizer.init(start)))
    return predictor(params)


def _moments(values: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted mean and variance of each column."""
    total = jnp.maximum(weights.sum(), 1.0)
    mean = weights @ values / total
    return mean, weights @ (values - mean) ** 2 / total


def _squares(params: Any) -> Array:
    """The sum of squared weights, without biases and constants."""
    leaves = [
        jnp.sum(leaf**2)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if leaf.ndim > 1 and all(getattr(entry, "key", None) != CONSTANTS for entry in path)
    ]
    return sum(leaves, start=jnp.zeros(()))
