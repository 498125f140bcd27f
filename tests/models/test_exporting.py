"""An export is compared with Keras before it takes its place."""

import importlib.util
import os
import subprocess

import keras
import numpy as np
import pytest

from inarch.errors import InputError, MissingExtraError
from inarch.models import export_process, exporting, serving
from inarch.models.bert.backbone import BertBackbone
from inarch.runtime.forward import compiled
from inarch.tasks import MaskedLM
from tests.conformance.models import shared


@pytest.fixture
def written(monkeypatch):
    """A format that this backend writes, whose graph adds `error` to what Keras computes."""
    made = {"error": 0.0, "inputs": []}

    def write(model, path, limits, sample_length):
        path.write_text("graph")
        path.with_suffix(".bin").write_text("weights")
        made["model"] = model

    def opened(path, format):
        assert path.read_text() == "graph"

        def run(inputs):
            made["inputs"].append(inputs)
            outputs = keras.tree.flatten(compiled(made["model"])(inputs))
            return [keras.ops.convert_to_numpy(x) + np.float32(made["error"]) for x in outputs]

        return run

    own = exporting.Format("model.onnx", (keras.backend.backend(),), "keras", "onnx")
    monkeypatch.setitem(exporting.FORMATS, "onnx", own)
    monkeypatch.setitem(serving.WRITERS, "onnx", write)
    monkeypatch.setattr(exporting, "open_graph", opened)
    return made


def test_an_export_takes_its_place_beside_other_files(written, tmp_path):
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "model.onnx").write_text("old")
    shared("bert").export(folder, "onnx")
    assert {p.name: p.read_text() for p in folder.iterdir()} == {
        "notes.txt": "mine", "model.onnx": "graph", "model.bin": "weights"
    }  # fmt: skip
    shared("bert").export(tmp_path / "new" / "named.onnx", "onnx")
    assert (tmp_path / "new" / "named.onnx").read_text() == "graph"
    assert sorted(os.listdir(tmp_path)) == ["exported", "new"]


def test_no_graph_is_ever_beside_another_ones_weights(written, tmp_path, monkeypatch):
    moved, replace = [], os.replace

    def note(source, place):
        assert not os.path.exists(place.with_name("model.onnx"))
        moved.append(place.name)
        replace(source, place)

    monkeypatch.setattr(os, "replace", note)
    shared("bert").export(tmp_path / "exported", "onnx")
    assert moved == []  # but all at once
    shared("bert").export(tmp_path / "exported", "onnx")
    assert moved == ["model.bin", "model.onnx"]


def test_it_is_compared_for_three_shapes_of_which_one_has_packed_rows(written, tmp_path):
    shared("bert").export(tmp_path / "exported", "onnx")
    masks = [inputs["padding_mask"] for inputs in written["inputs"]]
    assert len({mask.shape for mask in masks}) == 3
    assert max(mask.max() for mask in masks) == 3
    assert min(mask.min() for mask in masks) == 0


def test_an_export_that_differs_is_an_error_and_not_left_behind(written, tmp_path):
    written["error"] = 0.01
    with pytest.raises(InputError, match=r"onnx graph of BertBackbone differs .* by 0\.01 in"):
        shared("bert").export(tmp_path / "exported", "onnx")
    written["error"] = float("nan")
    with pytest.raises(InputError, match="differs from Keras by nan"):
        shared("bert").export(tmp_path / "exported", "onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_model_in_16_bits_is_refused_where_graphs_are_of_float32(format, tmp_path):
    model = BertBackbone(9, 1, 1, 4, 4, dtype="mixed_bfloat16")
    with pytest.raises(InputError, match=f"{format} is written in float32, and .* in bfloat16"):
        model.export(tmp_path / "exported", format)
    assert os.listdir(tmp_path) == []


def test_what_another_process_exports_shares_its_layers(monkeypatch, tmp_path):
    task = MaskedLM(BertBackbone(9, 1, 1, 4, 4, pooler=False))
    exec("task.compile(loss=lambda *_: 0.0)", {"task": task})  # which Keras can't save
    ids = np.ones((1, 3), "int32")
    inputs = dict.fromkeys(task.input, ids)
    found = []

    def run(command, **_):
        archive = next(part for part in command if part.endswith(".keras"))
        found.append(keras.saving.load_model(archive, compile=False))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(export_process.subprocess, "run", run)
    export_process.export_by("torch", task, tmp_path / "model.onnx", "onnx")
    (loaded,) = found
    assert len(loaded.weights) == len(task.weights)
    np.testing.assert_array_equal(
        *(np.asarray(x.predict(inputs, verbose=0)) for x in (task, loaded))
    )


def test_the_package_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(exporting, "import_extra", lambda *_: None)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "openvino" else found(n)
    )
    with pytest.raises(MissingExtraError, match=r"openvino is needed .* 'inarch\[openvino\]'"):
        shared("bert").export(tmp_path / "exported", "openvino")
    assert os.listdir(tmp_path) == []
