"""Prompts of text generation: texts, or chats that a chat template makes token ids of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inarch.errors import InputError, InputTypeError
from inarch.preprocessors.raw_texts import as_texts
from inarch.text.chat_template import is_chat
from inarch.validation import shown

# Options of chats, which are arguments of `Tokenizer.encode_chat`, and a mapping of further ones.
CHAT_OPTIONS = ("tools", "documents", "chat_template", "add_generation_prompt")
VARIABLES = "template_variables"


def as_prompts(prompts: Any) -> tuple[list[Any], bool]:
    """Return prompts as a list of texts or of chats, and whether there is one outside of a list.

    Raises:
        InputTypeError: they are neither, or some of them are.
    """
    if is_chat(prompts):
        return [prompts], True
    if isinstance(prompts, list | tuple) and any(map(is_chat, prompts)):
        for place, prompt in enumerate(prompts):
            if not is_chat(prompt):
                raise InputTypeError(
                    f"prompt {place} is {shown(prompt)} among chats; give a list of messages for it"
                )
        return list(prompts), False
    return as_texts("prompts", prompts)


def split_chat_options(
    options: Mapping[str, Any], prompts: Sequence[Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of chats, with an answer to begin where none is given, and the others.

    Raises:
        InputError: there are options of chats, and the prompts are texts.
        InputTypeError: `template_variables` is no mapping.
    """
    names = (*CHAT_OPTIONS, VARIABLES)
    chat = {name: value for name, value in options.items() if name in names}
    others = {name: value for name, value in options.items() if name not in names}
    if chat and prompts and not is_chat(prompts[0]):
        name, value = next(iter(chat.items()))
        raise InputError(
            f"{name} is {shown(value)}, and the prompts are texts; give a list of messages: "
            "[{'role': 'user', 'content': 'text'}]"
        )
    variables = chat.pop(VARIABLES, None) or {}
    if not isinstance(variables, Mapping):
        raise InputTypeError(f"{VARIABLES} is {shown(variables)}; give a mapping")
    return {"add_generation_prompt": True, **variables, **chat}, others
