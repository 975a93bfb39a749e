"""Find a swinging ball in the Poisson counts of a row of pixels.

The data are `rpm_jax.datasets.poisson_balls`; the model has a Gaussian-process prior over time and one
pointwise network per pixel.
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

    base_rate: float = default_of(rpm.datasets.poisson_balls, "base_rate")
    """Expected count of a pixel under the ball."""
    width: float = default_of(rpm.datasets.poisson_balls, "width")
    """Distance from the ball, in units of the latent, at which the rate has fallen to 1/e."""


@dataclass(frozen=True, kw_only=True)
class Options(_bouncing_balls_options.Options):
    """All options."""

    data: Data = Data()


EXPERIMENT = _bouncing_balls.experiment("poisson_balls", Options, rpm.datasets.poisson_balls)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment with these command-line arguments; the exit status."""
    return _run.main(EXPERIMENT, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
