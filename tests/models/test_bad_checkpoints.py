"""A checkpoint that can't be carried over whole is refused, with all that is wrong with it."""

import json
import os
import shutil

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import pytest

import inarch.models
from inarch.checkpoints.formats import files
from inarch.checkpoints.formats.files import open_weights, write_safetensors
from inarch.checkpoints.formats.weights import CODES, Shard, TensorInfo
from inarch.errors import (
    CheckpointFileError,
    ConfigError,
    InarchError,
    InputError,
    PresetError,
    WeightMapError,
)
from inarch.models import registry
from inarch.models.backbone import Backbone
from inarch.models.bert.backbone import BertBackbone
from inarch.models.deberta_v3.backbone import DebertaV3Backbone
from inarch.models.deberta_v3.checkpoint import HUGGING_FACE as DEBERTA
from inarch.models.distil_bert.backbone import DistilBertBackbone
from inarch.models.llama.backbone import LlamaBackbone
from inarch.models.loading import Checkpoint

SIZES = {
    "vocabulary_size": 13, "num_layers": 1, "num_heads": 2, "hidden_dim": 4,
    "intermediate_dim": 6, "max_sequence_length": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A tiny BERT with a value of its own for every weight, saved."""
    folder = tmp_path_factory.mktemp("good") / "bert"
    model = BertBackbone(**SIZES)
    random = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(random.normal(size=variable.shape))
    model.save_to_preset(folder)
    return folder


@pytest.fixture
def folder(good, tmp_path):
    """A copy to break."""
    return shutil.copytree(good, tmp_path / "bert")


def tensors(folder):
    with open_weights(folder) as weights:
        return {name: np.array(weights.read(name)) for name in weights.header}


def rewrite(folder, arrays):
    infos = {n: TensorInfo(CODES[a.dtype], a.shape) for n, a in arrays.items()}
    shard = Shard("model.safetensors", infos, {"format": "pt"})
    write_safetensors(folder / "model.safetensors", shard, arrays.__getitem__)


def configure(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def content(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def refused(folder, error, message, cls=Backbone):
    with pytest.raises(error, match=message) as caught:
        cls.from_preset(folder)
    assert isinstance(caught.value, InarchError)
    return str(caught.value)


# --- config.json -------------------------------------------------------------------------------


def test_a_folder_without_a_config_is_refused(folder):
    (folder / "config.json").unlink()
    refused(folder, CheckpointFileError, r"config\.json does not exist")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model-Q4.gguf", "GGUF.*quantized from"),
        ("adapter_model.safetensors", "an adapter alone.*load_adapter"),
        ("model.keras", "Keras.*load_model"),
        ("model.onnx", "ONNX.*exported from"),
    ],
)
def test_what_is_there_in_the_place_of_a_checkpoint_is_named(name, said, tmp_path):
    (tmp_path / name).write_bytes(b"\0")
    refused(tmp_path, CheckpointFileError, rf"config\.json does not exist.*{name} \({said}")
    refused(tmp_path / name, PresetError, f"is a file.*{said}")


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '"bert"', "\0", '{"model_type": }'])
def test_a_config_that_is_no_json_object_is_refused(text, folder):
    (folder / "config.json").write_text(text)
    refused(folder, CheckpointFileError, r"config\.json.*(is not JSON|holds a JSON)")


def test_a_config_that_git_lfs_has_not_fetched_is_called_so(folder):
    (folder / "config.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    refused(folder, CheckpointFileError, r"config\.json is a Git LFS pointer")


@pytest.mark.parametrize("kind", ["no_such_type", "", "BERT", 3, ["bert"], {}])
def test_an_unknown_model_type_lists_the_known_ones(kind, folder):
    configure(folder, model_type=kind)
    message = refused(folder, ConfigError, "model_type")
    assert repr(kind) in message
    known = {s.model_type for a in registry.architectures().values() for s in a.sources}
    assert ", ".join(sorted(known)) in message


def test_unknown_fields_are_all_named_with_the_file(folder):
    configure(folder, rope_theta=5.0, rope_scaling=[3])
    message = refused(folder, ConfigError, r"rope_theta=5\.0, rope_scaling=\[3\]")
    assert str(folder / "config.json") in message


def test_a_quantized_checkpoint_is_called_so(folder):
    configure(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    message = refused(folder, ConfigError, "of 'gptq', and quantized.* aren't read.*made from")
    assert "Remove" not in message
    assert str(folder / "config.json") in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", "4"), ("hidden_size", None), ("hidden_act", "mish"), ("hidden_act", 3),
        ("layer_norm_eps", None), ("layer_norm_eps", float("nan")), ("is_decoder", True),
        ("position_embedding_type", "relative_key"),
        ("num_hidden_layers", True), ("num_hidden_layers", 1.5), ("hidden_dropout_prob", "0.1"),
    ],
)  # fmt: skip
def test_a_field_that_is_not_computed_is_refused_by_name(field, value, folder):
    configure(folder, **{field: value})
    refused(folder, ConfigError, field)


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("num_hidden_layers", (0, -1), "'num_hidden_layers' has the unusable value"),
        ("num_hidden_layers", (2,), "missing from the file: encoder.layer.1"),
        ("hidden_size", (6,), "of another shape: embeddings.word_embeddings"),
        ("hidden_size", (0, -4), "'hidden_size' has the unusable value"),
        ("hidden_size", (5,), "num_heads=2 doesn't divide the hidden size 5"),
        ("vocab_size", (12, 10**12, 10**30), "of another shape: embeddings.word_embeddings"),
        ("vocab_size", (0, -1), "'vocab_size' has the unusable value"),
        ("num_attention_heads", (0, -2), "'num_attention_heads' has the unusable value"),
        ("num_attention_heads", (3,), "num_heads=3"),
        ("intermediate_size", (7,), "of another shape: encoder.layer.0.intermediate"),
        ("intermediate_size", (0,), "'intermediate_size' has the unusable value"),
        ("type_vocab_size", (0,), "'type_vocab_size' has the unusable value"),
        ("max_position_embeddings", (9,), "of another shape: embeddings.position_embeddings"),
        ("layer_norm_eps", (-1e-5,), "'layer_norm_eps' has the unusable value"),
        ("hidden_dropout_prob", (-0.1,), "'hidden_dropout_prob' has the unusable value"),
        ("hidden_dropout_prob", (1.5, 2), "'hidden_dropout_prob' has the unusable value"),
        ("num_hidden_layers", (10**6, 10**30), "the file has only 23 tensors"),
    ],
)
def test_sizes_that_make_no_model_or_another_one_are_refused(field, values, message, folder):
    for value in values:
        configure(folder, **{field: value})
        with pytest.raises(ValueError, match=message):
            Backbone.from_preset(folder)


@pytest.mark.parametrize(
    ("listed", "message"),
    [(None, "only 11 tensors"), (["full_attention"], r"'layer_types' is .*; only .*\.\.\., which")],
)
def test_a_billion_of_llamas_layers_are_refused_and_not_counted_out(listed, message, tmp_path):
    LlamaBackbone(**SIZES).save_to_preset(tmp_path)
    configure(tmp_path, num_hidden_layers=10**9, layer_types=listed)
    refused(tmp_path, ConfigError, message)


def test_a_heads_field_that_is_not_computed_is_named_with_the_file(folder):
    configure(folder, classifier_dropout=1.5)
    assert Backbone.from_preset(folder).count_params() > 0
    from inarch.tasks import TextClassifier

    with pytest.raises(ConfigError, match=r"config\.json: .*'classifier_dropout' has .*1\.5"):
        TextClassifier.from_preset(folder, preprocessor=None)


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_attention_heads", 0), ("num_attention_heads", "24"), ("hidden_size", [1536]),
     ("hidden_size", "1536"), ("hidden_size", 0)],
)  # fmt: skip
def test_debertas_unusable_sizes_are_blamed_and_not_what_they_imply(field, value):
    config = {"hidden_size": 1536, "pooler_hidden_size": 1536, "attention_head_size": 64}
    with pytest.raises(ConfigError, match=f"'{field}' has the unusable value"):
        DEBERTA.arguments(config | {field: value}, ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position_buckets": 3}, "bucket_size=3 .*bucket_size is 'position_buckets' there"),
        ({"num_attention_heads": 3}, "num_heads=3 .*num_heads is 'num_attention_heads' there"),
    ],
)
def test_sizes_that_fit_no_layer_are_named_as_the_file_has_them(changes, message, tmp_path):
    DebertaV3Backbone(**SIZES, bucket_size=4).save_to_preset(tmp_path)
    text = json.loads((tmp_path / "config.json").read_text())
    text.pop("attention_head_size", None)
    (tmp_path / "config.json").write_text(json.dumps(text | changes))
    assert str(tmp_path / "config.json") in refused(tmp_path, ConfigError, message)
    if "position_buckets" in changes:  # what the caller gives is the caller's
        with pytest.raises(InputError) as error:
            Backbone.from_preset(tmp_path, bucket_size=2)
        assert "config.json" not in str(error.value)


def test_a_field_that_decides_on_a_head_is_named_with_the_file(tmp_path):
    DebertaV3Backbone(**SIZES, bucket_size=4).save_to_preset(tmp_path)
    configure(tmp_path, legacy="no")
    for call in (lambda c: c.has_head("masked_lm"), Checkpoint.arguments):
        with Checkpoint(tmp_path) as checkpoint, pytest.raises(ConfigError) as error:
            call(checkpoint)
        assert f"{tmp_path / 'config.json'}: config field 'legacy'" in str(error.value)


@pytest.mark.parametrize("value", ["BertModel", 3, [["BertModel"]], {}, None, [3]])
def test_a_strange_class_name_changes_nothing(value, folder):
    configure(folder, architectures=value)
    assert Backbone.from_preset(folder).count_params() > 0
    with Checkpoint(folder) as checkpoint:
        assert not checkpoint.has_head("masked_lm")


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_config_in_any_of_jsons_codings_is_read_and_the_model_saved(coding, folder, tmp_path):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text, coding)
    Backbone.from_preset(folder).save_to_preset(tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_text("utf-8") == text


def test_a_config_that_no_encoding_gives_is_refused_by_name(folder):
    path = folder / "config.json"
    path.write_bytes(path.read_bytes().replace(b"{", b'{"name": "\xed\xa0\x80",', 1))
    assert str(path) in refused(folder, CheckpointFileError, "is not JSON")


def test_text_that_utf_8_cannot_write_is_saved_as_json_escapes_it(folder, tmp_path):
    configure(folder, _name_or_path="\ud800", vocab_size=13)
    model = Backbone.from_preset(folder, dropout=0.25)
    model.save_to_preset(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert (config["_name_or_path"], config["hidden_dropout_prob"]) == ("\ud800", 0.25)


def test_an_untouched_config_comes_back_to_the_byte(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    sparse = {n: v for n, v in config.items() if n not in ("layer_norm_eps", "type_vocab_size")}
    text = json.dumps(sparse | {"hidden_act": "gelu_python", "vocab_size": 13}, indent=1)
    (folder / "config.json").write_bytes(text.replace("\n", "\r\n").encode())
    Backbone.from_preset(folder).save_to_preset(tmp_path / "out")
    assert content(tmp_path / "out") == content(folder)


def test_the_error_of_a_wrong_class_names_the_right_one(folder):
    refused(folder, PresetError, r"use BertBackbone\.from_preset", DistilBertBackbone)


# --- weights -----------------------------------------------------------------------------------


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, CheckpointFileError, "holds no weights")


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.7, 0.999])
def test_truncated_weights_are_refused(share, folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(folder, CheckpointFileError, r"model\.safetensors")


def test_a_shard_that_is_not_there_is_refused_by_name(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    refused(folder, CheckpointFileError, "model-00002-of-00002.safetensors, which is not there")


def test_everything_that_does_not_fit_is_named_in_one_message(folder):
    arrays = tensors(folder)
    del arrays["embeddings.word_embeddings.weight"]
    del arrays["encoder.layer.0.output.dense.bias"]
    arrays["encoder.layer.0.attention.self.query.weight"] = np.zeros((4, 5), "float32")
    arrays["encoder.layer.0.intermediate.dense.bias"] = np.zeros((6, 1), "float32")
    arrays["encoder.layer.0.adapter.weight"] = np.zeros(3, "float32")
    arrays["encoder.layer.1.output.dense.bias"] = np.zeros(4, "float32")
    rewrite(folder, arrays)
    message = refused(folder, WeightMapError, "does not match the bert weight map")
    lines = dict(line.strip().split(": ", 1) for line in message.splitlines()[1:])
    assert str(folder) in message
    assert lines == {
        "missing from the file": "embeddings.word_embeddings.weight, "
        "encoder.layer.0.output.dense.bias",
        "unknown in the file": "encoder.layer.0.adapter.weight, encoder.layer.1.output.dense.bias",
        "of another shape": "encoder.layer.0.attention.self.query.weight (4, 5) for "
        "layer_0/attention/query/kernel, where the file should have (4, 4), "
        "encoder.layer.0.intermediate.dense.bias (6, 1) for layer_0/feed_forward/up/bias, where "
        "the file should have (6,)",
        "'num_hidden_layers' is 1, and the file also has 1": "set it to 2 if the file is right",
    }


def test_a_transposed_tensor_is_reported_with_the_shape_that_the_file_should_have(folder):
    arrays = tensors(folder)
    name = "encoder.layer.0.intermediate.dense.weight"
    rewrite(folder, arrays | {name: np.ascontiguousarray(arrays[name].T)})
    expected = (
        rf"{name} \(4, 6\) for layer_0/feed_forward/up/kernel, where the file should have \(6, 4\)"
    )
    refused(folder, WeightMapError, expected)


def test_the_proof_reports_the_same_without_loading(folder):
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.prove().tensors == len(tensors(folder))
    arrays = tensors(folder)
    arrays["stranger"] = arrays.pop("pooler.dense.bias")
    rewrite(folder, arrays)
    with Checkpoint(folder) as checkpoint, pytest.raises(WeightMapError) as error:
        checkpoint.prove()
    assert "pooler.dense.bias" in str(error.value)
    assert "stranger" in str(error.value)


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "uint8"])
def test_weights_that_are_not_floats_are_refused_by_name(dtype, folder):
    arrays = tensors(folder)
    name = "encoder.layer.0.attention.self.query.weight"
    rewrite(folder, arrays | {name: arrays[name].astype(dtype)})
    refused(folder, WeightMapError, name)


@pytest.mark.parametrize(
    "stored", [np.arange(1, 9)[None], np.zeros((1, 8), "int64"), np.arange(8).reshape(2, 4)]
)
def test_position_ids_that_are_not_the_positions_are_refused(stored, folder):
    arrays = tensors(folder)
    rewrite(folder, arrays | {"embeddings.position_ids": np.arange(8)[None]})
    Backbone.from_preset(folder)
    rewrite(folder, arrays | {"embeddings.position_ids": stored})
    refused(folder, WeightMapError, r"'embeddings\.position_ids' is not the range of positions")


def with_head(folder, gamma=False):
    """The files of a BertForMaskedLM; its embeddings tied, in two copies."""
    arrays = {f"bert.{name}": a for name, a in tensors(folder).items()}
    scale, shift = ("gamma", "beta") if gamma else ("weight", "bias")
    transform = "cls.predictions.transform"
    random = np.random.default_rng(1)
    new = {
        f"{transform}.dense.weight": (4, 4),
        f"{transform}.dense.bias": (4,),
        f"{transform}.LayerNorm.{scale}": (4,),
        f"{transform}.LayerNorm.{shift}": (4,),
        "cls.predictions.bias": (13,),
    }
    arrays |= {n: random.normal(size=shape).astype("float32") for n, shape in new.items()}
    arrays["cls.predictions.decoder.weight"] = arrays["bert.embeddings.word_embeddings.weight"]
    rewrite(folder, arrays)
    configure(folder, architectures=["BertForMaskedLM"])
    return arrays


def masked_lm(folder):
    from inarch.tasks import MaskedLM

    return MaskedLM.from_preset(folder, preprocessor=None)


def test_tied_tensors_that_differ_are_refused_with_the_way_out(folder):
    arrays = with_head(folder)
    masked_lm(folder)
    arrays["cls.predictions.decoder.weight"] = arrays["cls.predictions.decoder.weight"] + 1
    rewrite(folder, arrays)
    with pytest.raises(WeightMapError, match=r"decoder\.weight.*tie_word_embeddings"):
        masked_lm(folder)
    configure(folder, tie_word_embeddings=False)
    arrays["cls.predictions.decoder.bias"] = np.ones(13, "float32")
    rewrite(folder, arrays)
    masked_lm(folder)


@pytest.mark.parametrize("gamma", [False, True], ids=["usual names", "TensorFlow's names"])
def test_a_head_that_is_not_used_is_carried_through_under_either_name(gamma, folder, tmp_path):
    arrays = with_head(folder, gamma)
    model = BertBackbone.from_preset(folder)
    assert not model.fresh_weights
    model.save_to_preset(tmp_path / "out")
    found = tensors(tmp_path / "out")
    assert found.keys() == arrays.keys()
    assert all(found[name].tobytes() == a.tobytes() for name, a in arrays.items())


# --- saving ------------------------------------------------------------------------------------


def test_a_save_that_fails_in_the_middle_leaves_the_old_files_whole(folder, monkeypatch):
    model = Backbone.from_preset(folder)
    (folder / "README.md").write_text("mine")
    before = content(folder)
    written = []
    write = files.write_safetensors

    def full(path, shard, values):
        def some(name):
            written.append(name)
            if len(written) > 5:
                raise OSError(28, "No space left on device")
            return values(name)

        write(path, shard, some)

    monkeypatch.setattr(files, "write_safetensors", full)
    model.weights[0].assign(np.zeros(model.weights[0].shape))
    with pytest.raises(CheckpointFileError, match="No space left on device"):
        model.save_to_preset(folder)
    assert content(folder) == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_a_lone_shard_keeps_its_name_and_its_index(folder, tmp_path):
    shard = "model-00001-of-00001.safetensors"
    index = {"weight_map": dict.fromkeys(tensors(folder), shard)}
    (folder / "model.safetensors").rename(folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    Backbone.from_preset(folder).save_to_preset(tmp_path / "out")
    assert (tmp_path / "out" / shard).read_bytes() == (folder / shard).read_bytes()
    written = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert written["weight_map"] == index["weight_map"]
    again = Backbone.from_preset(tmp_path / "out")
    assert again.count_params() == sum(a.size for a in tensors(folder).values())


def test_a_model_can_be_saved_over_the_folder_that_it_came_from(folder):
    (folder / "pytorch_model.bin").write_bytes(b"stale")
    (folder / "README.md").write_text("mine")
    before = content(folder)
    Backbone.from_preset(folder).save_to_preset(folder)
    assert content(folder) == {n: c for n, c in before.items() if n != "pytorch_model.bin"}


def test_a_folder_that_can_not_be_made_is_refused_by_name(good, tmp_path):
    (tmp_path / "file").write_text("mine")
    model = Backbone.from_preset(good)
    with pytest.raises(CheckpointFileError, match="out can't be written"):
        model.save_to_preset(tmp_path / "file" / "out")
    with pytest.raises(CheckpointFileError, match="is a file"):
        model.save_to_preset(tmp_path / "file")


@pytest.mark.parametrize("target", ["", "."])
def test_a_model_is_not_saved_over_the_current_directory(target, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointFileError, match=r"is ''|is the current directory"):
        Backbone.from_preset(good).save_to_preset(target)
    assert not content(tmp_path)


def test_a_refused_checkpoint_leaves_keras_as_it_was(folder):
    """Models built after a failed load still get their values, in Keras's own dtype."""
    configure(folder, num_hidden_layers=2)
    refused(folder, WeightMapError, "missing from the file")
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert keras.ops.convert_to_numpy(layer.kernel).any()
    assert keras.config.dtype_policy().name == "float32"


def test_every_architecture_is_named_where_none_fits(folder):
    configure(folder, model_type="clip")
    message = refused(folder, ConfigError, "known here")
    for architecture in inarch.models.registry.architectures().values():
        assert all(source.model_type in message for source in architecture.sources)
