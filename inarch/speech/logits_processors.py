"""Logits processors of decoding options (whisper/decoding.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inarch.audio import SAMPLE_RATE, WINDOW_SAMPLES
from inarch.generation import (
    LogitsProcessor,
    NoRepeatNGram,
    RepetitionPenalty,
    SuppressTokens,
    SuppressTokensAtBegin,
    WhisperTimestamps,
)
from inarch.speech.configs import declared_value
from inarch.speech.options import DecodingOptions
from inarch.speech.windows import SECONDS_PER_TIMESTAMP
from inarch.text import WhisperTokenizer

# Seconds of a window: a later start is no limit, and may be too large for a tensor.
WINDOW_SECONDS = WINDOW_SAMPLES / SAMPLE_RATE


def build_logits_processors(
    options: DecodingOptions,
    tokenizer: WhisperTokenizer,
    generation: Mapping[str, Any],
    vocabulary_size: int,
) -> tuple[LogitsProcessor, ...]:
    """Return the logits processors of a window, in the order in which they apply.

    Args:
        options: options of its decoding.
        tokenizer: the model's.
        generation: the content of generation_config.json, whose lists of tokens to suppress
            replace the default ones.
        vocabulary_size: number of tokens of the model.
    """
    processors: list[LogitsProcessor] = []
    if options.repetition_penalty != 1:
        processors.append(RepetitionPenalty(options.repetition_penalty))
    if options.no_repeat_ngram_size:
        processors.append(NoRepeatNGram(options.no_repeat_ngram_size))
    if options.suppress_blank:
        blank = declared_value(generation, "begin_suppress_tokens", tokenizer.suppress_blank)
        processors.append(SuppressTokensAtBegin(_in_vocabulary(blank, vocabulary_size)))
    if options.suppress_tokens:
        own = _in_vocabulary(
            declared_value(generation, "suppress_tokens", tokenizer.non_speech_tokens),
            vocabulary_size,
        )
        processors.append(SuppressTokens(_suppressed(options.suppress_tokens, own, tokenizer)))
    if options.timestamps:
        latest = options.max_initial_timestamp
        if latest is not None:
            latest = round(min(latest, WINDOW_SECONDS) / SECONDS_PER_TIMESTAMP)
        processors.append(
            WhisperTimestamps(
                tokenizer.timestamp_begin,
                tokenizer.end_of_text,
                tokenizer.no_timestamps,
                latest,
            )
        )
    return tuple(processors)


def _suppressed(
    token_ids: Sequence[int], own: Sequence[int], tokenizer: WhisperTokenizer
) -> tuple[int, ...]:
    """Return token ids with the model's own in place of -1, and with the control tokens."""
    control = (
        tokenizer.transcribe, tokenizer.translate, tokenizer.start_of_transcript,
        tokenizer.start_of_prev, tokenizer.start_of_lm, tokenizer.no_speech,
    )  # fmt: skip
    listed = [token_id for token_id in token_ids if token_id >= 0]
    return tuple({*listed, *control, *(own if -1 in token_ids else ())})


def _in_vocabulary(token_ids: Sequence[int] | None, size: int) -> tuple[int, ...]:
    return tuple(token_id for token_id in token_ids or () if 0 <= token_id < size)
