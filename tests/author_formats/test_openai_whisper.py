"""OpenAI's Whisper files compute what OpenAI's code does, and run no code."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import pytest

from inarch import workflows
from inarch.checkpoints.formats.files import open_weights
from inarch.errors import CheckpointFileError, ConfigError, WeightMapError
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint

from .whispers import FRAMES, LENGTH, MELS, WORDS, inputs, perturb

DIMS = {
    "n_mels": MELS, "n_audio_ctx": FRAMES // 2, "n_audio_state": 16, "n_audio_head": 2,
    "n_audio_layer": 2, "n_vocab": WORDS, "n_text_ctx": LENGTH, "n_text_state": 16,
    "n_text_head": 4, "n_text_layer": 3,
}  # fmt: skip


# --- against OpenAI's code -----------------------------------------------------------------------


@pytest.fixture
def openai(tmp_path, monkeypatch):
    """`openai(dtype, changes of dims)`: their model, and the file that it was saved to.

    Their layer normalization computes in float32 whatever it is fed. Here it computes in the
    precision of its input, so that the model can be run in float64; in float32 nothing changes.
    """
    torch = pytest.importorskip("torch", reason="needs torch: make test-all")
    whisper = pytest.importorskip("whisper", reason="needs openai-whisper: make test-all")
    monkeypatch.setattr(whisper.model.LayerNorm, "forward", torch.nn.LayerNorm.forward)

    def make(dtype="float32", **changes):
        dims = DIMS | changes
        model = whisper.model.Whisper(whisper.model.ModelDimensions(**dims)).eval()
        state = model.state_dict()
        perturb(state)
        state = {name: tensor.to(getattr(torch, dtype)) for name, tensor in state.items()}
        model.load_state_dict(state)
        path = tmp_path / "tiny.pt"
        torch.save({"dims": dims, "model_state_dict": state}, path)
        return model, path

    return make


def outputs(model, fed, double):
    """The encoder's output and the logits of OpenAI's model, as float64.

    Their logits are rounded to float32 at the end, so those in float64 are computed here.
    """
    import torch

    model = model.double() if double else model.float()
    hidden = []
    hook = model.decoder.ln.register_forward_hook(lambda *call: hidden.append(call[2]))
    mel = torch.tensor(fed["encoder_features"]).mT.to(next(model.parameters()).dtype)
    with torch.no_grad():
        encoded = model.encoder(mel)
        logits = model.decoder(torch.tensor(fed["decoder_token_ids"]).long(), encoded)
        if double:
            logits = hidden[0] @ model.decoder.token_embedding.weight.T
    hook.remove()
    return [encoded.double().numpy(), logits.double().numpy()]


def ours(path, fed):
    backbone = Backbone.from_preset(path)
    found = backbone.predict(fed, verbose=0)
    logits = keras.ops.convert_to_numpy(backbone.speech_to_text(found))
    return [found["encoder_sequence_output"], logits]


@pytest.mark.reference
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_encoder_and_logits_are_theirs_within_rounding(dtype, openai):
    from ..reference.conftest import noise_ratio

    model, path = openai(dtype)
    fed = inputs()
    double, single = outputs(model, fed, True), outputs(model, fed, False)
    for mine, one, two in zip(ours(path, fed), single, double, strict=True):
        assert noise_ratio(mine, one, two) <= 4


@pytest.mark.reference
def test_every_step_with_the_cache_is_theirs_without(openai):
    from ..reference.conftest import noise_ratio

    model, path = openai()
    fed = inputs()
    double, single = outputs(model, fed, True)[1], outputs(model, fed, False)[1]
    backbone, tokens = Backbone.from_preset(path), fed["decoder_token_ids"]
    decoder = backbone.decoder_stack()
    cross = decoder.make_cross_attention_cache(backbone(fed)["encoder_sequence_output"])
    caches = decoder.init_cache(len(tokens), tokens.shape[1])
    for i in range(tokens.shape[1]):
        context = {
            "cache_index": i,
            "positions": np.full((1, 1), i, "int32"),
            "cross_attention_cache": cross,
        }
        hidden, caches = decoder.step(tokens[:, i : i + 1], caches, context)
        found = keras.ops.convert_to_numpy(decoder.logits(hidden[:, 0])).astype("float64")
        assert noise_ratio(found, single[:, i], double[:, i]) <= 4


@pytest.mark.reference
def test_further_entries_of_the_file_are_named_and_not_saved(openai, tmp_path):
    import torch

    path = openai()[1]
    held = torch.load(path, weights_only=True)
    torch.save(held | {"step": 3, "best": {"loss": 0.5}}, path)
    with Checkpoint(path) as checkpoint:
        carried = workflows.prove(checkpoint).passthrough
    assert all("not saved" in carried[name] for name in ("step", "best"))
    Backbone.from_preset(path).save_to_preset(tmp_path / "out")
    with open_weights(tmp_path / "out") as weights:
        assert len(weights.header) == len(held["model_state_dict"])


@pytest.mark.reference
@pytest.mark.parametrize(("vocabulary", "start"), [(51864, 50257), (51865, 50258), (51866, 50258)])
def test_a_bare_backbone_is_saved_with_the_tokens_to_generate_with(
    vocabulary, start, openai, tmp_path
):
    from ..reference.conftest import transformers

    Backbone.from_preset(openai(n_vocab=vocabulary)[1]).save_to_preset(tmp_path / "out")
    generation = transformers.GenerationConfig.from_pretrained(tmp_path / "out")
    found = (
        generation.decoder_start_token_id,
        generation.eos_token_id,
        generation.pad_token_id,
        generation.max_length,
    )
    assert found == (start, start - 1, start - 1, LENGTH)


@pytest.mark.reference
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_copy_is_whole_to_transformers_and_computes_the_same(dtype, openai, tmp_path):
    from ..reference.conftest import noise_ratio, torch, transformers

    model, path = openai(dtype)
    folder = tmp_path / "copy"
    folder.mkdir()
    with Checkpoint(path) as checkpoint:
        checkpoint.copy_to(folder)
    theirs, info = transformers.WhisperForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True, dtype="float64"
    )
    assert not any(info.values()), info
    heads = model.alignment_heads.coalesce().indices().T.tolist()
    assert theirs.generation_config.alignment_heads == heads
    fed = inputs()
    with torch.no_grad():
        found = theirs(
            input_features=torch.tensor(fed["encoder_features"]).mT.double(),
            decoder_input_ids=torch.tensor(fed["decoder_token_ids"]).long(),
        ).logits.numpy()
    double, single = outputs(model, fed, True)[1], outputs(model, fed, False)[1]
    assert noise_ratio(found, single, double) < 0.01


@pytest.mark.reference
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_map_is_proven_and_an_export_holds_every_byte(dtype, openai, tmp_path):
    model, path = openai(dtype)
    with Checkpoint(path) as checkpoint:
        proof = workflows.prove(checkpoint)
        assert proof.tensors == len(model.state_dict())
        assert proof.elements == sum(t.numel() for t in model.state_dict().values())
        kinds = {info.dtype for info in checkpoint.weights.header.values()}
        assert kinds == {{"float32": "F32", "float16": "F16"}[dtype]}
    assert workflows.export(path, tmp_path / "out").comparison.same
    with open_weights(tmp_path / "out") as weights:
        stored = weights.read("model.decoder.layers.2.encoder_attn.k_proj.weight")
        mine = model.state_dict()["decoder.blocks.2.cross_attn.key.weight"].numpy()
        np.testing.assert_array_equal(stored, mine)


@pytest.mark.reference
@pytest.mark.parametrize("words", [51864, 51865, 51866])
def test_token_ids_are_those_of_their_tokenizer(words, openai):
    from whisper.tokenizer import get_tokenizer

    model, path = openai(n_vocab=words)
    tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
    with Checkpoint(path) as checkpoint:
        config = checkpoint.config
    assert config["eos_token_id"] == config["pad_token_id"] == tokenizer.eot
    assert config["decoder_start_token_id"] == tokenizer.sot
    assert config["bos_token_id"] == 50257  # in either kind, as Hugging Face's copies have it


@pytest.mark.reference
def test_a_folder_with_one_file_is_that_file(openai):
    _, path = openai()
    with Checkpoint(path) as one, Checkpoint(path.parent) as two:
        assert one.config == two.config
        assert one.weights.header == two.weights.header
        assert one.folder == two.folder == path.parent


# --- what is refused -----------------------------------------------------------------------------


def refused(path, kind, message):
    with pytest.raises(kind, match=message) as error:
        Backbone.from_preset(path)
    assert str(path) in str(error.value)


@pytest.mark.reference
def test_several_files_in_a_folder_are_named_and_each_can_be_given(openai, tmp_path):
    _, path = openai()
    other = path.with_name("base.pt")
    other.write_bytes(path.read_bytes())
    refused(path.parent, CheckpointFileError, r"several \.pt files \(base\.pt, tiny\.pt\)")
    for each in (path, other):
        with Checkpoint(each) as checkpoint:
            assert checkpoint.config["model_type"] == "whisper"
    assert workflows.export(path, tmp_path / "out").comparison.same


@pytest.mark.reference
def test_a_file_that_needs_code_run_is_refused_by_its_name_and_none_runs(openai, tmp_path):
    import torch

    _, path = openai()
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    torch.save({"dims": Trap(), "model_state_dict": {}}, path)
    refused(path, CheckpointFileError, r"can't be read.*mkdir")
    assert not ran.exists()
    torch.load(path, weights_only=False)  # the trap is one
    assert ran.exists()


@pytest.mark.reference
@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"dims": None}, CheckpointFileError, "should have 'dims' next to"),
        ({"n_text_state": 8}, ConfigError, "an encoder 16 and a decoder 8 wide"),
        ({"n_audio_state": "16", "n_text_state": "16"}, ConfigError, "an encoder '16'"),
        ({"n_conv": 3}, ConfigError, "aren't mapped: n_conv=3"),
        ({"n_text_layer": 4}, WeightMapError, r"missing from the file: decoder\.blocks\.3\."),
        ({"n_text_layer": 2}, WeightMapError, r"unknown in the file: decoder\.blocks\.2\."),
    ],
)
def test_dims_that_do_not_fit_are_refused(change, kind, message, openai):
    import torch

    _, path = openai()
    saved = torch.load(path)
    dims = change.get("dims", saved["dims"] | change)
    torch.save(saved | {"dims": dims}, path)
    refused(path, kind, message)


@pytest.mark.reference
@pytest.mark.parametrize(("name", "size"), [("n_vocab", 60), ("n_text_ctx", 9), ("n_mels", 9)])
def test_a_size_that_is_not_the_tensors_is_refused_with_both(name, size, openai):
    import torch

    _, path = openai()
    saved = torch.load(path)
    saved["dims"][name] = size
    torch.save(saved, path)
    refused(
        path.parent,
        WeightMapError,
        rf"of another shape: .*\b{DIMS[name]}\b.* for .* should have .*\b{size}\b",
    )


@pytest.mark.reference
def test_missing_and_unknown_tensors_are_named_in_their_names(openai):
    import torch

    _, path = openai()
    saved = torch.load(path)
    state = saved["model_state_dict"]
    del state["decoder.blocks.1.mlp.2.bias"]
    state["decoder.blocks.1.attn.key.bias"] = torch.zeros(16)
    torch.save(saved, path)
    refused(path, WeightMapError, r"missing from the file: decoder\.blocks\.1\.mlp\.2\.bias")
    refused(path, WeightMapError, r"unknown in the file: decoder\.blocks\.1\.attn\.key\.bias")


@pytest.mark.reference
@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_file_is_refused_by_name(share, openai):
    _, path = openai()
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, CheckpointFileError, r"tiny\.pt")
