import itertools
import json
import os
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest

import rpm_jax as rpm
from rpm_jax.train import Checkpoint, _orbax, load_checkpoint, save_checkpoint


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
    folder = json.loads((saved / "metadata.json").read_text())["params"]
    restored = orbax.checkpoint.PyTreeCheckpointer().restore(saved / folder)
    np.testing.assert_array_equal(
        restored["factors"][0]["network"]["kernel"], params["factors"][0]["network"]["kernel"]
    )


def test_another_checkpoint_is_replaced(saved, params):
    save_checkpoint(saved, {"x": jnp.ones(1)}, metadata={"seed": 4})
    assert load_checkpoint(saved).metadata == {"seed": 4}
    assert list(load_checkpoint(saved).params) == ["x"]
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    assert len(list(saved.iterdir())) == 2


@pytest.mark.parametrize("when", ["writing", "publishing"])
def test_a_failed_save_leaves_the_earlier_checkpoint(saved, params, monkeypatch, when):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    if when == "writing":
        monkeypatch.setattr(orbax.checkpoint.Checkpointer, "save", full)
    else:
        replace = type(saved).replace
        monkeypatch.setattr(
            type(saved), "replace", lambda p, q: full() if q == saved / "metadata.json" else replace(p, q)
        )
    with pytest.raises(OSError, match=r"directory: the checkpoint .* cannot be written .*No space left") as e:
        save_checkpoint(saved, {"x": jnp.ones(1)})
    assert "free space, or choose another directory" in str(e.value)
    monkeypatch.undo()
    assert_equal(load_checkpoint(saved).params, params)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    assert len(list(saved.iterdir())) == 2


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
        ({"k": jax.random.key(0)}, None, TypeError, r"params: k must be an array of numbers that .*key_data"),
        ({"k": ("text",)}, None, TypeError, r"params: k/0 must be an array of numbers .*, got str"),
        ({"k": jnp.zeros((0, 2))}, None, ValueError, r"params: k must not be empty, got shape \(0, 2\)"),
        ({}, None, ValueError, r"params must hold at least one array"),
        ({"k": np.ones(1, np.clongdouble)}, None, TypeError, r"params: k must be .* of complex256"),
        ({"k": 2**70}, None, TypeError, r"params: k must be an array of numbers that JAX knows, got int"),
        (
            {"a.b": jnp.ones(1), "a": {"b": jnp.zeros(1)}},
            None,
            ValueError,
            r"params: 'a/b' and 'a\.b' are one name to orbax, 'a\.b', so one of them would be lost",
        ),
        ({"k": jnp.ones(1)}, {"a": jnp.ones(1)}, TypeError, r"metadata must be .* that JSON can hold"),
        ({"k": jnp.ones(1)}, {"a": ({3: "three"},)}, TypeError, r"metadata must have strings .* got 3: JSON"),
        ({"k": jnp.ones(1)}, ["seed", 3], TypeError, r"metadata must be a dictionary, got list"),
    ],
)
def test_what_cannot_be_saved(tmp_path, params, metadata, error, message):
    with pytest.raises(error, match=message):
        save_checkpoint(tmp_path / "c", params, metadata=metadata)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("array", "dtype", "value"),
    [
        (np.array([2**40, 7]), "int32", 2**40),
        (np.array([-1], "i1"), "uint8", -1),
        (np.array([2**63], "u8"), "int64", 2**63),
        (np.array([2**24 + 1], "i4"), "float32", 2**24 + 1),
        (np.array([1.0, 0.5]), "int32", 0.5),
        (np.array([0.0, np.nan]), "int64", "nan"),
        (np.array([1e300]), "float32", "1e.300"),
        (np.array([2]), "bool", 2),
        (np.array([1 + 2j]), "float64", r"\(1.2j\)"),
    ],
)
def test_like_changes_no_number(tmp_path, array, dtype, value):
    save_checkpoint(tmp_path / "c", {"x": {"n": array}})
    like = {"x": {"n": jax.ShapeDtypeStruct(array.shape, dtype)}}
    with pytest.raises(
        ValueError, match=rf"x/n of the checkpoint .* holds {value} of {array.dtype}, which {dtype}"
    ):
        load_checkpoint(tmp_path / "c", like=like)
    np.testing.assert_array_equal(load_checkpoint(tmp_path / "c").params["x"]["n"], array)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([0.1, np.nan, -np.inf]), "float32"),
        (np.array([0.1], "f4"), "bfloat16"),
        (np.array([3, -4]), "int8"),
        (np.array([3, -4]), "float32"),
        (np.array([3.0, -4.0]), "int32"),
        (np.array([True, False]), "float32"),
        (np.array([1 + 2j]), "complex64"),
    ],
)
def test_like_rounds_and_casts_what_it_can_hold(tmp_path, array, dtype):
    save_checkpoint(tmp_path / "c", [array])
    (loaded,) = load_checkpoint(tmp_path / "c", like=[jax.ShapeDtypeStruct(array.shape, dtype)]).params
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, array.astype(dtype))


