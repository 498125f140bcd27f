"""Cache of compiled programs between processes: its folder, and the cases without it."""

import time
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest

from inarch.generation.compiled import compile_function
from inarch.models.bert.backbone import BertBackbone
from inarch.runtime import compile_cache
from inarch.runtime.compile_cache import announced, cache_folder, enable_compile_cache
from inarch.runtime.forward import compiled
from inarch.tasks import TextClassifier

jax = pytest.importorskip("jax", reason="needs JAX")


@pytest.fixture
def configured(monkeypatch, tmp_path):
    """`configured()`: the folder that JAX keeps programs in, after `enable_compile_cache`."""
    if keras.backend.backend() != "jax":
        pytest.skip("of JAX alone")
    before = jax.config.jax_compilation_cache_dir

    def run(own=None, folder=tmp_path / "kept"):
        monkeypatch.setenv("INARCH_CACHE", str(folder))
        jax.config.update("jax_compilation_cache_dir", own)
        enable_compile_cache()
        return jax.config.jax_compilation_cache_dir

    yield run
    jax.config.update("jax_compilation_cache_dir", before)


def test_programs_are_kept_in_the_folder_of_the_user(configured, tmp_path):
    found = configured()
    assert found.startswith(str(tmp_path / "kept" / "jax"))
    assert (tmp_path / "kept" / "jax").is_dir()


@pytest.mark.parametrize("work", ["predict", "fit", "generate"])
def test_every_kind_of_work_keeps_its_programs(work, configured, monkeypatch, tmp_path):
    configured()
    jax.config.update("jax_compilation_cache_dir", None)
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    if work == "predict":
        compiled(model)
    elif work == "generate":
        compile_function(model, lambda x: x)
    else:
        fitted = TextClassifier(BertBackbone(9, 1, 1, 4, 4), 2)
        ids = np.ones((2, 3), "int32")
        fitted.fit(dict.fromkeys(fitted.backbone.input, ids), np.zeros(2), verbose=0)
    assert jax.config.jax_compilation_cache_dir.startswith(str(tmp_path / "kept" / "jax"))


def test_a_folder_that_the_user_gave_to_jax_stays(configured, tmp_path):
    assert configured(own=str(tmp_path / "own")) == str(tmp_path / "own")
    assert not (tmp_path / "kept").exists()


def test_nothing_is_kept_where_it_is_switched_off_or_cannot_be(configured, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("0", "", tmp_path / "file"):
        assert configured(folder=folder) is None


def test_half_written_programs_are_removed_once_nobody_writes_them(configured, monkeypatch):
    folder = Path(configured())
    whole = zlib.compress(bytes(range(256)) * 40)
    contents = {"whole-cache": whole, "cut-cache": whole[:-9], "empty-cache": b"", "other": b""}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    left = []
    for seconds in (compile_cache.WRITTEN, -1):
        monkeypatch.setattr(compile_cache, "WRITTEN", seconds)
        configured()
        left.append(sorted(path.name for path in folder.iterdir()))
    assert left == [sorted([*contents, "checked"]), ["checked", "other", "whole-cache"]]


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("INARCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "inarch"
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_what_takes_long_is_said_once_for_each_size_and_on_a_terminal_alone(monkeypatch, capsys):
    monkeypatch.setattr(compile_cache, "PATIENCE", 0.01)
    few, many = {"token_ids": np.ones((1, 2))}, {"token_ids": np.ones((3, 2))}
    said = []
    for is_terminal in (False, True):
        monkeypatch.setattr("sys.stderr.isatty", lambda shown=is_terminal: shown)
        slow, quick = announced(lambda x: time.sleep(0.2) or x), announced(lambda x: x)
        for function, given in ((quick, few), (slow, few), (slow, few), (slow, many)):
            assert function(given) is given
            said.append(capsys.readouterr().err)
    line = f"{compile_cache.ANNOUNCEMENT}\n"
    assert said == ["", "", "", "", "", line, "", line]
