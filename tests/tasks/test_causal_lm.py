"""Laws of `CausalLM`: text that goes on, text that comes in pieces, and how likely a text is."""

import json

import keras
import numpy as np
import pytest

from inarch import workflows
from inarch.data import TextLines
from inarch.errors import ConfigError, InarchError, InputError
from inarch.models.gpt2.backbone import GPT2Backbone
from inarch.models.variables import named_variables, set_value
from inarch.runtime.forward import softmax
from inarch.tasks import CausalLM, TextPreprocessor
from inarch.text import BytePairTokenizer
from inarch.text.byte_level import BYTE_TO_UNICODE

pytestmark = pytest.mark.turns(3)

POSITIONS = 48
END = "<|endoftext|>"
TEXTS = ["the cat sat", "a dog ran in the rain", "é中🙂", "x"]


def make_tokenizer():
    """Every byte is a token, so that characters of several bytes come in parts."""
    merges = ["t h", "th e", "i n"]
    tokens = [*BYTE_TO_UNICODE, *("".join(pair.split()) for pair in merges), END]
    special = {"bos_token": END, "eos_token": END}
    return BytePairTokenizer(
        {t: i for i, t in enumerate(tokens)}, merges, special_tokens=special
    )  # fmt: skip


def make_task(scale=0.0, tied=True, **arguments):
    keras.utils.set_random_seed(0)
    tokenizer = make_tokenizer()
    backbone = GPT2Backbone(
        tokenizer.vocabulary_size, 1, 2, 16, 24, dropout=0.0, embedding_dropout=0.0,
        attention_dropout=0.0, max_sequence_length=POSITIONS,
    )  # fmt: skip
    task = CausalLM(backbone, TextPreprocessor(tokenizer, POSITIONS), tied, **arguments)
    if scale:
        random = np.random.default_rng(0)
        for name, variable in named_variables(task).items():
            value = scale * random.normal(size=tuple(variable.shape))
            set_value(variable, 1 + value if name.endswith("gamma") else value)
    return task


@pytest.fixture(scope="module")
def task():
    """Weights of order one, so that every part shows; its texts are bytes of all kinds."""
    return make_task(0.6)


@pytest.fixture(scope="module")
def folder(task, tmp_path_factory):
    path = tmp_path_factory.mktemp("gpt2")
    task.save_to_preset(path)
    return path


def ids_of(task, text):
    return task.preprocessor.tokenizer.encode(text).ids


def log_probs_of(task, text):
    """Log-probabilities of the tokens of a text after the first, by the logits of `predict`."""
    logits, (encoding,) = task.predict([text])[0].astype("float64"), task.encode([text])
    return np.log(softmax(logits))[np.arange(len(encoding.ids) - 1), encoding.ids[1:]]


# --- training ---------------------------------------------------------------------------------


def test_each_token_is_predicted_from_those_before_it_and_padding_weighs_nothing(task):
    make = task.collate(TEXTS, None, None)
    x, y, weight = make(np.arange(len(TEXTS)), np.random.default_rng(0))
    end = task.preprocessor.tokenizer.eos_token_id
    for row, text in enumerate(TEXTS):
        ids = [*ids_of(task, text), end]
        assert x["token_ids"][row, : len(ids)].tolist() == ids
        assert y[row, : len(ids) - 1].tolist() == ids[1:]
        assert weight[row].nonzero()[0].tolist() == list(range(len(ids) - 1))
        assert x["padding_mask"][row].sum() == len(ids)


