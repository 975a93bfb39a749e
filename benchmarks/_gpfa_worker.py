"""Latents of counts by rpm_jax or factor analysis: `python -m benchmarks._gpfa_worker WHO DATA RESULT`."""

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import rpm_jax as rpm

WIDTHS = (2.0, 3.0, 4.0, 6.0, 8.0)
"""Of the Gaussian, in bins, that counts are smoothed by before factor analysis."""

NUM_STEPS, BATCH_SIZE, NUM_COMPONENTS = 300, 4, 256
"""Of a fit: steps, trials in a step, and drawn components of F in a step."""

LEARNING_RATE = 0.03
"""Of the networks, at most."""


def views_of(counts: Any, num_groups: int) -> tuple[Any, ...]:
    """Square roots of counts, which have about the same noise at all rates, as GPFA takes them, in groups."""
    return tuple(np.array_split(np.sqrt(counts, dtype=np.float32), num_groups, axis=-1))


def rpm_fit(counts: Any, num_latents: int, num_groups: int, step: float, prior: str) -> rpm.train.Fit:
    """A model whose views are groups of neurons, fitted to counts (N, T, neurons)."""
    num_bins = counts.shape[1]
    times = step * np.arange(num_bins)
    priors: dict[str, Callable[[], Any]] = {
        "process": lambda: rpm.priors.gaussian_process(times, "matern32", num_latents=num_latents),
        "chain": lambda: rpm.priors.linear_gaussian(num_latents, num_bins),
    }
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP(()), precision="shared")
    return rpm.fit(
        rpm.RPM(priors[prior](), factors, pooled=True),
        views_of(counts, num_groups),
        key=jax.random.key(0),
        num_steps=NUM_STEPS,
        batch_size=min(BATCH_SIZE, len(counts)),
        components=rpm.feeds.random_sites(NUM_COMPONENTS),
        optimizer=rpm.train.Adam(learning_rates={"networks": LEARNING_RATE}),
        progress=False,
    )


def rpm_latents(*settings: Any) -> Any:
    """Posterior means of the fit with these arguments, shape (1, N, T, K)."""
    return np.asarray(rpm_fit(*settings).posterior().mean)[None]


def analysed_latents(counts: Any, num_latents: int) -> Any:
    """Factor analysis of smoothed square roots of counts, one for each width, shape (widths, N, T, K)."""
    from scipy.ndimage import gaussian_filter1d
    from sklearn.decomposition import FactorAnalysis

    found = []
    for width in WIDTHS:
        smooth = gaussian_filter1d(np.sqrt(counts), width, axis=1)
        analysis = FactorAnalysis(num_latents, random_state=0)
        found.append(analysis.fit_transform(smooth.reshape(-1, counts.shape[-1])))
    return np.stack(found).reshape(len(WIDTHS), *counts.shape[:2], num_latents)


def main(who: str, data: str, result: str) -> None:
    """Latents of the counts of DATA; writes them with the seconds, compilation included and imports not."""
    given = np.load(data)
    counts, latents = given["counts"], int(given["latents"])
    started = time.perf_counter()
    if who == "factor analysis":
        found = analysed_latents(counts, latents)
        seconds = (time.perf_counter() - started) / len(WIDTHS)
    else:
        found = rpm_latents(counts, latents, int(given["groups"]), float(given["step"]), who)
        seconds = time.perf_counter() - started
    np.savez(result, latents=found, seconds=seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
