"""GPT-2 against transformers where it is unlike the encoders: causal, fused, and it generates."""

import json

import keras
import numpy as np
import pytest

from inarch import workflows
from inarch.errors import ConfigError, InputError, WeightMapError
from inarch.generation import BeamSearch, Generator, Greedy, Sample
from inarch.models.backbone import Backbone
from inarch.tasks import TextClassifier, TextEmbedder
from inarch.workflows import verification

from .conftest import Written, batch, noise_ratio, tensors, torch, transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

BASE = [
    {},
    {"activation_function": "relu", "layer_norm_epsilon": 1e-3},
    {"activation_function": "gelu", "n_head": 3},
    {"n_inner": None, "n_head": 1, "n_layer": 1},
    {"n_embd": 25, "n_head": 5, "n_inner": 17, "resid_pdrop": 0.3, "attn_pdrop": 0.0},
]
CASES = [
    *(("GPT2Model", None, "last_hidden_state", changes) for changes in BASE),
    # Of two numbers the reference's own noise may be next to none; a text has 24.
    ("GPT2ForSequenceClassification", TextClassifier, "logits", {"num_labels": 24}),
    (
        "GPT2ForSequenceClassification",
        TextClassifier,
        "logits",
        {"num_labels": 24, "pad_token_id": 7},
    ),
]


def load(folder, task):
    return task.from_preset(folder, preprocessor=None) if task else Backbone.from_preset(folder)


def numbers(outputs):
    return keras.ops.convert_to_numpy(outputs).astype("float64")


