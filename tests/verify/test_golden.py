"""Golden files: read whole or refused by name, written at once or not at all."""

import dataclasses
import json
import struct

import numpy as np
import pytest

from inarch.checkpoints.formats import files
from inarch.checkpoints.formats.weights import Shard, TensorInfo
from inarch.errors import CheckpointFileError
from inarch.verify.golden import LIMIT, Golden
from inarch.verify.golden_changes import differences
from inarch.verify.reference import Reference

from .faults import GOLDENS


@pytest.fixture(scope="module")
def raw():
    return GOLDENS[0].read_bytes()


@pytest.fixture(scope="module")
def golden():
    return Golden.read(GOLDENS[0])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bert.safetensors"


def refused(path):
    """Return the error of a file that can't be read."""
    with pytest.raises(CheckpointFileError) as caught:
        Golden.read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def with_metadata(raw, change):
    """The file with other metadata."""
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    change(header["__metadata__"])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + raw[8 + size :]


# --- reading -----------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_named(path):
    refused(path)


def test_a_folder_is_no_golden_file(tmp_path):
    refused(tmp_path)


@pytest.mark.parametrize("share", [0, 0.00001, 0.001, 0.5, 0.99999])
def test_a_truncated_file_is_named(share, raw, path):
    path.write_bytes(raw[: int(share * len(raw))])
    refused(path)


@pytest.mark.parametrize("content", [b"no weights at all" * 99, b"{}", b"\x00" * 64])
def test_a_file_of_another_kind_is_named(content, path):
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format": "inarch golden 0"}])
def test_weights_that_are_no_golden_file_are_told_from_it(metadata, path):
    shard = Shard(path.name, {"a": TensorInfo("F32", (2,))}, metadata)
    files.write_safetensors(path, shard, lambda name: np.zeros(2, "float32"))
    assert "inarch verify --golden" in refused(path)


def lose(key):
    return lambda metadata: metadata.pop(key)


def put(key, value):
    return lambda metadata: metadata.update({key: value})


def change_run(change):
    def changing(metadata):
        runs = json.loads(metadata["runs"])
        change(runs)
        metadata["runs"] = json.dumps(runs)

    return changing