def test_the_loss_is_the_mean_surprisal_of_the_tokens(task):
    task.preprocessor.allow_special = (END,)
    try:
        wanted = -np.concatenate([log_probs_of(task, text + END) for text in TEXTS])
    finally:
        task.preprocessor.allow_special = ()
    found = task.evaluate(TEXTS, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(wanted.mean(), rel=1e-4)


def test_a_text_that_is_cut_has_no_end(task):
    task.preprocessor.sequence_length = 6
    try:
        x, y, weight = task.collate(["abcdefgh", "abc"], None, None)(
            np.arange(2), np.random.default_rng(0)
        )
    finally:
        task.preprocessor.sequence_length = POSITIONS
    end = task.preprocessor.tokenizer.eos_token_id
    assert (y * (weight > 0) == end).sum(axis=1).tolist() == [0, 1]
    assert x["token_ids"][0, :6].tolist() == ids_of(task, "abcdef")


def test_a_text_that_was_learned_goes_on_and_ends():
    task = make_task()
    task.compile(keras.optimizers.Adam(2e-2))
    task.fit(["the cat sat in the rain", "a dog ran"] * 8, epochs=40, batch_size=16, verbose=0)
    assert task.generate(["the cat", "a"], max_new_tokens=32) == [" sat in the rain", " dog ran"]


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [(["a b"], {"y": [1]}, "makes its own targets"), ([""], {}, "none of 1 texts has two tokens"),
     (["a b"], {"sample_weight": np.ones(1)}, "makes its own targets")],
)  # fmt: skip
def test_what_cannot_be_trained_on_is_named(x, options, words, task):
    with pytest.raises(InputError, match=words):
        task.fit(x, verbose=0, **options)


# --- generating -------------------------------------------------------------------------------


def test_greedy_text_is_the_likeliest_token_again_and_again(task):
    ids = ids_of(task, TEXTS[0])
    found = task.generate(TEXTS[0], max_new_tokens=6, eos_token_id=[])
    tokenizer = task.preprocessor.tokenizer
    for _ in range(6):
        row = np.array([ids + [0] * (16 - len(ids))])
        arrays = {"token_ids": row, "padding_mask": (np.arange(16) < len(ids))[None].astype(int)}
        ids.append(int(np.argmax(task.predict(arrays, verbose=0)[0, len(ids) - 1])))
    assert TEXTS[0] + found == tokenizer.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(
    "options", [{}, {"do_sample": True, "num_return_sequences": 2}, {"num_beams": 2}]
)
def test_one_prompt_gives_one_text_and_a_list_gives_each_its_own(options, task):
    sampled = "do_sample" in options
    options = {"max_new_tokens": 16, **options}
    together = task.generate(TEXTS, seed=3, **options)
    assert len(together) == len(TEXTS)
    assert task.generate(TEXTS[0], seed=3, **options) == together[0]
    assert task.generate(TEXTS, seed=3, batch_size=2, **options) == together
    if not sampled:
        assert [task.generate(text, **options) for text in TEXTS] == together
    else:
        assert all(len(several) == 2 and several[0] != several[1] for several in together)
        assert task.generate(TEXTS, seed=4, **options) != together
    assert task.generate([], **options) == []


def test_pieces_are_whole_characters_and_make_up_the_text(task):
    seen = ""
    for seed in range(12):
        options = {"do_sample": True, "max_new_tokens": 16, "seed": seed, "temperature": 1.5}
        pieces = list(task.stream(TEXTS[1], **options))
        assert "".join(pieces) == task.generate(TEXTS[1], **options)
        assert not any("�" in piece[-1] for piece in pieces[:-1])
        assert all(pieces)
        seen += "".join(pieces)
    assert "�" in seen  # for the test to mean anything


def test_text_ends_before_a_stop_string_wherever_tokens_end(task):
    options = {"max_new_tokens": 32, "do_sample": True, "temperature": 1.5, "min_new_tokens": 32}
    cut = 0
    for seed in range(6):
        whole = task.generate(TEXTS[0], seed=seed, **options)
        stop = whole[5:8]
        found = task.generate(TEXTS[0], seed=seed, stop_strings=[stop, "nowhere"], **options)
        assert found == whole[: whole.index(stop)]
        pieces = task.stream(TEXTS[0], seed=seed, stop_strings=stop, **options)
        assert "".join(pieces) == found
        cut += len(found) == 5
    assert cut


def test_lengths_of_prompts_and_texts_share_compiled_programs(task):
    generator = task.generator.generator
    task.generate("the cat", max_new_tokens=3)
    before = len(generator._steps)
    for length, tokens in ((1, 16), (9, 5), (16, 1)):
        task.generate("x" * length, max_new_tokens=tokens)
    assert len(generator._steps) == before


def test_a_text_ends_at_the_last_position(task):
    prompt = "x" * (POSITIONS - 2)
    options = {"max_new_tokens": 16, "eos_token_id": []}
    assert len(list(task.stream(prompt, **options))) <= 3
    assert len(task.generate("x" * POSITIONS, **options)) <= 1


