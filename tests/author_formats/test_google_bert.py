"""Google's BERT folders give what Hugging Face's give, to the byte."""

import json
import os
import shutil

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import pytest

from inarch import workflows
from inarch.checkpoints.formats.files import open_weights, write_safetensors
from inarch.checkpoints.formats.weights import DTYPES, Shard, TensorInfo
from inarch.errors import CheckpointFileError, ConfigError, PresetError, WeightMapError
from inarch.models.backbone import Backbone
from inarch.models.bert.backbone import BertBackbone
from inarch.models.loading import Checkpoint
from inarch.models.variables import named_variables, to_numpy
from inarch.tasks import MaskedLM, TextClassifier

from .commands import PROVING, refusal
from .writers import write_bundle

SIZES = {
    "vocabulary_size": 31, "num_layers": 2, "num_heads": 2, "hidden_dim": 8,
    "intermediate_dim": 12, "max_sequence_length": 16,
}  # fmt: skip
CONFIG = {
    "vocab_size": 31, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8,
    "intermediate_size": 12, "max_position_embeddings": 16, "type_vocab_size": 2,
    "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02, "directionality": "bidi", "pooler_fc_size": 768,
}  # fmt: skip
TRANSFORM = "cls.predictions.transform"
HEADS = {
    "pretraining": {
        f"{TRANSFORM}.dense.weight": (8, 8), f"{TRANSFORM}.dense.bias": (8,),
        f"{TRANSFORM}.LayerNorm.weight": (8,), f"{TRANSFORM}.LayerNorm.bias": (8,),
        "cls.predictions.bias": (31,), "cls.seq_relationship.weight": (2, 8),
        "cls.seq_relationship.bias": (2,),
    },
    "masked_lm": {
        f"{TRANSFORM}.dense.weight": (8, 8), f"{TRANSFORM}.dense.bias": (8,),
        f"{TRANSFORM}.LayerNorm.weight": (8,), f"{TRANSFORM}.LayerNorm.bias": (8,),
        "cls.predictions.bias": (31,),
    },
    "classifier": {"classifier.weight": (3, 8), "classifier.bias": (3,)},
    "squad": {"qa_outputs.weight": (2, 8), "qa_outputs.bias": (2,)},
    "none": {},
}  # fmt: skip
CLASSES = {
    "pretraining": "BertForPreTraining", "masked_lm": "BertForMaskedLM",
    "classifier": "BertForSequenceClassification", "squad": "BertForQuestionAnswering",
    "none": "BertModel",
}  # fmt: skip
RENAMED = {
    "cls.predictions.bias": "cls/predictions/output_bias",
    "cls.seq_relationship.weight": "cls/seq_relationship/output_weights",
    "cls.seq_relationship.bias": "cls/seq_relationship/output_bias",
    "classifier.weight": "output_weights",
    "classifier.bias": "output_bias",
    "qa_outputs.weight": "cls/squad/output_weights",
    "qa_outputs.bias": "cls/squad/output_bias",
}


def google(name, array):
    """A tensor of Hugging Face's as Google's code names and turns it."""
    if name in RENAMED:
        return RENAMED[name], array
    name = name.replace(".layer.", ".layer_").replace(".", "/")
    if "LayerNorm" in name:
        return name.replace("/weight", "/gamma").replace("/bias", "/beta"), array
    if "embeddings" in name:
        return name.removesuffix("/weight"), array
    if name.endswith("/weight"):
        return name.removesuffix("weight") + "kernel", np.ascontiguousarray(array.T)
    return name, array


def slots(tensors):
    """State of Google's optimizer, which its files hold too."""
    made = {f"{name}/adam_{kind}": array for name, array in tensors.items() for kind in "mv"}
    return {**tensors, **made, "global_step": np.array(7)}


@pytest.fixture(scope="module", params=list(HEADS))
def head(request):
    return request.param


