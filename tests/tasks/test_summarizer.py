"""Laws of `Summarizer`: summaries of texts of any length, its options and its prompt."""

import json

import keras
import pytest

from inarch import workflows
from inarch.errors import InputError
from inarch.models.t5.backbone import T5Backbone
from inarch.tasks import Seq2SeqLM, Summarizer, TextPreprocessor
from inarch.text import BytePairTokenizer
from inarch.text.byte_level import BYTE_TO_UNICODE

pytestmark = pytest.mark.turns(3)

END = "<|endoftext|>"
PREFIX = "sum: "
OWN = {"num_beams": 2, "max_length": 9, "length_penalty": 2.0, "early_stopping": True}
PARAMETERS = {"summarization": {"prefix": PREFIX, **OWN}, "other": {"prefix": "x: "}}
SENTENCES = [f'The cat number {number} sat "here."' for number in range(9)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A byte is a token, so that lengths in tokens are seen."""
    keras.utils.set_random_seed(7)
    tokens = {token: i for i, token in enumerate([*BYTE_TO_UNICODE, END])}
    tokenizer = BytePairTokenizer(tokens, [], special_tokens={"eos_token": END})
    special = {"decoder_start_token_id": 0, "eos_token_id": tokens[END]}
    backbone = T5Backbone(len(tokens), 1, 1, 2, 16, 24, 8)
    path = tmp_path_factory.mktemp("t5")
    task = Seq2SeqLM(backbone, TextPreprocessor(tokenizer, 80), generation=special)
    task.save_to_preset(path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"task_specific_params": PARAMETERS}))
    return path


@pytest.fixture(scope="module")
def task(folder):
    return Summarizer.from_preset(folder)


def test_a_short_text_is_generated_from_whole_with_the_configs_prompt_and_options(task, folder):
    texts = ["The cat  sat.\nIt ran.", "A dog."]
    plain = Seq2SeqLM.from_preset(folder)
    wanted = plain.generate([PREFIX + text for text in texts], **OWN)
    assert task.summarize(texts) == wanted
    assert task.summarize(texts[0]) == wanted[0]
    assert list(task.stream(texts)) == wanted
    # What a call gives goes before the config, with what belongs to it.
    wanted = plain.generate([f"x: {text}" for text in texts], max_new_tokens=5)
    assert task.summarize(texts, prompt_name="other", max_new_tokens=5, num_beams=1) == wanted


def test_a_long_text_is_cut_between_sentences_into_chunks_of_like_length(task):
    text = " ".join(SENTENCES)
    chunks = task._chunks(text, PREFIX)
    assert " ".join(chunks) == text
    assert all(chunk.endswith('."') for chunk in chunks)
    assert all(len(chunk) + len(PREFIX) <= 80 for chunk in chunks)
    assert all(chunk.startswith("The cat") for chunk in chunks)
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) - min(sizes) <= len(SENTENCES[0]) + 1
    wanted = " ".join(task.summarize(chunks))
    assert task.summarize(["A dog.", text])[1] == wanted
    assert "".join(task.stream(text, num_beams=1)) == task.summarize(text, num_beams=1)
    drawn = {"num_beams": 1, "do_sample": True, "seed": 5}
    assert "".join(task.stream(text, **drawn)) == task.summarize(text, **drawn)
    with pytest.raises(InputError, match="num_beams is 2"):  # the config's
        task.stream(text)
    several = task.summarize(text, num_return_sequences=2)
    assert several[0] == wanted
    assert len(several) == 2


def test_a_sentence_that_fits_into_no_chunk_is_cut_at_a_space_and_nothing_is_lost(task):
    text = " ".join(f"word{number}" for number in range(40))
    chunks = task._chunks(text, "")
    assert len(chunks) > 2
    assert " ".join(chunks) == text
    assert all(len(chunk) <= 80 for chunk in chunks)
    task.preprocessor.sequence_length = 5
    try:
        with pytest.raises(InputError, match="no room for text after the prompt 'sum: '"):
            task.summarize(text)
    finally:
        task.preprocessor.sequence_length = 80


def test_the_task_is_saved_and_opened_as_it_was(task, folder, tmp_path):
    assert type(workflows.load(folder)) is Seq2SeqLM
    task.save_to_preset(tmp_path / "one")
    assert (tmp_path / "one/config.json").read_text() == (folder / "config.json").read_text()
    task.save(tmp_path / "task.keras")
    for other in (
        workflows.load(tmp_path / "one"),
        keras.saving.load_model(tmp_path / "task.keras"),
    ):
        assert type(other) is Summarizer
        assert other.summarize(SENTENCES[0]) == task.summarize(SENTENCES[0])
