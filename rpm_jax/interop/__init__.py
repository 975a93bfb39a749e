"""Bridges to other libraries, each imported only by the function that needs it."""

from rpm_jax.interop._distrax import from_distrax, to_distrax

__all__ = ["from_distrax", "to_distrax"]
