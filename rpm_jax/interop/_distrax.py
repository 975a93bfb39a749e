"""Conversions between exponential families and distrax distributions."""

import importlib
from types import ModuleType
from typing import Any

import jax.numpy as jnp

from rpm_jax._linalg import cholesky_with_inverse, transpose
from rpm_jax.expfam import (
    Beta,
    Categorical,
    DiagonalGaussian,
    Dirichlet,
    ExponentialFamily,
    Gamma,
    Gaussian,
    KnownCovarianceGaussian,
    VonMises,
)


def _import_distrax() -> ModuleType:
    try:
        return importlib.import_module("distrax")
    except Exception as error:
        raise ImportError(
            f"rpm_jax.interop needs distrax, whose import failed: {type(error).__name__}: {error}. Install "
            "it with `pip install -U distrax`; if it is installed, it may not support this release of JAX "
            "yet: see https://github.com/google-deepmind/distrax/issues"
        ) from error


def to_distrax(family: ExponentialFamily) -> Any:
    """Convert a batch of distributions to distrax.

    Args:
        family: A `Beta`, `Categorical`, `DiagonalGaussian`, `Dirichlet`, `Gamma`, `Gaussian`,
            `KnownCovarianceGaussian` or `VonMises`.

    Returns:
        The distrax distribution with the same batch shape and with event shape (K,), or () for
        `Categorical`. Families of K independent numbers that distrax only has as scalar distributions
        become a `distrax.Independent`; Gaussians with covariance become a `MultivariateNormalTri`.

    Raises:
        TypeError: If distrax has no such distribution.
        ImportError: If distrax is missing or cannot be imported.
    """
    distrax = _import_distrax()
    match family:
        case DiagonalGaussian():
            return distrax.MultivariateNormalDiag(family.mean(), jnp.sqrt(family.variance()))
        case Gaussian():
            _, inverse = cholesky_with_inverse(family.precision)
            return distrax.MultivariateNormalTri(family.mean(), transpose(inverse), is_lower=False)
        case KnownCovarianceGaussian():
            factor, _ = cholesky_with_inverse(family.covariance)
            scale = jnp.broadcast_to(factor, family.batch_shape + factor.shape)
            return distrax.MultivariateNormalTri(family.mean(), scale)
        case Categorical():
            return distrax.Categorical(logits=family.logits)
        case Dirichlet():
            return distrax.Dirichlet(family.concentration)
        case Gamma():
            return distrax.Independent(distrax.Gamma(family.shape, family.rate), 1)
        case Beta():
            alpha, beta = jnp.moveaxis(family.concentrations, -1, 0)
            return distrax.Independent(distrax.Beta(alpha, beta), 1)
        case VonMises():
            return distrax.Independent(distrax.VonMises(family.mean(), family.concentration), 1)
    raise TypeError(
        f"to_distrax: distrax has no counterpart of {type(family).__name__}; these convert: Beta, "
        "Categorical, DiagonalGaussian, Dirichlet, Gamma, Gaussian, KnownCovarianceGaussian, VonMises"
    )


def from_distrax(distribution: Any) -> ExponentialFamily:
    """Convert a distrax distribution to the exponential family that is exactly the same distribution.

    Args:
        distribution: A distrax `Categorical`, `Dirichlet`, `MultivariateNormalDiag`,
            `MultivariateNormalTri` or `MultivariateNormalFullCovariance`; or an `Independent` with one
            event axis over a `Beta`, `Gamma`, `Normal` or `VonMises`.

    Returns:
        The family with the same batch shape: `Categorical`, `Dirichlet`, `DiagonalGaussian` (also for
        independent normals), `Gaussian`, `Beta`, `Gamma` or `VonMises`.

    Raises:
        TypeError: If there is no such family.
        ImportError: If distrax is missing or cannot be imported.
    """
    distrax = _import_distrax()
    match distribution:
        case distrax.Categorical():
            return Categorical(distribution.logits)
        case distrax.Dirichlet():
            return Dirichlet.from_concentration(distribution.concentration)
        case distrax.MultivariateNormalDiag():
            return DiagonalGaussian.from_mean_and_variance(distribution.loc, distribution.scale_diag**2)
        case distrax.MultivariateNormalTri():
            scale = distribution.scale_tri
            return Gaussian.from_mean_and_covariance(distribution.loc, scale @ transpose(scale))
        case distrax.Independent() if len(distribution.event_shape) == 1:
            match distribution.distribution:
                case distrax.Beta() as scalar:
                    return Beta.from_concentrations(scalar.alpha, scalar.beta)
                case distrax.Gamma() as scalar:
                    return Gamma.from_shape_and_rate(scalar.concentration, scalar.rate)
                case distrax.Normal() as scalar:
                    return DiagonalGaussian.from_mean_and_variance(scalar.loc, scalar.scale**2)
                case distrax.VonMises() as scalar:
                    return VonMises.from_direction_and_concentration(scalar.loc, scalar.concentration)
    raise TypeError(
        f"from_distrax: no family equals {type(distribution).__name__} with event shape "
        f"{getattr(distribution, 'event_shape', None)}; these convert: Categorical, Dirichlet, "
        "MultivariateNormalDiag, MultivariateNormalTri, MultivariateNormalFullCovariance, and Independent "
        "with one event axis over Beta, Gamma, Normal or VonMises"
    )
