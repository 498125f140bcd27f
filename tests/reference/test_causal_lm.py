"""`CausalLM` against transformers: logits, losses, and the tokens of `generate`."""

import json

import keras
import numpy as np
import pytest

from inarch.generation import (
    GeneratedTokens,
    MinLength,
    MinP,
    NoRepeatNGram,
    RepetitionPenalty,
    SuppressTokens,
    SuppressTokensAtBegin,
    Temperature,
    TopK,
    TopP,
)
from inarch.models.variables import named_variables, set_value
from inarch.tasks import CausalLM, TextPreprocessor
from inarch.text import BytePairTokenizer

from .conftest import noise_ratio, torch, transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

# One token for each letter, so that texts are equal where tokens are.
LETTERS = [*map(chr, range(ord("A"), ord("Z") + 1)), *map(chr, range(ord("a"), ord("z") + 1))]
END = "<|endoftext|>"
VOCABULARY = {token: i for i, token in enumerate([*LETTERS, END])}
END_ID = VOCABULARY[END]
SIZES = {"vocab_size": len(VOCABULARY), "n_positions": 64, "n_layer": 1, "bos_token_id": END_ID,
    "eos_token_id": END_ID, "pad_token_id": END_ID}  # fmt: skip
TEXTS = ["causal", "A", "languageModel"]
MODELS, NEW = 20, 16


def tokenizer():
    special = {"bos_token": END, "eos_token": END}
    return BytePairTokenizer(VOCABULARY, [], special_tokens=special)


def written(write, **changes):
    model = write("GPT2LMHeadModel", **{**SIZES, **changes})
    tokenizer().save(model.folder)
    return model


def ids_of(text):
    return [VOCABULARY[letter] for letter in text]


def generated(model, text, **options):
    """The reference's texts after one prompt."""
    ids = torch.tensor([ids_of(text)])
    options = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": END_ID, **options}
    with torch.inference_mode():
        rows = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    found = [row[: row.index(END_ID)] if END_ID in row else row
        for row in rows[:, ids.shape[1] :].tolist()]  # fmt: skip
    return ["".join(LETTERS[i] for i in row) for row in found]


OPTIONS = [
    {"num_beams": 4, "num_return_sequences": 2},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2,
        "min_new_tokens": 6, "suppress_tokens": [3, 4], "begin_suppress_tokens": [5, 6]},
    {"num_beams": 3, "length_penalty": -0.5, "early_stopping": True,
        "repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
]  # fmt: skip


def randomize(task, seed):
    """Every weight random, kernels of the scale of their input and the rest of order one."""
    random = np.random.default_rng(seed)
    for name, variable in named_variables(task).items():
        noise = random.standard_normal(tuple(variable.shape))
        if name.endswith("gamma"):
            noise = 1 + 0.3 * noise
        elif name.endswith("kernel"):
            noise = 1.5 * noise / len(noise) ** 0.5
        elif noise.ndim == 1:
            noise = 0.5 * noise
        set_value(variable, noise)


def test_texts_are_those_of_transformers_for_twenty_models(write, tmp_path):
    task, ended = CausalLM.from_preset(written(write).folder), 0
    for seed in range(MODELS):
        randomize(task, seed)
        task.save_to_preset(tmp_path / "out")
        model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out").eval()
        for options in [{}, OPTIONS[seed % len(OPTIONS)]]:
            found = task.generate(TEXTS, max_new_tokens=NEW, **options)
            wanted = [generated(model, text, **options) for text in TEXTS]
            if options.get("num_return_sequences", 1) == 1:
                wanted = [text for (text,) in wanted]
            assert found == wanted, (seed, options)
            ended += sum(len(text) < NEW for text in found)
    assert ended > MODELS  # the end has to be reached for the test to mean anything


