"""Linear-Gaussian chains that inputs of every datum drive, such as actions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import is_concrete, require_choice, require_positive_integer
from rpm_jax._linalg import matmul
from rpm_jax._record import record
from rpm_jax.expfam import Gaussian
from rpm_jax.priors import chains
from rpm_jax.priors._linear_gaussian import LinearGaussian
from rpm_jax.priors._linear_gaussian_spec import LearnableLinearGaussian

EXAMPLES = 256
"""The most data whose inputs are kept for the sites that factors are relative to."""

SCALE = 0.01
"""Of the outputs of a network that cannot start at zero."""


@record
class Choices:
    """C and c from a table, one row for each of a number of discrete inputs, (N, T) or (N, T, 1) integers.

    Attributes:
        number: Of the choices, which are 0 to number − 1.
    """

    number: int

    def __post_init__(self) -> None:
        """Check it."""
        require_positive_integer("number", self.number)

    def init(self, key: Array, inputs: Any, num_outputs: int) -> Array:
        """A table of zeros, (number, num_outputs)."""
        del key, inputs
        return jnp.zeros((self.number, num_outputs))

    def outputs(self, params: Array, inputs: Array, num_outputs: int) -> Array:
        """The rows of the choices, shape (N, T, num_outputs)."""
        del num_outputs
        if inputs.ndim == 3 and inputs.shape[-1] != 1:
            raise ValueError(f"inputs of choices must have shape (N, T) or (N, T, 1), got {inputs.shape}")
        index = inputs[..., 0] if inputs.ndim == 3 else inputs
        if is_concrete(index):
            values = np.asarray(index)
            if np.any((values != np.round(values)) | (values < 0) | (values >= self.number)):
                raise ValueError(
                    f"inputs of choices must be integers from 0 to {self.number - 1}, got values from "
                    f"{values.min()} to {values.max()}"
                )
        return params.at[index.astype(int)].get(mode="fill", fill_value=jnp.nan)


@record
class Driver:
    """C and c from a network of the inputs, (N, T, A), at every time by itself.

    Attributes:
        network: With `init(key, inputs)` and `apply(params, inputs)`, inputs (M, A); it gives the number of
            outputs that `with_outputs(number)` asks for, or K² + K, K² or K by itself.
    """

    network: Any

    def __post_init__(self) -> None:
        """Check that it is a network."""
        if not (hasattr(self.network, "init") and hasattr(self.network, "apply")):
            raise TypeError(
                f"network must have init(key, inputs) and apply(params, inputs), got "
                f"{type(self.network).__name__}"
            )

    def _sized(self, number: int) -> tuple[Any, float]:
        network = self.network
        network = network.with_outputs(number) if hasattr(network, "with_outputs") else network
        if hasattr(network, "starting_at_zero"):
            return network.starting_at_zero(), 1.0
        return network, SCALE

    def init(self, key: Array, inputs: Array, num_outputs: int) -> Any:
        """The network's parameters."""
        return self._sized(num_outputs)[0].init(key, _flat(inputs))

    def outputs(self, params: Any, inputs: Array, num_outputs: int) -> Array:
        """The network's outputs at every time, shape (N, T, num_outputs)."""
        network, scale = self._sized(num_outputs)
        outputs = scale * network.apply(params, _flat(inputs))
        if outputs.shape[-1] != num_outputs:
            raise ValueError(
                f"network must give {num_outputs} numbers, K² for A and K for b where inputs drive them, got "
                f"{outputs.shape[-1]}"
            )
        return outputs.reshape(*inputs.shape[:2], num_outputs)


