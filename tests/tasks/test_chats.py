"""Chats that `CausalLM` answers: their template, their options, and how they are saved."""

import json

import pytest

from inarch.errors import ConfigError, InarchError
from inarch.tasks import CausalLM

from .test_causal_lm import END, make_task

pytestmark = pytest.mark.turns(3)

TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] + ':' + m.content + eos_token }}{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}{{ mood or '' }}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
CHAT = [{"role": "user", "content": "the cat"}]
CHATS = [CHAT, [*CHAT, {"role": "assistant", "content": "sat"}, {"role": "user", "content": "?"}]]
SHORT = {"max_new_tokens": 6, "eos_token_id": []}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("chats")
    make_task(0.6).save_to_preset(path)
    (path / "chat_template.jinja").write_text(TEMPLATE)
    return path


@pytest.fixture(scope="module")
def task(folder):
    return CausalLM.from_preset(folder)


def answer(task, prompt):
    task.preprocessor.allow_special = (END,)
    try:
        return task.generate(prompt, **SHORT)
    finally:
        task.preprocessor.allow_special = ()


def test_a_chat_is_answered_as_its_text_goes_on(task):
    wanted = [answer(task, f"u:the cat{END}a:"),
              answer(task, f"u:the cat{END}a:sat{END}u:?{END}a:")]  # fmt: skip
    assert wanted[0] != wanted[1]
    assert task.generate(CHAT, **SHORT) == wanted[0]
    assert task.generate(CHATS, **SHORT) == wanted
    assert "".join(task.stream(CHAT, **SHORT)) == wanted[0]
    assert list(task.stream(iter(CHATS), **SHORT)) == wanted


def test_options_of_a_chat_reach_the_template(task):
    tools = [{"name": "f"}]
    wanted = answer(task, f'u:the cat{END}[{{"name": "f"}}]glad')
    options = {"template_variables": {"mood": "glad"}, "add_generation_prompt": False}
    assert task.generate(CHAT, tools=tools, **options, **SHORT) == wanted
    template = "{{ documents[0].text }}"
    documents = [{"title": "t", "text": "a dog"}]
    found = task.generate(CHAT, documents=documents, chat_template=template, **SHORT)
    assert found == task.generate("a dog", **SHORT)


def test_the_template_is_saved_with_the_task(task, folder, tmp_path):
    task.save_to_preset(tmp_path / "out")
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == TEMPLATE
    again = CausalLM.from_preset(tmp_path / "out")
    assert again.generate(CHAT, **SHORT) == task.generate(CHAT, **SHORT)
    assert "jinja" not in (folder / "tokenizer_config.json").read_text()


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        ([CHAT, "a"], {}, "prompt 1 is 'a' among chats"),
        (["a", CHAT], {}, "prompt 0 is 'a' among chats"),
        ("a", {"tools": []}, "tools is .* and the prompts are texts"),
        (["a"], {"template_variables": {}}, "template_variables is .* and the prompts are texts"),
        (CHAT, {"template_variables": 3}, "template_variables is 3"),
        (CHAT, {"chat_template": "rag"}, "chat_template is 'rag'.*known: 'default'"),
        (CHAT, {"chat_template": "{{ raise_exception('no') }}"}, "refuses the messages: no"),
        ([{"role": "user", "content": "x" * 60}], {}, "prompt 0 has .* tokens"),
    ],
)
def test_what_is_no_chat_is_named(prompts, options, words, task):
    with pytest.raises(InarchError, match=words):
        task.generate(prompts, **options)


def test_a_chat_needs_a_template(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "chat_template.jinja").unlink()
    task = CausalLM.from_preset(tmp_path)
    with pytest.raises(InarchError, match="no default chat template; known: none"):
        task.generate(CHAT)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": "{% x"}))
    with pytest.raises(ConfigError, match="can't be read, line 1"):
        CausalLM.from_preset(tmp_path).generate(CHAT)
