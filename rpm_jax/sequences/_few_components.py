"""A warning where few sequences are long enough for a mixture of their own at late steps."""

import warnings

import numpy as np
from jax import Array

from rpm_jax._checks import caller_level
from rpm_jax.data import Data

FEWEST = 5
"""With fewer components F_jt is a poor estimate of the distribution of what view j says at site t."""


def warn_of_few_components(data: Data, mask: Array | None) -> None:
    """Warn where F_jt has few components, since most data have nothing at a view and site.

    With n components log f_jt − log F_jt is at most log n, and 0 where n = 1.

    Args:
        data: Known data.
        mask: Boolean (N, J, T) as by `site_mask`, or None.
    """
    if mask is None or data.size < 2:
        return
    counts = np.asarray(mask).sum(0)
    few = (counts > 0) & (counts < min(FEWEST, data.size / 2))
    if not few.any():
        return
    view, site = np.unravel_index(int(np.argmin(np.where(few, counts, data.size))), counts.shape)
    first = int(np.flatnonzero(few.any(0))[0])
    warnings.warn(
        f"views[{view}] is observed in only {counts[view, site]} of {data.size} data at site t = {site} "
        f"(views in fewer than {FEWEST} at {int(few.any(0).sum())} sites, the first t = {first}), and F_jt "
        "averages over these alone, so little can be learned there; pool the sites, "
        "rpm_jax.RPM(..., pooled=True), where the prior's marginal is the same at all of them, or cut long "
        "sequences by rpm_jax.windows",
        RuntimeWarning,
        stacklevel=caller_level(),
    )
