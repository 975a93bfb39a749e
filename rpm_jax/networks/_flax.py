"""Modules of flax.linen as networks: pure functions of parameters and inputs, in evaluation mode."""

import inspect
from typing import Any, Self

import flax.errors
import flax.linen as nn
import jax
from jax import Array

from rpm_jax._record import record

REMEDY = (
    "a factor is a function of its datum and of learned parameters alone, the same in every step: take "
    "LayerNorm or GroupNorm in the place of BatchNorm, dropout with rate 0 or deterministic=True, or write "
    "an object of your own with init(key, inputs) and apply(params, inputs)"
)


@record
class FlaxModule:
    """A flax.linen module whose variables outside of "params" are constants.

    Running statistics and the like are kept under the name "statistics", which no optimiser touches. The
    module is applied as it is: nothing is updated, and there are no random keys.

    Attributes:
        module: The module, called with its inputs alone.
    """

    module: Any

    def __post_init__(self) -> None:
        """Refuse a module that asks for more than its inputs."""
        parameters = [*inspect.signature(type(self.module).__call__).parameters.values()][2:]
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
        if needed:
            raise TypeError(
                f"network: {self._name} is called with its inputs alone, but also takes {', '.join(needed)}; "
                f"give these a default that means evaluation, or make them attributes of the module: {REMEDY}"
            )

    @property
    def _name(self) -> str:
        return type(self.module).__name__

    @property
    def pointwise(self) -> bool:
        """As the module is."""
        return getattr(self.module, "pointwise", False)

    def with_outputs(self, number: int) -> Self:
        """The same with `number` outputs, if the module leaves it open."""
        has = hasattr(self.module, "with_outputs")
        return type(self)(self.module.with_outputs(number)) if has else self

    def starting_at_zero(self) -> Self:
        """The same with outputs that start at zero, if the module can."""
        has = hasattr(self.module, "starting_at_zero")
        return type(self)(self.module.starting_at_zero()) if has else self

    def init(self, key: Array, inputs: Any, /) -> dict[str, Any]:
        """Parameters under "params" and, if there are any, other variables under "statistics"."""
        variables = self._guarded(lambda: dict(self.module.init(key, inputs)))
        learned = variables.pop("params", {})
        params = {"params": learned, **({"statistics": variables} if variables else {})}
        jax.eval_shape(self.apply, params, inputs)
        return params

    def apply(self, params: dict[str, Any], inputs: Any, /) -> Any:
        """The module's outputs."""
        constants = jax.lax.stop_gradient(params.get("statistics", {}))
        return self._guarded(lambda: self.module.apply({"params": params["params"], **constants}, inputs))

    def _guarded(self, call: Any) -> Any:
        try:
            return call()
        except flax.errors.InvalidRngError as error:
            raise TypeError(
                f"network: {self._name} draws random numbers when it is applied, as dropout does; {REMEDY}"
            ) from error
        except flax.errors.ModifyScopeVariableError as error:
            raise TypeError(
                f"network: {self._name} updates variables when it is applied, as BatchNorm does without "
                f"use_running_average=True; {REMEDY}"
            ) from error
        except ValueError as error:
            if "deterministic" in str(error) or "use_running_average" in str(error):
                raise TypeError(
                    f"network: {self._name} does not say whether it is in evaluation mode "
                    f"({' '.join(str(error).split())[:100]}); {REMEDY}"
                ) from error
            raise


def is_foreign(network: Any) -> bool:
    """Whether this is a module of flax.linen other than those of this package, which are pure functions."""
    return isinstance(network, nn.Module) and not type(network).__module__.startswith("rpm_jax.")


def stateful_kind(network: Any) -> str | None:
    """The library of a module that holds its own parameters, or None."""
    for base in type(network).__mro__:
        if base.__module__.startswith("flax.nnx"):
            return "flax.nnx"
        if base.__module__.split(".")[0] == "equinox":
            return "equinox"
    return None
