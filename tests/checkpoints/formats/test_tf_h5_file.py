"""`tf_model.h5` is read as the PyTorch class's tensors, and anything else in it is an error."""

import h5py
import numpy as np
import pytest

from inarch.checkpoints.formats.files import open_weights
from inarch.checkpoints.formats.tf_h5_file import torch_name
from inarch.errors import CheckpointFileError

# Names in published files, and those of the same models' PyTorch files.
NAMES = {
    "tf_bert_model/bert/encoder/layer_._10/attention/self/query/kernel:0":
        "bert.encoder.layer.10.attention.self.query.weight",
    "tf_bert_for_pre_training/bert/embeddings/word_embeddings/weight:0":
        "bert.embeddings.word_embeddings.weight",
    "tf_bert_for_pre_training/bert/embeddings/position_embeddings/embeddings:0":
        "bert.embeddings.position_embeddings.weight",
    "tf_bert_for_pre_training/bert/embeddings/LayerNorm/gamma:0":
        "bert.embeddings.LayerNorm.weight",
    "tf_bert_for_pre_training/mlm___cls/predictions/transform/LayerNorm/beta:0":
        "cls.predictions.transform.LayerNorm.bias",
    "tf_bert_for_pre_training/mlm___cls/predictions/bias:0": "cls.predictions.bias",
    "tf_bert_for_pre_training/nsp___cls/seq_relationship/kernel:0": "cls.seq_relationship.weight",
    "tf_distil_bert_model/distilbert/transformer/layer_._0/attention/q_lin/bias:0":
        "distilbert.transformer.layer.0.attention.q_lin.bias",
    "tf_deberta_v2_model/deberta/encoder/rel_embeddings.weight:0":
        "deberta.encoder.rel_embeddings.weight",
    "tf_roberta_for_masked_lm/lm_head/layer_norm/gamma:0": "lm_head.layer_norm.weight",
    "tf_whisper_model/model/encoder/layers.0/self_attn/q_proj/kernel:0":
        "model.encoder.layers.0.self_attn.q_proj.weight",
}  # fmt: skip
BERT = "tf_bert_model/bert/"
ARRAYS = {
    f"{BERT}embeddings/word_embeddings/weight:0": (5, 4),
    f"{BERT}encoder/layer_._0/intermediate/dense/kernel:0": (4, 6),
    f"{BERT}encoder/layer_._0/intermediate/dense/bias:0": (6,),
    f"{BERT}conv/kernel:0": (3, 2, 5),
}


def write(folder, arrays=ARRAYS, layers=("bert",), split=1, **options):
    """A file as Keras 2 writes it; a long list of names is cut into `split` attributes."""
    with h5py.File(folder / "tf_model.h5", "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in (*layers, "dropout_37")]
        file.create_group("dropout_37").attrs["weight_names"] = []
        for layer in layers:
            group = file.create_group(layer)
            names = [name.encode() for name in arrays]
            if split == 1:
                group.attrs["weight_names"] = names
            else:
                for number in range(split):
                    group.attrs[f"weight_names{number}"] = names[number::split]
            for number, (name, shape) in enumerate(arrays.items()):
                data = np.random.default_rng(number).normal(size=shape).astype("float32")
                group.create_dataset(name, data=data, **options)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_names_are_those_of_the_pytorch_class(name):
    assert torch_name(name) == NAMES[name]


@pytest.mark.parametrize("split", [1, 2])
def test_tensors_are_read_with_kernels_transposed(split, tmp_path):
    with open_weights(write(tmp_path, split=split)) as weights:
        assert weights.header.keys() == {torch_name(name) for name in ARRAYS}
        with h5py.File(tmp_path / "tf_model.h5") as file:
            for name in ARRAYS:
                stored = file["bert"][name][()]
                found = weights.read(torch_name(name))
                assert found.shape == weights.header[torch_name(name)].shape
                np.testing.assert_array_equal(found, stored.T if "kernel" in name else stored)


def refused(folder, message):
    with pytest.raises(CheckpointFileError, match=message):
        open_weights(folder)


def test_numbers_that_are_not_stored_plainly_are_refused(tmp_path):
    big = {f"{BERT}a/kernel:0": (64, 64)}
    refused(write(tmp_path, big, compression="gzip"), "as they are")


def test_links_are_refused(tmp_path):
    write(tmp_path)
    with h5py.File(tmp_path / "tf_model.h5", "a") as file:
        name = next(iter(ARRAYS))
        del file["bert"][name]
        file["bert"][name] = h5py.ExternalLink("other.h5", "/data")
    refused(tmp_path, "isn't in the file")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "tf_model.h5"
    write(tmp_path)
    whole = path.read_bytes()
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros(3)
    refused(tmp_path, "no attribute 'layer_names'")
    for data in (b"", b"no hdf5", whole[: len(whole) // 3]):
        path.write_bytes(data)
        refused(tmp_path, "can't be read as HDF5")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flax_model.msgpack", "flax_model.msgpack .Flax"),
        ("rust_model.ot", "rust_model.ot"),
        ("model.onnx", "model.onnx .ONNX"),
        ("onnx/model.onnx", "onnx/model.onnx .ONNX"),
        ("mine.Q4_K_M.gguf", "mine.Q4_K_M.gguf .GGUF"),
        ("adapter_model.safetensors", "adapter"),
        ("model.fp16.safetensors", r"model.fp16.safetensors .*: rename it to model.safetensors"),
        ("tf_model.h5.index.json", "tf_model.h5.index.json"),
    ],
)
def test_files_of_another_format_are_named_with_the_way_on(name, message, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    refused(tmp_path, rf"(?s)holds no weights.*found {message}")
