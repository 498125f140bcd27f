"""Private parts of Keras are touched in one module, where a new release is adapted to."""

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
from keras.src.saving import serialization_lib

import inarch
from inarch import backend

PRIVATE = re.compile(
    r"keras\.src|\b(?!self\b|cls\b|np\b)\w+\._(?:layers|flatten_layers|trainable_variables|kernel|"
    r"embeddings|initialize\w*|deferred_initialize|value\b|is_quantized|jax_state|remat_mode)|"
    r"def _(?:run_through_graph|get_jax_state)"
)


def test_private_keras_is_touched_in_one_module():
    root = Path(inarch.__file__).parent
    found = {p.relative_to(root).as_posix(): PRIVATE.findall(p.read_text("utf-8"))
             for p in root.rglob("*.py")}  # fmt: skip
    assert {name for name, uses in found.items() if uses} == {"keras_private.py"}


def test_tensorflow_is_not_imported_to_look_for_its_types(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    lazy = serialization_lib.tf
    monkeypatch.setattr(lazy, "_module", SimpleNamespace(available=True, int32="a type"))
    assert not lazy.available
    layer = keras.layers.LayerNormalization(gamma_initializer=keras.initializers.Zeros())
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace())
    assert lazy.available
    assert lazy.int32 == "a type"


def test_optional_parts_of_keras_run_at_their_first_use(tmp_path, monkeypatch):
    (tmp_path / "a_part.py").write_text("runs = ['once']\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(backend, "OPTIONAL", ("a_part",))
    before = [*sys.meta_path]
    with backend.optional_parts_later():
        part = importlib.import_module("a_part")
    assert sys.meta_path == before
    assert "runs" not in object.__getattribute__(part, "__dict__")
    assert part.runs == ["once"]
    assert keras.wrappers.SKLearnClassifier.__module__.startswith("keras.")