@pytest.mark.parametrize("tie", [True, False])
def test_logits_and_losses_are_those_of_transformers_there_and_back(tie, write, tmp_path):
    theirs = written(write, tie_word_embeddings=tie)
    task = CausalLM.from_preset(theirs.folder)

    def logits(model):
        with torch.inference_mode():
            return [model(torch.tensor([ids_of(text)])).logits[0].numpy() for text in TEXTS]

    single, double = logits(theirs.model.float()), logits(theirs.model.double())
    for row, text, one, two in zip(task.predict(TEXTS), TEXTS, single, double, strict=True):
        assert noise_ratio(row[: len(text)], one, two) <= 4

    model = theirs.model.float()
    with torch.inference_mode():
        rows = [torch.tensor([ids_of(text)]) for text in TEXTS]
        losses = [float(model(row, labels=row).loss) for row in rows if row.shape[1] > 1]
        ends = [torch.tensor([[*ids_of(text), END_ID]]) for text in TEXTS]
        total = sum(float(model(row, labels=row).loss) * (row.shape[1] - 1) for row in ends)
    texts = [text for text in TEXTS if len(text) > 1]
    np.testing.assert_allclose(task.perplexity(texts), np.exp(losses), rtol=1e-4)
    loss = task.evaluate(TEXTS, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(total / sum(row.shape[1] - 1 for row in ends), rel=1e-4)

    task.fit(TEXTS, batch_size=2, epochs=1, verbose=0)
    task.save_to_preset(tmp_path / "out")
    back, report = transformers.GPT2LMHeadModel.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    changed, exact = logits(back.eval()), logits(back.double())
    assert np.abs(changed[0] - single[0]).max() > 1e-4
    for row, text, one, two in zip(task.predict(TEXTS), TEXTS, changed, exact, strict=True):
        assert noise_ratio(row[: len(text)], one, two) <= 4
    assert generated(back.float(), TEXTS[0]) == [task.generate(TEXTS[0], max_new_tokens=NEW)]
    mine = (tmp_path / "out" / "generation_config.json").read_text()
    assert mine == (theirs.folder / "generation_config.json").read_text()


@pytest.mark.parametrize("tie", [True, False])
def test_a_task_made_here_generates_there_as_here(tie, write, tmp_path):
    from inarch.models.gpt2.backbone import GPT2Backbone

    keras.utils.set_random_seed(0)
    backbone = GPT2Backbone(len(VOCABULARY), 1, 2, 16, max_sequence_length=64)
    task = CausalLM(backbone, TextPreprocessor(tokenizer(), 64), tie)
    for variable in task.variables:
        value = keras.ops.convert_to_numpy(variable)
        set_value(variable, value + 0.5 * np.random.standard_normal(value.shape))
    task.save_to_preset(tmp_path / "out")
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.generation_config.eos_token_id == END_ID
    found = task.generate(TEXTS, max_new_tokens=NEW)
    assert found == [generated(model.eval(), text)[0] for text in TEXTS]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs(TEXTS)["input_ids"] == [ids_of(text) for text in TEXTS]


def test_defaults_are_read_as_transformers_reads_them(write, tmp_path):
    folder = written(write).folder
    config = transformers.GenerationConfig.from_pretrained(folder)
    config.update(num_beams=3, repetition_penalty=1.4, max_new_tokens=11, length_penalty=2.0)
    config.save_pretrained(folder)
    task = CausalLM.from_preset(folder)
    assert task.generation["num_beams"] == 3
    model = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    for text in TEXTS:
        ids = torch.tensor([ids_of(text)])
        with torch.inference_mode():
            row = model.generate(ids, pad_token_id=END_ID)[0, ids.shape[1] :].tolist()
        row = row[: row.index(END_ID)] if END_ID in row else row
        assert task.generate(text) == "".join(LETTERS[i] for i in row)
    task.save_to_preset(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == task.generation


# --- processors -------------------------------------------------------------------------------

PROCESSORS = {
    "temperature": (Temperature(0.7), lambda t: t.TemperatureLogitsWarper(0.7)),
    "top k": (TopK(7), lambda t: t.TopKLogitsWarper(7)),
    "all of top k": (TopK(99), lambda t: t.TopKLogitsWarper(99)),
    "top p": (TopP(0.8), lambda t: t.TopPLogitsWarper(0.8)),
    "least top p": (TopP(0.0), lambda t: t.TopPLogitsWarper(0.0)),
    "min p": (MinP(0.05), lambda t: t.MinPLogitsWarper(0.05)),
    "repetition": (RepetitionPenalty(1.3, include_prompt=True),
        lambda t: t.RepetitionPenaltyLogitsProcessor(1.3)),
    "n-grams": (NoRepeatNGram(2, include_prompt=True), lambda t: t.NoRepeatNGramLogitsProcessor(2)),
    "single": (NoRepeatNGram(1, include_prompt=True), lambda t: t.NoRepeatNGramLogitsProcessor(1)),
    "length": (MinLength(3, (2, 5)), lambda t: t.MinNewTokensLengthLogitsProcessor(4, 3, [2, 5])),
    "suppressed": (SuppressTokens((1, 8)), lambda t: t.SuppressTokensLogitsProcessor([1, 8])),
    "begin": (SuppressTokensAtBegin((1, 8)),
        lambda t: t.SuppressTokensAtBeginLogitsProcessor([1, 8], begin_index=4)),
}  # fmt: skip


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processor_is_the_one_of_transformers(name):
    from transformers.generation import logits_process

    ours, make = PROCESSORS[name]
    theirs, random = make(logits_process), np.random.default_rng(0)
    for count in (0, 1, 5):
        logits = (3 * random.standard_normal((6, 12))).astype("float32")
        prompt = random.integers(0, 12, (6, 4)).astype("int32")
        tokens = random.integers(0, 12, (6, 9)).astype("int32")
        before = np.concatenate([prompt, tokens[:, :count]], axis=1)
        wanted = theirs(torch.tensor(before).long(), torch.tensor(logits)).numpy()
        given = GeneratedTokens(
            *map(keras.ops.convert_to_tensor, (tokens, count, prompt, np.zeros((6, 1), "int32")))
        )
        found = keras.ops.convert_to_numpy(ours(keras.ops.convert_to_tensor(logits), given))
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
