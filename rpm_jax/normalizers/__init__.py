"""The mixtures F_jt(z) = Σ_m w_m f_jt(z | x_j^m): pure functions of natural parameters."""

from rpm_jax.normalizers._combinations import MOST_COMBINATIONS, all_combinations, random_combinations
from rpm_jax.normalizers._components import ArrayComponents, Block, Components, as_components
from rpm_jax.normalizers._devices import DeviceAxis, SpreadComponents
from rpm_jax.normalizers._own import OwnShare, with_own_component
from rpm_jax.normalizers._plain import log_component_weights, log_tilted_mixture_plain
from rpm_jax.normalizers._points import log_mixture_at
from rpm_jax.normalizers._rows import (
    join_rows,
    merge_blocks,
    num_rows,
    put_rows,
    repeat_rows,
    slice_rows,
    take_rows,
)
from rpm_jax.normalizers._running import log_sum_exp
from rpm_jax.normalizers._shared_precision import SharedPrecision
from rpm_jax.normalizers._states import log_densities, log_mixture
from rpm_jax.normalizers._streaming import log_tilted_mixture

__all__ = [
    "MOST_COMBINATIONS",
    "ArrayComponents",
    "Block",
    "Components",
    "DeviceAxis",
    "OwnShare",
    "SharedPrecision",
    "SpreadComponents",
    "all_combinations",
    "as_components",
    "join_rows",
    "log_component_weights",
    "log_densities",
    "log_mixture",
    "log_mixture_at",
    "log_sum_exp",
    "log_tilted_mixture",
    "log_tilted_mixture_plain",
    "merge_blocks",
    "num_rows",
    "put_rows",
    "random_combinations",
    "repeat_rows",
    "slice_rows",
    "take_rows",
    "with_own_component",
]
