"""Formulas are tested in float64; programs are compiled quickly and kept between runs."""

import gc
import os
import pathlib

import jax
import jaxlib
import pytest
from hypothesis import settings

# Tests compile much and compute little: without XLA's costly optimisations, with its older emitters, and with
# programs in one piece (whose parts would be compiled in parallel, but every core has a worker), they take
# half the time. RPM_JAX_OPTIMISED=1 compiles as users do; .ci/run has it for the numerically delicate.
if not os.environ.get("RPM_JAX_OPTIMISED"):
    jax.config.update("jax_disable_most_optimizations", True)
    if jaxlib.version.__version_info__ < (0, 11):  # a later version may not know the flags, and would abort
        flags = ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
        os.environ["XLA_FLAGS"] = " ".join(filter(None, [os.environ.get("XLA_FLAGS", ""), *flags]))

# Programs do not say where in the source their operations come from, which takes time to write.
jax.config.update("jax_include_full_tracebacks_in_locations", False)
jax.config.update("jax_traceback_in_locations_limit", 0)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parents[1] / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

settings.register_profile("rpm_jax", deadline=None, max_examples=20, derandomize=True, database=None)
settings.load_profile("rpm_jax")


def pytest_collection_finish():
    """What there is when tests begin is no garbage, and little of what tracing leaves is: look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def _one_context_of_a_module():
    """Programs are written into one MLIR context: to make it takes a quarter of the time of a small one."""
    if jax.__version_info__ >= (0, 11):  # how a later version does it is unknown
        yield
        return
    from jax._src.interpreters import mlir

    context = mlir.make_ir_context()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlir, "make_ir_context", lambda: context)
        yield


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """A worker that keeps every module's programs in memory takes several GiB."""
    yield
    jax.clear_caches()
