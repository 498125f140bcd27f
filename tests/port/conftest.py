"""Folders of architectures that tests may change, in the place of those that are here."""

import functools
import shutil
import sys
from pathlib import Path

import keras
import pytest

import inarch.models
from inarch.models import registry


@pytest.fixture
def forget(monkeypatch):
    """`forget(name)`: have an architecture read and imported anew; undone at the end."""
    known = functools.cache(registry.architectures.__wrapped__)
    monkeypatch.setattr(registry, "architectures", known)
    before, classes = dict(sys.modules), dict(keras.saving.get_custom_objects())
    forgotten = set()

    def modules(name):
        prefix = f"inarch.models.{name}"
        return [m for m in sys.modules if m == prefix or m.startswith(f"{prefix}.")]

    def begin_anew(name):
        for module in modules(name):
            del sys.modules[module]
        vars(inarch.models).pop(name, None)
        known.cache_clear()
        forgotten.add(name)

    yield begin_anew
    for name in [*forgotten]:
        begin_anew(name)
        sys.modules.update({m: v for m, v in before.items() if m.startswith("inarch.models.")})
        if (module := f"inarch.models.{name}") in before:
            setattr(inarch.models, name, before[module])
    # A draft's class has the name of the one that is here, by which Keras loads a model.
    keras.saving.get_custom_objects().update(classes)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with links to all that is in inarch/models, which counts in its place."""
    home = tmp_path / "models"
    home.mkdir()
    (real,) = map(Path, inarch.models.__path__)
    for path in real.iterdir():
        if path.name != "__pycache__":
            (home / path.name).symlink_to(path)
    monkeypatch.setattr(inarch.models, "__path__", [str(home)])
    return home


@pytest.fixture
def models(home, forget):
    """`models(name)`: a copy of an architecture's folder, which is the one that counts."""

    def copy(name):
        real = (home / name).resolve()
        (home / name).unlink()
        shutil.copytree(real, home / name, ignore=shutil.ignore_patterns("__pycache__"))
        forget(name)
        return home / name

    return copy


@pytest.fixture
def without(home, forget):
    """`without(name)`: inarch/models without a folder; a draft is written in its place."""

    def hide(name):
        (home / name).unlink()
        forget(name)
        return home

    return hide


@pytest.fixture
def edit():
    """`edit(path, old, new)`: put a text that is there once in the place of another."""

    def change(path, old, new):
        text = path.read_text("utf-8")
        assert text.count(old) == 1, (old, text.count(old))
        path.write_text(text.replace(old, new), "utf-8")

    return change
