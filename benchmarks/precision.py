"""float32 against float64: families, Gaussian processes and other priors over wide ranges.

Families and other priors see the same numbers in both, rounded to float32 first; a process in float64 sees
those before rounding, and "rounded" is what that alone does to the mean. Errors are the largest of a row:
of values in nats |a − b|/(1 + |b|); of mean parameters and gradients relative to the largest entry of each
member; of a process's mean in its largest posterior standard deviation, of its joint covariance, which is
that of its draws, in the largest eigenvalue. Draws of a family are judged by their mean, in standard errors,
where there is one; those of a process by their summed variance over the right one, less one.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks._report import Benchmark, Column, print_table
from rpm_jax import expfam, priors

FAMILY_COLUMNS = (
    Column("family", "family", "<24"),
    Column("range", "range", "<26"),
    *(
        Column(name, name, "9.1e")
        for name in ("A", "mean", "entropy", "KL", "log p", "∇entropy", "∇KL", "∇log p")
    ),
    Column("draws", "draws", "6.1f"),
)
PROCESS_COLUMNS = (
    Column("T", "num_sites", "4"),
    Column("bandwidth", "bandwidth", "9.0e"),
    Column("precision", "precision", "9.0e"),
    Column("log-normaliser", "log_normalizer", "14.1e"),
    Column("mean", "mean", "9.1e"),
    Column("rounded", "rounded", "9.1e"),
    Column("variance", "variance", "9.1e"),
    Column("covariance", "joint", "10.1e"),
    Column("draws", "draws", "9.1e"),
)
PRIOR_COLUMNS = (
    Column("prior", "prior", "<40"),
    Column("log-normaliser", "log_normalizer", "14.1e"),
    Column("mean", "mean", "9.1e"),
    Column("gradient", "gradient", "9.1e"),
)

Family = expfam.ExponentialFamily

NUM_DRAWS = 4000


def spread(low: float, high: float, seed: int, *shape: int) -> Any:
    """Numbers between 10^low and 10^high, evenly by their logarithm, in random order, for 40 members."""
    exponents = np.random.default_rng(seed).permuted(np.linspace(low, high, 40 * int(np.prod(shape))))
    return (10.0**exponents).reshape(40, *shape)


def members() -> Iterator[tuple[str, Family, Family]]:
    """A range in words, members there and others beside them."""
    one: Any
    precision: Any
    covariance: Any
    logits: Any
    sign = np.where(np.arange(40) % 2, 1.0, -1.0)[:, None]
    for low, high in ((-6, 6), (-1, 1)):
        words = f"variance 1e{2 * low}..1e{2 * high}"
        scale = spread(low, high, 0, 2)
        mean = sign * scale * spread(-2, 2, 1, 2)
        one = expfam.DiagonalGaussian.from_mean_and_variance(mean, scale**2)
        two = expfam.DiagonalGaussian.from_mean_and_variance(mean + 0.3 * scale, 1.2 * scale**2)
        yield words, one, two
    for low, high in ((-3, 3), (-1, 1)):
        scale = spread(low, high, 0)
        mean = sign * scale[:, None] * spread(-2, 2, 1, 3)
        turn = np.linalg.qr(np.random.default_rng(2).normal(size=(40, 3, 3)))[0]
        spectrum = np.array([0.5, 1.0, 2.0])
        covariance = (turn * (scale[:, None, None] ** 2 * spectrum)) @ np.swapaxes(turn, 1, 2)
        precision = np.linalg.inv(covariance)
        eta1 = (precision @ mean[..., None])[..., 0]
        one = expfam.Gaussian(eta1, -0.5 * precision)
        yield f"variance 1e{2 * low}..1e{2 * high}", one, expfam.Gaussian(0.9 * eta1, -0.6 * precision)
    eta = sign * spread(-4, 2, 0, 2)
    covariance = np.array([[0.8, 0.3], [0.3, 0.6]])
    known = expfam.KnownCovarianceGaussian(eta, covariance)
    yield "eta 1e-4..1e2", known, known * 1.1
    for low, high in ((-6, 6), (6, 18)):
        concentration = spread(low, high, 0, 1)
        direction = jnp.linspace(-3.0, 3.0, 40)[:, None]
        one = expfam.VonMises.from_direction_and_concentration(direction, concentration)
        yield f"concentration 1e{low}..1e{high}", one, one * 1.1
    for scale in (1.0, 1e6, 1e30):
        logits = scale * np.random.default_rng(0).normal(size=(40, 4))
        yield f"logits of size {scale:g}", expfam.Categorical(logits), expfam.Categorical(0.9 * logits)
    for low, high in ((-6, 6), (-1, 3)):
        shape, rate = spread(low, high, 0, 1), spread(-6, 6, 1, 1)
        one = expfam.Gamma.from_shape_and_rate(shape, rate)
        yield f"shape 1e{low}..1e{high}", one, expfam.Gamma.from_shape_and_rate(1.1 * shape, 1.2 * rate)
        first, second = spread(low, high, 0, 1), spread(low, high, 1, 1)
        beta = expfam.Beta.from_concentrations(first, second)
        yield f"concentrations 1e{low}..1e{high}", beta, expfam.Beta.from_concentrations(1.1 * first, second)
        concentration = spread(low, high, 2, 3)
        dirichlet = expfam.Dirichlet.from_concentration(concentration)
        yield (
            f"concentrations 1e{low}..1e{high}",
            dirichlet,
            expfam.Dirichlet.from_concentration(concentration * np.array([1.1, 1.0, 0.9])),
        )
    rate = spread(-6, 6, 0, 1)
    yield "rate 1e-6..1e6", expfam.Poisson.from_rate(rate), expfam.Poisson.from_rate(1.1 * rate)


def cast(family: Any, dtype: Any) -> Any:
    """A family in another precision."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), family)


