"""The mixtures F_jt(z) = Σ_m w_m f_jt(z | x_j^m): pure functions of natural parameters."""

from rpm_jax.normalizers._components import ArrayComponents, Block, Components, as_components
from rpm_jax.normalizers._plain import log_component_weights, log_tilted_mixture_plain
from rpm_jax.normalizers._streaming import log_tilted_mixture

__all__ = [
    "ArrayComponents",
    "Block",
    "Components",
    "as_components",
    "log_component_weights",
    "log_tilted_mixture",
    "log_tilted_mixture_plain",
]
