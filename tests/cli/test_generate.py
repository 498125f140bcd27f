"""`inarch generate` prints what `CausalLM` gives, at once or piece by piece."""

import json
from types import SimpleNamespace

import keras
import pytest

from inarch.models.gpt2.backbone import GPT2Backbone
from inarch.models.t5.backbone import T5Backbone
from inarch.tasks import CausalLM, Seq2SeqLM, Summarizer, TextPreprocessor, Translator
from inarch.text import BytePairTokenizer
from inarch.text.byte_level import BYTE_TO_UNICODE

pytestmark = pytest.mark.turns(2)

TEXTS = ["the cat", "a dog ran"]
SHORT = ("--max-new-tokens", 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    keras.utils.set_random_seed(5)
    tokens = {token: i for i, token in enumerate([*BYTE_TO_UNICODE, "<|endoftext|>"])}
    tokenizer = BytePairTokenizer(tokens, [], special_tokens={"eos_token": "<|endoftext|>"})
    backbone = GPT2Backbone(len(tokens), 1, 2, 16, 24, max_sequence_length=40)
    path = tmp_path_factory.mktemp("gpt2")
    CausalLM(backbone, TextPreprocessor(tokenizer, 40)).save_to_preset(path)
    return path


@pytest.fixture(scope="module")
def expected(folder):
    return CausalLM.from_preset(folder).generate(TEXTS, max_new_tokens=6)


def test_the_texts_are_those_of_the_task(folder, expected, run_json, run, tmp_path):
    rows = run_json("generate", folder, *TEXTS, *SHORT)
    assert rows == [{"text": t, "generated": g} for t, g in zip(TEXTS, expected, strict=True)]
    printed = run("generate", folder, *SHORT, stdin="\n".join(TEXTS)).stdout
    assert printed == "".join(f"{t}{g}\n" for t, g in zip(TEXTS, expected, strict=True))
    assert run("generate", folder, *TEXTS, *SHORT, "-o", tmp_path / "out.jsonl").exit_code == 0
    written = (tmp_path / "out.jsonl").read_text("utf-8").removesuffix("\n")
    assert list(map(json.loads, written.split("\n"))) == rows


def test_text_comes_in_pieces_where_that_is_asked_for(folder, expected, run):
    result = run("generate", folder, TEXTS[0], *SHORT, "--stream")
    assert result.stdout == TEXTS[0] + expected[0] + "\n"


def test_a_terminal_gets_the_beams_that_the_checkpoint_declares(folder, run, monkeypatch, tmp_path):
    model = CausalLM.from_preset(folder)
    model.generation = {"num_beams": 2}
    model.save_to_preset(tmp_path / "beams")
    terminal = SimpleNamespace(isatty=lambda: True, flush=lambda: None)
    monkeypatch.setattr("inarch.cli.generate.sys", SimpleNamespace(stdout=terminal))
    result = run("generate", tmp_path / "beams", TEXTS[0], *SHORT)
    assert result.stdout == TEXTS[0] + model.generate(TEXTS[0], max_new_tokens=6) + "\n"


def test_sampling_gives_each_prompt_several_texts_and_the_same_again(folder, run_json):
    options = ("--do-sample", "--num-return-sequences", 2, "--seed", 3, "--top-k", 9, *SHORT)
    rows = run_json("generate", folder, *TEXTS, *options)
    assert [row["text"] for row in rows] == [text for text in TEXTS for _ in range(2)]
    assert rows == run_json("generate", folder, *TEXTS, *options)


def test_texts_are_messages_of_a_chat_with_its_option(folder, run, run_json):
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role ~ m.content }}{% endfor %}"
    )
    try:
        model = CausalLM.from_preset(folder)
        wanted = model.generate(["userthe cat", "usera dog ran"], max_new_tokens=6)
        rows = run_json("generate", folder, *TEXTS, *SHORT, "--chat")
        assert [row["generated"] for row in rows] == wanted
        assert [row["text"] for row in rows] == TEXTS
        printed = run("generate", folder, TEXTS[0], *SHORT, "--chat", "--stream").stdout
        assert printed == wanted[0] + "\n"
        wanted = model.generate("systemSay.userthe cat", max_new_tokens=6)
        options = ("--chat", "--system", "Say.", "--chat-template", "default")
        assert run("generate", folder, TEXTS[0], *SHORT, *options).stdout == wanted + "\n"
        assert run("generate", folder, TEXTS[0], "--system", "Say.").exit_code == 2
    finally:
        (folder / "chat_template.jinja").unlink()


def test_options_that_contradict_one_another_are_named(folder, run):
    result = run("generate", folder, "the cat", "--temperature", "0.5")
    assert result.exit_code == 1
    assert "give do_sample=True" in result.stderr
    assert run("generate", folder, "the cat", "--stream", "--json").exit_code == 2


def test_a_model_without_a_trained_head_is_refused(checkpoints, run):
    result = run("generate", checkpoints["plain"], "the cat")
    assert result.exit_code == 1
    assert "no head for CausalLM" in result.stderr


def test_of_an_encoder_decoder_only_what_it_gives_is_printed(run, run_json, folder, tmp_path):
    keras.utils.set_random_seed(5)
    tokens = {token: i for i, token in enumerate([*BYTE_TO_UNICODE, "<|endoftext|>"])}
    tokenizer = BytePairTokenizer(tokens, [], special_tokens={"eos_token": "<|endoftext|>"})
    special = {"decoder_start_token_id": 0, "eos_token_id": 256}
    preprocessor = TextPreprocessor(tokenizer, 40, prompts={"loud": "LOUD "})
    task = Seq2SeqLM(T5Backbone(257, 1, 1, 2, 16, 24, 8), preprocessor, generation=special)
    task.save_to_preset(tmp_path)
    expected = task.generate(TEXTS, prompt="LOUD ", max_new_tokens=6)
    rows = run_json("generate", tmp_path, *TEXTS, *SHORT, "--prompt-name", "loud")
    assert [row["generated"] for row in rows] == expected
    printed = run("generate", tmp_path, TEXTS[0], *SHORT, "--prompt", "LOUD ").stdout
    streamed = run("generate", tmp_path, TEXTS[0], *SHORT, "--prompt", "LOUD ", "--stream").stdout
    assert printed == streamed == expected[0] + "\n"
    refused = run("generate", folder, TEXTS[0], "--prompt", "x")
    assert refused.exit_code == 2


def test_a_translator_translates_and_a_summarizer_summarizes(run, run_json, tmp_path):
    keras.utils.set_random_seed(5)
    tokens = {token: i for i, token in enumerate([*BYTE_TO_UNICODE, "<|endoftext|>"])}
    tokenizer = BytePairTokenizer(tokens, [], special_tokens={"eos_token": "<|endoftext|>"})
    special = {"decoder_start_token_id": 0, "eos_token_id": 256}
    backbone = T5Backbone(257, 1, 1, 2, 16, 24, 8)
    given = (TextPreprocessor(tokenizer, 12), True, special)
    for task in (Translator(backbone, *given), Summarizer(backbone, *given)):
        folder = tmp_path / type(task).__name__
        task.save_to_preset(folder)
        texts = ["the cat sat. a dog ran. it did."]
        expected = list(task.answers(texts, max_new_tokens=6))
        rows = run_json("generate", folder, *texts, *SHORT)
        assert [row["generated"] for row in rows] == expected
        assert run("generate", folder, *texts, *SHORT, "--stream").stdout == expected[0] + "\n"
    refused = run("generate", tmp_path / "Translator", "the cat", "--prompt", "x")
    assert refused.exit_code == 2
