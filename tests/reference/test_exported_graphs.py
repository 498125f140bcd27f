"""An exported graph gives the model's numbers for any batch and length."""

import os

import keras
import numpy as np
import pytest

from inarch.errors import InputError
from inarch.models import exporting, registry
from inarch.runtime.sessions import open_graph
from inarch.tasks import TextEmbedder
from tests.conformance.models import inputs_for, tiny

pytestmark = pytest.mark.reference
BACKEND = keras.backend.backend()


def shapes(model):
    """The shortest, the longest, and lengths that nothing was traced with."""
    longest = getattr(model, "backbone", model).max_length or 20
    return [(1,), (5, 2, 3), (longest, 7)]


ONNX_RUNTIMES_FFT = 1e-4  # which rounds more than the backends do, on values of order 10


def outputs(model, inputs):
    return [keras.ops.convert_to_numpy(x) for x in keras.tree.flatten(model(inputs))]


def exported_model(architecture):
    """The bare backbone, or where it encodes text a task with every pooling of single tokens."""
    backbone = tiny(architecture)
    if "token_ids" not in backbone.input:
        return backbone
    return TextEmbedder(backbone, pooling=["cls", "mean", "lasttoken"], normalize=True)


@pytest.mark.skipif(BACKEND != "torch", reason="this way to ONNX begins at torch")
@pytest.mark.parametrize("name", sorted(registry.architectures()))
def test_onnx_has_the_models_names_order_and_numbers(name, tmp_path):
    import onnxruntime

    model = exported_model(registry.architectures()[name])
    model.export(tmp_path / "model.onnx", format="onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [port.name for port in session.get_inputs()] == list(model.input)
    for lengths in shapes(model):
        inputs = inputs_for(model, lengths)
        for ours, theirs in zip(outputs(model, inputs), session.run(None, inputs), strict=True):
            np.testing.assert_allclose(theirs, ours, atol=ONNX_RUNTIMES_FFT)


@pytest.mark.parametrize("format", ["onnx", "openvino", "saved_model"])
def test_any_backend_exports_each_format_for_any_shape(format, tmp_path):
    for package in {"onnx": ("onnxruntime", "torch")}.get(format, ("openvino", "tensorflow")):
        pytest.importorskip(package)
    model = exported_model(registry.architectures()["bert"])
    model.export(tmp_path / "exported", format)
    assert os.listdir(tmp_path) == ["exported"]
    file = exporting.FORMATS[format].file
    run = open_graph(tmp_path / "exported" / (file or ""), format)
    for lengths in shapes(model):
        inputs = inputs_for(model, lengths)
        for ours, theirs in zip(outputs(model, inputs), run(inputs), strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.skipif(BACKEND != "jax", reason="written by the same process for each backend")
@pytest.mark.parametrize("name", sorted(registry.architectures()))
def test_every_architecture_is_exported_to_openvino(name, tmp_path):
    pytest.importorskip("openvino")
    exported_model(registry.architectures()[name]).export(tmp_path, "openvino")  # and compared
    assert (tmp_path / "openvino_model.bin").exists()


# Exporting takes seconds, so a part represents those that are put together in the same way.
PARTS = {"jax": ["bert", "deberta_v3", "f_net", "mixtral", "roberta", "whisper"],
    "tensorflow": ["f_net", "mixtral"]}  # fmt: skip


@pytest.mark.skipif(BACKEND == "torch", reason="Keras writes no open shapes from torch")
@pytest.mark.parametrize("name", PARTS.get(BACKEND, ["bert"]))
def test_a_saved_model_has_the_models_numbers_for_every_shape(name, tmp_path):
    import tensorflow

    model = exported_model(registry.architectures()[name])
    if BACKEND == "jax" and name == "f_net":
        with pytest.raises(InputError, match="TextEmbedder can't be exported .* input_signature"):
            model.export(tmp_path / "saved", verbose=False)
        return
    model.export(tmp_path / "saved", verbose=False)
    loaded = tensorflow.saved_model.load(tmp_path / "saved")  # which holds its variables
    for lengths in shapes(model):
        inputs = inputs_for(model, lengths)
        found = keras.tree.flatten(keras.tree.map_structure(np.asarray, loaded.serve(inputs)))
        for ours, theirs in zip(outputs(model, inputs), found, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-5)