def test_64_bits_survive_in_the_32_bit_mode(tmp_path):
    numbers = {"n": np.array([2**40, -7]), "x": np.array([0.1, 1e300]), "y": np.float32(0.1), "z": 0.1}
    refused = r"like: n is int64, which JAX cuts to 32 bits: call jax\.config"
    with jax.enable_x64(False):
        save_checkpoint(tmp_path / "c", numbers)
        with pytest.warns(UserWarning, match=r"load_checkpoint: n, x of .*jax_enable_x64") as seen:
            loaded = load_checkpoint(tmp_path / "c").params
        with pytest.raises(ValueError, match=refused):
            load_checkpoint(tmp_path / "c", like=numbers)
    assert [warning.filename for warning in seen] == [__file__]
    for name in ("n", "x", "y"):
        assert loaded[name].dtype == numbers[name].dtype
        np.testing.assert_array_equal(loaded[name], numbers[name])
    assert [type(loaded[name]) for name in ("n", "x")] == [np.ndarray] * 2
    assert isinstance(loaded["y"], jax.Array)
    assert loaded["z"].dtype == np.float32
    assert load_checkpoint(tmp_path / "c").params["n"].dtype == np.int64


def test_like_tells_keys_with_slashes_apart(tmp_path):
    params = {"a/b": jnp.ones(1), "a": {"b": jnp.zeros(1)}}
    save_checkpoint(tmp_path / "c", params)
    assert_equal(load_checkpoint(tmp_path / "c", like=params).params, params)


@pytest.mark.parametrize(
    "name",
    ["runs[lr=0.1]", "a\\b", "[", "gs:", "*?", "new\nline", "{%41}#", "ünï", " space ", os.fsdecode(b"\xff")],
)
def test_any_folder_name(tmp_path, params, name):
    path = save_checkpoint(tmp_path / name / name, params)
    assert path == tmp_path / name / name
    assert_equal(load_checkpoint(path).params, params)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    save_checkpoint(path, {"x": jnp.ones(1)})
    assert list(load_checkpoint(path).params) == ["x"]


def test_a_folder_that_tensorstore_cannot_name_and_nothing_can_link_to(tmp_path, params, monkeypatch):
    def refused(*_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.symlink", refused)
    with pytest.raises(OSError, match=r"cannot be written \(OSError: .* has characters that tensorstore"):
        save_checkpoint(tmp_path / "[a]", params)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["gs://bucket/model", "s3:/bucket", "https://example.org/c"])
def test_urls_are_no_folders(url, params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (lambda: save_checkpoint(url, params), lambda: load_checkpoint(url)):
        with pytest.raises(ValueError, match=r"directory must be a folder of this machine, got the URL"):
            call()
    assert not any(tmp_path.iterdir())


def test_the_home_folder(tmp_path, params, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert save_checkpoint("~/c", params) == tmp_path / "c"
    assert_equal(load_checkpoint("~/c").params, params)


def test_what_is_not_read_again_is_not_published(saved, params, monkeypatch):
    read = _orbax.read
    monkeypatch.setattr(
        _orbax, "read", lambda folder: read(folder) | {"x": np.array([1.0 + 1e-7], np.float32)}
    )
    with pytest.raises(OSError, match=r"x is not what was written when it is read again.*earlier checkpoint"):
        save_checkpoint(saved, {"x": jnp.ones(1, jnp.float32)})
    monkeypatch.undo()
    assert_equal(load_checkpoint(saved).params, params)


def test_metadata_of_others_make_no_checkpoint(tmp_path, params):
    (tmp_path / "metadata.json").write_text('{"title": "my data"}')
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(FileExistsError, match="is no checkpoint"):
        save_checkpoint(tmp_path, params)
    assert (tmp_path / "data.csv").read_text() == "1,2"


def test_a_save_that_was_killed_is_replaced(tmp_path, params):
    left = tmp_path / "c" / "params-0123456789ab.orbax-checkpoint-tmp"
    left.mkdir(parents=True)
    (left / "d").write_bytes(b"0")
    save_checkpoint(tmp_path / "c", params)
    assert left.exists()
    os.utime(left, (0, 0))
    save_checkpoint(tmp_path / "c", params)
    assert len(list((tmp_path / "c").iterdir())) == 2
    assert_equal(load_checkpoint(tmp_path / "c").params, params)


def test_other_files_in_a_checkpoint_stay(saved, params):
    (saved / "notes.txt").write_text("good")
    save_checkpoint(saved, params)
    assert (saved / "notes.txt").read_text() == "good"


WRITER = """
import sys, time
import numpy as np
from rpm_jax.train import save_checkpoint
end, number = time.time() + 60, 0
while time.time() < end:
    number += 1
    params = {"a": np.full(20000, number), "b": np.full(5, number)}
    save_checkpoint(sys.argv[1], params, metadata={"number": number})
"""


def test_who_reads_during_a_save_gets_one_of_the_two(tmp_path):
    path = save_checkpoint(
        tmp_path / "c", {"a": np.zeros(20000, int), "b": np.zeros(5, int)}, metadata={"number": 0}
    )
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stderr=subprocess.DEVNULL) as writer:
        try:
            seen = set()
            end = time.time() + 60
            while len(seen) < 15 and time.time() < end:
                params, metadata = load_checkpoint(path)
                assert (
                    {int(x) for x in np.unique(params["a"])} == {metadata["number"]} == {int(params["b"][0])}
                )
                seen.add(metadata["number"])
        finally:
            writer.kill()
    assert len(seen) == 15
    assert load_checkpoint(path).metadata["number"] >= max(seen)


def test_a_checkpoint_that_never_stands_still(saved, monkeypatch):
    numbers = itertools.count()
    monkeypatch.setattr(
        "rpm_jax.train._checkpoint_files._text", lambda _: json.dumps({"number": next(numbers)})
    )
    with pytest.raises(ValueError, match=r"was replaced 100 times while it was read; stop what saves it"):
        load_checkpoint(saved)


def test_orbax_is_not_imported_before_it_is_needed():
    code = "import sys, json, rpm_jax; print(json.dumps('orbax' in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    assert json.loads(done.stdout) is False