@record
class LearnableDrivenLinearGaussian:
    """A linear-Gaussian chain driven by inputs; `driven_linear_gaussian` makes it.

    Attributes:
        base: A, b, Q and the initial law without inputs.
        inputs: What makes C(a) and c(a) of inputs a.
        matrix: "constant": A; "additive": A + C(a); "multiplicative": A (I + C(a)).
        bias: "constant": b; "driven": b + c(a).
        name: Of the entry of the data's inputs that drives, or None where they are one array.
    """

    base: LearnableLinearGaussian
    inputs: Choices | Driver
    matrix: str = "constant"
    bias: str = "driven"
    name: str | None = None

    def __post_init__(self) -> None:
        """Check all of them."""
        if not isinstance(self.base, LearnableLinearGaussian):
            raise TypeError(
                f"base must be made by rpm_jax.priors.linear_gaussian, got {type(self.base).__name__}"
            )
        require_choice("matrix", self.matrix, ("constant", "additive", "multiplicative"))
        require_choice("bias", self.bias, ("constant", "driven"))
        if self.matrix == self.bias == "constant":
            raise ValueError("inputs must drive something: matrix and bias are both 'constant'")

    def init(self, key: Array, inputs: Any = None) -> dict[str, Any]:
        """The chain's parameters, those of what inputs do, and example inputs, which are not learned."""
        base_key, key = jax.random.split(key)
        params: dict[str, Any] = {"base": self.base.init(base_key)}
        if inputs is None:
            return params
        driving = self._driving(inputs)
        examples = driving[:EXAMPLES]
        floating = jnp.issubdtype(examples.dtype, jnp.floating)
        params["inputs"] = self.inputs.init(key, examples, self._num_outputs)
        self.inputs.outputs(params["inputs"], driving, self._num_outputs)
        params["statistics"] = {"examples": examples if floating else examples.astype(float)}
        return params

    @property
    def _num_outputs(self) -> int:
        size = self.base.num_latents
        return (size**2 if self.matrix != "constant" else 0) + (size if self.bias == "driven" else 0)

    def _driving(self, inputs: Any) -> Array:
        """The array that drives the chain."""
        if self.name is not None:
            if not isinstance(inputs, dict) or self.name not in inputs:
                raise ValueError(f"inputs must have an entry {self.name!r}, got {_described(inputs)}")
            inputs = inputs[self.name]
        if not hasattr(inputs, "ndim"):
            raise TypeError(
                f"inputs must be one array (N, T) or (N, T, A), got {_described(inputs)}; say which entry by "
                "name="
            )
        num_sites = self.base.num_sites
        if inputs.ndim not in (2, 3) or inputs.shape[1] not in (num_sites, num_sites - 1):
            raise ValueError(
                f"inputs must have shape (N, T) or (N, T, A) with T = {num_sites} sites, or T − 1 steps, got "
                f"{inputs.shape}"
            )
        return jnp.asarray(inputs)

    def apply(self, params: Any, inputs: Any) -> LinearGaussian:
        """The chains of some data, batch shape (N,)."""
        moments = self.base.moments(params["base"])
        # The last input would drive a site that is not there.
        driving = self._driving(inputs)[:, : self.base.num_sites - 1]
        outputs = self.inputs.outputs(params["inputs"], driving, self._num_outputs)
        outputs = outputs.astype(moments["transition"].dtype)
        size = self.base.num_latents
        transition, bias = moments["transition"], moments["bias"]
        if self.matrix != "constant":
            change = outputs[..., : size**2].reshape(*outputs.shape[:2], size, size)
            transition = transition + (change if self.matrix == "additive" else matmul(transition, change))
        if self.bias == "driven":
            bias = bias + outputs[..., -size:]
        moments |= {"transition": transition, "bias": bias}
        return LinearGaussian(**moments, num_sites=self.base.num_sites, parallel=self.base.parallel)

    def reference(self, params: Any) -> Gaussian:
        """Gaussians with the moments of the mixture of the examples' marginals, batch shape (T,)."""
        if "statistics" not in params:
            return self.base.apply(params["base"]).sites()
        examples = jax.lax.stop_gradient(params["statistics"]["examples"])
        inputs = examples if self.name is None else {self.name: examples}
        prior = self.apply(params, inputs)
        mean, covariance = chains.marginals(prior.chain, self.base.num_sites)
        average = jnp.mean(mean, axis=0)
        deviation = mean - average
        spread = jnp.mean(covariance + deviation[..., :, None] * deviation[..., None, :], axis=0)
        return Gaussian.from_mean_and_covariance(average, spread)


def driven_linear_gaussian(
    base: LearnableLinearGaussian,
    inputs: Choices | Driver,
    *,
    matrix: str = "constant",
    bias: str = "driven",
    name: str | None = None,
) -> LearnableDrivenLinearGaussian:
    """A linear-Gaussian chain whose transition, bias or both depend on inputs a_t of every datum.

        z_t+1 = A(a_t) z_t + b(a_t) + noise

    Inputs come with the data, `as_data(views, inputs=...)` or `fit(..., inputs=...)`, of shape (N, T) or
    (N, T, A); that at the last site is not used and may be left out. Factors are relative to Gaussians that
    no datum changes: they have the moments of the mixture of the marginals under up to 256 data's inputs.

    Args:
        base: From `linear_gaussian`; of A, b, Q and the initial law without inputs. To learn Q, take one
            with noise="free".
        inputs: `input_choices(number)` for discrete inputs, `input_network(network)` for others.
        matrix: "constant": A; "additive": A + C(a); "multiplicative": A (I + C(a)); C starts at zero.
        bias: "driven": b + c(a), c starts at zero; "constant": b.
        name: Which entry of the inputs, where they are a dictionary.

    Raises:
        TypeError: For a base or inputs of other kinds.
        ValueError: For unknown words, or where nothing depends on the inputs.
    """
    return LearnableDrivenLinearGaussian(base, inputs, matrix, bias, name)


def input_choices(number: int) -> Choices:
    """A table with one row for each of a number of discrete inputs."""
    return Choices(number)


def input_network(network: Any) -> Driver:
    """A network of the inputs at every time."""
    return Driver(network)


def _flat(inputs: Array) -> Array:
    """Inputs (N, T) or (N, T, A) as (N T, A), floating."""
    flat = inputs.reshape(inputs.shape[0] * inputs.shape[1], -1)
    return flat if jnp.issubdtype(flat.dtype, jnp.floating) else flat.astype(float)


def _described(inputs: Any) -> str:
    return f"the entries {sorted(inputs)}" if isinstance(inputs, dict) else type(inputs).__name__
