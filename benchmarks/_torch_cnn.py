"""The convolutional network usually taken for 28 × 28 digits, in PyTorch."""

from typing import Any


def torch_cnn(torch: Any, num_outputs: int) -> Any:
    """Two convolutions with 10 and 20 channels, each with max-pooling, then 50 hidden units.

    The same network as `rpm_jax.networks.CNN()`.

    Args:
        torch: The module, imported by the caller: most benchmarks do without it.
        num_outputs: Of the last layer.

    Returns:
        A `torch.nn.Module` from images (N, 1, 28, 28) to outputs (N, num_outputs).
    """
    layers = torch.nn
    return layers.Sequential(
        *(layers.Conv2d(1, 10, 5), layers.MaxPool2d(2), layers.ReLU()),
        *(layers.Conv2d(10, 20, 5), layers.MaxPool2d(2), layers.ReLU()),
        *(layers.Flatten(), layers.Linear(320, 50), layers.ReLU(), layers.Linear(50, num_outputs)),
    )
