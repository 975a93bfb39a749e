"""Linear-Gaussian chains of T steps, conditioned on Gaussian potentials in O(T).

    z_1 ~ N(m, P),   z_t+1 = A_t z_t + b_t + ε_t,   ε_t ~ N(0, Q_t)
    q(Z) ∝ p(Z) exp Σ_t [h_tᵀ H_t z_t − ½ z_tᵀ H_tᵀ W_t H_t z_t]

Messages hold moments (m, P), potentials information (h, W): nothing but I + W H P Hᵀ is ever inverted. So P,
Q and A may be singular, and so may W, which is zero where nothing was observed.
"""

from rpm_jax.priors.chains._absorb import absorb_potential
from rpm_jax.priors.chains._chain import GaussianChain, marginals, predict
from rpm_jax.priors.chains._factor import semidefinite_factor
from rpm_jax.priors.chains._sample import sample, sample_chain
from rpm_jax.priors.chains._smooth import Smoothed, filtered, smooth

__all__ = [
    "GaussianChain",
    "Smoothed",
    "absorb_potential",
    "filtered",
    "marginals",
    "predict",
    "sample",
    "sample_chain",
    "semidefinite_factor",
    "smooth",
]
