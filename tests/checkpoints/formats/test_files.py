"""Tensors on disk: what is written is read, by us and by others, and damage is named."""

import json
import os
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inarch.checkpoints.formats.files import (
    HEADER_LIMIT,
    SafetensorsFile,
    index_of,
    open_weights,
    sharded,
    write_safetensors,
)
from inarch.checkpoints.formats.weights import CODES, DTYPES, Shard, TensorInfo
from inarch.errors import CheckpointFileError
from inarch.files import sha256
from inarch.json_fields import read_object

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def info(array):
    return TensorInfo(CODES[array.dtype], array.shape)


def shard_of(arrays, metadata=None):
    return Shard("model.safetensors", {n: info(a) for n, a in arrays.items()}, metadata)


def write(folder, arrays, metadata=None, name="model.safetensors"):
    path = folder / name
    write_safetensors(path, shard_of(arrays, metadata), arrays.__getitem__)
    return path


def raw(header, data=b""):
    """The bytes of a safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def same_bytes(one, two):
    return (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())


@st.composite
def tensors(draw):
    """Arrays of any dtype of the format: 0-d, empty, transposed, strided, reversed, any bits."""
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    size = int(np.prod(shape)) * dtype.itemsize
    data = draw(st.binary(min_size=size, max_size=size))
    if dtype.kind == "b":
        data = bytes(byte & 1 for byte in data)
    array = np.frombuffer(data, dtype).reshape(shape)
    view = draw(st.sampled_from(["as it is", "transposed", "strided", "reversed"]))
    if view == "transposed":
        return array.T
    if view == "strided" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if view == "reversed" and array.ndim:
        return array[::-1]
    return array


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
    lambda name: name != "__metadata__"
)
metadata = st.none() | st.dictionaries(st.text("ab:ü", max_size=4), st.text("ab ü", max_size=4))


@quick
@given(st.dictionaries(names, tensors(), max_size=5), metadata)
def test_what_is_written_is_read(tmp_path, arrays, metadata):
    path = write(tmp_path, arrays, metadata)
    with open_weights(tmp_path) as weights:
        assert weights.format == "safetensors"
        assert weights.shards[0].metadata == metadata
        assert weights.header == {n: info(a) for n, a in arrays.items()}
        for name, array in arrays.items():
            found = weights.read(name)
            assert same_bytes(found, array)
            assert not found.flags.writeable
            del found
            weights.release(name)
    assert struct.unpack("<Q", path.read_bytes()[:8])[0] % 8 == 0  # data is aligned


# The other library's NumPy side has every dtype but the two float8.
COMMON = [code for code in DTYPES if not code.startswith("F8")]


@quick
@given(st.dictionaries(names, tensors().filter(lambda a: CODES[a.dtype] in COMMON), max_size=4))
def test_the_safetensors_library_reads_what_we_write(tmp_path, arrays):
    path = write(tmp_path, arrays, {"format": "pt"})
    found = safetensors.numpy.load_file(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert same_bytes(found[name], array)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pt"}


@quick
@given(st.dictionaries(names, tensors().filter(lambda a: CODES[a.dtype] in COMMON), max_size=4))
def test_we_read_what_the_safetensors_library_writes(tmp_path, arrays):
    # That library writes wrong values for arrays that aren't contiguous.
    arrays = {name: np.array(array, order="C") for name, array in arrays.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors", {"format": "np"})
    with open_weights(tmp_path) as weights:
        assert weights.header.keys() == arrays.keys()
        assert weights.shards[0].metadata == {"format": "np"}
        for name, array in arrays.items():
            assert same_bytes(weights.read(name), array)


def test_a_shard_lists_its_tensors_in_the_order_of_their_bytes(tmp_path):
    header = {
        "z": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]},
        "empty": {"dtype": "F32", "shape": [0, 3], "data_offsets": [2, 2]},
        "a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
    }
    (tmp_path / "model.safetensors").write_bytes(raw(header, b"\1\2\3\4"))
    with open_weights(tmp_path) as weights:
        assert list(weights.header) == ["a", "empty", "z"]
        assert list(weights.read("z")) == [3, 4]


@pytest.mark.parametrize(
    "array",
    [np.zeros(3, "float64"), np.zeros((3, 1), "float32"), np.zeros(3, ">f4"), np.zeros(3, int)],
)
def test_a_value_that_is_not_as_announced_is_not_written(array, tmp_path):
    shard = Shard("model.safetensors", {"w": TensorInfo("F32", (3,))})
    with pytest.raises(CheckpointFileError, match="'w'"):
        write_safetensors(tmp_path / "model.safetensors", shard, lambda name: array)


def test_what_the_disk_changed_is_noticed(tmp_path, monkeypatch):
    arrays = {"w": np.ones(3, "float32")}
    read = SafetensorsFile.read
    monkeypatch.setattr(SafetensorsFile, "read", lambda self, name: read(self, name) * 2)
    with pytest.raises(CheckpointFileError, match="'w' was not written as it was given"):
        write(tmp_path, arrays)


def test_an_array_outlives_the_file_it_was_read_from(tmp_path):
    arrays = {f"w{n}": np.full(5000, n, "float32") for n in range(3)}
    write(tmp_path, arrays)
    with open_weights(tmp_path) as weights:
        kept = weights.read("w1")
    np.testing.assert_array_equal(kept, arrays["w1"])


def test_releasing_a_tensor_leaves_its_neighbours_readable(tmp_path):
    arrays = {f"w{n}": np.full(3000 + n, n, "int64") for n in range(5)}
    write(tmp_path, arrays)
    with open_weights(tmp_path) as weights:
        for name in arrays:
            weights.read(name)
            weights.release(name)
        for name, array in arrays.items():
            np.testing.assert_array_equal(weights.read(name), array)


# --- shards ------------------------------------------------------------------------------------


def test_shards_and_their_index_hold_everything_once(tmp_path):
    arrays = {f"w{n}": np.full(n + 1, n, "float32") for n in range(9)}
    shards = sharded({n: info(a) for n, a in arrays.items()}, 40, {"format": "pt"})
    assert [s.filename for s in shards][:2] == [
        f"model-0000{n}-of-0000{len(shards)}.safetensors" for n in (1, 2)
    ]
    assert all(
        len(s.tensors) == 1 or sum(i.nbytes for i in s.tensors.values()) <= 40 for s in shards
    )
    for shard in shards:
        write_safetensors(tmp_path / shard.filename, shard, arrays.__getitem__)
    index = index_of(shards)
    assert index["metadata"]["total_size"] == sum(a.nbytes for a in arrays.values())
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with open_weights(tmp_path) as weights:
        assert list(weights.header) == list(arrays)
        assert all(np.array_equal(weights.read(n), a) for n, a in arrays.items())
        assert weights.shards == tuple(shards)


def test_what_fits_one_file_is_not_sharded():
    (shard,) = sharded({"a": TensorInfo("F32", (10,))}, 40, None)
    assert shard.filename == "model.safetensors"
    (shard,) = sharded({}, 40, None)
    assert shard.tensors == {}


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    write(tmp_path, {"w": np.ones(2, "float32")}, name="a.safetensors")
    write(tmp_path, {"w": np.ones(2, "float32")}, name="b.safetensors")
    index = {"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointFileError, match="'w' is in two weight files"):
        open_weights(tmp_path)


def test_shards_go_by_one_name_however_an_index_spells_it(tmp_path):
    arrays = {"w": np.ones(2, "float32"), "v": np.zeros(2, "float32"), "u": np.ones(1, "float32")}
    write(tmp_path, arrays, name="a.safetensors")
    listed = {"w": "./a.safetensors", "v": "a.safetensors", "u": "a.safetensors/"}
    index = {"weight_map": listed}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with open_weights(tmp_path) as weights:
        assert [shard.filename for shard in weights.shards] == ["a.safetensors"]
        np.testing.assert_array_equal(weights.read("w"), arrays["w"])


def test_an_index_that_names_what_its_shard_lacks_is_refused(tmp_path):
    write(tmp_path, {"w": np.ones(2, "float32")}, name="a.safetensors")
    write(tmp_path, {"v": np.ones(2, "float32")}, name="b.safetensors")
    listed = {"w": "a.safetensors", "v": "b.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": listed}))
    open_weights(tmp_path).close()
    for name, shard in (("gone", "a.safetensors"), ("v", "a.safetensors")):
        index.write_text(json.dumps({"weight_map": listed | {name: shard}}))
        with pytest.raises(CheckpointFileError, match=rf"index\.json.*: '{name}' in {shard};"):
            open_weights(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{}", "weight_map"),
        ('{"weight_map": {}}', "weight_map"),
        ('{"weight_map": []}', "weight_map"),
        ("[]", "a JSON list"),
        ("{", "not JSON"),
        ('{"weight_map": {"w": "gone.safetensors"}}', "gone.safetensors, which is not there"),
        ('{"weight_map": {"w": ""}}', "plain file name"),
        ('{"weight_map": {"w": "../secret.safetensors"}}', "outside its folder"),
        ('{"weight_map": {"w": "below/secret.safetensors"}}', "plain file name"),
        ('{"weight_map": {"w": "/etc/passwd"}}', "outside its folder"),
        ('{"weight_map": {"w": ".."}}', "outside its folder"),
        ('{"weight_map": {"w": "a\\u0000b"}}', "control character"),
        ('{"weight_map": {"w": 3}}', "must be text"),
        ('{"weight_map": {"w": ["x"]}}', "must be text"),
        ('{"weight_map": {"w": null}}', "must be text"),
    ],
)
def test_a_bad_index_is_refused(index, message, tmp_path):
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    for place in (tmp_path, folder / "below"):
        write(place, {"w": np.ones(2, "float32")}, name="secret.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointFileError, match=message) as error:
        open_weights(folder)
    assert "index.json" in str(error.value)


# --- damage ------------------------------------------------------------------------------------


def test_the_error_for_a_folder_without_weights_names_what_was_looked_for(tmp_path):
    with pytest.raises(CheckpointFileError, match=r"model\.safetensors, .*pytorch_model\.bin"):
        open_weights(tmp_path)


WHOLE = {"a": np.arange(30, dtype="float32"), "b": np.ones((3, 2), ml_dtypes.bfloat16)}


@quick
@given(st.data())
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path, data):
    path = write(tmp_path, WHOLE, {"format": "pt"})
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(CheckpointFileError) as error:
        open_weights(tmp_path)
    assert str(path) in str(error.value)


def refusal(folder, otherwise):
    """Return the error for a folder's weights, or `otherwise` if every tensor can be read."""
    try:
        with open_weights(folder) as weights:
            for name in weights.header:
                weights.read(name)
    except CheckpointFileError as error:
        return str(error)
    return otherwise