def inputs_of(written, left=False):
    padding = written.model.config.pad_token_id or 0
    x = batch(None, padding=padding)
    return {name: array[:, ::-1].copy() for name, array in x.items()} if left else x


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("kind", "task", "name", "changes"), CASES)
def test_numbers_are_the_references(kind, task, name, changes, left, write, tmp_path):
    written = write(kind, **changes)
    x = inputs_of(written, left)
    single, double = (written.outputs(x, name, d) for d in (False, True))
    model = load(written.folder, task)
    ours, real = numbers(model(x)), x["padding_mask"].astype(bool)
    for row in range(len(real)):
        where = (row, real[row]) if ours.ndim == 3 else row
        assert noise_ratio(ours[where], single[where], double[where]) <= 4

    model.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)
    config, other = (json.loads((f / "config.json").read_text())
        for f in (written.folder, tmp_path / "out"))  # fmt: skip
    assert config == other
    back, report = getattr(transformers, kind).from_pretrained(
        tmp_path / "out", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    written.model = back.eval()
    np.testing.assert_array_equal(written.outputs(x, name, False), single)


def with_head(backbone, tie):
    """The model of next-token logits, whose own kernel is the file's where it isn't tied."""
    model = keras.Model(backbone.input, backbone.causal_lm(backbone.output, tie))
    if not tie:
        model.get_layer("logits").set_weights([backbone.passthrough["lm_head.weight"].T])
    return model


@pytest.mark.parametrize("tie", [True, False])
def test_next_token_logits_are_the_references(tie, write):
    written = write("GPT2LMHeadModel", tie_word_embeddings=tie)
    x = inputs_of(written)
    single, double = (written.outputs(x, "logits", d) for d in (False, True))
    backbone = Backbone.from_preset(written.folder)
    model, real = with_head(backbone, tie), x["padding_mask"].astype(bool)
    assert noise_ratio(numbers(model(x))[real], single[real], double[real]) <= 4
    if not tie:
        with pytest.raises(InputError, match="tie_word_embeddings=False"):
            backbone.decoder_stack()
    head = None if tie else model.get_layer("logits")
    prompts = [row[mask].tolist() for row, mask in zip(x["token_ids"], real, strict=True)]
    found = Generator(backbone.decoder_stack(head), end_id=0).logits(prompts)
    last = real.sum(axis=1) - 1
    rows = np.arange(len(real))
    assert noise_ratio(found, single[rows, last], double[rows, last]) <= 8


# --- files of all times -----------------------------------------------------------------------


def stored_masks(length, dtype):
    """The buffers that files had before transformers 4.32."""
    mask = torch.ones(length, length).tril().view(1, 1, length, length).to(dtype)
    return {"attn.bias": mask, "attn.masked_bias": torch.tensor(-1e4)}


def old_file(written, dtype, pickled, prefix):
    """The same checkpoint as a former version wrote it."""
    from safetensors.torch import save_file

    state = {n: v.clone() for n, v in written.model.state_dict().items() if n != "lm_head.weight"}
    for i in range(written.model.config.n_layer):
        masks = stored_masks(written.model.config.n_positions, dtype)
        state |= {f"transformer.h.{i}.{name}": mask for name, mask in masks.items()}
    state = {n if prefix else n.removeprefix("transformer."): v for n, v in state.items()}
    path = written.folder / "model.safetensors"
    if pickled:
        path.unlink()
        torch.save(state, written.folder / "pytorch_model.bin")
    else:
        save_file(state, path, metadata={"format": "pt"})
    return state


@pytest.mark.parametrize(
    ("dtype", "pickled", "prefix"),
    [(torch.float32, False, False), (torch.uint8, True, True), (torch.bool, True, False)],
)
def test_the_stored_masks_of_old_files_are_read_and_written(
    dtype, pickled, prefix, write, tmp_path
):
    written = write("GPT2LMHeadModel")
    x = inputs_of(written)
    right = numbers(Backbone.from_preset(written.folder)(x))
    state = old_file(written, dtype, pickled, prefix)
    backbone = Backbone.from_preset(written.folder)
    np.testing.assert_array_equal(numbers(backbone(x)), right)
    backbone.save_to_preset(tmp_path / "out")
    out = tensors(tmp_path / "out")
    assert out.keys() == state.keys()
    for name, value in state.items():
        assert out[name][2] == value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    found = workflows.export(written.folder, tmp_path / "copy")
    assert len(found.comparison.equal) == len(state)
    backbone = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out").eval()
    theirs = Written(tmp_path / "out", backbone).outputs(x, "logits", False)
    np.testing.assert_allclose(theirs, written.outputs(x, "logits", False), rtol=1e-5, atol=1e-5)


def test_a_stored_mask_of_another_form_is_refused(write):
    written = write("GPT2LMHeadModel")
    state = old_file(written, torch.float32, True, True)
    state["transformer.h.1.attn.bias"][0, 0, 3, 2] = 0
    torch.save(state, written.folder / "pytorch_model.bin")
    with pytest.raises(WeightMapError, match=r"h\.1\.attn\.bias' is not the causal mask"):
        Backbone.from_preset(written.folder)


@pytest.mark.parametrize("options", [{"dtype": torch.bfloat16}, {"dtype": torch.float16},
    {"save": {"max_shard_size": "5KB"}}])  # fmt: skip
def test_half_precision_and_shards_come_back_byte_equal(options, write, tmp_path):
    written = write("GPT2DoubleHeadsModel", **options)
    found = workflows.export(written.folder, tmp_path / "copy")
    assert found.through == "CausalLM"
    assert tensors(tmp_path / "copy") == tensors(written.folder)
    x = inputs_of(written)
    written.model = written.model.transformer
    single, double = (written.outputs(x, "last_hidden_state", d) for d in (False, True))
    real = x["padding_mask"].astype(bool)
    ours = numbers(Backbone.from_preset(written.folder)(x))
    assert noise_ratio(ours[real], single[real], double[real]) <= 4


@pytest.mark.parametrize(
    ("name", "value"),
    [("scale_attn_weights", False), ("scale_attn_by_inverse_layer_idx", True),
     ("add_cross_attention", True), ("is_causal", False)],
)  # fmt: skip
def test_a_field_that_changes_the_numbers_is_refused_by_name_and_value(name, value, write):
    folder = write("GPT2Model").folder
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(ConfigError, match=f"{name!r} is {value}"):
        Backbone.from_preset(folder)


# Fields of published files that have no part in the numbers in float32.
OLD = {
    "n_ctx": 32, "n_special": 0, "predict_special_tokens": True, "summary_type": "cls_index",
    "summary_use_proj": True, "summary_activation": None, "summary_proj_to_labels": True,
    "summary_first_dropout": 0.1, "output_past": True, "gradient_checkpointing": True,
    "line_by_line": False, "n_vocab": 61, "adapters": {"adapters": {}, "config_map": {}},
    "reorder_and_upcast_attn": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
}  # fmt: skip


def test_fields_of_published_files_change_nothing(write):
    written = write("GPT2Model")
    x = inputs_of(written)
    right = numbers(Backbone.from_preset(written.folder)(x))
    path = written.folder / "config.json"
    config = json.loads(path.read_text()) | OLD
    # The other names, of transformers' attribute_map.
    for alias, name in written.model.config.attribute_map.items():
        config[alias] = config.pop(name)
    path.write_text(json.dumps(config))
    np.testing.assert_array_equal(numbers(Backbone.from_preset(written.folder)(x)), right)


# --- packed rows ------------------------------------------------------------------------------


def test_packed_rows_are_the_reference_on_each_sequence(write):
    written = write("GPT2Model")
    x = inputs_of(written)
    packed = {
        "token_ids": np.concatenate([x["token_ids"][1, :9], x["token_ids"][3, :6]])[None],
        "padding_mask": np.array([[1] * 9 + [2] * 6], "int32"),
    }
    single, double = (written.outputs(x, "last_hidden_state", d) for d in (False, True))
    ours = numbers(Backbone.from_preset(written.folder)(packed))[0]
    assert noise_ratio(ours[:9], single[1, :9], double[1, :9]) <= 4
    assert noise_ratio(ours[9:], single[3, :6], double[3, :6]) <= 4


# --- generation -------------------------------------------------------------------------------

NEW = 20
STRATEGIES = {
    "greedy": (Greedy(), {}),
    "cold": (Sample(temperature=0.0), {}),
    "beams": (BeamSearch(4), {"num_beams": 4}),
}  # fmt: skip
PROMPTS = [[5, 6], [7], [8, 9, 10, 11, 12, 13, 14], [40, 2, 17, 33]]


@pytest.fixture
def language_model(write):
    """The reference, and a generator whose end token is one that it comes to."""
    written = write("GPT2LMHeadModel", n_positions=120)
    model = written.model.float()
    (row,) = generated(model, PROMPTS[:1], end=60)
    end = max(row, key=row.index)  # the last of the tokens that are new
    decoder = Backbone.from_preset(written.folder).decoder_stack()
    return model, Generator(decoder, end)


def generated(model, prompts, end, **options):
    """The reference's tokens, of prompts that are padded on the left."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[end] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    options = {"max_new_tokens": NEW, "do_sample": False, **options}
    options |= {"eos_token_id": end, "pad_token_id": end}
    with torch.inference_mode():
        found = model.generate(ids, attention_mask=mask, **options)[:, longest:].tolist()
    return [row[: row.index(end)] if end in row else row for row in found]


@pytest.mark.parametrize("name", STRATEGIES)
def test_tokens_are_those_of_transformers_alone_and_in_a_left_padded_batch(name, language_model):
    model, generator = language_model
    strategy, options = STRATEGIES[name]
    given = {"strategy": strategy, "max_new_tokens": NEW}
    found = generator.generate(PROMPTS, **given).rows()
    assert found == generated(model, PROMPTS, generator.end_id, **options)
    for prompt, row in zip(PROMPTS, found, strict=True):
        assert generator.generate([prompt], **given).rows() == [row]
        assert generated(model, [prompt], generator.end_id, **options) == [row]
    assert any(0 < len(row) < NEW for row in found)


def test_a_prompt_of_several_chunks_is_continued_up_to_the_last_position(language_model):
    model, generator = language_model
    prompts = [np.random.default_rng(n).integers(4, 61, n).tolist() for n in (110, 70, 3)]
    found = generator.generate(prompts, max_new_tokens=10).rows()
    assert found == generated(model, prompts, generator.end_id, max_new_tokens=10)


def test_samples_have_the_references_probabilities_and_depend_on_their_row_alone(language_model):
    model, generator = language_model
    with torch.inference_mode():
        logits = model(torch.tensor([PROMPTS[2]])).logits[0, -1] / 1.5
    wanted = torch.softmax(logits, 0).numpy()
    seeds = list(range(2000))
    options = {"strategy": Sample(1.5, seed=seeds), "max_new_tokens": 1}
    found = generator.generate([PROMPTS[2]] * len(seeds), **options)
    tokens = [row[0] if row else generator.end_id for row in found.rows()]
    shares = np.bincount(tokens, minlength=61) / len(seeds)
    assert np.abs(shares - wanted).sum() / 2 < 0.08
    given = {"strategy": Sample(1.0, seed=[4, 5, 6, 7]), "max_new_tokens": NEW}
    together = generator.generate(PROMPTS, **given).rows()
    for seed, prompt, row in zip((4, 5, 6, 7), PROMPTS, together, strict=True):
        alone = {"strategy": Sample(1.0, seed=[seed]), "max_new_tokens": NEW}
        assert generator.generate([prompt], **alone).rows() == [row]


# --- with texts -------------------------------------------------------------------------------

TEXTS = ["the cat sat on the mat", "a dog", "it's 12 o'clock, naïve  friends!", "the dog sat"]


def add_tokenizer(folder, whole):
    """Write a tokenizer in the form of the published files, or as a tokenizer.json."""
    from tokenizers import ByteLevelBPETokenizer

    made = ByteLevelBPETokenizer()
    options = {"vocab_size": 300, "min_frequency": 1, "special_tokens": ["<|endoftext|>"]}
    made.train_from_iterator(TEXTS * 5, **options, show_progress=False)
    made.save_model(str(folder))
    theirs = transformers.GPT2Tokenizer.from_pretrained(folder)
    if whole:
        theirs.save_pretrained(folder)
    return theirs


@pytest.mark.parametrize("whole", [False, True])
def test_text_is_continued_and_classified_as_by_transformers(whole, write, tmp_path):
    sizes = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    written = write("GPT2ForSequenceClassification", num_labels=3, n_positions=64, **sizes)
    theirs = add_tokenizer(written.folder, whole)
    classifier = TextClassifier.from_preset(written.folder)
    tokenizer = classifier.preprocessor.tokenizer
    ids = [tokenizer.encode(text).ids for text in TEXTS]
    assert ids == [theirs(text)["input_ids"] for text in TEXTS]
    assert tokenizer.decode_batch(ids) == TEXTS

    def logits(model):
        with torch.inference_mode():
            rows = [model(torch.tensor([row])).logits[0].numpy() for row in ids]
        return np.stack(rows)

    right = logits(written.model.float())
    np.testing.assert_allclose(classifier.predict(TEXTS), right, rtol=1e-4, atol=1e-4)
    classifier.fit(TEXTS, [0, 1, 2, 1], batch_size=2, epochs=1, verbose=0)
    classifier.save_to_preset(tmp_path / "trained")
    back = transformers.GPT2ForSequenceClassification.from_pretrained(tmp_path / "trained").eval()
    changed = logits(back)
    assert np.abs(changed - right).max() > 1e-4
    np.testing.assert_allclose(classifier.predict(TEXTS), changed, rtol=1e-4, atol=1e-4)

    embedder = TextEmbedder.from_preset(written.folder, pooling="lasttoken")
    assert embedder.predict(TEXTS).shape == (4, 24)
    generator = Generator(embedder.backbone.decoder_stack(), tokenizer.eos_token_id)
    language_model = transformers.GPT2LMHeadModel(written.model.config).eval()
    language_model.transformer.load_state_dict(written.model.transformer.state_dict())
    language_model.tie_weights()
    found = generator.generate(ids, max_new_tokens=8).rows()
    for row, tokens in zip(ids, found, strict=True):
        with torch.inference_mode():
            wanted = language_model.generate(torch.tensor([row]), max_new_tokens=8, do_sample=False)
        text = tokenizer.decode(row + tokens)
        assert text == theirs.decode(wanted[0], skip_special_tokens=True)


@pytest.mark.parametrize("kind", ["GPT2LMHeadModel", "GPT2ForSequenceClassification"])
def test_a_checkpoint_verifies_against_transformers(kind, write):
    written = write(kind, vocab_size=300, pad_token_id=0, eos_token_id=0, bos_token_id=0)
    add_tokenizer(written.folder, False)
    report = verification.verify_checkpoint(written.folder)
    assert report.passed
