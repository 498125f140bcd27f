"""CTranslate2's models are read without CTranslate2, and damaged ones are refused by name."""

import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.checkpoints.formats.ctranslate2_file import CTranslate2File, open_ctranslate2
from inarch.errors import CheckpointFileError

from ...author_formats.writers import complaint, ct2_text, ctranslate2

RANDOM = np.random.default_rng(0)
PLAIN = {
    "a/weight": RANDOM.normal(size=(3, 4)).astype("float32"),
    "a/bias": RANDOM.normal(size=3).astype("float16"),
    "b/weight": RANDOM.normal(size=(2, 3, 2)).astype(ml_dtypes.bfloat16),
    "num_heads": np.int16(6),
    "base": np.float32(0.5),
}
BYTES = ctranslate2(PLAIN, {"c/weight": "a/weight"})


def write(tmp_path, content):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    return path


def refused(path, message):
    with pytest.raises(CheckpointFileError, match=message) as error:
        CTranslate2File(path).close()
    assert str(path) in str(error.value)


def test_every_variable_is_read_as_it_was_written(tmp_path):
    reader = CTranslate2File(write(tmp_path, BYTES))
    assert (reader.spec, reader.revision) == ("WhisperSpec", 3)
    assert reader.settings == {"num_heads": 6, "base": 0.5}
    expected = {n: a for n, a in PLAIN.items() if np.ndim(a)} | {"c/weight": PLAIN["a/weight"]}
    assert reader.shard.tensors.keys() == expected.keys()
    for name, array in expected.items():
        found = reader.read(name)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()
        reader.release(name)
        assert reader.read(name).tobytes() == array.tobytes()
    assert not reader.quantized
    reader.close()


def test_quantized_tensors_are_divided_by_their_scales(tmp_path):
    rows = np.array([[127, -127, 3], [1, 0, -5]], "int8")
    convolution = np.arange(-6, 6).reshape(2, 3, 2).astype("int8")
    scale = np.array([10.0, 0.25], "float32")
    layers = {
        "a/weight": rows, "a/weight_scale": scale, "conv/weight": convolution,
        "conv/weight_scale": scale, "d/weight": rows.astype("int16"),
        "d/weight_scale": np.float32(2), "e/weight": rows.astype("int16"),
    }  # fmt: skip
    reader = CTranslate2File(write(tmp_path, ctranslate2(layers, {"b/weight": "a/weight"})))
    expected = {
        "a/weight": rows / scale[:, None], "b/weight": rows / scale[:, None],
        "conv/weight": convolution / scale[:, None, None], "d/weight": rows / 2,
        "e/weight": rows / 1000,
    }  # fmt: skip
    assert set(reader.quantized) == expected.keys() == reader.shard.tensors.keys()
    assert not reader.settings
    for name, array in expected.items():
        assert reader.shard.tensors[name].dtype == "F32"
        np.testing.assert_array_equal(reader.read(name), array.astype("float32"))


@given(st.integers(0, len(BYTES) - 1))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, cut):
    refused(write(tmp_path_factory.mktemp("cut"), BYTES[:cut]), "model.bin")


@given(st.integers(0, len(BYTES) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_leaves_a_model(tmp_path_factory, place, value):
    broken = bytearray(BYTES)
    broken[place] = value
    path = write(tmp_path_factory.mktemp("broken"), bytes(broken))

    def read():
        reader = CTranslate2File(path)
        for name in reader.shard.tensors:
            reader.read(name)

    message = complaint(read, CheckpointFileError)
    assert message is None or str(path) in message


QUANTIZED = np.ones((2, 3), "int8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ctranslate2(PLAIN, version=7), "binary version 7"),
        (ctranslate2(PLAIN, version=3), "binary version 3"),
        (b"PK\x03\x04" + bytes(50), "no CTranslate2 model"),
        (BYTES + b"x", "1 bytes after its end"),
        (ctranslate2(PLAIN, {"x": "y"}), "no such variable"),
        (ctranslate2(PLAIN, {"a/bias": "a/weight"}), "another of that name"),
        (ctranslate2({"a/weight": QUANTIZED}), "no scale 'a/weight_scale'"),
        (
            ctranslate2({"a/weight": QUANTIZED, "a/weight_scale": np.ones(3, "float32")}),
            "should be positive numbers",
        ),
        (
            ctranslate2({"a/weight": QUANTIZED, "a/weight_scale": np.zeros(2, "float32")}),
            "should be positive numbers",
        ),
        (
            struct.pack("<I", 6) + ct2_text("S") + struct.pack("<II", 1, 1) + ct2_text("w")
            + struct.pack("<BIBI", 1, 2, 9, 8),
            "CTranslate2's type 9",
        ),
        (
            struct.pack("<I", 6) + ct2_text("S") + struct.pack("<II", 1, 1) + ct2_text("w")
            + struct.pack("<BIBI", 1, 2, 0, 7) + bytes(7),
            "has 7 bytes",
        ),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_with_the_reason(content, message, tmp_path):
    refused(write(tmp_path, content), message)


@pytest.mark.parametrize(("spec", "revision"), [("TransformerSpec", 3), ("WhisperSpec", 4)])
def test_a_model_of_another_kind_is_refused(spec, revision, tmp_path):
    path = write(tmp_path, ctranslate2(PLAIN, spec=spec, revision=revision))
    with pytest.raises(CheckpointFileError, match=f"'{spec}', revision {revision}"):
        open_ctranslate2(path, "WhisperSpec", 3)
