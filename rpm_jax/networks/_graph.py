"""Message passing over adjacency matrices."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from rpm_jax.networks._modules import OpenOutputs, PointwiseMLP


def normalised_adjacency(adjacency: Array) -> Array:
    """D^{-1/2} A D^{-1/2} without self-loops, D the nodes' degrees; nodes without edges have rows of zeros.

    Args:
        adjacency: A ≥ 0, symmetric, shape (..., T, T); its diagonal counts as 0.

    Returns:
        Shape (..., T, T), with eigenvalues from −1 to 1.
    """
    without_loops = adjacency * (1 - jnp.eye(adjacency.shape[-1], dtype=adjacency.dtype))
    degree = jnp.sum(without_loops, axis=-1)
    scale = jnp.where(degree > 0, 1 / jnp.sqrt(jnp.where(degree > 0, degree, 1.0)), 0.0)
    return scale[..., :, None] * without_loops * scale[..., None, :]


class GraphNetwork(OpenOutputs):
    """Each node's outputs, from learned embeddings of the nodes that walks from it lead to.

        h_r = √T (Â^r − diag Â^r) E,   Â = D^{-1/2} A D^{-1/2},   r = 1..R;   outputs_t = MLP(h_1t, ..., h_Rt)

    Nodes are the same in all graphs, in one order, and E has a row for each. A node's own row is never among
    those that it receives: walks that return to it are left out. So its outputs can tell where its
    neighbours are, and not which node it is, a thing that views would agree about at no use.

    Graphs come as they are: factors take this network with `standardise=False`.

    Attributes:
        hidden: Units of each hidden layer of the perceptron, which all nodes share.
        num_outputs: Of all T nodes together, as factors ask for them; None leaves it to the factors.
        num_features: Length of an embedding.
        num_rounds: R, the length of the longest walks.
        activation: Between the perceptron's layers.

    References:
        Kipf & Welling, Semi-supervised classification with graph convolutional networks, ICLR 2017 (Â).
        Wu et al., Simplifying graph convolutional networks, ICML 2019 (rounds without nonlinearities).
    """

    hidden: Sequence[int] = (20,)
    num_outputs: int | None = None
    num_features: int = 16
    num_rounds: int = 1
    activation: Callable[[Array], Array] = nn.relu

    takes_indicators = False

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Map adjacency matrices (N, T, T) to outputs (N, T, num_outputs / T)."""
        number = self._check(inputs)
        if inputs.ndim != 3 or inputs.shape[1] != inputs.shape[2]:
            raise ValueError(f"GraphNetwork takes adjacency matrices of shape (N, T, T), got {inputs.shape}")
        num_nodes = inputs.shape[1]
        if number % num_nodes:
            raise ValueError(
                f"GraphNetwork: num_outputs must be a multiple of the {num_nodes} nodes, got {number}"
            )
        if self.num_rounds < 1:
            raise ValueError(f"GraphNetwork: num_rounds must be a positive integer, got {self.num_rounds!r}")
        dtype = jnp.result_type(inputs, 0.0)
        shape = (num_nodes, self.num_features)
        embedding = self.param("embedding", nn.initializers.normal(1.0), shape, dtype)
        adjacency = normalised_adjacency(inputs.astype(dtype))
        others = 1 - jnp.eye(num_nodes, dtype=dtype)
        walks, received = adjacency, []
        for length in range(self.num_rounds):
            walks = adjacency @ walks if length else walks
            received.append(jnp.sqrt(num_nodes) * ((walks * others) @ embedding))
        perceptron = PointwiseMLP(self.hidden, number // num_nodes, self.activation)
        return perceptron(jnp.concatenate(received, axis=-1))