@quick
@given(st.data())
def test_a_header_damaged_anywhere_is_refused_or_read_literally(tmp_path, data):
    path = write(tmp_path, WHOLE)
    whole = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", whole[:8])
    whole[data.draw(st.integers(0, 8 + length - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    assert str(path) in refusal(tmp_path, str(path))


@quick
@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_refused_or_read(tmp_path, junk):
    path = tmp_path / "model.safetensors"
    for content in (junk, raw(junk), raw(b"{" + junk + b"}")):
        path.write_bytes(content)
        assert str(path) in refusal(tmp_path, str(path))


def test_bytes_left_over_are_refused(tmp_path):
    path = write(tmp_path, WHOLE)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CheckpointFileError, match=r"should have \d+ bytes by its header"):
        open_weights(tmp_path)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (1_000, "truncated"),
        (HEADER_LIMIT, "truncated"),
        (HEADER_LIMIT + 1, "the format allows 100,000,000"),
        (700_000_000, "700,000,000 bytes"),
        (2**64 - 1, "not a safetensors file"),
    ],
)
def test_a_header_longer_than_the_file_or_the_format_is_not_read(length, message, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(CheckpointFileError, match=message):
        open_weights(tmp_path)


def test_a_header_of_hundreds_of_megabytes_is_refused_unread(tmp_path):
    with (tmp_path / "model.safetensors").open("wb") as file:  # a sparse file: it takes no room
        file.write(struct.pack("<Q", 400_000_000))
        file.truncate(400_000_008)
    with pytest.raises(CheckpointFileError, match="400,000,000 bytes"):
        open_weights(tmp_path)


def entry(dtype="U8", shape=(4,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


TWICE = b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
TWICE += b'"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'


@pytest.mark.parametrize(
    "header",
    [
        {"w": entry(), "v": entry()},  # one on the other
        {"w": entry(shape=(3,), offsets=(0, 3)), "v": entry(shape=(2,), offsets=(2, 4))},
        {"w": entry(shape=(1,), offsets=(0, 1)), "v": entry(shape=(2,), offsets=(2, 4))},  # a gap
        {"w": entry(shape=(2,), offsets=(2, 4))},
        {"w": entry(shape=(2,), offsets=(0, 2))},  # bytes left over
        {"w": entry(shape=(8,), offsets=(0, 8))},  # beyond the end
        {"w": entry(shape=(5,))},
        {"w": entry(offsets=(4, 0))},
        {"w": entry(shape=(-4,))},
        {"w": entry(shape=(-2, -2))},
        {"w": entry(shape=(4.0,))},
        {"w": entry(shape=(True, 4))},
        {"w": entry(shape=None)},
        {"w": entry(shape="4")},
        {"w": entry(offsets=(0,))},
        {"w": entry(offsets=(0, 4, 4))},
        {"w": entry(offsets=("0", "4"))},
        {"w": entry(offsets=None)},
        {"w": entry(dtype="F4")},
        {"w": entry(dtype="float32")},
        {"w": entry(dtype=None)},
        {"w": entry(dtype=["U8"])},
        {"w": entry(shape=(2**62, 2**62))},
        {"w": entry(shape=(0, 2**62), offsets=(0, 0)), "v": entry()},
        {"w": {}},
        {"w": None},
        {"w": [1]},
        [1],
        "x",
        None,
        3,
        b"",
        b"{",
        b"\xff\xfe{}",
        b"[" * 100_000,
        TWICE,
    ],
    ids=lambda header: str(header)[:60],
)
def test_a_header_that_describes_no_file_is_refused_by_name(header, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw(header, b"\1\2\3\4"))
    with pytest.raises(CheckpointFileError) as error:
        open_weights(tmp_path)
    assert str(path) in str(error.value)


def test_a_name_that_occurs_twice_is_reported_as_such(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(raw(TWICE, b"\1\2\3\4"))
    with pytest.raises(CheckpointFileError, match="twice"):
        open_weights(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"), (b"{", "not JSON"), (b"\xff\x00", "not JSON"), (b"[1]", "JSON list"),
        (b"3", "JSON int"), (b"null", "JSON NoneType"), (b"[" * 100_000, "not JSON"),
        (b"1" * 5000, "not JSON"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_json_object_is_refused_by_name(content, message, tmp_path):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(CheckpointFileError, match=rf"x\.json.*{message}"):
        read_object(tmp_path / "x.json")


def test_json_that_is_not_there_or_a_folder_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointFileError, match=r"x\.json does not exist"):
        read_object(tmp_path / "x.json")
    with pytest.raises(CheckpointFileError, match="can't be read"):
        read_object(tmp_path)


def test_a_checksum_is_the_files(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x").startswith("ba7816bf8f01cfea")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"


@pytest.mark.parametrize(
    "name", ["model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"]
)
def test_a_git_lfs_pointer_is_called_so(name, tmp_path):
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(CheckpointFileError, match="is a Git LFS pointer.*`git lfs pull`") as error:
        open_weights(tmp_path)
    assert str(tmp_path / name) in str(error.value)
    with pytest.raises(CheckpointFileError, match="is a Git LFS pointer"):
        read_object(tmp_path / name)


# --- torch files -------------------------------------------------------------------------------


def test_safetensors_are_preferred_to_pickles(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    write(tmp_path, WHOLE)
    with open_weights(tmp_path) as weights:
        assert weights.format == "safetensors"


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="needs torch: make test-all")


@pytest.mark.reference
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_torch_files_of_every_kind_are_read(zipped, torch, tmp_path):
    state = {
        name.removeprefix("torch."): torch.arange(6).reshape(2, 3).to(dtype)
        for name, dtype in ((str(d), d) for d in (
            torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
            torch.int16, torch.int8, torch.uint8, torch.bool,
        ))
    }  # fmt: skip
    state |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3)}
    state |= {"transposed": torch.arange(6.0).reshape(2, 3).T}
    state |= {"parameter": torch.nn.Parameter(torch.ones(2))}
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with open_weights(tmp_path) as weights:
        assert weights.format == "torch"
        assert weights.header.keys() == state.keys()
        for name, tensor in state.items():
            found = weights.read(name)
            assert found.shape == tuple(tensor.shape)
            assert found.dtype.name == str(tensor.dtype).removeprefix("torch.")
            np.testing.assert_array_equal(found.astype("float64"), tensor.detach().double())
            weights.release(name)


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2"])
def test_torch_float8_is_read(kind, torch, tmp_path):
    torch.save({"w": torch.arange(4.0).to(getattr(torch, kind))}, tmp_path / "pytorch_model.bin")
    with open_weights(tmp_path) as weights:
        assert list(weights.read("w").astype(float)) == [0, 1, 2, 3]


@pytest.mark.reference
def test_a_sparse_torch_tensor_is_refused_by_name(torch, tmp_path):
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointFileError, match="'w' is stored as sparse_coo"):
        open_weights(tmp_path)


@pytest.mark.reference
def test_a_torch_tensor_without_values_is_refused_by_name(torch, tmp_path):
    torch.save({"w": torch.empty(3, device="meta")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointFileError, match="'w' has a shape and no values"):
        open_weights(tmp_path)


@pytest.mark.reference
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ema", r"'ema' \(dict that holds tensors: 2\)"),
        ("list", r"'ema' \(list that holds tensors: 2\)"),
        ({}, r"'ema' \(dict\)"), (3, r"'ema' \(int\)"), ("1.0", r"'ema' \(str\)"),
        (None, r"'ema' \(NoneType\)"),
    ],
)  # fmt: skip
def test_what_is_no_tensor_in_a_torch_file_is_refused_by_name(
    value, message, zipped, torch, tmp_path
):
    held = {"a": torch.ones(2), "b": {"c": [torch.ones(3)]}}
    value = held if value == "ema" else list(held.values()) if value == "list" else value
    saved = {"w": torch.ones(2), "ema": value}
    torch.save(saved, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointFileError, match=rf"pytorch_model\.bin has entries.*{message}"):
        open_weights(tmp_path)


@pytest.mark.reference
def test_a_checkpoint_of_training_is_called_so_with_the_way_out(torch, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": 3, "loops": {}}, path)
    with pytest.raises(CheckpointFileError, match="checkpoint of training.*next to epoch, loops"):
        open_weights(tmp_path)
    torch.save(torch.load(path)["state_dict"], path)  # the way out
    with open_weights(tmp_path) as weights:
        assert weights.header.keys() == {"w"}


@pytest.mark.reference
def test_a_conjugate_torch_tensor_is_read_as_its_values(torch, tmp_path):
    value = torch.tensor([1 + 2j, 3 - 4j])
    torch.save({"w": value.conj()}, tmp_path / "pytorch_model.bin")
    with open_weights(tmp_path) as weights:
        np.testing.assert_array_equal(weights.read("w"), value.numpy().conj())


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["complex128", "float8_e4m3fnuz"])
def test_a_torch_dtype_that_safetensors_has_not_is_refused(kind, torch, tmp_path):
    torch.save({"w": torch.zeros(2).to(getattr(torch, kind))}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointFileError, match=f"'w' has dtype {kind}"):
        open_weights(tmp_path)


@pytest.mark.reference
def test_torch_shards_are_read_by_their_index(torch, tmp_path):
    for name in "ab":
        torch.save({name: torch.ones(2)}, tmp_path / f"pytorch_model-{name}.bin")
    index = {"weight_map": {name: f"pytorch_model-{name}.bin" for name in "ab"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with open_weights(tmp_path) as weights:
        assert weights.header.keys() == {"a", "b"}


class Trap:
    """Unpickling this runs code: it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.reference
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_torch_file_is_refused_and_never_run(zipped, torch, tmp_path):
    trap = tmp_path / "sprung"
    saved = {"w": torch.ones(2), "trap": Trap(trap)}
    torch.save(saved, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointFileError, match="without running code"):
        open_weights(tmp_path)
    assert not trap.exists()


@pytest.mark.reference
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html>Not found</html>", "it has no whole pickle"),
        (b"hello world", "it has "),
        (b"PK\x03\x04" + b"x" * 99, "no whole zip archive"),
        (b"\x80\x02}q\x00", ""),
    ],
)
def test_what_is_no_torch_file_is_called_so_before_anything_else(content, why, torch, tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointFileError) as error:
        open_weights(tmp_path)
    begin = f"{tmp_path / 'pytorch_model.bin'} is no torch file, or a damaged one ({why}"
    assert str(error.value).startswith(begin)
    assert str(error.value).endswith("); fetch it again")
    assert "weights_only" not in str(error.value)


@pytest.mark.reference
@settings(parent=quick, max_examples=25)
@given(st.data())
def test_a_torch_file_cut_anywhere_is_refused_by_name(torch, tmp_path, data):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"w": torch.ones(50)}, path, _use_new_zipfile_serialization=data.draw(st.booleans()))
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(CheckpointFileError, match=r"pytorch_model\.bin"):
        open_weights(tmp_path)


@pytest.mark.reference
def test_a_torch_file_that_holds_no_names_is_refused(torch, tmp_path):
    torch.save([torch.ones(2)], tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointFileError, match="holds a list"):
        open_weights(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_names_outside_a_folder_are_never_listed(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret.onnx").write_bytes(b"")
    (tmp_path / "model" / "onnx").symlink_to(tmp_path / "private")
    with pytest.raises(CheckpointFileError, match="leads outside its folder") as error:
        open_weights(tmp_path / "model")
    assert "secret" not in str(error.value)