def test_new_weights_are_generated_with(task, folder):
    other = CausalLM.from_preset(folder)
    before = other.generate(TEXTS, max_new_tokens=16)
    assert before == task.generate(TEXTS, max_new_tokens=16)
    other.set_weights([-w for w in other.get_weights()])
    assert other.generate(TEXTS, max_new_tokens=16) != before


# --- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"do_sample": True, "temperature": 0.0}, "temperature is 0 and do_sample True"),
        ({"temperature": 0.7}, "temperature is 0.7 and do_sample False"),
        ({"top_k": 5}, "give do_sample=True"),
        ({"do_sample": True, "num_beams": 2}, "do_sample is True and num_beams 2"),
        ({"num_return_sequences": 2}, "num_return_sequences is 2, of 1"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences is 3, of 2"),
        ({"length_penalty": 2.0}, "length_penalty is 2.0 and num_beams 1"),
        ({"num_beams": 2, "stop_strings": "a"}, "beam search takes none"),
        ({"num_beams": 2, "eos_token_id": [1, 2]}, "beam search takes one"),
        ({"max_length": 9, "max_new_tokens": 3}, "give one of them"),
        ({"max_length": 3}, "prompt 0 has 5 tokens, and max_length is 3"),
        ({"min_new_tokens": 9, "max_new_tokens": 3}, "give a larger max_new_tokens"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"eos_token_id": -1}, "eos_token_id is -1"),
        ({"eos_token_id": 999}, "token id 999, and the model has 260 tokens"),
        ({"suppress_tokens": [-3]}, "suppress_tokens is .-3"),
        ({"stop_strings": ["a", ""]}, "stop_strings is"),
        ({"top_p": 1.5, "do_sample": True}, "top_p is 1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
        ({"tempreature": 0.7}, "did you mean temperature"),
        ({"typical_p": 0.5}, "typical_p is 0.5; it isn't computed here"),
        ({"seed": -1}, "seed is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_options_that_cannot_be_used_are_named_with_the_way_out(options, words, task):
    with pytest.raises(InarchError, match=words):
        task.generate("a cat", **options)


@pytest.mark.parametrize(
    ("prompts", "words"),
    [("", "prompt 0 has no tokens"), (["a", ""], "prompt 1 has no tokens"),
     ("x" * 49, "has 49 tokens, and the model 48 positions"), ([("a", "b")], "a pair at 0"),
     (3, "give a list of strings"), (["a", None], "text 1 is a NoneType")],
)  # fmt: skip
def test_prompts_that_cannot_go_on_are_named(prompts, words, task):
    with pytest.raises(InarchError, match=words):
        task.generate(prompts)


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [(3, {}, "give a text, or texts"), (["a"], {"seed": 1}, "leave it out"),
     ("a", {"num_beams": 2}, "a stream is of one sequence"),
     ("a", {"do_sample": True, "num_return_sequences": 2}, "a stream is of one sequence"),
     ("", {}, "has no tokens")],
)  # fmt: skip
def test_what_cannot_be_streamed_is_refused_before_it_is_read(prompt, options, words, task):
    with pytest.raises(InarchError, match=words):
        task.stream(prompt, **options)


def test_a_task_without_a_tokenizer_says_so(folder):
    with pytest.raises(InputError, match="no preprocessor"):
        CausalLM.from_preset(folder, preprocessor=None).generate("a")


# --- generation_config.json -------------------------------------------------------------------

DECLARED = {
    "_from_model_config": True, "bos_token_id": 259, "eos_token_id": [259, 50256],
    "max_new_tokens": 7, "do_sample": True, "temperature": 0.6, "typical_p": 1.0,
    "use_cache": True, "num_beam_groups": 1, "of_another_program": "kept", "top_k": None,
}  # fmt: skip


def test_defaults_are_the_files_and_the_file_is_written_back_as_it_was(task, folder, tmp_path):
    text = json.dumps(DECLARED, indent=4)  # not as it is written here
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "generation_config.json").write_text(text)
    found = CausalLM.from_preset(tmp_path)
    options = {"do_sample": True, "temperature": 0.6, "max_new_tokens": 7}
    assert found.generate(TEXTS, seed=1) == task.generate(TEXTS, seed=1, **options)
    # What a call gives goes before the file.
    plain = found.generate(TEXTS, do_sample=False, max_new_tokens=16)
    assert plain == task.generate(TEXTS, max_new_tokens=16)
    found.save_to_preset(tmp_path / "again")
    assert (tmp_path / "again" / "generation_config.json").read_text() == text
    found.generation = {"max_new_tokens": 3}
    found.save_to_preset(tmp_path / "again")
    written = (tmp_path / "again" / "generation_config.json").read_text()
    assert json.loads(written) == {"max_new_tokens": 3}
    found.generation = {}
    found.save_to_preset(tmp_path / "again")
    assert not (tmp_path / "again" / "generation_config.json").exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"typical_p": 0.2}, "'typical_p' is 0.2, which changes the text"),
     ({"bad_words_ids": [[1, 2]]}, "'bad_words_ids' is"), ({"top_p": "all"}, "'top_p' is 'all'"),
     ({"eos_token_id": -1}, "'eos_token_id' is -1"), ({"num_beams": True}, "'num_beams' is True")],
)  # fmt: skip
def test_a_field_of_the_file_that_cannot_be_used_is_named_when_text_is_asked_for(fields, words):
    task = make_task(generation=fields)
    assert task.predict(TEXTS).shape[0] == len(TEXTS)
    with pytest.raises(ConfigError, match=f"generation_config.json: {words}"):
        task.generate("a")


