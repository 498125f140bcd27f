"""Whisper against transformers: encoder and decoder outputs, and the checkpoints written back."""

import inspect
import json

import keras
import numpy as np
import pytest

from inarch.models.backbone import Backbone
from inarch.tasks import SpeechToText

from .conftest import Written, noise_ratio, perturb, tensors, torch, transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

WORDS, POSITIONS, LONGEST = 41, 9, 13
# Ids of special tokens within the tiny vocabulary.
TINY = {
    "vocab_size": WORDS, "d_model": 24, "num_mel_bins": 10,
    "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 40,
    "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 36,
    "max_source_positions": POSITIONS, "max_target_positions": LONGEST,
    "pad_token_id": 3, "bos_token_id": 3, "eos_token_id": 3, "decoder_start_token_id": 4,
    "suppress_tokens": None, "begin_suppress_tokens": None,
}  # fmt: skip
MODEL, GENERATOR = "WhisperModel", "WhisperForConditionalGeneration"
CASES = [
    (MODEL, {}),
    (MODEL, {"activation_function": "relu"}),
    (MODEL, {"activation_function": "gelu_new"}),
    (MODEL, {"activation_function": "silu", "num_mel_bins": 128}),
    (MODEL, {"encoder_attention_heads": 3, "decoder_attention_heads": 1}),
    (MODEL, {"encoder_layers": 3, "decoder_layers": 1, "num_hidden_layers": 3}),
    (MODEL, {"encoder_layers": 1, "decoder_layers": 3, "decoder_ffn_dim": 17}),
    (MODEL, {"scale_embedding": True}),
    (MODEL, {"d_model": 30, "encoder_attention_heads": 5, "decoder_attention_heads": 3}),
    (MODEL, {"dropout": 0.2, "attention_dropout": 0.3, "activation_dropout": 0.4}),
    (MODEL, {"max_source_positions": 14, "num_mel_bins": 7, "pad_token_id": 0}),
    (GENERATOR, {}),
    (GENERATOR, {"tie_word_embeddings": False, "num_mel_bins": 128}),
    (GENERATOR, {"scale_embedding": True, "encoder_attention_heads": 3, "decoder_layers": 4}),
    (GENERATOR, {"activation_function": "relu", "encoder_ffn_dim": 7, "dropout": 0.1}),
]
REFUSED = [
    {"encoder_layerdrop": 0.1},
    {"decoder_layerdrop": 0.1},
    {"is_encoder_decoder": False},
    {"activation_function": "xielu"},
]


@pytest.fixture
def write(tmp_path):
    """`write(class name, config changes)`: a perturbed tiny Whisper saved by transformers."""

    def writer(kind, seed=0, dtype=None, **changes):
        cls = getattr(transformers, kind)
        config = cls.config_class(**{**TINY, **changes})
        config._attn_implementation = "eager"
        model = cls(config).eval()
        perturb(model, seed)
        model.tie_weights()
        if dtype is not None:
            model = model.to(dtype)
        folder = tmp_path / f"{kind}-{seed}"
        model.save_pretrained(folder)
        return Written(folder, model)

    return writer


def batch(changes, seed=0, left=False):
    """Features of as many frames as there are positions for, and rows of very different lengths."""
    sizes, random = TINY | changes, np.random.default_rng(seed)
    lengths = np.array([LONGEST, 7, 1])
    mask = (np.arange(LONGEST) < lengths[:, None]).astype("int32")
    mask = mask[:, ::-1].copy() if left else mask
    frames = (3, 2 * sizes["max_source_positions"], sizes["num_mel_bins"])
    return {
        "encoder_features": random.standard_normal(frames).astype("float32"),
        "decoder_token_ids": random.integers(0, WORDS, mask.shape).astype("int32"),
        "decoder_padding_mask": mask,
    }


def theirs(model, inputs, double):
    """Return the reference's encoder and decoder outputs, in float64 or float32, as float64."""
    model = getattr(model, "model", model)
    model = model.double() if double else model.float()
    assert "decoder_attention_mask" in inspect.signature(model.forward).parameters
    features = torch.tensor(inputs["encoder_features"].swapaxes(1, 2))
    with torch.no_grad():
        outputs = model(
            input_features=features.double() if double else features,
            decoder_input_ids=torch.tensor(inputs["decoder_token_ids"], dtype=torch.long),
            decoder_attention_mask=torch.tensor(inputs["decoder_padding_mask"], dtype=torch.long),
        )
    return {
        "encoder_sequence_output": outputs.encoder_last_hidden_state.double().numpy(),
        "decoder_sequence_output": outputs.last_hidden_state.double().numpy(),
    }