@pytest.fixture(scope="module")
def folders(head, tmp_path_factory):
    """The same random weights as Hugging Face's folder and as Google's."""
    root = tmp_path_factory.mktemp("bert")
    theirs, ours = root / "google", root / "hugging_face"
    BertBackbone(**SIZES, pooler=True).save_to_preset(ours)
    random = np.random.default_rng(0)
    with open_weights(ours) as weights:
        shapes = {f"bert.{name}": info.shape for name, info in weights.header.items()}
    shapes |= HEADS[head]
    arrays = {n: random.normal(size=shape).astype("float32") for n, shape in shapes.items()}
    infos = {n: TensorInfo("F32", a.shape) for n, a in sorted(arrays.items())}
    shard = Shard("model.safetensors", infos, {"format": "pt"})
    write_safetensors(ours / "model.safetensors", shard, arrays.__getitem__)
    config = json.loads((ours / "config.json").read_text())
    config |= {"architectures": [CLASSES[head]]}
    if head == "classifier":
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(3)}
    (ours / "config.json").write_text(json.dumps(config))
    theirs.mkdir()
    (theirs / "bert_config.json").write_text(json.dumps(CONFIG))
    write_bundle(theirs / "bert_model.ckpt", slots(dict(google(n, a) for n, a in arrays.items())))
    return theirs, ours


def values(model):
    return {n: to_numpy(v).tobytes() for n, v in named_variables(model).items()}


def stored(folder):
    with open_weights(folder) as weights:
        return {n: (i, weights.read(n).tobytes()) for n, i in weights.header.items()}


def loaders(head):
    yield Backbone.from_preset
    if head in ("pretraining", "masked_lm"):
        yield lambda folder: MaskedLM.from_preset(folder, preprocessor=None)
    if head == "classifier":
        yield lambda folder: TextClassifier.from_preset(folder, preprocessor=None)


def test_both_folders_give_the_same_variables_and_the_same_numbers(folders, head):
    for load in loaders(head):
        one, two = (load(folder) for folder in folders)
        assert values(one) == values(two)
        assert not one.fresh_weights
        added = {"dropout": 0.1} if "dropout" in two.arguments and head == "classifier" else {}
        added = added if isinstance(one, TextClassifier) else {}  # as run_classifier.py has it
        assert one.arguments | {"backbone": 0} == two.arguments | {"backbone": 0} | added
        tokens = np.random.default_rng(1).integers(0, 31, (2, 7)).astype("int32")
        inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
        inputs["segment_ids"] = tokens % 2
        # Operation by operation, which all heads share.
        outputs = [model(inputs) for model in (one, two)]
        for a, b in zip(*(o.values() if isinstance(o, dict) else [o] for o in outputs)):
            np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


def test_what_is_saved_is_hugging_faces_folder_with_every_head(folders, head, tmp_path):
    theirs, ours = folders
    expected = stored(ours)
    if head == "none":
        expected = {n.removeprefix("bert."): value for n, value in expected.items()}
    for i, load in enumerate(loaders(head)):
        load(theirs).save_to_preset(tmp_path / str(i))
        assert stored(tmp_path / str(i)) == expected
        config = json.loads((tmp_path / str(i) / "config.json").read_text())
        assert config["model_type"] == "bert"
        assert config["architectures"] == [CLASSES[head]]


def test_the_map_is_proven_on_the_names_that_are_there(folders, head):
    with Checkpoint(folders[0]) as checkpoint:
        proof = workflows.prove(checkpoint)
        assert proof.tensors == proof.variables
        assert proof.passthrough["global_step"] == "count of training steps; not saved"
        known = {*proof.passthrough, *proof.tied}
        assert len(checkpoint.author_checkpoint.weights.header) == proof.tensors + len(known)
    with Checkpoint(folders[1]) as checkpoint:
        assert workflows.prove(checkpoint).elements == proof.elements


def test_an_export_is_equal_to_what_was_read(folders, tmp_path):
    done = workflows.export(folders[0], tmp_path / "out")
    assert done.comparison.same
    assert done.comparison.equal


# --- what is refused ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tensors():
    model = BertBackbone(**SIZES, pooler=True)
    random = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(random.normal(size=variable.shape))
    from inarch.checkpoints.maps.plan import export_rules
    from inarch.models.bert.checkpoint import HUGGING_FACE

    found = {}
    variables = named_variables(model)
    for rule in export_rules(HUGGING_FACE, model.arguments, "next_sentence", True)[0]:
        if rule.ours[0] in variables:
            array = to_numpy(variables[rule.ours[0]])
            found |= [google(rule.theirs[0], array.T if "kernel" in rule.ours[0] else array)]
    return found


