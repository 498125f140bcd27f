"""Chat templates: how messages become the text that a model was trained on.

Source: transformers, utils/chat_template_utils.py and `apply_chat_template` of its tokenizers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inarch.errors import ConfigError, InputError, InputTypeError, MissingExtraError
from inarch.file_names import CHAT_TEMPLATE
from inarch.json_fields import is_text
from inarch.text.files import CONFIG_FILE, decode_text
from inarch.validation import shown

Message = Mapping[str, Any]

DEFAULT, TOOL_USE = "default", "tool_use"
# Characters of a template; the longest published ones have some tens of thousands.
MAX_TEMPLATE = 1_000_000
# Around a special token that a message spells out; no text has them (private use).
START, END = "\U0010fffc", "\U0010fffd"
# Names that the reasoning of a message is given by, the one first that templates read.
REASONING = ("reasoning_content", "thinking", "reasoning")


class ChatTokenizer:
    """The part of a tokenizer that makes texts and token ids of chats, by its chat template."""

    config: dict[str, Any]
    files: dict[str, bytes]

    @property
    def chat_templates(self) -> dict[str, str]:
        """Chat templates by name: of chat_template.jinja, else of tokenizer_config.json.

        Raises:
            ConfigError: `chat_template` of tokenizer_config.json is no template, nor a list of
                named ones.
        """
        return templates_of(self.config, self.files)

    def apply_chat_template(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        chat_template: str | None = None,
        **variables: Any,
    ) -> str:
        """Return the text of a chat, as transformers' method of that name does.

        Args:
            messages: objects such as `{"role": "user", "content": "text"}`, in order.
            tools: JSON schemas of functions, for templates that take them.
            documents: objects with `title` and `text`, for templates that take them.
            add_generation_prompt: whether what begins an answer comes at the end.
            chat_template: name of one of the tokenizer's templates, or a template; where not given,
                `"tool_use"` with tools if there is one, else `"default"`.
            variables: further variables of the template, such as `enable_thinking`.

        Raises:
            InputError, InputTypeError: there is no such template, the messages aren't such objects,
                or the template refuses them.
            ConfigError: the template can't be read, fails, or takes too long.
            MissingExtraError: jinja2 isn't installed.
        """
        return render_chat(
            self, messages, tools, documents, add_generation_prompt, chat_template, variables
        )  # fmt: skip

    def encode_chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        chat_template: str | None = None,
        **variables: Any,
    ) -> list[int]:
        """Return the token ids of a chat; arguments and errors as of `apply_chat_template`.

        The template's own special tokens count as such. One that a message, tool or document spells
        out is text, as with transformers' `sanitize_control_tokens=True`.
        """
        chat = render_chat(
            self, messages, tools, documents, add_generation_prompt, chat_template, variables,
            is_marked=True,
        )  # fmt: skip
        return encode_marked(self, chat)


def templates_of(config: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the chat templates of a tokenizer by name; {} where it has none.

    Args:
        config: the content of tokenizer_config.json.
        files: the tokenizer's files. chat_template.jinja goes before the config.

    Raises:
        ConfigError: chat_template is neither a text nor a list of named ones.
    """
    if CHAT_TEMPLATE in files:
        return {DEFAULT: decode_text(files, CHAT_TEMPLATE)}
    given = config.get("chat_template")
    if given is None:
        return {}
    if isinstance(given, str):
        return {DEFAULT: given}
    found: dict[str, str] = {}
    for entry in given if isinstance(given, list) else [given]:
        named = entry if isinstance(entry, dict) else {}
        if not (is_text(named.get("name")) and is_text(named.get("template"))):
            raise ConfigError(
                f"{CONFIG_FILE} has chat_template={shown(given)}; it should be a template, or a "
                "list of objects with 'name' and 'template'"
            )
        found[named["name"]] = named["template"]
    return found


