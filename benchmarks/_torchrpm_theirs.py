"""The models of `benchmarks.torchrpm` in torchRPM, and their training as its scripts and its example do it.

Imports PyTorch and torchRPM's modules, whose folder has to be on the path, and not JAX.
"""

import contextlib
import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from benchmarks._torch_cnn import torch_cnn
from benchmarks._torchrpm_cases import HIDDEN, STATES, Case

LEARNING_RATE = 1e-3
"""The default of its scripts."""


def _gaussian(case: Case, views: list[torch.Tensor]) -> Any:
    """A Gaussian model as torchRPM's own set-up for its scripts builds it, for q conjugate and ξ = q."""
    marginals = importlib.import_module("rpm").RPMEmpiricalMarginals(views)
    set_up = importlib.import_module("utils_setup").init_gaussian_rpm
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        model, _, _ = set_up(
            N=case.num_data,
            J=case.num_views,
            K=1,
            T=case.num_times,
            pxjs=marginals,
            init_rb_bandwidth=case.bandwidth,
            obs_locs=torch.tensor(case.times, dtype=torch.get_default_dtype())[:, None],
            rpm_variant="amortized",
            temporal=case.family == "temporal",
            amortize_ivi="use_q",
            epochs=1,
            batch_size=case.batch_size,
            n_hidden=HIDDEN,
        )
    return model


def _discrete(case: Case, views: list[torch.Tensor]) -> Any:
    module = importlib.import_module("discreteRPM")
    factors = [
        module.RecognitionFactor_discrete(model=torch_cnn(torch, STATES)) for _ in range(case.num_views)
    ]
    prior = module.Prior_discrete(param=torch.zeros(STATES))
    return module.discreteRPM(factors, latent_prior=prior, pxjs=views)


FAMILIES: Mapping[str, Callable[[Case, list[torch.Tensor]], Any]] = {
    "temporal": _gaussian,
    "static": _gaussian,
    "discrete": _discrete,
}


def build(case: Case, views: list[np.ndarray]) -> tuple[Any, list[torch.Tensor]]:
    """A model with torchRPM's initial parameters, and the views as it takes them.

    Both have PyTorch's default floating-point type.
    """
    torch.manual_seed(0)
    tensors = [torch.tensor(view, dtype=torch.get_default_dtype()) for view in views]
    if case.inputs == "images":
        tensors = [tensor.unsqueeze(1) for tensor in tensors]
    return FAMILIES[case.family](case, tensors), tensors


def loss(case: Case, model: Any, batch: list[torch.Tensor], index: torch.Tensor) -> torch.Tensor:
    """The loss of a minibatch that torchRPM's training minimises, a scalar tensor.

    Args:
        case: The case.
        model: From `build`.
        batch: J tensors with the minibatch's data.
        index: Which data they are.
    """
    if case.family == "discrete":
        return model.training_step(batch, batch_idx=0)
    return model.training_step(batch=batch, idx_data=index, batch_idx=0)


def train(case: Case, views: list[np.ndarray], made: Callable[[int], None]) -> None:
    """Train without end, by minibatches of a `DataLoader` in random order.

    Args:
        case: The case.
        views: J arrays.
        made: Called with 1 whenever a step is made.

    Raises:
        RuntimeError: If a loss is NaN, where torchRPM's scripts end their run.
    """
    model, tensors = build(case, views)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    dataset = torch.utils.data.TensorDataset(*tensors, torch.arange(case.num_data))
    loader = torch.utils.data.DataLoader(dataset, batch_size=case.batch_size, shuffle=True, drop_last=True)
    while True:
        for *batch, index in loader:
            optimizer.zero_grad()
            value = loss(case, model, batch, index)
            value.backward()
            optimizer.step()
            if np.isnan(value.item()):
                raise RuntimeError(f"torchRPM's loss became NaN in the case {case.name}")
            made(1)
