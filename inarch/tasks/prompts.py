"""The prompt that is put before texts to embed, by sentence-transformers' rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inarch.errors import InputError, InputTypeError
from inarch.tasks.inference import preprocessor_of
from inarch.tasks.preprocessor import put_before
from inarch.text import Encoding
from inarch.validation import shown

if TYPE_CHECKING:
    from inarch.tasks.task import Task

# Names of prompts that go before a text of each role, the first that there is.
QUERY = ("query",)
DOCUMENT = ("document", "passage", "corpus")


def options_for(task: Task, role: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `embed` with the role's prompt, unless a prompt is given."""
    if options.get("prompt") is not None or options.get("prompt_name") is not None:
        return dict(options)
    known = preprocessor_of(task).prompts
    return {**options, "prompt_name": next((name for name in role if name in known), None)}


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
    if not isinstance(prompt, str):
        raise InputTypeError(f"prompt is {shown(prompt)}; give the text to put before each")
    if prompt_name is not None:
        raise InputError(
            f"prompt is {shown(prompt)} and prompt_name {shown(prompt_name)}; give one of them"
        )
    return task.encode(put_before(prompt, texts))