def is_chat(value: Any) -> bool:
    """Return whether a value is the messages of one chat: a list of mappings."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(message, Mapping) for message in value)
    )


def choose_template(
    templates: Mapping[str, str], named: str | None, has_tools: bool
) -> tuple[str, str]:
    """Return the name and the text of a template.

    Args:
        named: the name of one, or a template itself; None for the usual one: that of tools where
            there are some, else the default one.

    Raises:
        InputError: there is none, or several and no default one.
    """
    known = ", ".join(map(repr, templates)) or "none"
    if named is not None:
        if not isinstance(named, str):
            raise InputTypeError(f"chat_template is {shown(named)}; give a name, or a template")
        if named not in templates and not re.search(r"\{[{%]", named):
            raise InputError(
                f"chat_template is {shown(named)}, which is no template and not the name of one; "
                f"known: {known}"
            )
        return ("chat_template", named) if named not in templates else (named, templates[named])
    for name in (TOOL_USE, DEFAULT) if has_tools else (DEFAULT,):
        if name in templates:
            return name, templates[name]
    raise InputError(
        f"the tokenizer has no default chat template; known: {known}. Give chat_template, or a text"
    )


def render_chat(
    tokenizer: Any,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    chat_template: str | None = None,
    variables: Mapping[str, Any] | None = None,
    is_marked: bool = False,
) -> str:
    """Return the text of a chat; see `Tokenizer.apply_chat_template`.

    Args:
        is_marked: whether special tokens that the messages spell out are put between `START` and
            `END`, for `encode_marked`.
    """
    name, text = choose_template(tokenizer.chat_templates, chat_template, tools is not None)
    if not is_chat(messages):
        raise InputTypeError(
            f"messages is {shown(messages)}; give a list of objects such as "
            "{'role': 'user', 'content': 'text'}"
        )
    special = tuple(sorted(tokenizer.control_tokens)) if is_marked else ()
    given = {
        "messages": [_with_reasoning(message) for message in messages],
        "tools": None if tools is None else list(tools),
        "documents": None if documents is None else list(documents),
        **(variables or {}),
    }
    plain = {key: _plain(value, _pattern(special), key) for key, value in given.items()}
    settings = {**tokenizer.special_tokens, "add_generation_prompt": add_generation_prompt}
    return _render(name, text, settings | plain)


def encode_marked(tokenizer: Any, chat: str) -> list[int]:
    """Return the ids of a rendered chat: special tokens count, but for those that are marked."""
    pieces = re.split(f"{START}(.*?){END}|[{START}{END}]", chat, flags=re.DOTALL)
    newline = _ids(tokenizer, "\n", "all")
    ids = _ids(tokenizer, pieces[0], "all")
    for place, piece in enumerate(pieces[1:], start=1):
        if piece:
            allowed = () if place % 2 else "all"
            # After a line end, so that no space is put before it as before a text.
            found = _ids(tokenizer, "\n" + piece, allowed)
            is_apart = found[: len(newline)] == newline
            ids += found[len(newline) :] if is_apart else _ids(tokenizer, piece, allowed)
    return ids


def _ids(tokenizer: Any, text: str, allowed: Any) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False, allow_special=allowed).ids


@functools.cache
def _pattern(special: tuple[str, ...]) -> re.Pattern[str]:
    """Return what matches any of some tokens, longer ones first; nothing of none."""
    ordered = sorted(special, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or "(?!)")


def _with_reasoning(message: Message) -> dict[str, Any]:
    """Return a message without what is None, its reasoning under the names that templates read."""
    given = {name: value for name, value in message.items() if value is not None}
    reasoning = next((given[name] for name in REASONING if name in given), None)
    if reasoning is None:
        return given
    return {"thinking": reasoning, **given, "reasoning_content": reasoning}


def _plain(value: Any, special: re.Pattern[str], where: str) -> Any:
    """Return a value as JSON has it, with special tokens in its texts marked."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        text = value.replace(START, "").replace(END, "")
        return special.sub(f"{START}\\g<0>{END}", text)
    if isinstance(value, Mapping):
        return {str(key): _plain(each, special, where) for key, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [_plain(each, special, where) for each in value]
    raise InputTypeError(
        f"{where} holds {shown(value)}; give texts, numbers, lists and mappings of them"
    )


def _render(name: str, text: str, values: dict[str, Any]) -> str:
    """Return what a template makes of values.

    Raises:
        ConfigError: it can't be read, or fails.
        InputError: it refuses the messages by itself.
    """
    template = _compiled(name, text)
    from inarch.text.chat_sandbox import RefusedError, render

    try:
        return render(template, values)
    except RefusedError as error:
        raise InputError(f"the chat template {name!r} refuses the messages: {error}") from error
    except MissingExtraError:
        raise
    except Exception as error:  # whatever a program may raise
        raise ConfigError(
            f"the chat template {name!r} fails: {type(error).__name__}: {str(error)[:300]}. Give "
            "chat_template another one, or messages that it is made for"
        ) from error


@functools.lru_cache(maxsize=32)
def _compiled(name: str, text: str) -> Any:
    if len(text) > MAX_TEMPLATE:
        raise ConfigError(
            f"the chat template {name!r} has {len(text):,} characters; at most {MAX_TEMPLATE:,} "
            "are read"
        )
    try:
        from inarch.text.chat_sandbox import ChatEnvironment
    except ImportError as error:
        raise MissingExtraError(
            "chat templates need jinja2, which is not installed: pip install 'inarch[chat]'"
        ) from error
    try:
        return ChatEnvironment().from_string(text)
    except Exception as error:  # of jinja2's parser, and of Python's for what it writes
        line = getattr(error, "lineno", None)
        raise ConfigError(
            f"the chat template {name!r} can't be read{f', line {line}' if line else ''}: "
            f"{str(error)[:300]}"
        ) from error
