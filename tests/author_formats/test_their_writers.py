"""Readers on files that the authors' libraries write themselves."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from inarch.checkpoints.formats.flax_file import open_flax
from inarch.checkpoints.formats.tensor_bundle import open_bundle

from .writers import arrays, nested, pack, write_bundle

pytestmark = pytest.mark.reference


def check(weights, expected):
    with weights:
        # Flax's other entries than arrays are named too, for the map to decide on each.
        arrays = {n for n in weights.header if n not in ("state/name", "state/rate")}
        assert arrays == expected.keys()
        for name, array in expected.items():
            found = weights.read(name)
            assert (found.dtype, found.shape) == (array.dtype, array.shape), name
            assert found.tobytes() == array.tobytes(), name


def many():
    """Names of a whole BERT, so that the index has several blocks."""
    names = [
        f"bert/encoder/layer_{i}/attention/self/{part}/kernel{slot}"
        for i in range(24)
        for part in ("query", "key", "value")
        for slot in ("", "/adam_m", "/adam_v")
    ]
    random = np.random.default_rng(0)
    made = {name: random.normal(size=(4, 3)).astype("float32") for name in names}
    kinds = ("float64", "float16", "int64", "int32", "uint8", "bool", ml_dtypes.bfloat16)
    made |= {f"kind/{np.dtype(k).name}": np.ones((2, 3), k) for k in kinds}
    return made | {"global_step": np.array(7)} | arrays()


def test_a_saver_in_a_graph_writes_what_is_read(tmp_path):
    tf = pytest.importorskip("tensorflow")
    expected = many()
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        made = [v1.get_variable(n, initializer=tf.constant(a)) for n, a in expected.items()]
        session.run(v1.global_variables_initializer())
        v1.train.Saver(made).save(session, str(tmp_path / "bert_model.ckpt"))
    assert (tmp_path / "bert_model.ckpt.meta").is_file()
    check(open_bundle(tmp_path / "bert_model.ckpt"), expected)


def test_the_bare_operation_writes_what_is_read(tmp_path):
    tf = pytest.importorskip("tensorflow")
    expected = many()
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "x"),
        tensor_names=list(expected),
        shape_and_slices=[""] * len(expected),
        tensors=[tf.constant(a) for a in expected.values()],
    )
    check(open_bundle(tmp_path / "x"), expected)


def test_shards_merged_by_tensorflow_are_read(tmp_path):
    tf = pytest.importorskip("tensorflow")
    halves = {}
    for i, (name, array) in enumerate(many().items()):
        halves.setdefault(i % 2, {})[name] = array
    prefixes = [str(tmp_path / f"part_{i}") for i in halves]
    for prefix, half in zip(prefixes, halves.values()):
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=list(half),
            shape_and_slices=[""] * len(half),
            tensors=[tf.constant(a) for a in half.values()],
        )
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=prefixes, destination_prefix=str(tmp_path / "whole")
    )
    assert len(list(tmp_path.glob("whole.data-*-of-00002"))) == 2
    check(open_bundle(tmp_path / "whole"), many())


def test_the_small_writer_of_these_tests_is_read_by_tensorflow(tmp_path):
    """Hold the tests without TensorFlow to its format, and not to our own."""
    tf = pytest.importorskip("tensorflow")
    write_bundle(tmp_path / "x", arrays(), shards=2)
    reader = tf.train.load_checkpoint(str(tmp_path / "x"))
    for name, array in arrays().items():
        assert reader.get_tensor(name).tobytes() == array.tobytes()


def tree():
    return {
        "target": {"encoder": {"word": {"embedding": arrays()["half"]}}, "bias": np.ones(3)},
        "state": {"step": np.int32(7), "rate": 0.5, "name": "adam", "moments": {"0": np.ones(2)}},
    }


LEAVES = {
    "target/encoder/word/embedding": arrays()["half"],
    "target/bias": np.ones(3),
    "state/step": np.array(7, "int32"),
    "state/moments/0": np.ones(2),
}


def test_flaxs_bytes_are_read(tmp_path):
    serialization = pytest.importorskip("flax.serialization")
    (tmp_path / "x").write_bytes(serialization.msgpack_serialize(tree()))
    check(open_flax(tmp_path / "x"), LEAVES)


def test_flaxs_checkpoint_is_read(tmp_path):
    checkpoints = pytest.importorskip("flax.training.checkpoints")
    from flax import config

    with config.temp_flip_flag("use_orbax_checkpointing", False):  # the format of until 2023
        path = checkpoints.save_checkpoint(str(tmp_path), tree(), 3)
    check(open_flax(Path(path)), LEAVES)


def test_an_array_that_flax_cuts_in_pieces_is_read(tmp_path, monkeypatch):
    serialization = pytest.importorskip("flax.serialization")
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 40)
    array = np.arange(70, dtype="float32").reshape(7, 10)
    (tmp_path / "x").write_bytes(serialization.msgpack_serialize({"a": {"b": array}}))
    assert b"__msgpack_chunked_array__" in (tmp_path / "x").read_bytes()
    check(open_flax(tmp_path / "x"), {"a/b": array})


def test_the_small_writer_of_these_tests_is_read_by_flax():
    serialization = pytest.importorskip("flax.serialization")
    made = nested({n: a for n, a in arrays().items() if n != "scalar"})
    restored = serialization.msgpack_restore(pack(made))
    assert restored["half"].tobytes() == arrays()["half"].tobytes()
    np.testing.assert_array_equal(
        restored["layer_3"]["attention"]["kernel"], arrays()["layer_3/attention/kernel"]
    )
