"""Formulas are tested in float64; programs are compiled quickly and kept between runs."""

import os
import pathlib

import jax
import jaxlib
import pytest
from hypothesis import settings

# Tests compile much and compute little: without XLA's costly optimisations, and with its older emitters, they
# take half the time. RPM_JAX_OPTIMISED=1 compiles as users do; .ci/run has it for the numerically delicate.
if not os.environ.get("RPM_JAX_OPTIMISED"):
    jax.config.update("jax_disable_most_optimizations", True)
    if jaxlib.version.__version_info__ < (0, 11):  # a later version may not know the flag, and would abort
        flags = [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_use_fusion_emitters=false"]
        os.environ["XLA_FLAGS"] = " ".join(filter(None, flags))

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parents[1] / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

settings.register_profile("rpm_jax", deadline=None, max_examples=20, derandomize=True, database=None)
settings.load_profile("rpm_jax")


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """A worker that keeps every module's programs in memory takes several GiB."""
    yield
    jax.clear_caches()
