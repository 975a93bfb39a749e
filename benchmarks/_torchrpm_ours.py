"""The models of `benchmarks.torchrpm` in rpm_jax, and their training by `rpm.fit`."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

import rpm_jax as rpm
from benchmarks._torchrpm_cases import HIDDEN, IMAGE_SIZE, STATES, Case

STEPS_PER_CALL = 20
"""Steps between two looks: the least that `rpm.fit` takes by itself."""


def make_views(case: Case) -> list[np.ndarray]:
    """Random data: J views (N, T) in float32, images (N, 28, 28) with values in [0, 1]."""
    key = jax.random.key(0)
    sizes = {
        "num_sequences": case.num_data,
        "num_steps": case.num_times,
        "num_pixels": case.num_views,
    }
    if case.inputs == "counts":
        views = rpm.datasets.poisson_balls(key, **sizes).views
    elif case.inputs == "textures":
        views = rpm.datasets.textured_balls(key, **sizes).views
    else:
        shape = (case.num_views, case.num_data, IMAGE_SIZE, IMAGE_SIZE)
        views = tuple(jax.random.uniform(key, shape))
    return [np.asarray(view, np.float32) for view in views]


def _temporal(case: Case) -> rpm.RPM:
    kernel = rpm.priors.kernels.rbf_from_bandwidth(case.bandwidth)
    return rpm.RPM(
        rpm.priors.gaussian_process(jnp.asarray(case.times), kernel),
        rpm.factors.per_view(rpm.networks.PointwiseMLP((HIDDEN, HIDDEN))),
    )


def _static(case: Case) -> rpm.RPM:
    kernel = rpm.priors.kernels.rbf_from_bandwidth(case.bandwidth)
    return rpm.RPM(
        rpm.priors.joint_gaussian_process(jnp.asarray(case.times), kernel, jitter=0.0),
        rpm.factors.per_view(
            rpm.networks.PointwiseMLP((HIDDEN, HIDDEN)), output=rpm.outputs.DiagonalPrecision()
        ),
    )


def _discrete(case: Case) -> rpm.RPM:
    del case
    prior = rpm.priors.static(rpm.expfam.Categorical(jnp.zeros(STATES)), learnable=True)
    return rpm.RPM(prior, rpm.factors.per_view(rpm.networks.CNN()))


FAMILIES: Mapping[str, Callable[[Case], rpm.RPM]] = {
    "temporal": _temporal,
    "static": _static,
    "discrete": _discrete,
}


def bound(case: Case, model: rpm.RPM, params: dict, views: list[np.ndarray], index: np.ndarray) -> float:
    """The mean bound of a minibatch, with F_j over the data that training takes."""
    data = rpm.as_data(tuple(map(jnp.asarray, views)))

    @jax.jit
    def mean_bound(params: dict) -> jax.Array:
        batch = data.batch(jnp.asarray(index))
        if case.family == "discrete":
            terms, _ = rpm.model.batch_terms(model, params, batch, data, rpm.feeds.minibatch(), ())
            return jnp.mean(terms.bound)
        return jnp.mean(rpm.bound(model, params, batch, data))

    return float(mean_bound(params))


def train(case: Case, views: list[np.ndarray], made: Callable[[int], None]) -> None:
    """Train without end by `rpm.fit` with its defaults, over all devices if there are several.

    Args:
        case: The case.
        views: J arrays.
        made: Called with a number of steps whenever so many more are made.
    """
    rpm.fit(
        FAMILIES[case.family](case),
        tuple(views),
        key=jax.random.key(0),
        num_steps=10**6,
        batch_size=case.batch_size,
        steps_per_call=STEPS_PER_CALL,
        mesh=jax.make_mesh((jax.device_count(),), ("data",)) if jax.device_count() > 1 else None,
        callback=lambda progress: made(STEPS_PER_CALL),
    )
