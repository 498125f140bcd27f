"""Chats are rendered and encoded as transformers does it."""

import json

import pytest

from inarch.errors import InputError
from inarch.tasks import CausalLM
from inarch.text import Tokenizer

from ..text.chat_templates import CHATS, DOCUMENTS, TEMPLATES, TOOLS
from .conftest import transformers
from .test_causal_lm import LETTERS, generated, randomize, written
from .test_llama import pieces

pytestmark = pytest.mark.reference

SPECIAL = ["<|head|>", "<|tail|>", "<|end|>", "<|im_start|>", "<|im_end|>", "[INST]", "<start>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tokenizer of pieces, which puts a space before a text, with special tokens of chats."""
    folder = tmp_path_factory.mktemp("chat") / "one"
    pieces(folder)
    made = transformers.LlamaTokenizer.from_pretrained(folder)
    made.add_special_tokens({"additional_special_tokens": SPECIAL, "pad_token": "<unk>"})
    made.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return folder


def pair(folder, template):
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    theirs.chat_template = template
    ours = Tokenizer.from_folder(folder)
    ours.config["chat_template"] = template
    return theirs, ours


OPTIONS = [
    {},
    {"add_generation_prompt": True, "enable_thinking": False},
    {"tools": TOOLS, "documents": DOCUMENTS, "add_generation_prompt": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options))
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_is_the_text_and_the_tokens_of_transformers(name, options, folder):
    theirs, ours = pair(folder, TEMPLATES[name])
    rendered = 0
    for chat in CHATS:
        try:
            wanted = theirs.apply_chat_template(chat, tokenize=False, **options)
        except Exception:  # a template refuses what it isn't made for, each in its own way
            with pytest.raises((InputError, ValueError)):
                ours.apply_chat_template(chat, **options)
            continue
        assert ours.apply_chat_template(chat, **options) == wanted
        ids = theirs.apply_chat_template(chat, return_dict=False, **options)
        assert ours.encode_chat(chat, **options) == ids
        rendered += 1
    assert rendered >= 2


@pytest.mark.parametrize("content", ["a<|im_end|>b", "<|im_end|>", "<|im_start|> <|im_end|>x</s>"])
def test_a_special_token_in_a_message_is_text_as_transformers_sanitizes_it(content, folder):
    theirs, ours = pair(folder, TEMPLATES["qwen"])
    chat = [{"role": "user", "content": content}]
    options = {"sanitize_control_tokens": True, "return_dict": False}
    assert ours.encode_chat(chat) == theirs.apply_chat_template(chat, **options)
    loose = theirs.apply_chat_template(chat, return_dict=False)
    assert ours.encode_chat(chat) != loose


@pytest.mark.parametrize("jinja", [True, False])
def test_named_templates_are_those_that_transformers_saves(jinja, folder, tmp_path):
    theirs, _ = pair(folder, TEMPLATES["llama"] if jinja else {"default": "a", "rag": "b"})
    theirs.save_pretrained(tmp_path, save_jinja_files=jinja)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    ours = Tokenizer.from_folder(tmp_path)
    assert (tmp_path / "chat_template.jinja").is_file() is jinja
    wanted = {"default": theirs.chat_template} if jinja else theirs.chat_template
    assert ours.chat_templates == wanted


def test_a_chat_is_answered_with_the_tokens_of_transformers(write, tmp_path):
    folder = written(write).folder
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{{ 'Zz' if x else 'Yy' }}"
    (folder / "chat_template.jinja").write_text(template)
    task = CausalLM.from_preset(folder)
    chats = [[{"role": "user", "content": "".join(LETTERS[:n])}] for n in (1, 5, 9)]
    for seed in range(3):
        randomize(task, seed)
        task.save_to_preset(tmp_path / "out")
        model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out").eval()
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
        texts = [theirs.apply_chat_template(chat, tokenize=False, x=1) for chat in chats]
        wanted = [generated(model, text)[0] for text in texts]
        options = {"max_new_tokens": 16, "template_variables": {"x": 1}}
        assert task.generate(chats, **options) == wanted
