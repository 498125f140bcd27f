"""Options of a call, resolved from its arguments and the checkpoint's generation config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from inarch.audio import WINDOW_FRAMES
from inarch.errors import ConfigError, InputError
from inarch.speech.configs import GENERATION, declared_prompt, declared_value
from inarch.speech.options import TASK, TIMESTAMPS, DecodingOptions, Settings, Thresholds
from inarch.speech.validators import FLAG, PREFIX, TOKENS, token_ids
from inarch.speech.windows import FRAMES_PER_TIMESTAMP, SECONDS_PER_TIMESTAMP
from inarch.text import WhisperTokenizer
from inarch.text.languages import language_code
from inarch.validation import optional, shown

SETTINGS = frozenset(f.name for f in fields(Settings)) - {"temperatures", "thresholds", "words"}
THRESHOLDS = {f"{f.name}_threshold": f.name for f in fields(Thresholds)}
DECODING = frozenset(f.name for f in fields(DecodingOptions)) - {
    "language",
    "task",
    "temperature",
    "timestamps",
    "prompt",
    "prompt_room",
}
OTHER = frozenset({"without_timestamps"})  # fmt: skip
# Detects the language, whatever the checkpoint declares.
AUTO = "auto"
# Default of max_initial_timestamp_index in generation_config.json: a second.
DEFAULT_MAX_INITIAL = 50
# Fields of `DecodingOptions` with defaults of the same names in generation_config.json.
DECLARED_OPTIONS = ("repetition_penalty", "no_repeat_ngram_size")


def resolve_options(
    tokenizer: WhisperTokenizer,
    generation: Mapping[str, Any],
    language: str | None,
    task: str | None,
    timestamps: str | None,
    temperature: float | Sequence[float],
    options: Mapping[str, Any],
    batched: bool = False,
) -> tuple[DecodingOptions, Settings]:
    """Return the decoding options and the settings of a call.

    The language is None where it is to be detected, as with "auto". Defaults of the language, the
    task and the options against repetition are those of the checkpoint.

    Args:
        tokenizer: the model's.
        generation: the content of generation_config.json.
        language, task, timestamps, temperature, options: see `SpeechToText.predict`.

    Raises:
        InputError: an option is unknown, or has a value that can't be used with this model.
        ConfigError: a value of generation_config.json isn't of its kind, or of this model.
    """
    FLAG.check("batched", batched)
    unknown = sorted(options.keys() - SETTINGS - THRESHOLDS.keys() - DECODING - OTHER)
    if unknown:
        known = ", ".join(sorted(SETTINGS | THRESHOLDS.keys() | DECODING | OTHER))
        raise InputError(f"there is no option {', '.join(unknown)}; known: {known}")
    if timestamps not in TIMESTAMPS:
        raise InputError(f'timestamps is {timestamps!r}; give None, "segment" or "word"')
    with_times = _with_timestamps(timestamps, options.get("without_timestamps"), batched)
    own = _declared_options(generation)
    own |= {name: options[name] for name in DECODING & options.keys()}
    own |= _token_options(tokenizer, own)
    limits = {name: options[given] for given, name in THRESHOLDS.items() if given in options}
    settings = Settings(
        temperatures=_as_tuple(temperature),
        thresholds=Thresholds(**limits),
        words=timestamps == "word",
        **{name: options[name] for name in SETTINGS & options.keys()},
    )
    if batched:
        _check_batched(settings)
    detect = isinstance(language, str) and language.lower() == AUTO
    language = None if detect else language
    if settings.multilingual:
        _check_multilingual(tokenizer, language, batched)
    code, task = _prompt(tokenizer, generation, language, task, detect or settings.multilingual)
    return DecodingOptions(language=code, task=task, timestamps=with_times, **own), settings


def _declared_options(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decoding options with defaults in generation_config.json."""
    latest = declared_value(generation, "max_initial_timestamp_index", DEFAULT_MAX_INITIAL)
    if latest is not None:
        latest = min(latest, WINDOW_FRAMES // FRAMES_PER_TIMESTAMP) * SECONDS_PER_TIMESTAMP
    found = {name: declared_value(generation, name) for name in DECLARED_OPTIONS}
    found = {name: value for name, value in found.items() if value is not None}
    return {"max_initial_timestamp": latest, **found}


def _prompt(
    tokenizer: WhisperTokenizer,
    generation: Mapping[str, Any],
    language: str | None,
    task: str | None,
    detect: bool,
) -> tuple[str | None, str]:
    """Return the code of the language, None to detect it, and the task; by default the declared."""
    declared_language, declared_task = declared_prompt(generation, tokenizer)
    chosen_language = declared_language if language is None and not detect else language
    chosen_task = declared_task if task is None else task
    try:
        return resolve_language(tokenizer, chosen_language, chosen_task), chosen_task
    except InputError as e:
        if (chosen_language, chosen_task) == (language, task):
            raise
        # An argument that is wrong on its own is reported before the checkpoint's declaration.
        resolve_language(tokenizer, language, task or "transcribe")
        raise ConfigError(
            f"{GENERATION} declares language={shown(declared_language)} and "
            f"task={shown(declared_task)}, and {e}; or give language and task"
        ) from e


def _check_batched(settings: Settings) -> None:
    if settings.hallucination_silence_threshold is not None:
        raise InputError(
            f"hallucination_silence_threshold is {settings.hallucination_silence_threshold}, and "
            "batched=True decodes windows that don't follow one another; leave one of them out"
        )


def _with_timestamps(timestamps: str | None, without: Any, batched: bool) -> bool:
    """Return whether timestamp tokens are decoded; by default not where windows are batched."""
    optional(FLAG).check("without_timestamps", without)
    if without is not None:
        return not without
    return timestamps is not None or not batched


def _token_options(tokenizer: WhisperTokenizer, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are lists of tokens as tuples; text is encoded with a space."""
    found: dict[str, Any] = {}
    for name in ("prefix", "hotwords"):
        value = own.get(name)
        if value is None:
            found[name] = ()
        else:
            PREFIX.check(name, value)
            text = tokenizer.encode(" " + value.strip()).ids if isinstance(value, str) else value
            found[name] = tuple(text) if len(value) else ()
    if own.get("suppress_tokens") is not None:
        optional(TOKENS).check("suppress_tokens", own["suppress_tokens"])
        found["suppress_tokens"] = token_ids(own["suppress_tokens"])
    return found


def _check_multilingual(tokenizer: WhisperTokenizer, language: str | None, batched: bool) -> None:
    if not tokenizer.is_multilingual:
        raise InputError("multilingual is True, and this is an English-only model; leave it out")
    if language is not None:
        raise InputError(
            f"language is {language!r}, and multilingual detects it for each window; give one of "
            "the two"
        )
    if batched:
        raise InputError("multilingual goes with batched=False: a batch has one language")


def resolve_language(tokenizer: WhisperTokenizer, language: str | None, task: str) -> str | None:
    """Return the code of a language of the model; None where it is to be detected.

    For an English-only model it is "en".

    Raises:
        InputError: the model doesn't know the language, or the task.
    """
    TASK.check("task", task)
    if language is None and tokenizer.is_multilingual:
        return None
    tokenizer.start_sequence(language, task)
    return "en" if language is None else language_code(language)


def _as_tuple(temperature: float | Iterable[float]) -> tuple[float, ...]:
    """Return one or more temperatures as a tuple; text counts as one, which is refused."""
    if isinstance(temperature, Iterable) and not isinstance(temperature, str):
        return tuple(temperature)
    return (temperature,)  # type: ignore[return-value]
