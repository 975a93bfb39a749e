"""The small handwritten digits that come with scikit-learn."""

import jax.numpy as jnp

from rpm_jax.datasets._labelled_images import LabelledImages

LARGEST_GREY_VALUE = 16


def load_digits() -> LabelledImages:
    """1797 handwritten digits of 8 x 8 pixels, grey values 0 to 16 scaled to [0, 1].

    Returns:
        Images of shape (1797, 8, 8), float32, and labels 0 to 9, int32.

    Raises:
        ImportError: If scikit-learn, which they come with, is not installed.

    References:
        Alpaydin and Kaynak, "Optical recognition of handwritten digits",
        UCI Machine Learning Repository 1998.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError('load_digits needs scikit-learn: pip install "rpm_jax[experiments]"') from error
    digits = datasets.load_digits()
    images = jnp.asarray(digits.images / LARGEST_GREY_VALUE, jnp.float32)
    return LabelledImages(images, jnp.asarray(digits.target, jnp.int32))