@pytest.fixture
def folder(tensors, tmp_path):
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "bert_config.json").write_text(json.dumps(CONFIG))
    write_bundle(folder / "bert_model.ckpt", tensors)
    return folder


def refused(folder, kind, message):
    with pytest.raises(kind, match=message) as error:
        Backbone.from_preset(folder)
    assert str(folder) in str(error.value)


def test_tensors_that_are_missing_and_unknown_are_all_named_in_googles_names(folder, tensors):
    changed = {n: a for n, a in tensors.items() if n != "bert/encoder/layer_1/output/dense/bias"}
    changed["bert/encoder/layer_2/output/dense/bias"] = np.zeros(8, "float32")
    write_bundle(folder / "bert_model.ckpt", changed)
    refused(folder, WeightMapError, "missing from the file: bert/encoder/layer_1/output/dense/bias")
    refused(folder, WeightMapError, "unknown in the file: bert/encoder/layer_2/output/dense/bias")


@pytest.mark.parametrize("shape", [(), (8, 8, 1), (7, 8)])
def test_a_tensor_of_another_shape_is_refused(shape, folder, tensors):
    name = "bert/encoder/layer_1/attention/self/key/kernel"
    write_bundle(folder / "bert_model.ckpt", tensors | {name: np.zeros(shape, "float32")})
    refused(folder, WeightMapError, "key")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_act", "swish", "'hidden_act' is 'swish'; computed here: 'gelu'"),
        ("rotary", True, "rotary=True"),
        ("num_attention_heads", 0, "'num_attention_heads' has the unusable value 0"),
    ],
)
def test_a_config_that_is_not_computed_is_refused(field, value, message, folder):
    (folder / "bert_config.json").write_text(json.dumps(CONFIG | {field: value}))
    refused(folder, ConfigError, message)


def test_a_config_of_other_sizes_than_the_weights_is_refused(folder):
    (folder / "bert_config.json").write_text(json.dumps(CONFIG | {"intermediate_size": 13}))
    refused(folder, WeightMapError, r"bert/encoder/layer_0/intermediate/dense/kernel \(8, 12\) for")


def test_segments_are_as_many_as_googles_code_assumes(folder):
    config = {n: v for n, v in CONFIG.items() if n != "type_vocab_size"}
    (folder / "bert_config.json").write_text(json.dumps(config))
    message = r"\(2, 8\) for segment_embedding/embeddings, where the file should have \(16, 8\)"
    refused(folder, WeightMapError, message)


def test_a_checkpoint_under_another_name_is_found(folder):
    for path in folder.glob("bert_model.ckpt.*"):
        path.rename(folder / path.name.replace("bert_model.ckpt", "model.ckpt-1000000"))
    assert Backbone.from_preset(folder).count_params() > 0


def test_the_checkpoints_name_leads_to_its_folder(folder):
    with pytest.raises(PresetError, match="give its folder"):
        Backbone.from_preset(folder / "bert_model.ckpt")


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
@pytest.mark.parametrize("kind", ["index", "data-00000-of-00001"])
def test_a_truncated_file_is_refused_by_name(kind, share, folder):
    path = folder / f"bert_model.ckpt.{kind}"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(folder, CheckpointFileError, "bert_model.ckpt")


def test_a_config_that_is_no_json_is_refused_by_name(folder):
    (folder / "bert_config.json").write_text("{")
    refused(folder, CheckpointFileError, "bert_config.json is not JSON")


def test_the_error_for_an_unknown_folder_names_the_files_that_were_looked_for(tmp_path):
    with pytest.raises(CheckpointFileError) as error:
        Checkpoint(tmp_path)
    for name in ("config.json", "bert_config.json", "model.pt and dict.txt"):
        assert name in str(error.value)


