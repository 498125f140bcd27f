"""The prompt that is put before texts to embed, by sentence-transformers' rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inarch.errors import InputError, InputTypeError
from inarch.preprocessors.raw_texts import put_before
from inarch.tasks.inference import preprocessor_of
from inarch.text import Encoding
from inarch.validation import shown

if TYPE_CHECKING:
    from inarch.tasks.task import Task


def options_for(task: Task, role: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `embed` with the prompt of a role, unless a prompt is given.

    Without a prompt of that name there is none, not even the default one: in the reference each
    role has an empty prompt to begin with.
    """
    if options.get("prompt") is not None or options.get("prompt_name") is not None:
        return dict(options)
    there = role in preprocessor_of(task).prompts
    return {**options, **({"prompt_name": role} if there else {"prompt": ""})}


def encode_with_prompt(
    task: Task, texts: Sequence[Any], prompt_name: str | None, prompt: str | None
) -> list[Encoding]:
    """Return the tokens of texts with a prompt before each: a named one, a text, or the default.

    Raises:
        InputTypeError: `prompt` is no text.
        InputError: both are given, or there is no prompt of that name.
    """
    if prompt is None:
        default = preprocessor_of(task).default_prompt_name
        return task.encode(texts, default if prompt_name is None else prompt_name)
    return task.encode(put_before(chosen_prompt(task, prompt_name, prompt), texts))


def chosen_prompt(task: Task, prompt_name: str | None, prompt: str | None) -> str:
    """Return the text to put before texts: a named prompt, a text, the default, or nothing.

    Raises:
        InputTypeError, InputError: as of `encode_with_prompt`.
    """
    preprocessor = preprocessor_of(task)
    if prompt is None:
        name = preprocessor.default_prompt_name if prompt_name is None else prompt_name
        return "" if name is None else preprocessor.prompt(name)
    if not isinstance(prompt, str):
        raise InputTypeError(f"prompt is {shown(prompt)}; give the text to put before each")
    if prompt_name is not None:
        raise InputError(
            f"prompt is {shown(prompt)} and prompt_name {shown(prompt_name)}; give one of them"
        )
    return prompt
