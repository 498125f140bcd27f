"""Cache of compiled programs between processes: its folder, and the cases without it."""

import keras
import pytest

from inarch.runtime.compile_cache import cache_folder, enable_compile_cache

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


def test_a_folder_that_the_user_gave_to_jax_stays(configured, tmp_path):
    assert configured(own=str(tmp_path / "own")) == str(tmp_path / "own")
    assert not (tmp_path / "kept").exists()


def test_nothing_is_kept_where_it_is_switched_off_or_cannot_be(configured, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("0", "", tmp_path / "file"):
        assert configured(folder=folder) is None


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("INARCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "inarch"
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
