"""TensorFlow checkpoints are read without TensorFlow, and damaged ones are refused by name."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inarch.checkpoints.formats import table_file
from inarch.checkpoints.formats.tensor_bundle import find_bundle, open_bundle
from inarch.errors import CheckpointFileError
from inarch.files import POINTER

from ...author_formats.writers import arrays, bundle, complaint, entry, field, table, write_bundle

INDEX, (DATA,) = bundle(arrays())


def files(tmp_path, index=INDEX, data=DATA):
    (tmp_path / "model.ckpt.index").write_bytes(index)
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(data)
    return tmp_path / "model.ckpt"


def refused(prefix, message):
    with pytest.raises(CheckpointFileError, match=message) as error:
        open_bundle(prefix).close()
    assert str(prefix) in str(error.value)


@pytest.mark.parametrize("shards", [1, 3])
def test_every_tensor_is_read_as_it_was_written(shards, tmp_path):
    write_bundle(tmp_path / "model.ckpt", arrays(), shards)
    with open_bundle(tmp_path / "model.ckpt") as weights:
        assert weights.header.keys() == arrays().keys()
        for name, array in arrays().items():
            found = weights.read(name)
            assert found.dtype == array.dtype
            assert found.shape == array.shape
            assert found.tobytes() == array.tobytes()
            weights.release(name)
            assert weights.read(name).tobytes() == array.tobytes()


@given(st.data())
def test_a_flipped_bit_anywhere_in_the_index_is_noticed(tmp_path_factory, data):
    place = data.draw(st.integers(0, len(INDEX) - 1))
    bit = data.draw(st.integers(0, 7))
    broken = bytearray(INDEX)
    broken[place] ^= 1 << bit
    refused(files(tmp_path_factory.mktemp("broken"), index=bytes(broken)), "index")


def test_a_flipped_bit_anywhere_in_the_footer_is_noticed(tmp_path):
    for place in range(len(INDEX) - 48, len(INDEX)):
        for bit in (0, 7):  # 7 makes a number longer, and may leave its value
            broken = bytearray(INDEX)
            broken[place] ^= 1 << bit
            refused(files(tmp_path, index=bytes(broken)), "index")


@given(st.integers(0, len(INDEX) - 1))
def test_an_index_cut_anywhere_is_refused(tmp_path_factory, cut):
    refused(files(tmp_path_factory.mktemp("cut"), index=INDEX[:cut]), r"model\.ckpt\.index")


@given(st.integers(0, len(DATA) - 1))
def test_a_data_file_cut_anywhere_is_refused(tmp_path_factory, cut):
    refused(files(tmp_path_factory.mktemp("cut"), data=DATA[:cut]), "data-00000-of-00001")


@given(st.integers(0, len(DATA) - 1), st.integers(0, 7))
def test_a_flipped_bit_in_a_data_file_is_noticed_with_its_tensor(tmp_path_factory, place, bit):
    broken = bytearray(DATA)
    broken[place] ^= 1 << bit
    refusals = {}
    with open_bundle(files(tmp_path_factory.mktemp("broken"), data=bytes(broken))) as weights:
        for name in weights.header:
            refusals[name] = complaint(lambda name=name: weights.read(name), CheckpointFileError)
            assert (
                complaint(lambda name=name: weights.read(name), CheckpointFileError)
                == (refusals[name])
            )
    (message,) = (message for message in refusals.values() if message)
    (name,) = (name for name, message in refusals.items() if message)
    assert f"data-00000-of-00001 is damaged: tensor {name!r}" in message


@given(st.binary(max_size=200))
def test_bytes_that_are_no_index_are_refused_whatever_they_are(tmp_path_factory, noise):
    folder = tmp_path_factory.mktemp("noise")
    message = (
        "Git LFS pointer" if noise.startswith(POINTER) else "doesn't end as a TensorFlow index"
    )
    refused(files(folder, index=noise), message)
    footer = noise[:40].ljust(40, b"\0") + struct.pack("<Q", table_file.MAGIC)
    refused(files(folder, index=noise + footer), r"model\.ckpt\.index")


@given(st.binary(max_size=60))
def test_an_entry_of_any_bytes_under_a_right_checksum_is_read_or_refused(tmp_path_factory, noise):
    prefix = files(tmp_path_factory.mktemp("noise"), table({b"": field(1, 1), b"x": noise}))

    def read():
        with open_bundle(prefix) as weights:
            weights.read("x")

    message = complaint(read, CheckpointFileError)
    assert message is None or str(prefix) in message


@pytest.mark.parametrize("how", ["index", "data"])
def test_a_file_that_is_not_there_is_named(how, tmp_path):
    prefix = files(tmp_path)
    (path,) = tmp_path.glob(f"*.{how}*")
    path.unlink()
    refused(prefix, path.name)


@pytest.mark.parametrize(("method", "name"), [(1, "Snappy"), (2, "Zlib"), (9, "method 9")])
def test_a_compressed_index_is_refused_by_the_method(method, name, tmp_path):
    entries = {b"": field(1, 1), b"x": entry(np.ones(2, "float32"), 0)}
    refused(files(tmp_path, table(entries, compression=method)), f"compressed with {name}")


def changed(**fields):
    """An index with one tensor of which some fields are others."""
    values = {"dtype": 1, "shape": field(2, field(1, 2)), "shard": 0, "begin": 0, "size": 8}
    values |= fields
    message = b"".join(field(n, v) for n, v in enumerate(values.values(), 1))
    return table({b"": field(1, 1), b"x": message})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": 7}, "'x'.*is text; only plain numbers"),
        ({"dtype": 8}, "of TensorFlow's type 8"),
        ({"size": 9}, "can't be 9 bytes"),
        ({"shard": 1}, "in data file 1 of 1"),
        ({"begin": 1 << 40}, "it is truncated"),
        ({"begin": (1 << 64) - 8}, "can't be 8 bytes from -8"),
        ({"shape": field(2, field(1, (1 << 64) - 1))}, "a size is open"),
        ({"crc": 0, "slices": b""}, "stored in slices"),
    ],
)
def test_a_tensor_that_can_not_be_read_is_refused_with_its_name(fields, message, tmp_path):
    refused(files(tmp_path, changed(**fields), b"12345678"), message)


def test_objects_of_tensorflow_2_are_refused_with_the_way_out(tmp_path):
    entries = {b"": field(1, 1), b"_CHECKPOINTABLE_OBJECT_GRAPH": field(1, 7)}
    refused(files(tmp_path, table(entries)), r"compat\.v1\.train\.Saver")


def test_a_big_endian_machines_file_is_refused(tmp_path):
    refused(files(tmp_path, table({b"": field(1, 1) + field(2, 1)})), "big-endian")


def test_bytes_that_no_checksum_covers_are_refused(tmp_path):
    end = len(INDEX) - table_file.FOOTER
    refused(files(tmp_path, INDEX[:end] + b"more" + INDEX[end:]), "bytes of no block")


# --- which checkpoint of a folder --------------------------------------------------------------


def named(tmp_path, *names, latest=None):
    for name in names:
        write_bundle(tmp_path / name, {"x": np.ones(1, "float32")})
    if latest:
        text = f'model_checkpoint_path: "{latest}"\nall_model_checkpoint_paths: "{names[0]}"\n'
        (tmp_path / "checkpoint").write_text(text)
    return tmp_path


def test_the_usual_name_is_taken_before_the_latest_and_that_before_the_only_one(tmp_path):
    one, two, three, four = (tmp_path / n for n in "abcd")
    for folder in (one, two, three, four):
        folder.mkdir()
    usual = ("model.ckpt-9", "bert_model.ckpt")
    assert find_bundle(named(one, *usual, latest=usual[0]), usual[1]).name == usual[1]
    steps = ("model.ckpt-1000", "model.ckpt-200")
    assert find_bundle(named(two, *steps, latest=f"/far/{steps[1]}"), usual[1]).name == steps[1]
    assert find_bundle(named(three, "model.ckpt-1000"), usual[1]).name == "model.ckpt-1000"
    named(four, *steps, latest="gone")
    with pytest.raises(CheckpointFileError, match=r"found: model\.ckpt-1000\.index, model\.ckpt"):
        find_bundle(four, usual[1])


def test_the_error_for_a_folder_without_an_index_names_the_missing_files(tmp_path):
    with pytest.raises(CheckpointFileError, match=r"should hold bert_model\.ckpt\.index.*none"):
        find_bundle(tmp_path, "bert_model.ckpt")
