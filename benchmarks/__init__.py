"""Timings of rpm_jax; each module runs as `python -m benchmarks.NAME [--json FILE]`."""
