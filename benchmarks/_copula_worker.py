"""torchRPM's model of a copula in a process of its own, trained as its example notebook does.

Imports PyTorch and torchRPM's modules, whose folder has to be on the path, and not JAX.
"""

import importlib
import sys
import time
from typing import Any

import numpy as np
import torch

from benchmarks._processes import Requests

LEARNING_RATE = 1e-3
"""The example's."""


def natural_parameters(outputs: torch.Tensor, dimension: int = 1) -> torch.Tensor:
    """Real numbers to natural parameters of a normal distribution, as the example maps them."""
    first, second = outputs[:, :dimension], outputs[:, dimension:]
    return torch.cat([first, -torch.nn.functional.softplus(second)], dim=-1)


def build(views: list[torch.Tensor], hidden: int) -> Any:
    """The example's model: a normal latent, conjugate posterior, F_j over all data, ξ = q."""
    rpm, families, networks = map(importlib.import_module, ("rpm", "expFam", "recognition_nets"))
    log_partition = families.LogPartition_gauss1D()
    prior = families.ExpFam(
        natparam=torch.normal(0.0, torch.ones(1, 2)),
        log_partition=log_partition,
        activation_out=natural_parameters,
    )
    factors = [
        families.ConditionalExpFam(
            networks.Net_3xFCRelu(view.shape[1], 2, n_hidden=hidden, activation_out=natural_parameters),
            log_partition,
        )
        for view in views
    ]
    return rpm.RPM(
        rec_factors=factors,
        latent_prior=prior,
        px=rpm.RPMEmpiricalMarginals(views),
        q="use_theta",
        nu=None,
        iviNatParametrization="classic",
        stack_xjs_new_axis=True,
        full_N_for_Fj=True,
    )


def train(model: Any, views: list[torch.Tensor], epochs: int, batch_size: int) -> None:
    """Adam over shuffled minibatches; a remainder smaller than a batch is left out."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    dataset = torch.utils.data.TensorDataset(*views, torch.arange(len(views[0])))
    loader = torch.utils.data.DataLoader(dataset, batch_size=batch_size, shuffle=True, drop_last=True)
    step = 0
    for _ in range(epochs):
        for *batch, index in loader:
            optimizer.zero_grad()
            model.training_step(batch=batch, idx_data=index, batch_idx=step).backward()
            optimizer.step()
            step += 1


def fitted(path: str, *, seed: int, epochs: int, batch_size: int, hidden: int) -> dict[str, Any]:
    """Train on the views of a file, and say what the model is.

    Args:
        path: An npz file with `views`, shape (J, N, 1), and `nodes`, shape (J, G, 1).
        seed: Of the initial parameters and the minibatches.
        epochs: Passes over the data.
        batch_size: Data per step.
        hidden: Units of both hidden layers.

    Returns:
        Natural parameters of the prior (2), of the factors of all data (N, J, 2) and at the nodes (G, J, 2),
        the model's own mean bound over all data, and the seconds of the training.
    """
    with np.load(path) as stored:
        views, nodes = ([torch.tensor(view) for view in stored[name]] for name in ("views", "nodes"))
    torch.manual_seed(seed)
    model = build(views, hidden)
    start = time.perf_counter()
    train(model, views, epochs, batch_size)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        prior = model.joint_model[1].nat_param
        return {
            "prior": prior[0].tolist(),
            "factors": model.factorNatParams(views, eta_off=prior).tolist(),
            "at_nodes": model.factorNatParams(nodes, eta_off=prior).tolist(),
            "bound": model.elbo(views).mean().item(),
            "seconds": seconds,
        }


def main(path: str, clone: str) -> None:
    """Answer requests with fits to the data that the file then holds."""
    requests = Requests()
    sys.dont_write_bytecode = True
    sys.path.insert(0, clone)
    torch.set_num_threads(1)
    while True:
        requests.answer(**fitted(path, **requests.next()))


if __name__ == "__main__":
    main(*sys.argv[1:])
