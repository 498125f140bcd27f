"""Checks of the arguments of `SpeechToText` that may be set anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inarch.errors import InputTypeError
from inarch.speech.resolve_options import resolve_language
from inarch.validation import shown


def checked_generation(model: Any, generation: Any) -> dict[str, Any]:
    if generation is not None and not isinstance(generation, Mapping):
        raise InputTypeError(
            f"generation is {shown(generation)}; give the content of generation_config.json"
        )
    return dict(generation or {})


def checked_language(model: Any, language: Any) -> str | None:
    if model.preprocessor is not None:
        resolve_language(model.preprocessor.tokenizer, language, "transcribe")
    return language


def checked_task(model: Any, task: Any) -> str:
    if model.preprocessor is not None:
        resolve_language(model.preprocessor.tokenizer, model.language, task)
    return task
