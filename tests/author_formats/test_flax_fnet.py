"""FNet's Flax checkpoints give what Hugging Face's folders give, to the byte."""

import json
import re

import numpy as np
import pytest

from inarch import workflows
from inarch.checkpoints.formats.files import open_weights, write_safetensors
from inarch.checkpoints.formats.weights import Shard, TensorInfo
from inarch.errors import CheckpointFileError, ConfigError, WeightMapError
from inarch.models.backbone import Backbone
from inarch.models.f_net.backbone import FNetBackbone
from inarch.models.loading import Checkpoint
from inarch.models.variables import named_variables, to_numpy
from inarch.tasks import MaskedLM, TextClassifier

from .commands import PROVING, refusal
from .writers import nested, pack

SIZES = {
    "vocabulary_size": 31, "num_layers": 2, "hidden_dim": 8, "intermediate_dim": 12,
    "max_sequence_length": 16,
}  # fmt: skip
TRANSFORM = "cls.predictions.transform"
PRETRAINING = {
    f"{TRANSFORM}.dense.weight": (8, 8), f"{TRANSFORM}.dense.bias": (8,),
    f"{TRANSFORM}.LayerNorm.weight": (8,), f"{TRANSFORM}.LayerNorm.bias": (8,),
    "cls.predictions.bias": (31,), "cls.seq_relationship.weight": (2, 8),
    "cls.seq_relationship.bias": (2,),
}  # fmt: skip
CLASSIFIER = {"classifier.weight": (3, 8), "classifier.bias": (3,)}
# A tensor of Hugging Face's as the Flax code names it.
RENAMED = [
    (r"^fnet\.embeddings\.word_embeddings\.weight", "encoder/embedder/word/embedding"),
    (r"^fnet\.embeddings\.position_embeddings\.weight", "encoder/embedder/position/embedding"),
    (r"^fnet\.embeddings\.token_type_embeddings\.weight", "encoder/embedder/type/embedding"),
    (r"^fnet\.embeddings\.LayerNorm", "encoder/embedder/layer_norm"),
    (r"^fnet\.embeddings\.projection", "encoder/embedder/hidden_mapping_in"),
    (r"^fnet\.encoder\.layer\.(\d+)", r"layer_\1"),
    (r"^layer_(\d+)\.fourier\.output\.LayerNorm", r"encoder/encoder_\1/mixing_layer_norm"),
    (r"^layer_(\d+)\.output\.LayerNorm", r"encoder/encoder_\1/output_layer_norm"),
    (r"^layer_(\d+)\.(\w+)\.dense", r"encoder/feed_forward_\1/\2"),
    (r"^fnet\.pooler\.dense", "encoder/pooler"),
    (r"^cls\.predictions\.transform\.dense", "predictions_dense"),
    (r"^cls\.predictions\.transform\.LayerNorm", "predictions_layer_norm"),
    (r"^cls\.predictions\.bias", "predictions_output/output_bias"),
    (r"^(cls\.seq_relationship|classifier)\.weight", "classification/output_kernel"),
    (r"^(cls\.seq_relationship|classifier)\.bias", "classification/output_bias"),
]  # fmt: skip


def flax(name, array):
    for pattern, theirs in RENAMED:
        name = re.sub(pattern, theirs, name)
    if name.endswith("position/embedding"):
        array = array[None]
    if name.endswith(".weight"):
        norm = array.ndim == 1
        name = name.removesuffix(".weight") + ("/scale" if norm else "/kernel")
        array = np.ascontiguousarray(array.T)
    return name.replace(".bias", "/bias"), array


@pytest.fixture(scope="module", params=["pretraining", "classifier"])
def folders(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("fnet")
    theirs, ours = root / "flax", root / "hugging_face"
    FNetBackbone(**SIZES).save_to_preset(ours)
    random = np.random.default_rng(0)
    with open_weights(ours) as weights:
        shapes = {f"fnet.{name}": info.shape for name, info in weights.header.items()}
    shapes |= PRETRAINING if request.param == "pretraining" else CLASSIFIER
    arrays = {n: random.normal(size=shape).astype("float32") for n, shape in shapes.items()}
    infos = {n: TensorInfo("F32", a.shape) for n, a in sorted(arrays.items())}
    shard = Shard("model.safetensors", infos, {"format": "pt"})
    write_safetensors(ours / "model.safetensors", shard, arrays.__getitem__)
    config = json.loads((ours / "config.json").read_text())
    kinds = {"pretraining": "FNetForPreTraining", "classifier": "FNetForSequenceClassification"}
    config["architectures"] = [kinds[request.param]]
    if request.param == "classifier":
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(3)}
    (ours / "config.json").write_text(json.dumps(config))
    theirs.mkdir()
    target = dict(flax(n, a) for n, a in arrays.items())
    slots = {f"{n}/{kind}": a for n, a in target.items() for kind in ("grad_ema", "grad_sq_ema")}
    state = {"step": np.array(7), "param_states": nested(slots)}
    content = pack({"target": nested(target), "state": state})
    (theirs / "f_net_checkpoint").write_bytes(content)
    return theirs, ours


def values(model):
    return {n: to_numpy(v).tobytes() for n, v in named_variables(model).items()}


def stored(folder):
    with open_weights(folder) as weights:
        return {n: (i, weights.read(n).tobytes()) for n, i in weights.header.items()}


