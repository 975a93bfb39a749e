"""What a fit shows while it runs, and says of itself afterwards."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import types

import jax
import numpy as np
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax.train import Fit, History, Sweep, _progress

KEY = jax.random.key(0)
VIEWS = two_views(0, size=8)
MODEL = rpm.RPM(
    rpm.priors.static(rpm.expfam.DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1))),
    rpm.factors.per_view(rpm.networks.MLP((3,))),
)
SCRIPT = """
import jax, numpy as np, rpm_jax as rpm
prior = rpm.priors.static(rpm.expfam.Categorical(np.zeros(2)))
model = rpm.RPM(prior, rpm.factors.per_view(rpm.networks.MLP((2,))))
rpm.fit(model, (np.arange(4.0), np.arange(4.0)), key=jax.random.key(0), num_steps=3)
"""


def test_shown_to_a_terminal():
    """By default; with a line while it compiles."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the end of a pseudo-terminal
            break
        if not part:
            break
        shown += part
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "initialising" in text
    assert "compiling" in text
    assert "3/3" in text


def test_line(capsys):
    """Without tqdm: one line, written over, with what is done and how far it is."""
    line = _progress.Line()
    line.note("initialising")
    line.begin("fit", 40)
    line.advance(20, "bound 1.25")
    line.end()
    line.end()
    parts = [part.rstrip() for part in capsys.readouterr().err.split("\r")]
    assert parts[1:] == ["initialising", "fit: compiling …", "fit: 20/40 steps, 0 s, bound 1.25"]


def test_notebooks_are_interactive(monkeypatch):
    assert not _progress.is_interactive()
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert _progress.is_interactive()
    assert isinstance(_progress.reporter(False), _progress.Silent)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert isinstance(_progress.reporter(None), _progress.Silent)


def test_a_fit_says_what_happened(capfd):
    """And shows nothing of its progress to a file."""
    fit = rpm.fit(MODEL, VIEWS, key=KEY, num_steps=4, held_out=two_views(1, size=4))
    assert capfd.readouterr() == ("", "")
    assert fit.history.seconds > 0
    assert fit.history.warnings == ()
    text = str(fit)
    assert text == repr(fit)
    assert text.startswith(
        f"Fit(bound {float(fit.bound):.4g} nats, held-out {float(fit.held_out_bound):.4g} nats"
    )
    assert "; 4 steps, finished after" in text


def history(skipped, stopped="finished", **options):
    shape = np.shape(skipped)
    return History(
        np.zeros((*shape, 50)), np.zeros(0), np.zeros((*shape, 0)), np.asarray(skipped), stopped, **options
    )


def test_a_fit_says_what_went_wrong():
    course = history(3, "not finite", seconds=2.0, warnings=("3 of 50 steps",))
    fit = Fit(MODEL, {}, None, course, np.array(-np.inf))
    assert str(fit) == "Fit(bound -inf; 50 steps, 3 left out, not finite after 2 s)\n  warning: 3 of 50 steps"


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ([1.0, 3.0, 2.0], "Sweep(3 seeds; bound 3 nats (seed 1), median 2 nats; 50 steps, finished)"),
        (
            [1.0, np.inf, np.nan],
            "Sweep(3 seeds; bound 1 nats (seed 0), median 1 nats; 2 without a finite bound",
        ),
        ([np.nan] * 3, "Sweep(3 seeds; 3 without a finite bound; 50 steps, finished)"),
    ],
)
def test_a_sweep_says_what_happened(bound, expected):
    assert str(Sweep(MODEL, {}, None, history([0, 0, 0]), np.array(bound))).startswith(expected)