def check(model, reference, inputs):
    """Check that both outputs are the reference's within noise; every row by itself."""
    single, double = (theirs(reference, inputs, d) for d in (False, True))
    ours = {k: keras.ops.convert_to_numpy(v).astype("float64") for k, v in model(inputs).items()}
    assert ours.keys() == single.keys()
    encoded = "encoder_sequence_output"
    assert noise_ratio(ours[encoded], single[encoded], double[encoded]) <= 4
    decoded = "decoder_sequence_output"
    for row, real in enumerate(inputs["decoder_padding_mask"].astype(bool)):
        values = (side[decoded][row, real] for side in (ours, single, double))
        assert noise_ratio(*values) <= 4
    return single


@pytest.mark.parametrize(("kind", "changes"), CASES)
def test_numbers_are_the_references_and_come_back_byte_equal(kind, changes, write, tmp_path):
    written = write(kind, **changes)
    model = Backbone.from_preset(written.folder)
    inputs = batch(changes)
    single = check(model, written.model, inputs)

    out = tmp_path / "out"
    model.save_to_preset(out)
    assert tensors(out) == tensors(written.folder)
    was, config = (json.loads((f / "config.json").read_text()) for f in (written.folder, out))
    assert config == was
    back, report = getattr(transformers, kind).from_pretrained(
        out, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, value in theirs(back.eval(), inputs, False).items():
        np.testing.assert_array_equal(value, single[name])


@pytest.mark.parametrize("changes", [{}, {"decoder_attention_heads": 3, "decoder_layers": 3}])
def test_left_padded_rows_are_the_references(changes, write):
    """Pads in front are counted as positions, as the reference counts them."""
    written = write(MODEL, **changes)
    inputs = batch(changes, left=True)
    assert not inputs["decoder_padding_mask"][1:, 0].any()
    check(Backbone.from_preset(written.folder), written.model, inputs)


@pytest.mark.parametrize("length", [1, 4])
def test_short_texts_are_the_references(length, write):
    written = write(MODEL)
    inputs = {
        name: value[:, :length] if name.startswith("decoder") else value
        for name, value in batch({}).items()
    }
    check(Backbone.from_preset(written.folder), written.model, inputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_files_load_exactly_and_come_back_byte_equal(dtype, write, tmp_path):
    written = write(GENERATOR, dtype=dtype)
    model = Backbone.from_preset(written.folder)
    check(model, written.model, batch({}))
    model.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)


@pytest.mark.parametrize(
    "changes",
    [{}, {"tie_word_embeddings": False}, {"decoder_attention_heads": 3, "decoder_layers": 3}],
)
def test_every_step_with_the_cache_is_the_references_without(changes, write):
    written = write(GENERATOR, **changes)
    task = SpeechToText.from_preset(written.folder, preprocessor=None)
    inputs = batch(changes)
    tokens = inputs["decoder_token_ids"]

    def logits(dtype):
        features = torch.tensor(inputs["encoder_features"].swapaxes(1, 2)).to(dtype)
        with torch.no_grad():
            found = written.model.to(dtype)(
                input_features=features, decoder_input_ids=torch.tensor(tokens, dtype=torch.long)
            )
        return found.logits.double().numpy()

    single, double = logits(torch.float32), logits(torch.float64)
    head = None if task.tie_word_embeddings else task.get_layer("logits")
    decoder = task.backbone.decoder_stack(head)
    cross = decoder.make_cross_attention_cache(task.backbone(inputs)["encoder_sequence_output"])
    caches = decoder.init_cache(len(tokens), LONGEST)
    for i in range(LONGEST):
        context = {
            "cache_index": i,
            "positions": np.full((1, 1), i, "int32"),
            "cross_attention_cache": cross,
        }
        hidden, caches = decoder.step(tokens[:, i : i + 1], caches, context)
        found = keras.ops.convert_to_numpy(decoder.logits(hidden[:, 0])).astype("float64")
        assert noise_ratio(found, single[:, i], double[:, i]) <= 4


@pytest.mark.parametrize("changes", REFUSED, ids=lambda changes: next(iter(changes)))
def test_a_field_that_is_not_computed_is_refused_by_name(changes, write):
    (field,) = changes
    folder = write(MODEL).folder
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=field):
        Backbone.from_preset(folder)
