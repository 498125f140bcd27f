"""fairseq's RoBERTa folders give what Hugging Face's give, to the byte, and run no code."""

import argparse
import json
import os
import re
import shutil

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import pytest

from inarch import workflows
from inarch.checkpoints.formats.files import open_weights, write_safetensors
from inarch.checkpoints.formats.weights import Shard, TensorInfo
from inarch.errors import (
    CheckpointError,
    CheckpointFileError,
    ConfigError,
    WeightMapError,
)
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.models.roberta.backbone import RobertaBackbone
from inarch.models.variables import named_variables, to_numpy
from inarch.tasks import MaskedLM, TextClassifier

from .commands import PROVING, refusal

torch = pytest.importorskip("torch", reason="needs torch: make test-all")
pytestmark = pytest.mark.reference

SIZES = {
    "vocabulary_size": 31, "num_layers": 2, "num_heads": 2, "hidden_dim": 8,
    "intermediate_dim": 12, "max_sequence_length": 16, "num_segments": 1,
    "layer_norm_epsilon": 1e-5,
}  # fmt: skip
ARGS = {
    "arch": "roberta_base", "encoder_layers": 2, "encoder_embed_dim": 8,
    "encoder_ffn_embed_dim": 12, "encoder_attention_heads": 2, "max_positions": 16,
    "tokens_per_sample": 16, "dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.0,
    "activation_fn": "gelu", "pooler_activation_fn": "tanh", "untie_weights_roberta": False,
    "lr": [0.0005], "data": "/data", "task": "masked_lm", "criterion": "masked_lm",
}  # fmt: skip
HEADS = {
    "lm_head.dense.weight": (8, 8), "lm_head.dense.bias": (8,), "lm_head.layer_norm.weight": (8,),
    "lm_head.layer_norm.bias": (8,), "lm_head.bias": (31,),
}  # fmt: skip
CLASSIFIER = {
    "classifier.dense.weight": (8, 8), "classifier.dense.bias": (8,),
    "classifier.out_proj.weight": (3, 8), "classifier.out_proj.bias": (3,),
}  # fmt: skip
WORDS = "roberta.embeddings.word_embeddings.weight"
# A tensor of Hugging Face's as fairseq names it, below `sentence_encoder`.
RENAMED = [
    (r"embeddings\.word_embeddings", "embed_tokens"),
    (r"embeddings\.position_embeddings", "embed_positions"),
    (r"embeddings\.LayerNorm", "layernorm_embedding"),
    (r"encoder\.layer", "layers"),
    (r"attention\.output\.dense", "self_attn.out_proj"),
    (r"attention\.output\.LayerNorm", "self_attn_layer_norm"),
    (r"intermediate\.dense", "fc1"),
    (r"output\.dense", "fc2"),
    (r"output\.LayerNorm", "final_layer_norm"),
    (r"attention\.self\.query", "self_attn.q_proj"),
    (r"attention\.self\.key", "self_attn.k_proj"),
    (r"attention\.self\.value", "self_attn.v_proj"),
]


def hugging_face(folder, heads, tie=True):
    """A folder with random weights; the arrays by name."""
    RobertaBackbone(**SIZES).save_to_preset(folder)
    random = np.random.default_rng(0)
    with open_weights(folder) as weights:
        shapes = {f"roberta.{name}": info.shape for name, info in weights.header.items()}
    arrays = {n: random.normal(size=s).astype("float32") for n, s in (shapes | heads).items()}
    arrays["roberta.embeddings.token_type_embeddings.weight"] = np.zeros((1, 8), "float32")
    if "lm_head.bias" in heads and tie:
        arrays["lm_head.decoder.weight"] = arrays[WORDS]
    config = json.loads((folder / "config.json").read_text())
    if heads and not tie:
        arrays["lm_head.decoder.weight"] = random.normal(size=(31, 8)).astype("float32")
        arrays["lm_head.decoder.bias"] = arrays["lm_head.bias"]
        config["tie_word_embeddings"] = False
    classes = ["RobertaForSequenceClassification"] if "classifier.dense.bias" in heads else []
    classes += ["RobertaForMaskedLM"] if "lm_head.bias" in heads else []
    config["architectures"] = classes or ["RobertaModel"]
    if "classifier.dense.bias" in heads:
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(3)}
    (folder / "config.json").write_text(json.dumps(config))
    rewrite(folder, arrays)
    return arrays


