"""Linear-Gaussian chains as what moves their states."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array

from rpm_jax.expfam import Gaussian
from rpm_jax.priors._dynamics import Step
from rpm_jax.priors._gaussian_belief import GaussianBelief
from rpm_jax.priors.chains import GaussianChain


@dataclass(frozen=True)
class LinearGaussianDynamics:
    """A, b and Q: of all steps, of each step, or by inputs.

    Attributes:
        chain: Its time axes are of size 1, or T − 1.
        num_sites: T, where A, b or Q is that of each step; else None.
        driven: A and b from the inputs (n, ...) of a step; or None.
        check: Raises for known inputs that the prior does not know; or None.
    """

    chain: GaussianChain
    num_sites: int | None = None
    driven: Callable[[Any], tuple[Array, Array]] | None = None
    check: Callable[[Any], None] | None = None
    clock: ClassVar[None] = None
    takes_times: ClassVar[bool] = False

    @property
    def takes_inputs(self) -> bool:
        """Whether steps depend on inputs."""
        return self.driven is not None

    @property
    def start(self) -> GaussianBelief:
        """The initial state, which is the latents."""
        return self._belief(self.chain.initial_mean, self.chain.initial_covariance)

    def moved(self, belief: GaussianBelief, step: Step) -> GaussianBelief:
        """Of the next state."""

        def own(array: Array) -> Array:
            if self.num_sites is None or array.shape[0] != self.num_sites - 1:
                return array[0]
            return array.at[step.site - 1].get(mode="fill", fill_value=jnp.nan)

        noise = own(self.chain.noise)
        if self.driven is not None:
            return belief.moved(*self.driven(step.inputs), noise)
        return belief.moved(own(self.chain.transition), own(self.chain.bias), noise)

    def check_inputs(self, inputs: Any) -> None:
        """Raise `ValueError` for known inputs that the prior does not know."""
        if self.check is not None:
            self.check(inputs)

    def from_sites(self, sites: Gaussian) -> GaussianBelief:
        """The state is the latents."""
        return self._belief(sites.mean(), sites.covariance())

    def from_latents(self, latents: Array) -> GaussianBelief:
        """The same, sure of them."""
        return self.start.given(latents)

    def _belief(self, mean: Array, covariance: Array) -> GaussianBelief:
        size = mean.shape[-1]
        zero, identity = jnp.zeros(size, mean.dtype), jnp.eye(size, dtype=mean.dtype)
        return GaussianBelief(mean, covariance, zero, identity)
