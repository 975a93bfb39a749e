"""Formulas are tested in float64, and compiled programs are kept between runs."""

import pathlib

import jax
import pytest
from hypothesis import settings

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parents[1] / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

settings.register_profile("rpm_jax", deadline=None, max_examples=20, derandomize=True, database=None)
settings.load_profile("rpm_jax")

QUICKLY_COMPILED = ("networks", "normalizers", "objectives", "priors", "train")


@pytest.fixture(scope="module", autouse=True)
def _quick_compilation(request):
    """Where tests compile much and compute little, XLA's costly optimisations are left out."""
    if request.path.parent.name not in QUICKLY_COMPILED and not hasattr(request.module, "COMPILE_QUICKLY"):
        yield
        return
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """A worker that keeps every module's programs in memory takes several GiB."""
    yield
    jax.clear_caches()