def rewrite(folder, arrays):
    infos = {n: TensorInfo("F32", a.shape) for n, a in sorted(arrays.items())}
    shard = Shard("model.safetensors", infos, {"format": "pt"})
    write_safetensors(folder / "model.safetensors", shard, arrays.__getitem__)


def fairseq_names(arrays, classifier="mnli"):
    """Return tensors by the names of fairseq's newest code."""
    found = {}
    for name, array in arrays.items():
        new = name.removeprefix("roberta.")
        if "token_type" in name or name == "lm_head.decoder.bias":
            continue
        if new.startswith("classifier."):
            new = f"classification_heads.{classifier}{new.removeprefix('classifier')}"
        elif new.startswith("lm_head"):
            new = "encoder." + new.replace("decoder.", "")
        else:
            for pattern, theirs in RENAMED:
                new = re.sub(pattern, theirs, new, count=1)
            new = f"encoder.sentence_encoder.{new}"
        found[new] = array
    return found


def newest(tensors):
    return tensors | {"encoder.sentence_encoder.version": np.array([3], "float32")}


def oldest(tensors):
    """The names of 2019, with query, key and value in one."""
    found = {}
    for name, array in tensors.items():
        old = name.replace("encoder.", "decoder.", 1).replace(
            ".layernorm_embedding", ".emb_layer_norm"
        )
        if "q_proj." in name:
            parts = [tensors[name.replace("q_proj.", f"{x}_proj.")] for x in "qkv"]
            found[old.replace("q_proj.", "in_proj_")] = np.concatenate(parts)
        elif not re.search(r"[kv]_proj\.", name):
            found[old] = array
    return found


def write(folder, tensors, zipped=True, config_style="args", tokens=26, **changes):
    folder.mkdir(exist_ok=True)
    args = argparse.Namespace(**ARGS | changes)
    entries = {"args": args}
    if config_style == "cfg":
        task = {"tokens_per_sample": 16, "_name": "masked_lm"}
        entries = {"args": None, "cfg": {"model": vars(args), "task": task, "optimizer": {}}}
    elif config_style == "mixed":
        entries = {"args": None, "cfg": {"model": args, "task": {"_name": "masked_lm"}}}
    state = {n: torch.from_numpy(np.ascontiguousarray(a)) for n, a in tensors.items()}
    extra = {"extra_state": {"epoch": 3}, "optimizer_history": [{"lr": 0.1}]}
    path = folder / "model.pt"
    torch.save(entries | {"model": state} | extra, path, _use_new_zipfile_serialization=zipped)
    lines = "".join(f"{i} {100 - i}\n" for i in range(tokens))
    (folder / "dict.txt").write_text(lines)
    return folder


KINDS = {
    "newest": (newest, {"config_style": "cfg"}),
    "2021": (newest, {"config_style": "mixed"}),
    "2019": (oldest, {}),
    "2019, before torch 1.6": (oldest, {"zipped": False}),
}


def values(model):
    return {n: to_numpy(v).tobytes() for n, v in named_variables(model).items()}


def stored(folder):
    with open_weights(folder) as weights:
        return {n: (i, weights.read(n).tobytes()) for n, i in weights.header.items()}


