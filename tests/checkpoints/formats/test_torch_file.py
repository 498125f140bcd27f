"""Torch files are read as torch reads them, without torch, and damage in them is named."""

import io
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from inarch.checkpoints.formats.files import open_weights
from inarch.checkpoints.formats.torch_file import TorchFile
from inarch.errors import CheckpointFileError

from ...fuzz import torch_files as made

WHOLE = {
    "a": np.arange(6, dtype="float32").reshape(2, 3),
    "b": np.arange(4).astype("int64"),
    "c": np.arange(4).astype(ml_dtypes.bfloat16).reshape(1, 4),
    "scalar": np.array(2.5, "float16"),
    "empty": np.zeros((0, 3), "float32"),
}


def write(folder, data):
    path = folder / "pytorch_model.bin"
    path.write_bytes(data)
    return path


def values(folder):
    with open_weights(folder) as weights:
        return {name: np.array(weights.read(name)) for name in weights.header}


def refused(folder, data, message):
    path = write(folder, data)
    with pytest.raises(CheckpointFileError, match=message) as error:
        values(folder)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_every_tensor_is_read(legacy, tmp_path):
    write(tmp_path, made.saved(WHOLE, legacy))
    with open_weights(tmp_path) as weights:
        assert list(weights.header) == list(WHOLE)
        for name, array in WHOLE.items():
            found = weights.read(name)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
            weights.release(name)


def test_views_of_a_storage_are_read_by_their_strides(tmp_path):
    numbers = np.arange(12, dtype="float32")
    fields = {
        "transposed": made.tensor("0", "float32", 12, (3, 4), (1, 3)),
        "part": made.tensor("0", "float32", 12, (2,), (5,), offset=3),
        "repeated": made.tensor("0", "float32", 12, (2, 3), (0, 1)),
    }
    write(tmp_path, made.archive(made.mapping(fields), {"0": numbers.tobytes()}))
    with open_weights(tmp_path) as weights:
        np.testing.assert_array_equal(weights.read("transposed"), numbers.reshape(4, 3).T)
        np.testing.assert_array_equal(weights.read("part"), [3, 8])
        np.testing.assert_array_equal(weights.read("repeated"), [[0, 1, 2]] * 2)


def test_a_negative_that_torch_has_put_off_is_taken(tmp_path):
    numbers = np.arange(1, 7, dtype="float32").reshape(2, 3)
    fields = {
        bit: made.tensor("0", "float32", 6, (2, 3), bits={"neg": bit == "neg", "conj": False})
        for bit in ("neg", "plain")
    }
    write(tmp_path, made.archive(made.mapping(fields), {"0": numbers.tobytes()}))
    found = values(tmp_path)
    np.testing.assert_array_equal(found["neg"], -numbers)
    np.testing.assert_array_equal(found["plain"], numbers)


def test_a_step_that_is_never_taken_may_be_of_any_length(tmp_path):
    numbers = np.arange(3, dtype="float32")
    far = made.tensor("0", "float32", 3, (1, 3), (1 << 62, 1))
    write(tmp_path, made.archive(made.mapping({"w": far}), {"0": numbers.tobytes()}))
    np.testing.assert_array_equal(values(tmp_path)["w"], numbers[None])


def test_every_flipped_bit_of_the_numbers_and_of_the_pickle_is_found(tmp_path):
    data = made.saved({"a": WHOLE["a"]})
    member = zipfile.ZipFile(io.BytesIO(data)).getinfo("archive/data/0")
    at = member.header_offset + 30 + len(member.filename)
    pickled = data.index(b"\x80\x02")
    for begin, size in ((at, 24), (pickled, 40)):
        for place in range(begin, begin + size):
            damaged = bytearray(data)
            damaged[place] ^= 1 << place % 8
            refused(tmp_path, bytes(damaged), "checksum")


def test_what_is_not_read_is_not_held_to_its_checksum(tmp_path):
    data = bytearray(made.saved({"a": WHOLE["a"], "b": WHOLE["b"]}))
    data[data.index(WHOLE["b"].tobytes())] ^= 1
    reader = TorchFile(write(tmp_path, data))
    np.testing.assert_array_equal(reader.read("a"), WHOLE["a"])
    with pytest.raises(CheckpointFileError, match=r"checksum.*\(tensor 'b'\)"):
        reader.read("b")