# --- likelihood -------------------------------------------------------------------------------


def test_the_perplexity_is_that_of_the_logits(task):
    texts = TEXTS[:3]
    wanted = [np.exp(-log_probs_of(task, text).mean()) for text in texts]
    np.testing.assert_allclose(task.perplexity(texts), wanted, rtol=1e-4)
    assert task.perplexity(texts[0]) == pytest.approx(wanted[0], rel=1e-4)


def test_a_long_text_is_read_in_windows_of_which_each_token_counts_once(task):
    text = "a dog ran in the rain " * 4
    ids, half = ids_of(task, text), POSITIONS // 2
    assert len(ids) > POSITIONS
    decode = task.preprocessor.tokenizer.decode
    total = -log_probs_of(task, decode(ids[:POSITIONS])).sum()
    for begin in range(half, len(ids) - half, half):
        part = ids[begin : begin + POSITIONS]
        total -= log_probs_of(task, decode(part))[half - 1 :].sum()
    assert task.perplexity(text) == pytest.approx(np.exp(total / (len(ids) - 1)), rel=1e-4)


def test_a_text_without_two_tokens_has_no_perplexity(task):
    with pytest.raises(InputError, match="text 1 has 1 tokens"):
        task.perplexity(["ab", "a"])


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_task_is_the_same(tied, tmp_path):
    task = make_task(0.6, tied)
    logits = task.predict(TEXTS)
    assert logits.shape == (4, 17, 260)
    assert not logits[3, 1:].any()
    task.save_to_preset(tmp_path / "folder")
    task.save(tmp_path / "task.keras")
    assert json.loads((tmp_path / "folder" / "config.json").read_text())["eos_token_id"] == 259
    again = CausalLM.from_preset(tmp_path / "folder")
    assert again.tie_word_embeddings is tied
    np.testing.assert_array_equal(again.predict(TEXTS), logits)
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    np.testing.assert_allclose(loaded.predict(TEXTS), logits, atol=1e-5)
    if not tied:
        assert again.generate("the") == task.generate("the") != make_task(0.6).generate("the")
    found = workflows.export(tmp_path / "folder", tmp_path / "copy")
    assert found.through == "CausalLM"
    assert found.comparison.same


def test_it_is_trained_on_the_lines_of_a_file(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(TEXTS * 9), "utf-8")
    task = make_task()
    history = task.fit(str(path), batch_size=2, validation_data=TextLines(path), verbose=0)
    assert len(history.history["val_loss"]) == 1
    before = task.evaluate(str(path), verbose=0)[0]
    task.fit(path, batch_size=2, epochs=2, verbose=0)
    assert task.evaluate(path, verbose=0)[0] < before
