"""Images of digits, a part to fit and one that is held out, and networks for them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

import rpm_jax as rpm
from experiments._options import AllOptions, OptionError, given
from rpm_jax.datasets import LabelledImages


def labelled_images(options: AllOptions, key: jax.Array) -> tuple[LabelledImages, LabelledImages]:
    """Images to fit and held-out ones, by the options data, download and held_out of the group of data."""
    wanted = options.data
    if wanted.data is None:
        digits = rpm.datasets.load_digits()
        return rpm.datasets.hold_out(key, *digits, wanted.held_out)
    folder = wanted.data.expanduser()
    if wanted.download:
        rpm.datasets.download_mnist(folder, progress=not options.run.quiet)
    try:
        test = rpm.datasets.load_mnist(folder, "test", memory_map=True)
        if any(folder.glob("train-*")):
            return rpm.datasets.load_mnist(folder, "train", memory_map=True), test
    except (FileNotFoundError, ValueError) as error:
        raise OptionError(f"--data: {error}; --download fetches MNIST into {folder}") from error
    number = test.labels.shape[0]
    stay = number - round(number * wanted.held_out)
    if not 0 < stay < number:
        raise OptionError(f"--held-out {wanted.held_out} of {number} images leaves none in a part")
    return part_of(test, slice(stay)), part_of(test, slice(stay, None))


def part_of(images: LabelledImages, rows: slice) -> LabelledImages:
    """Some of the images."""
    return LabelledImages(images.images[rows], images.labels[rows])


def grey_values(view: jax.Array) -> jax.Array:
    """From 0 to 1; files have them from 0 to 255."""
    return view.astype(jnp.float32) / 255 if view.dtype == jnp.uint8 else view


def network_for(kind: str, sizes: Sequence[tuple[int, ...]], hidden: tuple[int, ...] | None) -> Any:
    """A perceptron or a convolutional network.

    Args:
        kind: "mlp", "cnn", or "auto": the latter where all images are at least 16 pixels high and wide.
        sizes: Height and width of the images of each view.
        hidden: Units of its hidden layers; None: the library's.
    """
    if kind == "auto":
        kind = "cnn" if min(map(min, sizes)) >= 16 else "mlp"
    return {"cnn": rpm.networks.CNN, "mlp": rpm.networks.MLP}[kind](**given(hidden=hidden))
