"""Find a swinging ball that shows in nothing but the skewness of a row of pixels.

The data are `rpm_jax.datasets.textured_balls`: every pixel has mean 0 and variance 1 wherever the ball is.
The model is that of `poisson_balls`.
"""

import functools
import sys

import rpm_jax as rpm
from experiments import _bouncing_balls, _bouncing_balls_options, _run
from experiments._options import defaults_of, group, option

BALLS = defaults_of(rpm.datasets.textured_balls)


@group
class Data(_bouncing_balls_options.Data):
    """What is recorded."""

    width: float = option(
        BALLS["width"],
        "Distance from the ball, in units of the latent, at which the skewness has fallen off.",
    )
    noise_variance: float = option(
        BALLS["noise_variance"], "Variance of each of the two components of a pixel, between 0 and 1."
    )
    max_shape: float = option(
        BALLS["max_shape"],
        "How skewed a pixel under the ball is; far from the ball the shape is sqrt(1 - noise variance).",
    )


@group
class Options(_bouncing_balls_options.Options):
    """All options."""

    data: Data = Data()


EXPERIMENT = _run.Experiment(
    "textured_balls",
    Options,
    _bouncing_balls_options.check,
    functools.partial(_bouncing_balls.load, rpm.datasets.textured_balls),
    _bouncing_balls.run,
    _bouncing_balls_options.TORCHRPM,
)
main = functools.partial(_run.main, EXPERIMENT, __doc__)

if __name__ == "__main__":
    sys.exit(main())