def test_both_folders_give_the_same_variables_and_saves(folders, tmp_path):
    with Checkpoint(folders[0]) as checkpoint:
        task = workflows.headed_task(checkpoint)
        proof = workflows.prove(checkpoint)
        assert len(checkpoint.author_checkpoint.weights.header) == proof.tensors + len(
            proof.passthrough
        )
    assert task in (MaskedLM, TextClassifier)
    loaders = [Backbone.from_preset, lambda f: task.from_preset(f, preprocessor=None)]
    for i, load in enumerate(loaders):
        one, two = (load(folder) for folder in folders)
        assert values(one) == values(two)
        assert not one.fresh_weights
        one.save_to_preset(tmp_path / str(i))
        assert stored(tmp_path / str(i)) == stored(folders[1])


def test_a_checkpoint_of_another_name_is_not_taken_for_an_fnet(folders, tmp_path):
    (tmp_path / "random_checkpoint").write_bytes((folders[0] / "f_net_checkpoint").read_bytes())
    with pytest.raises(CheckpointFileError, match="f_net_checkpoint"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("tree", "kind", "message"),
    [
        ({"step": np.array(1)}, ConfigError, "has no table target/encoder/embedder"),
        (
            {"target": {"encoder": {"self_attention_0": {"bias": np.zeros(2, "float32")}}}},
            WeightMapError,
            "unknown in the file: target/encoder/self_attention_0/bias",
        ),
    ],
)
def test_another_tree_is_refused(tree, kind, message, folders, tmp_path):
    path = tmp_path / "f_net_checkpoint"
    path.write_bytes(pack(tree))
    if kind is WeightMapError:
        with open_flax_tree(folders[0]) as weights:
            arrays = {n: weights.read(n) for n in weights.header if n.startswith("target")}
        extra = {"target/encoder/self_attention_0/bias": np.zeros(2, "float32")}
        path.write_bytes(pack(nested(arrays | extra)))
    with pytest.raises(kind, match=message):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("leaf", [True, 3, "hartley", None])
def test_what_is_no_array_is_named_and_refused_but_in_the_optimizers_state(leaf, folders, tmp_path):
    path = tmp_path / "f_net_checkpoint"
    with open_flax_tree(folders[0]) as weights:
        arrays = {n: weights.read(n) for n in weights.header if n.startswith("target")}
    state = {"step": 7, "kind": "adam", "rates": [0.1]}
    path.write_bytes(pack(nested(arrays) | {"state": state}))
    with Checkpoint(tmp_path) as checkpoint:
        carried = workflows.prove(checkpoint).passthrough
    assert {n for n, why in carried.items() if "optimizer" in why} == {
        "state/step", "state/kind", "state/rates/0"
    }  # fmt: skip
    path.write_bytes(pack(nested(arrays | {"target/encoder/mixing": leaf})))
    with pytest.raises(WeightMapError, match="unknown in the file: target/encoder/mixing"):
        Checkpoint(tmp_path)


def open_flax_tree(folder):
    from inarch.checkpoints.formats.flax_file import open_flax

    return open_flax(folder / "f_net_checkpoint")


@pytest.mark.parametrize(
    ("share", "more", "message"),
    [
        (0, b"", "f_net_checkpoint is empty"),
        (0.5, b"", "f_net_checkpoint isn't whole MessagePack: at byte"),
        (0.99, b"", "bytes too soon"),
        (1, b"x", "has 1 bytes after its end"),
        (0, b"<html>Not found</html>", "f_net_checkpoint isn't whole MessagePack"),
        (0, b"\x90", "f_net_checkpoint holds a list, not a tree of arrays"),
        (0, b"\x80", "has no table target/encoder/embedder/word/embedding"),
    ],
)
def test_every_command_reports_an_error_in_one_line(share, more, message, folders, tmp_path):
    content = (folders[0] / "f_net_checkpoint").read_bytes()
    path = tmp_path / "f_net_checkpoint"
    path.write_bytes(content[: int(share * len(content))] + more)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("encoder/feed_forward_1/output/bias", (9,), "feed_forward_1/output/bias (9,) for"),
        ("encoder/embedder/type/embedding", (4, 7), "embedder/type/embedding (4, 7) for"),
        ("encoder/embedder/word/embedding", (31, 9), "embeddings narrower or wider"),
        ("encoder/pooler/bias", (8, 1), "target/encoder/pooler/bias can't be read"),
        ("encoder/encoder_7/mixing_layer_norm/scale", (8,), "encoder_2/mixing_layer_norm/bias"),
        ("adapter", (2,), "unknown in the file: target/adapter"),
        ("encoder/pooler/kernel", None, "missing from the file: target/encoder/pooler/kernel"),
        ("classification/output_bias", None, "the file: target/classification/output_bias"),
    ],
)
def test_what_does_not_fit_is_reported_in_flaxs_names(name, shape, message, folders, tmp_path):
    with open_flax_tree(folders[0]) as weights:
        arrays = {n: weights.read(n) for n in weights.header if n.startswith("target")}
    arrays |= {f"target/{name}": np.zeros(shape or (), "float32")}
    if shape is None:
        del arrays[f"target/{name}"]
    (tmp_path / "f_net_checkpoint").write_bytes(pack(nested(arrays)))
    assert message in refusal(tmp_path, PROVING)
