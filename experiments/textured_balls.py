"""Find a swinging ball that shows in nothing but the skewness of a row of pixels.

The data are `rpm_jax.datasets.textured_balls`: every pixel has mean 0 and variance 1 wherever the ball is.
The model is that of `poisson_balls`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import rpm_jax as rpm
from experiments import _bouncing_balls, _bouncing_balls_options, _run
from experiments._cli import default_of


@dataclass(frozen=True, kw_only=True)
class Data(_bouncing_balls_options.Data):
    """What is recorded."""

    width: float = default_of(rpm.datasets.textured_balls, "width")
    """Distance from the ball, in units of the latent, at which the skewness has fallen off."""
    noise_variance: float = default_of(rpm.datasets.textured_balls, "noise_variance")
    """Variance of each of the two components of a pixel, between 0 and 1."""
    max_shape: float = default_of(rpm.datasets.textured_balls, "max_shape")
    """How skewed a pixel under the ball is; far from the ball the shape is sqrt(1 - noise variance)."""


@dataclass(frozen=True, kw_only=True)
class Options(_bouncing_balls_options.Options):
    """All options."""

    data: Data = Data()


EXPERIMENT = _bouncing_balls.experiment("textured_balls", Options, rpm.datasets.textured_balls)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment with these command-line arguments; the exit status."""
    return _run.main(EXPERIMENT, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
