"""Experiments on several devices and hosts."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from experiments import poisson_balls

ROOT = pathlib.Path(__file__).parents[2]
SMALL = ("-N", "5", "-T", "6", "-J", "2", "--num-steps", "5", "--quiet", "--no-figures")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--coordinator", "localhost:1234", "--process-id", "0"),
            "--coordinator, --num-processes, --process-id belong together; --num-processes is missing",
        ),
        (
            ("--coordinator", "localhost", "--num-processes", "2", "--process-id", "0"),
            "--coordinator must be HOST:PORT, got 'localhost'",
        ),
        (
            ("--coordinator", "localhost:1234", "--num-processes", "2", "--process-id", "2"),
            "--process-id must be from 0 to 1, got 2",
        ),
        (
            ("--coordinator", "localhost:1234", "--num-processes", "0", "--process-id", "0"),
            "--num-processes must be at least 1, got 0",
        ),
        (
            ("--coordinator", "h:1", "--num-processes", "2", "--process-id", "0", "--cluster"),
            "--cluster does not go together with --coordinator",
        ),
    ],
)
def test_options_that_do_not_fit(arguments, message, capsys):
    assert poisson_balls.main([*SMALL, *arguments]) == 2
    assert message in capsys.readouterr().err


def start(output, *arguments, devices=1):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, "-m", "experiments.poisson_balls", *SMALL, "--output", output, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    """Each fits its share, two and three sequences; the first one writes the files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [
        start(
            str(tmp_path / f"of_{process}"),
            *("--coordinator", f"127.0.0.1:{port}", "--num-processes", "2", "--process-id", str(process)),
            devices=2,
        )
        for process in range(2)
    ]
    alone = start(str(tmp_path / "alone"))
    for process in (*both, alone):
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert not (tmp_path / "of_1").exists()
    assert (tmp_path / "of_0" / "checkpoints" / "fit").is_dir()
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("of_0", "alone")]
    for name in ("bound_train", "bound_heldout", "r2_heldout", "bandwidth"):
        assert metrics[0][name] == pytest.approx(metrics[1][name], rel=1e-4)
