"""GTE as its authors publish it: model_type "new", NTK scaling, and heads next to an embedder."""

import json

import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file, save_file

from inarch import (
    Backbone,
    MaskedLM,
    Reranker,
    TextClassifier,
    TextEmbedder,
    TokenClassifier,
)
from inarch.errors import ConfigError
from inarch.models.gte.backbone import GteBackbone
from inarch.models.variables import named_variables
from inarch.text import WordPieceTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "sat", "ran", "on", "mat"]
CODE = "Alibaba-NLP/new-impl--modeling."
# What Alibaba-NLP/gte-multilingual-base has in its config.json, besides the sizes.
PUBLISHED = {
    "auto_map": {"AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig",
        "AutoModel": f"{CODE}NewModel", "AutoModelForMaskedLM": f"{CODE}NewForMaskedLM"},
    "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "initializer_range": 0.02, "layer_norm_eps": 1e-12,
    "layer_norm_type": "layer_norm", "logn_attention_clip1": False, "logn_attention_scale": False,
    "model_type": "new", "pack_qkv": True, "pad_token_id": 1, "position_embedding_type": "rope",
    "rope_scaling": {"factor": 8.0, "type": "ntk"}, "rope_theta": 50, "torch_dtype": "float32",
    "transformers_version": "4.44.2", "unpad_inputs": False,
    "use_memory_efficient_attention": False,
}  # fmt: skip
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "intermediate_size", "max_position_embeddings", "type_vocab_size")  # fmt: skip
# In transformers' format the same positions are another base and a linear scaling.
NTK = {"rope_theta": 50.0, "rope_scaling": {"rope_type": "ntk", "factor": 8.0}}
LINEAR = {"rope_theta": 400.0, "rope_scaling": {"rope_type": "linear", "factor": 8 ** (2 / 4)}}
IDS = np.array([[2, 5, 9, 7, 3], [2, 6, 3, 0, 0]], "int32")
INPUTS = {"token_ids": IDS, "padding_mask": (IDS > 0).astype("int32")}


def make_backbone(**changes):
    """A backbone with weights of order one, so that every part of it shows."""
    sizes = {"max_sequence_length": 14, "num_segments": 1, **LINEAR, **changes}
    model = GteBackbone(len(WORDS), 2, 3, 12, 20, **sizes)
    randomize(model)
    return model


def randomize(model):
    random = np.random.default_rng(0)
    for name, variable in named_variables(model).items():
        value = 0.4 * random.normal(size=tuple(variable.shape))
        variable.assign(1 + value if name.endswith("gamma") else value)


def publish(model, folder, architectures, prefix="new.", **fields):
    """Save a model, and change its files into what the authors' code writes.

    `None` takes a field away.
    """
    model.save_to_preset(folder)
    path = folder / "config.json"
    ours = json.loads(path.read_text())
    config = {name: ours[name] for name in SIZES if name in ours}
    config |= {n: ours[n] for n in ("id2label", "label2id", "num_labels") if n in ours}
    config |= {**PUBLISHED, "architectures": architectures, **fields}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    path = folder / "model.safetensors"
    tensors = {
        (prefix if name.startswith(("gte.", "embeddings", "encoder", "pooler")) else "")
        + name.removeprefix("gte."): array
        for name, array in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})
    WordPieceTokenizer(WORDS).save(folder)
    return tensors


def logits(model, inputs=INPUTS):
    return ops.convert_to_numpy(model(inputs))


def vectors(model, inputs=INPUTS):
    return ops.convert_to_numpy(model(inputs)["sequence_output"])


@pytest.mark.parametrize("prefix", ["", "new."])
@pytest.mark.parametrize("segments", [0, 1, 2])
def test_files_of_the_authors_code_give_the_model_and_stay(segments, prefix, tmp_path):
    model = make_backbone(num_segments=segments)
    tensors = publish(model, tmp_path / "in", ["NewModel"], prefix)
    again = Backbone.from_preset(tmp_path / "in")
    assert again.arguments == {**model.arguments, **NTK}
    inputs = INPUTS | ({"segment_ids": np.zeros_like(IDS)} if segments > 1 else {})
    np.testing.assert_allclose(vectors(again, inputs), vectors(model, inputs), rtol=1e-4, atol=1e-5)
    again.save_to_preset(tmp_path / "out")
    read, written = (tmp_path / f / "config.json" for f in ("in", "out"))
    assert json.loads(written.read_text()) == json.loads(read.read_text())
    back = load_file(tmp_path / "out" / "model.safetensors")
    assert back.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(back[name], array)


