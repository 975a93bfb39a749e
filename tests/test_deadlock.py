"""Programs that hung on two cores with jaxlib's batched factorisations, each with a time limit.

jaxlib's CPU kernels split a batch over XLA's threads and wait for them; two batched calls at once can wait
for each other for ever (`rpm_jax._factorise`).
"""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SECONDS = 200

PRELUDE = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
import jax, jax.numpy as jnp, numpy as np
import rpm_jax as rpm
"""

TRAIN = """
rng = np.random.default_rng(0)
views = tuple(rng.poisson(3.0, size=(100, 50)).astype(np.float32) for _ in range(10))
model = rpm.RPM(
    rpm.priors.gaussian_process(np.linspace(0, 1, 50, dtype=np.float32)),
    rpm.factors.per_view(rpm.networks.PointwiseMLP((20, 20)), num_views=10),
)
fit = rpm.fit(model, views, key=jax.random.key(0), num_steps=40, batch_size=8, steps_per_call=20)
assert np.isfinite(fit.bound)
"""

PRIMITIVE = """
from rpm_jax._linalg import cholesky_with_inverse, inverse_and_log_determinant, log_determinant_and_product

@jax.jit
def independent(a, b, c):
    first, second = inverse_and_log_determinant(a), inverse_and_log_determinant(b)
    third = cholesky_with_inverse(a + b)
    mapped = [jax.vmap(jax.vmap(inverse_and_log_determinant))(c * (1.0 + i)) for i in range(4)]
    products = [jax.vmap(log_determinant_and_product)(c * (2.0 + i), c[..., 0]) for i in range(4)]
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves((first, second, third, mapped, products)))

def matrices(seed, *batch, size=50):
    root = np.random.default_rng(seed).normal(size=(*batch, size, size)).astype(np.float32)
    return root @ np.swapaxes(root, -1, -2) / size + np.eye(size, dtype=np.float32)

arguments = matrices(0, 64), matrices(1, 64), matrices(2, 8, 8)
for _ in range(30):
    value = independent(*arguments)
assert np.isfinite(value)
gradient = jax.jit(jax.grad(independent, argnums=(0, 1, 2)))
for _ in range(10):
    slopes = gradient(*arguments)
assert all(np.all(np.isfinite(slope)) for slope in slopes)
"""

DEVICES = """
assert jax.device_count() == 8
mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
shard = jax.NamedSharding(mesh, jax.P("data"))
rng = np.random.default_rng(0)
views = tuple(jax.device_put(rng.normal(size=(64, 20)).astype(np.float32), shard) for _ in range(3))
model = rpm.RPM(
    rpm.priors.gaussian_process(np.linspace(0, 1, 20, dtype=np.float32)),
    rpm.factors.per_view(rpm.networks.PointwiseMLP((8,))),
)
data = rpm.as_data(views)
params = jax.jit(model.init)(jax.random.key(0), data)
index = jnp.arange(64)

@jax.jit
def step(params, data):
    loss = lambda p: -rpm.bound(model, p, data.batch(index), data).mean()
    value, slope = jax.value_and_grad(loss)(params)
    return value, jax.tree.map(lambda p, s: p - 1e-3 * s, params, slope)

values = []
for _ in range(30):
    value, params = step(params, data)
    values.append(float(value))
assert np.all(np.isfinite(values)) and values[-1] < values[0]
"""


@pytest.mark.parametrize(
    ("program", "flags"),
    [
        pytest.param(TRAIN, "", id="train step", marks=pytest.mark.slow),
        pytest.param(PRIMITIVE, "", id="independent factorisations"),
        pytest.param(DEVICES, "--xla_force_host_platform_device_count=8", id="eight devices"),
    ],
)
def test_no_deadlock(program, flags):
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    try:
        result = subprocess.run(
            [sys.executable, "-c", PRELUDE + program],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"no end after {SECONDS} s: probably a deadlock on two cores")
    assert result.returncode == 0, result.stderr