BIG = 10**9


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"a": made.tensor("0", "float32", 2, (3,))}, "reaches beyond the 8 bytes"),
        ({"a": made.tensor("0", "float32", 2, (2,), offset=1)}, "reaches beyond"),
        ({"a": made.tensor("0", "float32", 2, (2,), (BIG,))}, "reaches beyond"),
        ({"a": made.tensor("0", "float32", BIG, (2,))}, "8 bytes have it"),
        ({"a": made.tensor("1", "float32", 2, (2,))}, "aren't in it"),
        ({"a": made.tensor("0", "float32", 2, (BIG, 10**8), (0, 0))}, "views of each other"),
        ({f"a{i}": made.tensor("0", "float32", 2, (10**6,), (0,)) for i in range(20)}, "views of"),
        ({"a": made.tensor("0", "float32", 2, (1 << 63,))}, "the shape"),
        ({"a": made.tensor("0", "float32", 2, (2,) * 65, (0,) * 65)}, "the shape"),
        ({"a": made.tensor("0", "float32", 2, (2,), (1, 1))}, "with strides"),
        ({"\ud800": made.tensor("0", "float32", 2, (2,))}, r"the name '\\ud800'"),
        ({"a": made.number(10**5000)}, "number of 16,610 bits"),
        ({"a": made.named("os", "mkdir") + made.many(made.text("x")) + b"R"}, r"wants os\.mkdir"),
        ({"a": made.named("argparse", "Namespace") + b")\x81"}, r"wants argparse\.Namespace"),
        ({"a": b"h\x07"}, "nothing in memory 7"),
        ({"a": b"0"}, "the instruction POP"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_pickle_that_torch_never_writes_is_refused(fields, message, tmp_path):
    refused(tmp_path, made.archive(made.mapping(fields), {"0": b"\0" * 8}), message)


# Tuples, each of which holds the one before it twice.
DOUBLED = b"](" + b")q\x00" + b"".join(
    b"h" + bytes([i, ord("h"), i]) + b"\x86q" + bytes([i + 1]) for i in range(60)
) + b"e"  # fmt: skip


@pytest.mark.parametrize("value", [DOUBLED, b"]q\x00h\x00a"], ids=["shared", "itself"])
def test_parts_that_are_shared_many_times_or_hold_themselves_are_counted_once(value, tmp_path):
    fields = {"a": made.tensor("0", "float32", 2, (2,)), "x": value}
    refused(tmp_path, made.archive(made.mapping(fields), {"0": b"\0" * 8}), r"'x' \(list\)")


def test_compressed_members_are_refused_unread(tmp_path):
    state = made.mapping({"a": made.tensor("0", "float32", 250_000, (250_000,))})
    data = made.archive(state, {"0": b"\0" * 10**6}, zipfile.ZIP_DEFLATED)
    assert len(data) < 5000
    refused(tmp_path, data, "compressed")


def test_a_key_whose_hash_takes_forever_is_refused(tmp_path):
    refused(tmp_path, made.archive(DOUBLED + b"}h\x3cNs", {}), "a key of type tuple")


def test_a_place_in_memory_beyond_all_bounds_takes_none(tmp_path):
    value = b"}r" + struct.pack("<I", 0xFFFFFFF0)
    write(tmp_path, made.archive(value, {}))
    assert not open_weights(tmp_path).header


@pytest.mark.reference
@pytest.mark.parametrize("legacy", [False, True])
def test_what_torch_saves_is_read_as_torch_reads_it(legacy, tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch: make test-all")
    layer = torch.nn.Linear(3, 4)
    tied = layer.weight
    state = {
        **layer.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "tied": tied,
        "part": tied.detach()[1:3, :2],
        "half": torch.arange(3).half(),
        "with attributes": torch.ones(2),
    }
    state["with attributes"].note = "x"
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    expected = torch.load(path)
    with open_weights(tmp_path) as weights:
        assert list(weights.header) == list(expected)
        for name, tensor in expected.items():
            np.testing.assert_array_equal(weights.read(name), tensor.detach().numpy())


def test_an_empty_pickle_of_python_is_no_torch_file(tmp_path):
    refused(tmp_path, pickle.dumps({}), "doesn't begin as one")
