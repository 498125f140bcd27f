"""Flax checkpoints are read without Flax, and damaged ones are refused by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.checkpoints.formats.flax_file import open_flax
from inarch.checkpoints.formats.message_pack import MAX_DEPTH, unpack
from inarch.errors import CheckpointError, CheckpointFileError

from ...author_formats.writers import arrays, chunked, complaint, nested, pack

BYTES = pack(nested(arrays()))


def write(tmp_path, content):
    path = tmp_path / "checkpoint"
    path.write_bytes(content)
    return path


def refused(path, message):
    with pytest.raises(CheckpointFileError, match=message) as error:
        open_flax(path).close()
    assert str(path) in str(error.value)


def test_every_array_is_read_as_it_was_written(tmp_path):
    with open_flax(write(tmp_path, BYTES)) as weights:
        assert weights.header.keys() == arrays().keys()
        for name, array in arrays().items():
            found = weights.read(name)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert found.tobytes() == array.tobytes()
            weights.release(name)
            assert weights.read(name).tobytes() == array.tobytes()


def test_an_array_that_was_cut_in_pieces_is_joined(tmp_path):
    array = np.arange(30, dtype="float32").reshape(5, 6)
    with open_flax(write(tmp_path, pack({"a": {"b": chunked(array, 7)}}))) as weights:
        np.testing.assert_array_equal(weights.read("a/b"), array)


def test_numbers_and_text_among_the_arrays_have_their_names_too(tmp_path):
    plain = {"step": 7, "rate": 0.5, "on": True, "name": "é", "raw": b"ab", "none": None}
    tree = plain | {"list": [np.ones(2, "float32")]}
    with open_flax(write(tmp_path, pack(tree))) as weights:
        assert sorted(weights.header) == sorted([*plain, "list/0"])
        found = {name: weights.read(name) for name in weights.header}
    assert {name: found[name].item() for name in ("step", "rate", "on")} == {
        "step": 7, "rate": 0.5, "on": True
    }  # fmt: skip
    assert [found[n].tobytes() for n in ("name", "raw", "none")] == ["é".encode(), b"ab", b""]


@given(st.integers(0, len(BYTES) - 1))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, cut):
    refused(write(tmp_path_factory.mktemp("cut"), BYTES[:cut]), "checkpoint")


@given(st.integers(0, len(BYTES) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_leaves_a_checkpoint(tmp_path_factory, place, value):
    broken = bytearray(BYTES)
    broken[place] = value
    path = write(tmp_path_factory.mktemp("broken"), bytes(broken))

    def read():
        with open_flax(path) as weights:
            for name in weights.header:
                weights.read(name)

    message = complaint(read, CheckpointFileError)
    assert message is None or str(path) in message


@given(st.binary(max_size=100))
def test_bytes_are_a_value_or_refused_whatever_they_are(noise):
    message = complaint(lambda: unpack(noise, "noise"), CheckpointError)
    assert message is None or "noise" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pack([np.ones(2, "float32")]), "holds a list, not a tree"),
        (pack({}) + b"\xc0", "1 bytes after its end"),
        (b"\xdf\xff\xff\xff\xff", "should have 4,294,967,295 values more"),
        (b"\xc1", "the byte 0xc1, which begins nothing"),
        (b"\x81\xa1\xff\xc0", "text that isn't UTF-8"),
        (b"\x82\xa1a\xc0\xa1a\xc0", "'a' twice"),
        (b"\x91" * (MAX_DEPTH + 2), "nested deeper"),
        (pack({"a/b": np.ones(2), "a": {"b": np.ones(2)}}), "two arrays of the name 'a/b'"),
        (pack({"a": np.ones(2, "complex128")}), "dtype 'complex128', not supported"),
        (pack({"a": chunked(np.ones(9), 4) | {"chunks": {"0": np.ones(4)}}}), "don't join"),
        (pack({"a": chunked(np.ones(9), 4) | {"shape": 9}}), "don't join"),
        (pack({"a": chunked(np.ones(9), 4) | {"chunks": {}}}), "don't join"),
    ],
)
def test_what_is_no_tree_of_arrays_is_refused_with_the_reason(content, message, tmp_path):
    refused(write(tmp_path, content), message)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ([[2], "float32", b"1234567"], "has 7 bytes"),
        ([[-2], "float32", b"12345678"], "has the shape"),
        ([2, "float32", b"12345678"], "has the shape"),
        ([[2], 4, b"12345678"], "dtype 4"),
        ([[2], "float32"], "isn't a shape, a dtype and bytes"),
    ],
)
def test_an_array_that_is_not_as_declared_is_refused_by_name(payload, message, tmp_path):
    content = pack(payload)
    refused(
        write(tmp_path, b"\x81\xa1w\xc7" + bytes([len(content), 1]) + content), f"'w'.*{message}"
    )


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"\x05", 5), (b"\xff", -1), (b"\xcc\xff", 255), (b"\xcd\x01\x00", 256),
        (b"\xce\x00\x01\x00\x00", 65536), (b"\xd0\x80", -128), (b"\xd1\xff\x00", -256),
        (b"\xd2\xff\xff\xff\xff", -1), (b"\xca\x3f\x00\x00\x00", 0.5), (b"\xa1a", "a"),
        (b"\xda\x00\x01a", "a"), (b"\xdb\x00\x00\x00\x01a", "a"), (b"\x92\x01\x02", [1, 2]),
        (b"\xdd\x00\x00\x00\x01\x01", [1]), (b"\xdf\x00\x00\x00\x01\xa1a\xc3", {"a": True}),
    ],
)  # fmt: skip
def test_each_coding_of_the_format_is_read(content, value):
    assert unpack(content, "x") == value
