"""Copies of rpm_jax's parameters in torchRPM's models; needs neither JAX nor PyTorch by itself."""

from typing import Any

import numpy as np

from benchmarks._torchrpm_cases import Case


def copy_parameters(case: Case, params: dict[str, Any], model: Any) -> None:
    """Give a model of torchRPM the parameters of rpm_jax's.

    Args:
        case: The case.
        params: Of `rpm_jax.RPM.init`, as NumPy arrays.
        model: From `_torchrpm_theirs.build`.
    """
    if case.family == "discrete":
        _assign(model.latent_prior.param_, params["prior"]["unconstrained"])
        networks = [factor.model for factor in model.rec_models]
    else:
        lengthscale = np.exp(params["prior"]["kernel"]["log_lengthscale"])
        _assign(model.joint_model[1].param_.gamma, 0.5 / lengthscale**2)
        networks = [factor.model for factor in model.joint_model[0]]
    (group,) = params["factors"]
    for j, network in enumerate(networks):
        statistics = {name: np.squeeze(value[j]) for name, value in group["statistics"].items()}
        targets = [layer for layer in network.modules() if hasattr(layer, "weight")]
        layers = sorted(group["network"]["params"].items())
        for i, ((name, layer), target) in enumerate(zip(layers, targets, strict=True)):
            kernel, bias = layer["kernel"][j], layer["bias"][j]
            if i == 0:
                kernel, bias = without_standardisation(kernel, bias, **statistics)
            _assign(target.weight, as_weight(name, kernel, case))
            _assign(target.bias, bias)


def without_standardisation(
    kernel: np.ndarray, bias: np.ndarray, mean: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A first layer that takes raw inputs x in the place of (x − mean) / scale.

    Args:
        kernel: Shape (..., inputs, outputs), a sum over all axes but the last.
        bias: Shape (outputs,).
        mean: A scalar.
        scale: A scalar.

    Returns:
        kernel / scale and bias − mean Σ kernel / scale.
    """
    kernel = kernel / scale
    return kernel, bias - mean * kernel.reshape(-1, kernel.shape[-1]).sum(0)


def as_weight(name: str, kernel: np.ndarray, case: Case) -> np.ndarray:
    """A kernel (..., inputs, outputs) as PyTorch's weight (outputs, inputs, ...).

    The dense layer behind convolutions sees (height, width, channels) here, and (channels, height, width)
    there.

    Args:
        name: The layer's, as in flax: layers are counted by kind.
        kernel: Of the layer.
        case: The case.
    """
    if case.family == "discrete" and name == "Dense_0":
        features = kernel.reshape(4, 4, 20, -1)
        return features.transpose(3, 2, 0, 1).reshape(kernel.shape[::-1])
    weight = kernel.transpose(kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))
    return weight if case.family == "discrete" else weight[..., None]


def _assign(parameter: Any, value: np.ndarray) -> None:
    """Set a PyTorch parameter; its shape has to be that of the value but for axes of length 1."""
    parameter.data = parameter.new_tensor(value.tolist()).reshape(parameter.shape)
