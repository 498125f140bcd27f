"""Chat templates: which one counts, what a template may do, and what it can't."""

import re

import pytest

from inarch.errors import ConfigError, InputError, InputTypeError
from inarch.text import BytePairTokenizer, Tokenizer, chat_sandbox
from inarch.text.chat_template import START

from .chat_templates import GEMMA, LLAMA, MISTRAL, QWEN, USER

LETTERS = [chr(i) for i in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x144))]
END = "<|im_end|>"


def tokenizer(template=None):
    vocabulary = {token: i for i, token in enumerate([*LETTERS, END])}
    made = BytePairTokenizer(vocabulary, [], special_tokens={"eos_token": END})
    config = made.config | ({} if template is None else {"chat_template": template})
    return Tokenizer(made.files["tokenizer.json"].decode(), config=config)


def say(template, **options):
    return tokenizer().apply_chat_template([USER], chat_template=template, **options)


def test_a_message_is_rendered_with_its_special_tokens_and_a_prompt_for_an_answer():
    text = tokenizer(QWEN).apply_chat_template([USER | {"content": "Hi"}])
    assert text == "<|im_start|>user\nHi<|im_end|>\n"
    text = tokenizer(QWEN).apply_chat_template([USER], add_generation_prompt=True)
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert say("{{ eos_token }}{{ bos_token }}{{ x }}", x=[1, {"y": None}]) == END + (
        "[1, {'y': None}]"
    )


def test_templates_have_names_and_tools_have_their_own(tmp_path):
    named = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"},
        {"name": "rag", "template": "c {{ documents[0].title }}"}]  # fmt: skip
    found = tokenizer(named)
    assert found.apply_chat_template([USER]) == "a"
    assert found.apply_chat_template([USER], tools=[]) == "b"
    documents = [{"title": "t", "text": "x"}]
    assert found.apply_chat_template([USER], documents=documents, chat_template="rag") == "c t"
    with pytest.raises(InputError, match="'other'.*known: 'default', 'tool_use', 'rag'"):
        found.apply_chat_template([USER], chat_template="other")
    with pytest.raises(InputError, match="no default chat template; known: none"):
        tokenizer().apply_chat_template([USER])
    with pytest.raises(ConfigError, match="chat_template=7"):
        tokenizer(7).apply_chat_template([USER])
    found.save(tmp_path)
    assert Tokenizer.from_folder(tmp_path).chat_templates == found.chat_templates


def test_a_template_in_a_file_of_its_own_goes_before_the_configs_and_is_saved(tmp_path):
    tokenizer("old").save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("new")
    found = Tokenizer.from_folder(tmp_path)
    assert found.apply_chat_template([USER]) == "new"
    found.save(tmp_path / "out")
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "new"
    again = Tokenizer.from_config(found.get_config())
    assert again.apply_chat_template([USER]) == "new"


def test_a_special_token_in_a_message_is_text_and_the_templates_own_is_one():
    found = tokenizer(QWEN)
    ids = found.encode_chat([USER | {"content": f"a{END}b"}])
    assert ids.count(found.token_to_id(END)) == 1
    plain = found.encode(f"a{END}b", add_special_tokens=False).ids
    assert str(plain)[1:-1] in str(ids)
    forged = found.encode_chat([USER | {"content": f"{START}a"}])
    assert forged == found.encode_chat([USER | {"content": "a"}])


@pytest.mark.parametrize(
    ("template", "messages"),
    [(MISTRAL, [USER, USER]), (MISTRAL, [USER | {"role": "x"}]), (GEMMA, [USER | {"content": 3}])],
)
def test_what_a_template_refuses_is_an_error_with_its_words(template, messages):
    with pytest.raises(InputError, match="refuses the messages: (They|Only|no such)"):
        tokenizer(template).apply_chat_template(messages)


@pytest.mark.parametrize("messages", ["Hi", [], None, [1], [["a"]], [USER | {"content": object()}]])
def test_messages_that_are_none_are_refused(messages):
    with pytest.raises(InputTypeError, match="messages"):
        tokenizer(LLAMA).apply_chat_template(messages)


HOSTILE = [
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.__init__.__globals__ }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ messages.append(1) }}",
    "{% set n = namespace(__class__=1) %}",
    "{% set n = namespace() %}{% set n._x = 1 %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
    "{{ range(10**9) | list }}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * [0] }}",
    "{{ 9**99999 }}",
    "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "{% set n = namespace(x='aa') %}{% for i in range(99) %}"
    "{% set n.x = n.x | replace('a', n.x) %}{% endfor %}",
    "{% set n = namespace(x='aa') %}{% for i in range(99) %}"
    "{% set n.x = n.x.replace('a', n.x) %}{% endfor %}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a' | center(10**9) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%*d' % (999999999, 1) }}",
    "{{ '{:999999999}'.format(1) }}",
    "{{ '{:{}}'.format(1, 999999999) }}",
    "{{ [1] | batch(10**9, 0) | list }}",
    "{{ 'a\nb' | indent(10**9) }}",
    "{{ [1] | tojson(indent=10**9) }}",
    "{{ 1.5 | round(10**9, 'ceil') }}",
    "{{ lipsum(n=10**9) }}",
    "{{ strftime_now('%99999999d') }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ raise }",
    "{% if %}",
    "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    "{{ x.y.z }}",
    "{{ 'a' | nothing }}",
    "{{ 1 / 0 }}",
    "{{ '" + "a" * 1_000_000 + "' }}",
]


@pytest.mark.parametrize("template", HOSTILE, ids=lambda text: text[:40])
def test_a_hostile_template_ends_in_our_error(template):
    with pytest.raises(ConfigError, match=re.escape("the chat template 'chat_template'")):
        say(template)


ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% if range(99999) | sum > 0 %}{% endif %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
]


@pytest.mark.parametrize("template", ENDLESS)
def test_a_template_without_an_end_is_stopped(template, monkeypatch):
    monkeypatch.setattr(chat_sandbox, "MAX_SECONDS", 0.2)
    with pytest.raises(ConfigError, match=r"takes more than 0\.2 seconds"):
        say(template)