@jax.jit
def quantities(one: Family, two: Family, z: Array) -> dict[str, Any]:
    """All that is compared, of members of one family, shape (40,)."""

    def vectors(parameters: Sequence[Array]) -> Array:
        return jnp.concatenate([p.reshape(len(p), -1) for p in parameters], axis=-1)

    def gradient(function: Callable[[Family], Array]) -> Array:
        return vectors(jax.grad(lambda family: jnp.sum(function(family)))(one).natural_parameters)

    return {
        "A": one.log_partition(),
        "mean": vectors(one.mean_parameters()),
        "entropy": one.entropy(),
        "KL": one.kl_divergence(two),
        "log p": one.log_prob(z),
        "∇entropy": gradient(lambda family: family.entropy()),
        "∇KL": gradient(lambda family: family.kl_divergence(two)),
        "∇log p": gradient(lambda family: family.log_prob(z)),
    }


def error_of(got: Any, expected: Any) -> float:
    """The largest error over members, relative to 1 + |value|, or to a vector's largest entry."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    difference = np.where(same, 0.0, np.abs(np.where(same, 0.0, got) - np.where(same, 0.0, expected)))
    if expected.ndim == 1:
        scale = 1.0 + np.abs(expected)
    else:
        scale = np.maximum(np.abs(expected).max(axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    return float(np.max(difference / np.where(same, 1.0, scale)))


def measure_family(words: str, one: Any, two: Any) -> dict[str, Any]:
    """A row of the table of families."""
    low = [cast(family, np.float32) for family in (one, two)]
    high = [cast(family, np.float64) for family in low]
    z = jax.jit(lambda family: family.sample(jax.random.key(0)))(low[0])
    if isinstance(one, expfam.Beta | expfam.Dirichlet | expfam.Gamma):
        z = jnp.clip(z, 1e-30, 1.0 - 1e-6 if isinstance(one, expfam.Beta) else None)
    exact = z if jnp.issubdtype(z.dtype, jnp.integer) else jnp.asarray(z, np.float64)
    got, expected = quantities(*low, z), quantities(*high, exact)
    row: dict[str, Any] = {"family": type(one).__name__, "range": words}
    row.update({name: error_of(got[name], expected[name]) for name in expected})
    draws = np.asarray(jax.jit(lambda family: family.sample(jax.random.key(1), (NUM_DRAWS,)))(low[0]))
    if not np.all(np.isfinite(draws)):
        row["draws"] = float("nan")
    elif not isinstance(
        one, expfam.Categorical | expfam.VonMises | expfam.Beta | expfam.Dirichlet | expfam.Gamma
    ):
        error = draws.mean(0) - np.asarray(high[0].mean())
        row["draws"] = float(np.abs(error / np.sqrt(np.asarray(high[0].variance()) / NUM_DRAWS)).max())
    return row


def exact_process(covariance: np.ndarray, evidence: np.ndarray, linear: np.ndarray) -> tuple:
    """The log-normaliser, mean and covariance of a zero-mean process, in float64."""
    root, identity = np.sqrt(evidence), np.eye(len(evidence))
    inner = identity + root[:, None] * covariance * root
    inverse = np.linalg.inv(inner)
    gain = covariance @ (root[:, None] * inverse)
    remainder = identity - gain * root
    joint = remainder @ covariance @ remainder.T + gain @ gain.T
    mean = covariance @ (root * np.linalg.solve(inner, linear / root))
    return 0.5 * linear @ mean - 0.5 * np.linalg.slogdet(inner)[1], mean, joint


@jax.jit
def condition_process(covariance: Array, evidence: Array, linear: Array) -> tuple:
    """The same by the library, and draws."""
    process = priors.GaussianProcess(jnp.zeros_like(linear)[None], covariance[None])
    posterior = process.condition(expfam.DiagonalGaussian(linear[:, None], -0.5 * evidence[:, None]))
    draws = posterior.sample(jax.random.key(0), (500,))[..., 0]
    joint = posterior.joint_covariance[0]
    return posterior.log_normalizer, posterior.mean[:, 0], posterior.variance[:, 0], joint, draws


def measure_process(num_sites: int, bandwidth: float, precision: float) -> dict[str, Any]:
    """A row of the table of Gaussian processes: an RBF on [0, 1], noisy observations of a sine."""
    times, random = np.linspace(0.0, 1.0, num_sites), np.random.default_rng(0)
    covariance = np.exp(-bandwidth * (times[:, None] - times) ** 2)
    evidence = precision * random.uniform(0.5, 1.5, num_sites)
    linear = evidence * np.sin(3 * times) + np.sqrt(evidence) * random.normal(size=num_sites)
    inputs = (covariance, evidence, linear)
    value, mean, joint = exact_process(*inputs)
    rounded = [array.astype(np.float32) for array in inputs]
    of_rounded = exact_process(*(array.astype(np.float64) for array in rounded))[1]
    low = [np.asarray(x, np.float64) for x in condition_process(*map(jnp.asarray, rounded))]
    variance = np.diag(joint)
    deviation = np.sqrt(variance.max())
    return {
        "num_sites": num_sites,
        "bandwidth": bandwidth,
        "precision": precision,
        "log_normalizer": float(abs(low[0] - value) / (1 + abs(value))),
        "mean": float(np.abs(low[1] - mean).max() / deviation),
        "rounded": float(np.abs(of_rounded - mean).max() / deviation),
        "variance": float(np.abs(low[2] / variance - 1).max()),
        "joint": float(np.abs(np.linalg.eigvalsh(low[3] - joint)).max() / np.linalg.eigvalsh(joint)[-1]),
        # About the mean in float32, whose error has a column of its own. The standard error is 6 per cent.
        "draws": float(((low[4] - low[1]) ** 2).mean(0).sum() / variance.sum() - 1),
    }


def prior_cases() -> Iterator[tuple[str, Any, Any]]:
    """A name, a prior and potentials, in float64."""
    random: Any = np.random.default_rng(0)
    ones: Any = np.ones(2)
    for num_sites, scale in ((100, 1.0), (10_000, 1.0), (10_000, 30.0), (1000, 1e4)):
        chain = priors.HiddenMarkov(random.normal(size=4), 3.0 * random.normal(size=(4, 4)), num_sites)
        words = f"HiddenMarkov, T = {num_sites}, potentials {scale:g}"
        yield words, chain, expfam.Categorical(scale * random.normal(size=(num_sites, 4)))
    for concentration, scale in ((1e-3, 3.0), (1.0, 3.0), (1e4, 3.0), (1.0, 1e3)):
        topics = priors.DirichletCategorical(jnp.full(4, concentration) * jnp.arange(1, 5), 30)
        words = f"DirichletCategorical, α = {concentration:g}, potentials {scale:g}"
        yield words, topics, expfam.Categorical(scale * random.normal(size=(30, 4)))
    for precision in (1e-4, 1.0, 1e6):
        natural = expfam.DiagonalGaussian(random.normal(size=2), -0.5 * ones)
        potentials = expfam.DiagonalGaussian(
            precision * random.normal(size=(1, 2)), -0.5 * precision * ones[None]
        )
        yield f"Static, precision {precision:g}", priors.Static(natural), potentials
        potentials = potentials.broadcast_to((1000,))
        yield f"Independent, T = 1000, precision {precision:g}", priors.Independent(natural, 1000), potentials


@jax.jit
def condition_prior(prior: Any, potentials: Any) -> tuple:
    """The log-normaliser, mean parameters of the sites, and the gradient in the potentials."""

    def value(potentials: Any) -> tuple[Array, Any]:
        posterior = prior.condition(potentials)
        return posterior.log_normalizer, posterior.sites.mean_parameters()

    (log_normalizer, mean), gradient = jax.value_and_grad(value, has_aux=True)(potentials)
    return log_normalizer, *(
        jnp.concatenate([p.reshape(-1) for p in parameters])[None]
        for parameters in (mean, gradient.natural_parameters)
    )


def measure_prior(words: str, prior: Any, potentials: Any) -> dict[str, Any]:
    """A row of the table of other priors."""
    low = cast((prior, potentials), np.float32)
    results = [condition_prior(*cast(low, dtype)) for dtype in (np.float32, np.float64)]
    value, mean, gradient = (
        error_of(np.atleast_1d(got), np.atleast_1d(e)) for got, e in zip(*results, strict=True)
    )
    return {"prior": words, "log_normalizer": value, "mean": mean, "gradient": gradient}


def main(options: Sequence[str] | None = None) -> int:
    """Print the tables, and write them as JSON where asked."""
    benchmark = Benchmark("precision", __doc__)
    benchmark.number("--num-sites", [50, 400], "T", none=True)
    benchmark.number("--bandwidths", [1e-2, 1.0, 32.0, 1e3, 1e4], "of the kernel, times on [0, 1]", least=0)
    benchmark.number("--precisions", [1.0, 1e2, 1e3, 1e4, 1e5, 1e6], "of the evidence at each time", least=0)
    arguments = benchmark.parse(options)
    with jax.enable_x64(True):
        families = print_table(FAMILY_COLUMNS, (measure_family(*case) for case in members()))
        print()
        processes = print_table(
            PROCESS_COLUMNS,
            (
                measure_process(num_sites, bandwidth, precision)
                for num_sites in arguments.num_sites
                for bandwidth in arguments.bandwidths
                for precision in arguments.precisions
            ),
        )
        print()
        others = print_table(PRIOR_COLUMNS, (measure_prior(*case) for case in prior_cases()))
    content = {"families": families, "processes": processes, "priors": others}
    return 0 if benchmark.report(arguments, content) else 1


if __name__ == "__main__":
    sys.exit(main())
