"""Recognition-parametrised models in JAX.

    p(X, Z) = p(Z) ∏_jt p0(x_jt) f_jt(z_t|x_jt) / F_jt(z_t),   F_jt(z) = 1/N Σ_n f_jt(z|x_jt^n)

Rooms, each of which knows only those before it: `expfam`, `priors`, `normalizers`, `objectives` (pure
functions of natural parameters), then `networks`, `factors`, `posteriors`, `auxiliaries`, `feeds`, `model`,
then `inference`, `forecasting`, `diagnostics`, `generation` (questions to a fitted model), and `train`.
"""

from rpm_jax import (
    auxiliaries,
    copulas,
    datasets,
    decoding,
    diagnostics,
    expfam,
    factors,
    feeds,
    forecasting,
    generation,
    inference,
    marginals,
    metrics,
    networks,
    normalizers,
    objectives,
    outputs,
    posteriors,
    priors,
    sequences,
    train,
)
from rpm_jax._record import record
from rpm_jax.data import Batch, Data, as_data
from rpm_jax.incomplete import Incomplete
from rpm_jax.model import RPM, Fitted, ImplicitRPM, JointRPM, LocalLatentRPM, bound
from rpm_jax.sequences import from_sequences, on_common_times, unpad, windows
from rpm_jax.train import EarlyStopping, WarmStart, fit, fit_seeds

__version__ = "0.1.0"

__all__ = [
    "RPM",
    "Batch",
    "Data",
    "EarlyStopping",
    "Fitted",
    "ImplicitRPM",
    "Incomplete",
    "JointRPM",
    "LocalLatentRPM",
    "WarmStart",
    "__version__",
    "as_data",
    "auxiliaries",
    "bound",
    "copulas",
    "datasets",
    "decoding",
    "diagnostics",
    "expfam",
    "factors",
    "feeds",
    "fit",
    "fit_seeds",
    "forecasting",
    "from_sequences",
    "generation",
    "inference",
    "marginals",
    "metrics",
    "networks",
    "normalizers",
    "objectives",
    "on_common_times",
    "outputs",
    "posteriors",
    "priors",
    "record",
    "sequences",
    "train",
    "unpad",
    "windows",
]
