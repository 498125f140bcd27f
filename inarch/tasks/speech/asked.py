"""The options of one call, from keyword arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from inarch.errors import InputError
from inarch.tasks.speech.options import TASK, TIMESTAMPS, DecodingOptions, Settings, Thresholds
from inarch.tasks.speech.windows import SECONDS_PER_TIMESTAMP
from inarch.text import WhisperTokenizer
from inarch.text.languages import language_code

SETTINGS = frozenset(f.name for f in fields(Settings)) - {"temperatures", "thresholds", "words"}
THRESHOLDS = {f"{f.name}_threshold": f.name for f in fields(Thresholds)}
DECODING = frozenset(f.name for f in fields(DecodingOptions)) - {
    "language", "task", "temperature", "timestamps", "prompt"
}  # fmt: skip
# Where generation_config.json doesn't say it: a second.
LATEST_START = 50


def options_of(
    tokenizer: WhisperTokenizer,
    generation: Mapping[str, Any],
    language: str | None,
    task: str,
    timestamps: str | None,
    temperature: float | Sequence[float],
    options: Mapping[str, Any],
) -> tuple[DecodingOptions, Settings]:
    """How windows are decoded and put together.

    The language stays None where it is to be detected.

    Args:
        tokenizer: the model's.
        generation: the content of generation_config.json.
        language, task, timestamps, temperature, options: see `SpeechToText.predict`.

    Raises:
        InputError: an option is unknown, or has a value that can't be used with this model.
    """
    unknown = sorted(options.keys() - SETTINGS - THRESHOLDS.keys() - DECODING)
    if unknown:
        known = ", ".join(sorted(SETTINGS | THRESHOLDS.keys() | DECODING))
        raise InputError(f"there is no option {', '.join(unknown)}; known: {known}")
    if timestamps not in TIMESTAMPS:
        raise InputError(f'timestamps is {timestamps!r}; give None, "segment" or "word"')
    latest = generation.get("max_initial_timestamp_index", LATEST_START)
    own = {"max_initial_timestamp": latest and latest * SECONDS_PER_TIMESTAMP}
    own |= {name: options[name] for name in DECODING & options.keys()}
    limits = {name: options[given] for given, name in THRESHOLDS.items() if given in options}
    settings = Settings(
        temperatures=_several(temperature),
        thresholds=Thresholds(**limits),
        words=timestamps == "word",
        **{name: options[name] for name in SETTINGS & options.keys()},
    )
    code = asked_language(tokenizer, language, task)
    return DecodingOptions(language=code, task=task, **own), settings


def asked_language(tokenizer: WhisperTokenizer, language: str | None, task: str) -> str | None:
    """The code of a language that the model knows; None where it is to be detected.

    An English-only model's is "en".

    Raises:
        InputError: the model doesn't know the language, or the task.
    """
    TASK.check("task", task)
    if language is None and tokenizer.is_multilingual:
        return None
    tokenizer.start_sequence(language, task)
    return "en" if language is None else language_code(language)


def _several(temperature: float | Iterable[float]) -> tuple[float, ...]:
    """One temperature or more as a tuple; a text is one, which is refused whole."""
    if isinstance(temperature, Iterable) and not isinstance(temperature, str):
        return tuple(temperature)
    return (temperature,)  # type: ignore[return-value]
