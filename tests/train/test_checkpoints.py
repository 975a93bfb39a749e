import json
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest

import rpm_jax as rpm
from rpm_jax.train import Checkpoint, load_checkpoint, save_checkpoint


class Pair(NamedTuple):
    left: object
    right: object


@pytest.fixture(scope="module")
def params():
    return {
        "prior": {"kernel": {"log_lengthscale": jnp.array([6.9])}},
        "factors": ({"network": {"kernel": jnp.arange(6.0).reshape(2, 3)}}, {"bias": jnp.float32(2.0)}),
        "posterior": {},
        "flags": jnp.array([True, False]),
    }


@pytest.fixture
def saved(params, tmp_path):
    return save_checkpoint(tmp_path / "new" / "checkpoint", params, metadata={"seed": 3})


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_round_trip(saved, params):
    checkpoint = load_checkpoint(saved)
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.metadata == {"seed": 3}
    assert_equal(checkpoint.params, params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(checkpoint.params))


def test_round_trip_of_a_models_params(tmp_path):
    balls = rpm.datasets.textured_balls(jax.random.key(0), num_sequences=3, num_steps=4, num_pixels=2)
    model = rpm.RPM(
        prior=rpm.priors.gaussian_process(balls.times),
        factors=rpm.factors.per_view(rpm.networks.PointwiseMLP((2,))),
        posterior=rpm.posteriors.saturated(),
    )
    params = jax.jit(model.init)(jax.random.key(1), balls.views)
    save_checkpoint(tmp_path / "model", params)
    assert_equal(load_checkpoint(tmp_path / "model").params, params)
    shapes = jax.eval_shape(model.init, jax.random.key(1), balls.views)
    assert_equal(load_checkpoint(tmp_path / "model", like=shapes).params, params)


def test_like_gives_containers_and_dtypes(tmp_path):
    save_checkpoint(tmp_path / "pair", Pair([jnp.ones(2)], jnp.zeros(())))
    like = Pair([jnp.zeros(2, jnp.float32)], jax.ShapeDtypeStruct((), jnp.float64))
    loaded = load_checkpoint(tmp_path / "pair", like=like).params
    assert isinstance(loaded, Pair)
    assert isinstance(loaded.left, list)
    assert loaded.left[0].dtype == jnp.float32
    assert loaded.right.dtype == jnp.float64


def test_orbax_reads_it(saved, params):
    restored = orbax.checkpoint.PyTreeCheckpointer().restore(saved / "params")
    np.testing.assert_array_equal(
        restored["factors"][0]["network"]["kernel"], params["factors"][0]["network"]["kernel"]
    )


def test_another_checkpoint_is_replaced(saved, params):
    save_checkpoint(saved, {"x": jnp.ones(1)}, metadata={"seed": 4})
    assert load_checkpoint(saved).metadata == {"seed": 4}
    assert list(load_checkpoint(saved).params) == ["x"]
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("when", ["writing", "exchanging"])
def test_a_failed_save_leaves_the_earlier_checkpoint(saved, params, monkeypatch, when):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    if when == "writing":
        monkeypatch.setattr(orbax.checkpoint.Checkpointer, "save", full)
    else:
        rename = type(saved).rename
        monkeypatch.setattr(
            type(saved), "rename", lambda p, q: full() if p.name == "new" and q == saved else rename(p, q)
        )
    with pytest.raises(OSError, match=r"directory: the checkpoint .* cannot be written .*No space left") as e:
        save_checkpoint(saved, {"x": jnp.ones(1)})
    assert "free space, or choose another directory" in str(e.value)
    monkeypatch.undo()
    assert_equal(load_checkpoint(saved).params, params)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_too_little_space_is_noticed_before_writing(tmp_path, params, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(OSError, match=r"bytes are needed, 1000 are free"):
        save_checkpoint(tmp_path / "c", params)
    assert not any(tmp_path.iterdir())


def test_unwritable(tmp_path, params):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"directory: the checkpoint .*file/c cannot be written"):
        save_checkpoint(tmp_path / "file" / "c", params)


def test_other_files_are_not_replaced(tmp_path, params):
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(FileExistsError, match=r"directory: .* exists and is no checkpoint.*another name"):
        save_checkpoint(tmp_path, params)
    assert (tmp_path / "thesis.tex").read_text() == "text"


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"directory: .*nowhere does not exist; give one that"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"directory: .* has no checkpoint in it"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "changed", "lost", "metadata", "metadata cut"])
def test_damaged(saved, damage):
    content = saved / "metadata.json"
    if damage == "metadata":
        content.write_text(content.read_text().replace('"seed": 3', '"seed": 5'))
    elif damage == "metadata cut":
        content.write_text(content.read_text()[:10])
    else:
        largest = max((p for p in saved.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        old = largest.read_bytes()
        largest.write_bytes(old[:-5] if damage == "cut" else old[:-5] + b"!!!!!")
        if damage == "lost":
            largest.unlink()
    with pytest.raises(
        ValueError, match=r"directory: the checkpoint .* is damaged or incomplete.*use another"
    ):
        load_checkpoint(saved)


def test_another_structure(saved, params):
    like = {**params, "auxiliary": {"rows": jnp.ones(2)}}
    del like["flags"]
    with pytest.raises(
        ValueError, match=r"like: .* it lacks auxiliary/rows; it also has flags\. Make `like`"
    ):
        load_checkpoint(saved, like=like)


def test_another_shape(saved, params):
    like = {**params, "flags": jnp.zeros(3, bool)}
    with pytest.raises(ValueError, match=r"like: .* it has flags \(2,\) where like has \(3,\)"):
        load_checkpoint(saved, like=like)


@pytest.mark.parametrize(
    ("params", "metadata", "error", "message"),
    [
        ({"k": jax.random.key(0)}, None, TypeError, r"params: k must be a real array, .*key_data"),
        ({"k": ("text",)}, None, TypeError, r"params: k/0 must be a real array, got str"),
        ({"k": jnp.zeros((0, 2))}, None, ValueError, r"params: k must not be empty, got shape \(0, 2\)"),
        ({}, None, ValueError, r"params must hold at least one array"),
        (
            {"k": jnp.ones(1)},
            {"a": jnp.ones(1)},
            TypeError,
            r"metadata must be a dictionary that JSON can hold",
        ),
    ],
)
def test_what_cannot_be_saved(tmp_path, params, metadata, error, message):
    with pytest.raises(error, match=message):
        save_checkpoint(tmp_path / "c", params, metadata=metadata)
    assert not (tmp_path / "c").exists()


def test_orbax_is_not_imported_before_it_is_needed():
    code = "import sys, json, rpm_jax; print(json.dumps('orbax' in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    assert json.loads(done.stdout) is False
