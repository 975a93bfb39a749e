"""Smooth maps from real numbers to the domains of natural parameters, and back."""

import jax
import jax.numpy as jnp
from jax import Array

FLOOR = 1e-6
"""The least precision or concentration that a potential adds: keeps log(−2η2) away from log 0."""


def positive(raw: Array) -> Array:
    """softplus(raw) + FLOOR: real numbers to numbers above the floor."""
    return jax.nn.softplus(raw) + FLOOR


def inverse_positive(value: Array) -> Array:
    """The inverse of `positive`; values at or below the floor are taken as slightly above it."""
    above = jnp.maximum(value - FLOOR, FLOOR)
    return above + jnp.log(-jnp.expm1(-above))