PARTS = ("config", "defaults", "runs", "about", "reads", "covering")
DAMAGE = {
    **{f"no {key}": lose(key) for key in PARTS},
    **{f"half of {key}": put(key, '{"a": ') for key in PARTS},
    **{f"{key} a list": put(key, "[1]") for key in PARTS},
    "a run a list": put("runs", '{"": []}'),
    "no run of the backbone": change_run(lambda runs: runs.pop("")),
    "no tensors": change_run(lambda runs: runs[""].pop("taps")),
    "half a tap": change_run(lambda runs: runs[""]["taps"][0].pop()),
    "a value that isn't there": change_run(
        lambda runs: runs[""]["taps"][0].__setitem__(4, "values/none")
    ),
    "an input that isn't there": change_run(lambda runs: runs[""]["inputs"].append("sound")),
    "noise in words": change_run(lambda runs: runs[""]["taps"][0].__setitem__(5, "little")),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_metadata_is_named(change, raw, path):
    path.write_bytes(with_metadata(raw, change))
    assert "damaged" in refused(path)


def test_the_way_of_damaging_does_no_damage_of_its_own(raw, path, golden):
    path.write_bytes(with_metadata(raw, lambda metadata: None))
    assert differences(golden, Golden.read(path)) == []


# --- writing -----------------------------------------------------------------------------------


def test_what_is_written_is_what_is_read(golden, path):
    golden.write(path)
    again = Golden.read(path)
    assert differences(golden, again) == []
    assert again.config_text == golden.config_text
    for head, run in golden.runs.items():
        assert [dataclasses.replace(p, value=None) for p in run.tensors] == [
            dataclasses.replace(p, value=None) for p in again.runs[head].tensors
        ]


def test_a_file_too_large_to_be_kept_is_refused_and_the_old_one_stays(golden, path):
    golden.write(path)
    before = path.read_bytes()
    noise = np.random.default_rng(0).standard_normal(LIMIT // 4).astype("float32")
    large = dataclasses.replace(golden, weights={**golden.weights, "large": noise})
    with pytest.raises(CheckpointFileError, match=f"{LIMIT:,} allowed") as caught:
        large.write(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, CheckpointFileError])
def test_writing_that_is_cut_off_leaves_the_old_file_alone(error, golden, path, monkeypatch):
    golden.write(path)
    before = path.read_bytes()
    whole = files.write_safetensors

    def cut_off(fresh, shard, values):
        assert fresh != path
        whole(fresh, shard, values)
        raise error

    monkeypatch.setattr(files, "write_safetensors", cut_off)
    with pytest.raises(error):
        dataclasses.replace(golden, about={}).write(path)
    assert path.read_bytes() == before
    assert [*path.parent.iterdir()] == [path]


def test_the_folder_is_made(golden, tmp_path):
    path = tmp_path / "new" / "folder" / "bert.safetensors"
    golden.write(path)
    assert [*path.parent.iterdir()] == [path]


def test_a_place_that_cannot_be_written_is_named(golden, tmp_path):
    (tmp_path / "file").write_text("in the way", "utf-8")
    for path in (tmp_path / "file" / "bert.safetensors", tmp_path / "folder.safetensors"):
        if path.parent == tmp_path:
            path.mkdir()
        with pytest.raises(CheckpointFileError) as caught:
            golden.write(path)
        assert str(path) in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.safetensors"]


# --- differences -------------------------------------------------------------------------------


def changed(golden, **fields):
    return differences(golden, dataclasses.replace(golden, **fields))


def without(mapping, name):
    return {key: value for key, value in mapping.items() if key != name}


def test_nothing_changes_in_a_file_against_itself(golden):
    assert differences(golden, golden) == []


def test_changed_weights_are_told_with_the_size_of_the_change(golden):
    name, *_, other = golden.weights
    assert changed(golden, weights={**golden.weights, name: golden.weights[name] + 0.5}) == [
        f"weight {name} changes by up to 5.0e-01"
    ]
    assert changed(golden, weights=without(golden.weights, other)) == [f"weight {other} is removed"]
    assert changed(golden, weights={**golden.weights, "new": np.zeros(2)}) == [
        "weight new is added"
    ]
    shape = golden.weights[name].shape
    assert changed(golden, weights={**golden.weights, name: np.zeros((2, 2))}) == [
        f"weight {name}: shape {shape} becomes (2, 2)"
    ]


def test_rounding_of_values_is_no_change(golden):
    def plus(difference):
        run = golden.runs[""]
        tensors = tuple(dataclasses.replace(p, value=p.value + difference) for p in run.tensors)
        return changed(golden, runs={**golden.runs, "": dataclasses.replace(run, tensors=tensors)})

    assert plus(1e-14) == []
    lines = plus(1e-6)
    assert len(lines) == len(golden.runs[""].tensors)
    assert "value backbone layer_0 0 output changes by up to 1.0e-06" in lines


def test_changed_inputs_are_told(golden):
    def ids(run, difference):
        inputs = {**run.inputs, "token_ids": run.inputs["token_ids"] + difference}
        return dataclasses.replace(run, inputs=inputs)

    for head, called in (("", "backbone"), ("masked_lm", "masked_lm")):
        runs = {**golden.runs, head: ids(golden.runs[head], 2)}
        assert changed(golden, runs=runs) == [f"{called} input token_ids changes by up to 2.0e+00"]


def test_a_run_that_comes_or_goes_is_told(golden):
    new = {**golden.runs, "tagger": Reference({}, ())}
    assert changed(golden, runs=new) == ["tagger: added"]
    assert changed(golden, runs=without(golden.runs, "masked_lm")) == ["masked_lm: removed"]


def test_changed_defaults_and_versions_are_told(golden):
    assert changed(golden, defaults={**golden.defaults, "layer_norm_eps": 1e-5}) == [
        "the reference's default of layer_norm_eps: 1e-12 becomes 1e-05"
    ]
    assert changed(golden, defaults={**golden.defaults, "new": True}) == [
        "the reference's default of new: 'absent' becomes True"
    ]
    assert changed(golden, defaults={**golden.defaults, "transformers_version": "9"}) == []
    (line,) = changed(golden, about={**golden.about, "torch": "9.9"})
    assert line.startswith("torch: ")
    assert line.endswith(" becomes 9.9")
    assert changed(golden, config_text="{}") == ["the config changes"]
