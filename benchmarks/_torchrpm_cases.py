"""The models, data and shapes of `benchmarks.torchrpm`.

A further family of models is a name in `Case.family`, a function in each of `FAMILIES` of
`_torchrpm_ours` and `_torchrpm_theirs`, a copy of its parameters in `_torchrpm_parameters`, and its cases
here. Implicit models, which are trained by score matching there, are in `benchmarks.score_matching`.
"""

from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """What both libraries train.

    Attributes:
        name: On the command line.
        family: "temporal": a Gaussian process prior, factors at every time, q conjugate and ξ = q.
            "static": a whole trajectory as one Gaussian with full covariance, the rest alike.
            "discrete": a categorical latent, F_j over the minibatch, exact.
        inputs: "counts", "textures" (continuous) or "images".
        num_data: N.
        num_views: J.
        batch_size: B.
        num_times: T, for a static model the latent's dimension D; 1 for images.
        tuned: Whether the issue that asked for speed names this shape: the others are checks that speed
            was not won for these alone.
    """

    name: str
    family: str
    inputs: str
    num_data: int
    num_views: int
    batch_size: int
    num_times: int = 1
    tuned: bool = True

    @property
    def bandwidth(self) -> float:
        """γ of the prior's covariance exp(−γ (t − t')²) at T times in [0, 1]: 960 at T = 50."""
        return 0.4 * (self.num_times - 1) ** 2

    @property
    def times(self) -> np.ndarray:
        """T times in [0, 1]."""
        return np.linspace(0.0, 1.0, self.num_times)


HIDDEN = 20
"""Units of each of the two hidden layers of the networks on sequences."""

STATES = 10
"""Of the categorical latent."""

IMAGE_SIZE = 28

ALL = (
    Case("temporal-100", "temporal", "counts", 100, 10, 8, 50),
    Case("temporal-1000", "temporal", "counts", 1000, 10, 8, 50),
    Case("temporal-continuous", "temporal", "textures", 100, 10, 8, 50),
    Case("temporal-continuous-1000", "temporal", "textures", 1000, 10, 8, 50),
    Case("temporal-untuned", "temporal", "textures", 237, 7, 5, 33, tuned=False),
    Case("static-50", "static", "counts", 100, 10, 8, 50),
    Case("static-untuned", "static", "textures", 61, 4, 8, 13, tuned=False),
    Case("cnn-64", "discrete", "images", 2048, 2, 64),
    Case("cnn-untuned", "discrete", "images", 1200, 2, 48, tuned=False),
)

CASES = {case.name: case for case in ALL}