def test_a_file_of_which_only_the_type_was_changed_has_the_authors_names(tmp_path):
    """As the pull requests to the published checkpoints have it, for transformers' own class."""
    task = TextClassifier(make_backbone(pooler=True), 3)
    scaling = {"rope_type": "linear", "factor": 8 ** (2 / 4), "rope_theta": 400.0}
    tensors = publish(
        task, tmp_path / "in", ["NewForSequenceClassification"],
        model_type="gte", rope_scaling=None, rope_theta=None, rope_parameters=scaling,
    )  # fmt: skip
    again = TextClassifier.from_preset(tmp_path / "in")
    np.testing.assert_array_equal(logits(again), logits(task))
    again.save_to_preset(tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == tensors.keys()


def test_a_published_reranker_scores_pairs(tmp_path):
    task = TextClassifier(make_backbone(pooler=True), 1)
    publish(task, tmp_path, ["NewForSequenceClassification"], id2label={"0": "LABEL_0"})
    again = Reranker.from_preset(tmp_path)
    np.testing.assert_allclose(logits(again), logits(task), rtol=1e-4, atol=1e-5)
    found = again.rank("cat on mat", ["dog", "cat sat", "mat"])
    assert sorted(answer["index"] for answer in found) == [0, 1, 2]


@pytest.mark.parametrize(
    ("task", "written"), [(MaskedLM, "NewForMaskedLM"), (TokenClassifier, "NewModel")]
)
def test_heads_over_tokens_are_those_of_the_file(task, written, tmp_path):
    """gte-multilingual-base names two classes, and weighs its tokens by the head of the second."""
    arguments = () if task is MaskedLM else (1,)
    model = task(make_backbone(), *arguments)
    names = [written] if task is MaskedLM else [written, "NewForTokenClassification"]
    publish(model, tmp_path, names, id2label={"0": "LABEL_0"})
    again = task.from_preset(tmp_path)
    assert not again.fresh_weights
    np.testing.assert_allclose(logits(again), logits(model), rtol=1e-4, atol=1e-5)


def test_a_published_embedder_takes_the_first_token_and_keeps_the_head(tmp_path):
    model = TokenClassifier(make_backbone(), 1)
    tensors = publish(model, tmp_path / "in", ["NewModel", "NewForTokenClassification"],
        id2label={"0": "LABEL_0"})  # fmt: skip
    kinds = {"0": "Transformer", "1": "Pooling", "2": "Normalize"}
    listed = [
        {"idx": int(n), "name": n, "path": "" if n == "0" else f"{n}_{kind}",
            "type": f"sentence_transformers.models.{kind}"}
        for n, kind in kinds.items()
    ]  # fmt: skip
    (tmp_path / "in/modules.json").write_text(json.dumps(listed))
    (tmp_path / "in/1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 12, "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": False}  # fmt: skip
    (tmp_path / "in/1_Pooling/config.json").write_text(json.dumps(pooling))
    embedder = TextEmbedder.from_preset(tmp_path / "in")
    ids = np.array([[2, 5, 7, 3]], "int32")
    first = vectors(model.backbone, {"token_ids": ids, "padding_mask": np.ones_like(ids)})[0, 0]
    found = embedder.embed(["cat sat"])[0]
    np.testing.assert_allclose(found, first / np.linalg.norm(first), rtol=1e-4, atol=1e-5)
    embedder.save_to_preset(tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == tensors.keys()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layer_norm_type", "rms_norm"),
        ("logn_attention_scale", True),
        ("pack_qkv", False),
        ("position_embedding_type", "absolute"),
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("rope_scaling", {"type": "ntk", "factor": 0.5}),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 50.0}),
        ("head_dim", 6),
        ("num_experts", 8),
    ],
)
def test_what_the_authors_code_computes_otherwise_is_refused_by_name(field, value, tmp_path):
    publish(make_backbone(), tmp_path, ["NewModel"], **{field: value})
    with pytest.raises(ConfigError, match=field):
        Backbone.from_preset(tmp_path)


def test_a_masked_language_model_of_another_activation_is_refused_as_one_alone(tmp_path):
    """The authors' head has the activation of the layers, and transformers' always GELU."""
    publish(MaskedLM(make_backbone(activation="relu")), tmp_path, ["NewForMaskedLM"],
        hidden_act="relu")  # fmt: skip
    assert Backbone.from_preset(tmp_path).arguments["activation"] == "relu"
    with pytest.raises(ConfigError, match="hidden_act"):
        MaskedLM.from_preset(tmp_path)