def test_hugging_faces_config_is_taken_before_googles(folder, tmp_path):
    Backbone.from_preset(folder).save_to_preset(tmp_path / "both")
    shutil.copytree(folder, tmp_path / "both", dirs_exist_ok=True)
    with Checkpoint(tmp_path / "both") as checkpoint:
        assert checkpoint.author_checkpoint is None
        assert checkpoint.weights.format == "safetensors"


def test_a_save_into_an_author_folder_keeps_the_authors_files(folder):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    model = Backbone.from_preset(folder)
    model.save_to_preset(folder)
    assert before.items() <= {p.name: p.read_bytes() for p in folder.iterdir()}.items()
    assert values(Backbone.from_preset(folder)) == values(model)


def test_half_precision_stays_what_it_was(folder, tensors, tmp_path):
    halved = {name: array.astype("float16") for name, array in tensors.items()}
    write_bundle(folder / "bert_model.ckpt", halved)
    Backbone.from_preset(folder).save_to_preset(tmp_path / "out")
    assert {info.dtype for info, _ in stored(tmp_path / "out").values()} == {"F16"}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float16"


def test_weights_that_are_whole_numbers_are_refused(folder, tensors):
    name = "bert/encoder/layer_1/attention/self/key/kernel"
    changed = tensors | {name: tensors[name].astype(DTYPES["I32"])}
    write_bundle(folder / "bert_model.ckpt", changed)
    refused(folder, WeightMapError, "not in floating point")


INDEX, DATA = "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (INDEX, None, "should hold bert_model.ckpt.index or one other"),
        (INDEX, b"<html>Not found</html>", f"{INDEX} doesn't end as a TensorFlow index does"),
        (DATA, None, f"{DATA} can't be read: No such file"),
        (DATA, b"", f"{DATA} is empty"),
        (DATA, b"\0" * 100, f"{DATA} has 100 bytes, and by {INDEX} tensor 'bert/"),
        ("bert_config.json", b'{"vocab_size": 31', "bert_config.json is not JSON"),
        ("bert_config.json", b"[]", "bert_config.json holds a JSON list"),
        ("bert_config.json", b"{}", "config has no 'vocab_size'"),
    ],
)
def test_every_command_reports_an_error_in_one_line(name, content, message, folder):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (None, "holds no tokenizer"),
        (b"", "the vocabulary is empty"),
        (b"\xff\xfe", "vocab.txt isn't UTF-8 text"),
    ],
)
def test_an_unusable_vocabulary_is_reported_in_one_line(vocabulary, message, folder):
    if vocabulary is not None:
        (folder / "vocab.txt").write_bytes(vocabulary)
    assert message in refusal(folder, ["embed"])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "hidden_dropout_prob",
            1.5,
            "'hidden_dropout_prob' has the unusable value 1.5; it must be",
        ),
        ("attention_probs_dropout_prob", -1, "unusable value -1; it must be from 0 to 1"),
        ("num_hidden_layers", 10**9, "num_layers is 1,000,000,000 by the config"),
        ("vocab_size", 32, "bert/embeddings/word_embeddings (31, 8) for"),
        ("max_position_embeddings", 10, "bert/embeddings/position_embeddings (16, 8) for"),
    ],
)
def test_a_config_at_odds_with_the_weights_is_reported_in_googles_names(
    field, value, message, folder
):
    (folder / "bert_config.json").write_text(json.dumps(CONFIG | {field: value}))
    assert message in refusal(folder, PROVING)


def test_a_part_of_a_head_is_refused(folder, tensors):
    write_bundle(folder / "bert_model.ckpt", tensors | {"output_bias": np.zeros(3, "float32")})
    assert "missing from the file: output_weights" in refusal(folder, PROVING)


def test_damage_that_comes_to_light_in_reading_is_not_blamed_on_what_is_written(folder, tmp_path):
    content = bytearray((folder / DATA).read_bytes())
    content[700] ^= 1
    (folder / DATA).write_bytes(content)
    (tmp_path / "out").mkdir()
    with Checkpoint(folder) as checkpoint, pytest.raises(CheckpointFileError) as error:
        checkpoint.copy_to(tmp_path / "out")
    assert str(error.value).startswith(f"{folder / DATA} is damaged: tensor 'bert/embeddings/")
