"""Linear-Gaussian chains that inputs of every datum drive, such as actions."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_choice
from rpm_jax._linalg import matmul
from rpm_jax._record import record
from rpm_jax.expfam import Gaussian
from rpm_jax.priors import chains
from rpm_jax.priors._driving_inputs import DrivingInputs
from rpm_jax.priors._future import Future
from rpm_jax.priors._linear_gaussian import LinearGaussian
from rpm_jax.priors._linear_gaussian_dynamics import LinearGaussianDynamics
from rpm_jax.priors._linear_gaussian_spec import LearnableLinearGaussian


@record
class LearnableDrivenLinearGaussian:
    """A linear-Gaussian chain driven by inputs; `driven_linear_gaussian` makes it.

    Attributes:
        base: A, b, Q and the initial law without inputs.
        inputs: What makes C(a) and c(a) of inputs a, an `InputTable` or a network.
        matrix: "constant": A; "additive": A + C(a); "multiplicative": A (I + C(a)).
        bias: "constant": b; "driven": b + c(a).
        name: Of the entry of the data's inputs that drives, or None where they are one array.
    """

    base: LearnableLinearGaussian
    inputs: Any
    matrix: str = "constant"
    bias: str = "driven"
    name: str | None = None

    def __post_init__(self) -> None:
        """Check all of them."""
        if not isinstance(self.base, LearnableLinearGaussian):
            raise TypeError(
                f"base must be made by rpm_jax.priors.linear_gaussian, got {type(self.base).__name__}"
            )
        if self.base.varies:
            raise ValueError(
                f"base must have steps that are alike but for what inputs do, got "
                f"varies={self.base.varies!r}; the number of the step can be an input of an InputTable"
            )
        require_choice("matrix", self.matrix, ("constant", "additive", "multiplicative"))
        require_choice("bias", self.bias, ("constant", "driven"))
        if self.matrix == self.bias == "constant":
            raise ValueError("inputs must drive something: matrix and bias are both 'constant'")
        if self.base.num_sites < 2:
            raise ValueError("inputs drive the steps between sites, of which there must be at least 2, got 1")
        self._driving  # noqa: B018 (checks)

    def init(self, key: Array, inputs: Any = None) -> dict[str, Any]:
        """The chain's parameters, those of what inputs do, and example inputs, which are not learned."""
        base_key, key = jax.random.split(key)
        params: dict[str, Any] = {"base": self.base.init(base_key)}
        if inputs is None:
            return params
        return params | self._driving.init(key, inputs)

    @property
    def _driving(self) -> DrivingInputs:
        size = self.base.num_latents
        number = (size**2 if self.matrix != "constant" else 0) + (size if self.bias == "driven" else 0)
        return DrivingInputs(self.inputs, self.base.num_sites - 1, number, True, self.name)

    def check_inputs(self, inputs: Any) -> None:
        """Raise `ValueError` for inputs of other shapes, and known ones that a table does not hold."""
        self._driving.check(inputs)

    def apply(self, params: Any, inputs: Any) -> LinearGaussian:
        """The chains of some data, batch shape (N,)."""
        return self._chain_of(params, self._driving.array(inputs))

    def _chain_of(self, params: Any, inputs: Array) -> LinearGaussian:
        moments = self.base.moments(params["base"])
        transition, bias = self._driven(params, moments, inputs)
        moments |= {"transition": transition, "bias": bias}
        return LinearGaussian(**moments, num_sites=self.base.num_sites, parallel=self.base.parallel)

    def _driven(self, params: Any, moments: dict[str, Array], inputs: Array) -> tuple[Array, Array]:
        """A and b of steps with these inputs (n, steps, ...), as `DrivingInputs.array` has them."""
        outputs = self._driving.outputs(params, inputs).astype(moments["transition"].dtype)
        size = self.base.num_latents
        transition, bias = moments["transition"], moments["bias"]
        if self.matrix != "constant":
            change = outputs[..., : size**2].reshape(*outputs.shape[:2], size, size)
            transition = transition + (change if self.matrix == "additive" else matmul(transition, change))
        if self.bias == "driven":
            bias = bias + outputs[..., -size:]
        return transition, bias

    def extended(self, future: Future, inputs: Any) -> tuple["LearnableDrivenLinearGaussian", Any]:
        """The chain of T + h sites, and the inputs of its T + h − 1 steps."""
        future.refuse_times(self)
        base, _ = self.base.extended(future._replace(inputs=None))
        return dataclasses.replace(self, base=base), self._driving.extended(inputs, future)

    def dynamics(self, params: Any) -> LinearGaussianDynamics:
        """The chain a step at a time."""
        moments = self.base.moments(params["base"])

        def driven(inputs: Any) -> tuple[Array, Array]:
            transition, bias = self._driven(params, moments, self._driving.of_a_step(inputs))
            return (
                transition[:, 0] if transition.ndim == 4 else transition,
                bias[:, 0] if bias.ndim == 3 else bias,
            )

        chain = self.base.apply(params["base"]).chain
        return LinearGaussianDynamics(chain, driven=driven, check=self._driving.check_values)

    def reference(self, params: Any) -> Gaussian:
        """Gaussians with the moments of the mixture of the examples' marginals, batch shape (T,)."""
        if "statistics" not in params:
            return self.base.apply(params["base"]).sites()
        prior = self._chain_of(params, self._driving.examples(params))
        mean, covariance = chains.marginals(prior.chain, self.base.num_sites)
        average = jnp.mean(mean, axis=0)
        deviation = mean - average
        spread = jnp.mean(covariance + deviation[..., :, None] * deviation[..., None, :], axis=0)
        return Gaussian.from_mean_and_covariance(average, spread)


def driven_linear_gaussian(
    base: LearnableLinearGaussian,
    inputs: Any,
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
        inputs: `InputTable(num_values)` for a discrete input, or a network of each step's inputs, such as
            `rpm_jax.networks.MLP`, which sees them standardised.
        matrix: "constant": A; "additive": A + C(a); "multiplicative": A (I + C(a)); C starts at zero.
        bias: "driven": b + c(a), c starts at zero; "constant": b.
        name: Which entry of the inputs, where they are a dictionary.

    Raises:
        TypeError: For a base or inputs of other kinds.
        ValueError: For unknown words, or where nothing depends on the inputs.
    """
    return LearnableDrivenLinearGaussian(base, inputs, matrix, bias, name)
