"""Find a swinging ball in the Poisson counts of a row of pixels.

The data are `rpm_jax.datasets.poisson_balls`; the model has a Gaussian-process prior over time and one
pointwise network per pixel.
"""

import functools
import sys

import rpm_jax as rpm
from experiments import _bouncing_balls, _bouncing_balls_options, _run
from experiments._options import defaults_of, group, option

BALLS = defaults_of(rpm.datasets.poisson_balls)


@group
class Data(_bouncing_balls_options.Data):
    """What is recorded."""

    base_rate: float = option(BALLS["base_rate"], "Expected count of a pixel under the ball.")
    width: float = option(
        BALLS["width"], "Distance from the ball, in units of the latent, at which the rate has fallen to 1/e."
    )


@group
class Options(_bouncing_balls_options.Options):
    """All options."""

    data: Data = Data()


EXPERIMENT = _run.Experiment(
    "poisson_balls",
    Options,
    _bouncing_balls_options.check,
    functools.partial(_bouncing_balls.load, rpm.datasets.poisson_balls),
    _bouncing_balls.run,
    _bouncing_balls_options.TORCHRPM,
)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
