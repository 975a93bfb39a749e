"""The processes of `benchmarks.normalizer`: one measurement each."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import rpm_jax as rpm
from benchmarks._processes import MIB, Requests, peak_memory
from benchmarks._timing import milliseconds_per_step, timed
from rpm_jax import normalizers
from rpm_jax.expfam import Categorical, DiagonalGaussian, ExponentialFamily, Gamma, Gaussian, VonMises

FAMILIES: dict[str, Callable[[], ExponentialFamily]] = {
    "DiagonalGaussian": lambda: DiagonalGaussian(jnp.zeros(1), jnp.full(1, -0.5)),
    "Gaussian": lambda: Gaussian(jnp.zeros(2), -0.5 * jnp.eye(2)),
    "VonMises": lambda: VonMises(jnp.zeros((1, 2))),
    "Categorical": lambda: Categorical(jnp.zeros(10)),
    "Gamma": lambda: Gamma.from_shape_and_rate(jnp.full(1, 2.0), jnp.ones(1)),
}
"""Priors of a single site: one latent, but two for the Gaussian with full covariance, and ten states."""

SEED = 0


def make_model(family: str) -> rpm.RPM:
    """The model of two scalar views; with states, too, its bound is that of the other families."""
    return rpm.RPM(
        rpm.priors.Static(FAMILIES[family]()),
        rpm.factors.per_view(rpm.networks.PointwiseMLP((20, 20))),
        posterior=rpm.posteriors.conjugate(),
        auxiliary=rpm.auxiliaries.posterior(),
    )


def plain_bound(model: rpm.RPM, params: Any, batch: rpm.Batch, data: rpm.Data) -> Array:
    """The bound of a static model with F_j in its plain form: all components, and all pairs, at once.

    With conjugate potentials λ and ξ = q's parameters η_q,

        log ∫ p exp⟨λ, t⟩ − ⟨λ, μ⟩ + Σ_j [⟨η_j − η0, μ⟩ − A(η_j) + A(η_q) − log ∫ F_j exp⟨η_q − η0, t⟩].
    """
    prior = model.prior_of(params)
    factors = model.recognise(params, batch)
    potentials = factors.conjugate()
    posterior = prior.condition(potentials)
    components = normalizers.ArrayComponents(model.recognise(params, data.all()).natural)
    sites = posterior.sites[:, None]
    log_mixture = normalizers.log_tilted_mixture_plain(components, sites - prior.sites())
    mean = posterior.sites.mean_parameters()
    views = factors.potentials.dot(jax.tree.map(lambda leaf: leaf[:, None], mean))
    views = views - factors.natural.log_partition() + sites.log_partition() - log_mixture
    return posterior.log_normalizer - potentials.dot(mean).sum(-1) + views.sum((-2, -1))


def of_bound(family: str, way: str, size: int, batch_size: int) -> tuple[Callable, tuple, int]:
    """Value and gradient of minus the mean bound.

    Returns:
        The function, its arguments, and the bytes of the data.
    """
    random = np.random.default_rng(SEED)
    model = make_model(family)
    data = rpm.as_data(tuple(jnp.asarray(random.standard_normal((size, 1), np.float32)) for _ in range(2)))
    first = rpm.Data(tuple(view[:batch_size] for view in data.views), None, None)
    params = jax.jit(model.init)(jax.random.key(SEED), first)
    batch = data.batch(jnp.arange(batch_size))

    def loss(params: Any, batch: rpm.Batch, data: rpm.Data) -> Array:
        if way == "plain":
            return -jnp.mean(plain_bound(model, params, batch, data))
        return -jnp.mean(rpm.bound(model, params, batch, data))

    return (
        jax.value_and_grad(loss),
        (params, batch, data),
        sum(view.nbytes for view in jax.tree.leaves(data.views)),
    )


def of_mixture(size: int, batch_size: int, block_size: int | None) -> tuple[Callable, tuple, int]:
    """Value and gradient of the mixture alone, of one-dimensional Gaussians held as arrays, two views."""
    random = np.random.default_rng(SEED)

    def gaussians(number: int) -> DiagonalGaussian:
        mean = random.standard_normal((number, 2, 1, 1), np.float32)
        return DiagonalGaussian(jnp.asarray(mean), jnp.full(mean.shape, -1.0, np.float32))

    components, tilts = gaussians(size), gaussians(batch_size)

    def mean(components: Any, tilts: Any) -> Array:
        held = normalizers.ArrayComponents(components)
        return jnp.mean(normalizers.log_tilted_mixture(held, tilts, block_size=block_size))

    bytes_held = sum(leaf.nbytes for leaf in components.natural_parameters)
    return jax.value_and_grad(mean, (0, 1)), (components, tilts), bytes_held


def measure(
    way: str, family: str, size: int, batch_size: int, block_size: int | None, rounds: int
) -> dict[str, Any]:
    """Time a case, and take the process's peak memory beyond that before it.

    Args:
        way: "streamed" or "plain", the bound by either; "mixture", the streamed mixture of arrays.
        family: Of the sites.
        size: N.
        batch_size: B.
        block_size: Of "mixture"; None: the default.
        rounds: How often it runs.
    """
    baseline = peak_memory()
    if way == "mixture":
        function, arguments, bytes_held = of_mixture(size, batch_size, block_size)
    else:
        function, arguments, bytes_held = of_bound(family, way, size, batch_size)
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - start
    value = jax.block_until_ready(compiled(*arguments))[0]
    compiler = compiled.memory_analysis()
    times = [timed(lambda: jax.block_until_ready(compiled(*arguments))) for _ in range(rounds)]
    summary = milliseconds_per_step([elapsed.wall for elapsed in times], 1)
    return {
        "value": float(value),
        "compile_seconds": compile_seconds,
        **summary,
        "processor_ms": min(elapsed.processor for elapsed in times) * 1e3,
        "nanoseconds_per_pair": summary["median_ms"] * 1e6 / (2 * size * batch_size),
        "inputs_mib": bytes_held / MIB,
        "peak_mib": peak_memory() - baseline - bytes_held / MIB,
        "buffers_mib": None if compiler is None else compiler.temp_size_in_bytes / MIB,
    }


def main() -> None:
    """Answer requests for measurements."""
    requests = Requests()
    jnp.zeros(1).block_until_ready()
    while True:
        requests.answer(**measure(**requests.next()))


if __name__ == "__main__":
    main()
