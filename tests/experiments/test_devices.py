"""Experiments on several devices and hosts."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from experiments import peer_supervision, poisson_balls

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


def start(experiment, output, *arguments, devices=1):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # five steps take no time, to compile them does
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, "-m", f"experiments.{experiment}", *arguments, "--output", str(output)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def metrics_of_two_and_of_one(experiment, folder, *arguments):
    """Metrics of two processes with two devices each, and of one process with one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [
        start(
            experiment,
            folder / f"of_{process}",
            *arguments,
            *("--coordinator", f"127.0.0.1:{port}", "--num-processes", "2", "--process-id", str(process)),
            devices=2,
        )
        for process in range(2)
    ]
    alone = start(experiment, folder / "alone", *arguments)
    for process in (*both, alone):
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert not (folder / "of_1").exists()
    assert (folder / "of_0" / "checkpoints" / "fit").is_dir()
    return [json.loads((folder / name / "metrics.json").read_text()) for name in ("of_0", "alone")]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    """Each fits its share, two and three sequences; the first one writes the files."""
    metrics = metrics_of_two_and_of_one("poisson_balls", tmp_path, *SMALL)
    for name in ("bound_train", "bound_heldout", "r2_heldout", "lengthscale"):
        assert metrics[0][name] == pytest.approx(metrics[1][name], rel=1e-4)


@pytest.mark.slow
def test_two_processes_read_a_share_of_the_images_each(tmp_path):
    """Of 33 sets one process reads 16 and the other 17."""
    random = np.random.default_rng(0)
    labels = np.arange(47) % 3
    images = random.integers(0, 100, (47, 28, 28)) + 50 * labels[:, None, None]
    for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        (tmp_path / f"t10k-{name}").write_bytes(header + array.astype(np.uint8).tobytes())
    arguments = ("--data", str(tmp_path), "--held-out", "0.3", "--network", "mlp", "--hidden", "5")
    arguments += ("--seeds", "1", "--num-steps", "5", "--quiet", "--no-figures")
    metrics = metrics_of_two_and_of_one("peer_supervision", tmp_path, *arguments)
    assert metrics[0]["num_sets"] == metrics[1]["num_sets"] == 33
    assert metrics[0]["log_likelihood"] == pytest.approx(metrics[1]["log_likelihood"], rel=1e-4)
    shares = [np.load(tmp_path / name / "arrays.npz")["indices"] for name in ("of_0", "alone")]
    np.testing.assert_array_equal(shares[0], shares[1][:16])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seeds", "2"), "--seeds 2 does not go together with several processes"),
        (("--seeds", "1", "--joint"), "--joint does not go together with several processes"),
        (("--seeds", "1", "--queue", "3"), "--queue does not go together with several processes"),
        (("--seeds", "1", "--kind", "scaled"), "--kind scaled does not go together with several processes"),
    ],
)
def test_what_several_processes_do_not_fit(arguments, message, capsys):
    assert peer_supervision.main([*arguments, "--cluster"]) == 2
    assert message in capsys.readouterr().err
