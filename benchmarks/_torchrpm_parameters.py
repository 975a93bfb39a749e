"""Copies of rpm_jax's parameters in torchRPM's models."""

from typing import Any

import numpy as np
import torch

from benchmarks._torchrpm_cases import Case


def copy_parameters(case: Case, params: dict[str, Any], model: Any) -> None:
    """Give a model of torchRPM the parameters of rpm_jax's.

    rpm_jax standardises the inputs; torchRPM's first layer takes that over: W (x − m) / s + b =
    (W / s) x + (b − W m / s).

    Args:
        case: The case.
        params: Of `rpm_jax.RPM.init`, as NumPy arrays.
        model: From `_torchrpm_theirs.build`.
    """
    (group,) = params["factors"]
    layers, statistics = group["network"]["params"], group["statistics"]
    with torch.no_grad():
        if case.family == "discrete":
            model.latent_prior.param_.copy_(torch.tensor(params["prior"]["unconstrained"]))
            networks = [factor.model for factor in model.rec_models]
        else:
            (logarithm,) = params["prior"]["kernel"].values()
            model.joint_model[1].param_.gamma.copy_(torch.tensor(np.exp(logarithm)).reshape(()))
            networks = [factor.model for factor in model.joint_model[0]]
        for j, network in enumerate(networks):
            targets = [layer for layer in network.modules() if hasattr(layer, "weight")]
            for (name, layer), target in zip(sorted(layers.items()), targets, strict=True):
                kernel, bias = layer["kernel"][j], layer["bias"][j]
                if target is targets[0]:
                    mean, scale = (np.squeeze(statistics[key][j]) for key in ("mean", "scale"))
                    kernel = kernel / scale
                    bias = bias - mean * kernel.reshape(-1, kernel.shape[-1]).sum(0)
                target.weight.copy_(torch.tensor(_as_weight(name, kernel, target.weight.shape)))
                target.bias.copy_(torch.tensor(bias))


def _as_weight(name: str, kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A kernel (..., inputs, outputs) as PyTorch's weight (outputs, inputs, ...).

    The first dense layer behind convolutions sees (height, width, channels) here, and PyTorch's (channels,
    height, width).
    """
    if name == "Dense_0" and kernel.shape[0] == 320:
        pixels = kernel.reshape(4, 4, 20, -1)
        return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1).reshape(shape))
    axes = (kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))
    return np.ascontiguousarray(kernel.transpose(axes)).reshape(shape)