@pytest.mark.parametrize("heads", ["none", "lm", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_both_folders_give_the_same_variables_and_saves(kind, heads, tmp_path):
    spell, options = KINDS[kind]
    held = {"none": {}, "lm": HEADS, "both": HEADS | CLASSIFIER}[heads]
    arrays = hugging_face(tmp_path / "ours", held)
    theirs = write(tmp_path / "theirs", spell(fairseq_names(arrays)), **options)
    loaders = [Backbone.from_preset]
    if heads != "none":
        loaders.append(lambda f: MaskedLM.from_preset(f, preprocessor=None))
    if heads == "both":
        loaders.append(lambda f: TextClassifier.from_preset(f, preprocessor=None))
    # Hugging Face writes the tied copy of the embeddings no more, nor a prefix without a head.
    expected = {n: v for n, v in stored(tmp_path / "ours").items() if n != "lm_head.decoder.weight"}
    if heads == "none":
        expected = {n.removeprefix("roberta."): v for n, v in expected.items()}
    for i, load in enumerate(loaders):
        one, two = load(theirs), load(tmp_path / "ours")
        assert values(one) == values(two)
        assert not one.fresh_weights
        one.save_to_preset(tmp_path / str(i))
        assert stored(tmp_path / str(i)) == expected
    tokens = np.random.default_rng(1).integers(4, 31, (2, 7)).astype("int32")
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    outputs = [model.predict(inputs, verbose=0) for model in (one, two)]
    if heads == "none":
        outputs = [output["sequence_output"] for output in outputs]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_is_proven_on_the_names_that_are_there(kind, tmp_path):
    spell, options = KINDS[kind]
    arrays = hugging_face(tmp_path / "ours", HEADS)
    folder = write(tmp_path / "theirs", spell(fairseq_names(arrays)), **options)
    with Checkpoint(folder) as checkpoint:
        proof = workflows.prove(checkpoint)
        names = checkpoint.author_checkpoint.weights.header
        passthrough = {"extra_state", "optimizer_history"}
        assert passthrough <= proof.passthrough.keys()
        carried = len(proof.passthrough) - len(passthrough)
        assert len(names) == proof.tensors + len(proof.tied) + carried
        assert proof.tied == (next(n for n in names if n.endswith("lm_head.weight")),)
    done = workflows.export(folder, tmp_path / "out")
    assert done.comparison.same


def test_untied_output_embeddings_are_of_their_own(tmp_path):
    arrays = hugging_face(tmp_path / "ours", HEADS, tie=False)
    tensors = newest(fairseq_names(arrays))
    folder = write(tmp_path / "theirs", tensors, untie_weights_roberta=True)
    one, two = (MaskedLM.from_preset(f, preprocessor=None) for f in (folder, tmp_path / "ours"))
    assert values(one) == values(two)
    write(folder, tensors)
    message = "are tied, and the file holds two different.*untie_weights_roberta"
    with pytest.raises(WeightMapError, match=message):
        MaskedLM.from_preset(folder, preprocessor=None)


def test_heads_of_several_names_are_left_out_and_named(tmp_path):
    arrays = hugging_face(tmp_path / "ours", HEADS | CLASSIFIER)
    tensors = fairseq_names(arrays) | fairseq_names(arrays, "rte")
    folder = write(tmp_path / "theirs", tensors)
    with pytest.warns(UserWarning, match=r"left out.*classification_heads\.rte\.dense\.weight"):
        Backbone.from_preset(folder)


@pytest.fixture
def tensors(tmp_path):
    return newest(fairseq_names(hugging_face(tmp_path / "ours", HEADS)))


@pytest.fixture
def folder(tensors, tmp_path):
    return write(tmp_path / "roberta", tensors)


def refused(folder, kind, message):
    with pytest.raises(kind, match=message) as error:
        Backbone.from_preset(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("activation_fn", "relu"), ("encoder_normalize_before", True), ("quant_noise_pq", 0.1),
        ("encoder_learned_pos", False), ("no_scale_embedding", False),
        ("layernorm_embedding", False),
        ("pooler_activation_fn", "relu"), ("encoder_layers_to_keep", "0,1"),
        ("no_token_positional_embeddings", True), ("spectral_norm_classification_head", True),
    ],
)  # fmt: skip
def test_what_fairseq_can_compute_and_we_do_not_is_refused(field, value, folder, tensors):
    write(folder, tensors, **{field: value})
    refused(folder, ConfigError, f"'{field}' is {value!r}")


def test_arguments_of_training_and_data_are_let_through(folder, tensors):
    write(folder, tensors, weight_decay=0.01, anything=[1], layernorm_embedding=None)
    assert Backbone.from_preset(folder).count_params() > 0


def test_sizes_that_are_not_declared_are_those_of_the_architecture(folder, tensors):
    write(folder, tensors, encoder_layers=None, arch="roberta_large")
    # 22 layers of 16 tensors are missing to the 24 of the large one.
    refused(folder, WeightMapError, r"layers\.10\..* and 340 more")
    write(folder, tensors, encoder_attention_heads=None, arch="my_own")
    refused(folder, ConfigError, "has no 'encoder_attention_heads'")


def test_a_file_that_does_not_describe_its_model_is_refused(folder, tensors):
    torch.save({"model": {"encoder.x": torch.zeros(1)}}, folder / "model.pt")
    (folder / "dict.txt").write_text("0 1\n")
    refused(folder, CheckpointFileError, "should have 'args' or 'cfg'")


@pytest.mark.parametrize("place", ["outside", "within"])
def test_an_entry_that_is_not_known_is_refused_by_name(place, folder):
    state = torch.load(folder / "model.pt", weights_only=False)
    (state if place == "outside" else state["model"])["fsdp_metadata"] = {"shards": 2}
    torch.save(state, folder / "model.pt")
    refused(folder, CheckpointError, r"model\.pt has entries that aren't known.*fsdp_metadata")


def test_training_state_is_named_with_its_reason(folder):
    state = torch.load(folder / "model.pt", weights_only=False)
    state |= {"criterion": {}, "task_state": {}, "last_optimizer_state": {"state": {}}}
    torch.save(state, folder / "model.pt")
    with Checkpoint(folder) as checkpoint:
        carried = workflows.prove(checkpoint).passthrough
    assert carried["last_optimizer_state"] == "the optimizer's state; not saved"
    expected = {"criterion", "task_state", "extra_state", "optimizer_history"}
    assert expected <= carried.keys()


@pytest.mark.parametrize(("declared", "rate"), [({"pooler_dropout": 0.3}, 0.3), ({}, 0.0)])
@pytest.mark.parametrize("heads", [HEADS, HEADS | CLASSIFIER])
def test_the_poolers_dropout_is_the_classifiers(declared, rate, heads, tmp_path):
    arrays = hugging_face(tmp_path / "ours", heads)
    folder = write(tmp_path / "theirs", newest(fairseq_names(arrays)), **declared)
    model = TextClassifier.from_preset(folder, preprocessor=None)
    assert [model.get_layer(f"{n}_dropout").rate for n in ("pooled", "classifier")] == [rate, rate]
    model.save_to_preset(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["classifier_dropout"] == rate
    write(folder, newest(fairseq_names(arrays)), pooler_dropout="much")
    refused(folder, ConfigError, "'pooler_dropout' has the unusable value 'much'")


def test_a_dictionary_of_another_model_is_refused(folder, tensors):
    write(folder, tensors, tokens=27)
    refused(folder, CheckpointError, r"makes 32 tokens.*embeddings \[31, 8\]")


def test_missing_and_unknown_tensors_are_named_in_fairseqs_names(folder, tensors):
    name = "encoder.sentence_encoder.layers.1.fc1.bias"
    changed = {n: a for n, a in tensors.items() if n != name}
    write(folder, changed | {"encoder._ema": np.zeros(2, "float32")})
    refused(folder, WeightMapError, f"missing from the file: {re.escape(name)}")
    refused(folder, WeightMapError, r"unknown in the file: encoder\._ema")


def test_a_file_that_needs_code_run_is_refused_by_its_name_and_none_runs(folder, tmp_path):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    for zipped in (True, False):
        state = {"args": Trap(), "model": {}}
        torch.save(state, folder / "model.pt", _use_new_zipfile_serialization=zipped)
        refused(folder, CheckpointFileError, r"model\.pt can't be read.*mkdir")
        assert not ran.exists()
        torch.load(folder / "model.pt", weights_only=False)  # the trap is one
        assert ran.exists()
        ran.rmdir()


def test_only_fairseqs_folders_may_hold_a_namespace(tmp_path):
    """Refuse in other folders what fairseq's alone may hold."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"args": argparse.Namespace()}, path)
    with pytest.raises(CheckpointFileError, match=r"argparse\.Namespace"):
        open_weights(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused_by_name(share, zipped, folder, tensors):
    write(folder, tensors, zipped=zipped)
    content = (folder / "model.pt").read_bytes()
    (folder / "model.pt").write_bytes(content[: int(share * len(content))])
    refused(folder, CheckpointFileError, r"model\.pt")


def test_a_folder_with_a_sentence_piece_model_is_xlm_r_or_camembert(folder, tmp_path):
    for lines, kind in (("", "xlm-roberta"), (" #fairseq:overwrite", "camembert")):
        copy = shutil.copytree(folder, tmp_path / kind)
        (copy / "sentencepiece.bpe.model").write_bytes(b"")
        text = (copy / "dict.txt").read_text().replace("100\n", f"100{lines}\n")
        (copy / "dict.txt").write_text(text)
        with Checkpoint(copy) as checkpoint:
            assert checkpoint.config["model_type"] == kind
            assert checkpoint.architecture.name == "roberta"


def rewritten(folder, **entries):
    """The folder with other entries in its model.pt; None is one that isn't there."""
    state = torch.load(folder / "model.pt", weights_only=False) | entries
    kept = {name: value for name, value in state.items() if value is not None}
    torch.save(kept, folder / "model.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "model.pt is empty; fetch"),
        (b"<html>Not found</html>", "model.pt is no torch file, or a damaged one (it has no whole"),
        (b"hello world", "model.pt is no torch file, or a damaged one ("),
        (b"PK\x03\x04" + b"x" * 100, "model.pt is no torch file, or a damaged one (no whole zip"),
        (0.5, "model.pt is no torch file, or a damaged one ("),
    ],
)
def test_every_command_reports_an_error_of_the_file_in_one_line(content, message, folder):
    path = folder / "model.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(content * len(whole))] if isinstance(content, float) else content)
    line = refusal(folder)
    assert message in line
    assert "weights_only" not in line


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "; with dict.txt next to model.pt the folder would be RoBERTa, in fairseq"),
        ("", "dict.txt makes 5 tokens"),
        ("7 1\n7 1\n", "dict.txt has '7' twice, again in line 2"),
        ("7 1\n<pad> 1\n", "dict.txt has '<pad>' of fairseq's own, again in line 2"),
        ("seven\n", "dict.txt isn't a token and a count"),
        ("0 1\n1 1\n", "dict.txt makes 7 tokens with fairseq's own 4 and <mask>"),
    ],
)
def test_every_command_reports_an_error_of_the_dictionary_in_one_line(lines, message, folder):
    (folder / "dict.txt").unlink()
    if lines is not None:
        (folder / "dict.txt").write_text(lines)
    assert message in refusal(folder)
    if lines is None:
        path = folder / "model.pt"
        with pytest.raises(CheckpointFileError, match=r"dict\.txt next to model\.pt"):
            Backbone.from_preset(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"args": 5}, "model.pt doesn't describe its model"),
        ({"args": None, "cfg": {"model": 3, "task": None}}, "model.pt doesn't describe its model"),
        ({"args": {"arch": ["x"], 3: 4}}, "the config has no 'encoder_layers'"),
        ({"args": argparse.Namespace(arch="roberta_base")}, "the config has no 'max_positions'"),
        ({"model": None}, "model.pt holds no tensors in 'model'"),
        ({"model": {}}, "model.pt holds no tensors in 'model'"),
        ({"model": [1]}, "model.pt holds no tensors in 'model'"),
    ],
)
def test_every_command_reports_an_error_of_the_entries_in_one_line(entries, message, folder):
    rewritten(folder, **entries)
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 2}, "'dropout' has the unusable value 2; it must be from 0 to 1"),
        ({"pooler_dropout": -0.5}, "'pooler_dropout' has the unusable value -0.5; it must be"),
        ({"encoder_layers": "2"}, "'encoder_layers' has the unusable value '2'"),
        ({"encoder_layers": 10**9}, "num_layers is 1,000,000,000 by the config"),
        ({"max_positions": 17}, "encoder.sentence_encoder.embed_positions.weight (18, 8) for"),
        ({"encoder_ffn_embed_dim": 13}, "encoder.sentence_encoder.layers.0.fc1.weight (12, 8) for"),
    ],
)
def test_arguments_at_odds_with_the_tensors_are_reported_in_fairseqs_names(
    changes, message, folder, tensors
):
    write(folder, tensors, **changes)
    assert message in refusal(folder, PROVING)


def test_a_part_of_a_head_is_refused(folder, tensors):
    write(folder, {n: a for n, a in tensors.items() if n != "encoder.lm_head.bias"})
    assert "missing from the file: encoder.lm_head.bias" in refusal(folder, PROVING)


def test_integer_tensors_are_reported_in_fairseqs_names(folder, tensors):
    name = "encoder.sentence_encoder.layers.1.fc1.bias"
    write(folder, tensors | {name: np.zeros(12, "int64")})
    refused(folder, WeightMapError, f"stores {re.escape(name)} as I64")
