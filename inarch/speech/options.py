"""Options of transcription: decoding of windows, thresholds of fallback, and settings.

The defaults are those of openai-whisper's `transcribe` (whisper/transcribe.py).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from inarch.errors import InputError
from inarch.speech.validators import CLIPS, FLAG, PREFIX, TOKENS, VAD
from inarch.transcription_defaults import (
    APPEND_PUNCTUATIONS,
    COMPRESSION_RATIO_THRESHOLD,
    LOGPROB_THRESHOLD,
    NO_SPEECH_THRESHOLD,
    PREPEND_PUNCTUATIONS,
    TEMPERATURES,
)
from inarch.validation import (
    ABOVE_0,
    AT_LEAST_0,
    COUNT,
    NATURAL,
    NUMBER,
    SHARE,
    TEXT,
    WHOLE,
    check_fields,
    one_of,
    optional,
)

TASK = one_of(("transcribe", "translate"))
TIMESTAMPS = (None, "segment", "word")

# What each option takes.
_DECODING = {
    "task": TASK,
    "temperature": AT_LEAST_0,
    "beam_size": optional(COUNT),
    "best_of": optional(COUNT),
    "patience": optional(ABOVE_0),
    "length_penalty": optional(SHARE),
    "timestamps": FLAG,
    "max_initial_timestamp": optional(AT_LEAST_0),
    "max_tokens": optional(COUNT),
    "suppress_tokens": optional(TOKENS),
    "suppress_blank": FLAG,
    "prefix": PREFIX,
    "hotwords": PREFIX,
    "repetition_penalty": ABOVE_0,
    "no_repeat_ngram_size": NATURAL,
    "seed": WHOLE,
}
_THRESHOLDS = dict.fromkeys(("compression_ratio", "logprob", "no_speech"), optional(NUMBER))
_SETTINGS = {
    "condition_on_previous_text": FLAG,
    "initial_prompt": optional(TEXT),
    "carry_initial_prompt": FLAG,
    "words": FLAG,
    "prepend_punctuations": TEXT,
    "append_punctuations": TEXT,
    "clips": CLIPS,
    "hallucination_silence_threshold": optional(AT_LEAST_0),
    "skip_silence": FLAG,
    "vad_filter": VAD,
    "multilingual": FLAG,
}


@dataclass(frozen=True)
class DecodingOptions:
    """Options of the decoding of one window.

    Attributes:
        language: code of the spoken language.
        task: "transcribe", or "translate" to English.
        temperature: 0 for the likeliest tokens, above 0 for sampling.
        beam_size: number of beams at temperature 0; None for greedy search.
        best_of: number of samples above temperature 0, of which the likeliest is the result.
        patience: number of finished beams to wait for, over `beam_size` (arXiv:2204.05424).
        length_penalty: exponent of the length that ranks candidates (arXiv:1609.08144); None for
            the mean log-probability.
        timestamps: whether timestamp tokens are decoded.
        prompt: tokens of the text before.
        prompt_room: maximal length of the prompts of a recording; windows with the same value
            share compiled programs.
        max_initial_timestamp: latest start of the first segment, in seconds.
        max_tokens: maximal number of tokens of a window; None for the model's limit.
        suppress_tokens: token ids that are never decoded; -1 means those of the checkpoint's
            generation_config.json, by default non-speech symbols. Control tokens are added, unless
            it is empty or None, which suppresses nothing.
        suppress_blank: whether a window must not begin with a space or with the end.
        prefix: tokens that the window's text begins with; they aren't in the result. With
            `max_tokens`, only as many of the last ones are used as leave room for these.
        hotwords: tokens that every window's prompt begins with, before `prompt`.
        repetition_penalty: above 1, tokens of the window become less likely
            (arXiv:1909.05858). Its default and the next are those of generation_config.json.
        no_repeat_ngram_size: number of tokens of n-grams that don't repeat in a window; 0 for none.
        seed: of sampling.
    """

    language: str | None = None
    task: str = "transcribe"
    temperature: float = 0.0
    beam_size: int | None = None
    best_of: int | None = None
    patience: float | None = None
    length_penalty: float | None = None
    timestamps: bool = True
    prompt: tuple[int, ...] = ()
    prompt_room: int = 0
    max_initial_timestamp: float | None = 1.0
    max_tokens: int | None = None
    suppress_tokens: tuple[int, ...] | None = (-1,)
    suppress_blank: bool = True
    prefix: tuple[int, ...] = ()
    hotwords: tuple[int, ...] = ()
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, _DECODING)
        if self.patience is not None and self.beam_size is None:
            raise InputError(f"patience is {self.patience}, which needs a beam_size; give one")
        if self.prefix and self.hotwords:
            raise InputError("prefix and hotwords are both given; leave one of them out")

    def at_temperature(self, temperature: float) -> DecodingOptions:
        """Return these options at a temperature: beams are for 0, samples for all above."""
        if temperature > 0:
            return replace(self, temperature=temperature, beam_size=None, patience=None)
        return replace(self, temperature=temperature, best_of=None)


@dataclass(frozen=True)
class DecodingResult:
    """Result of the decoding of one window.

    Attributes:
        tokens: token ids without prompt, start tokens and end token.
        text: their text, stripped.
        avg_logprob: mean log-probability of the tokens, end token included.
        no_speech_prob: probability of no speech.
        temperature: of its decoding.
    """

    tokens: Sequence[int]
    text: str
    avg_logprob: float
    no_speech_prob: float
    temperature: float

    @property
    def compression_ratio(self) -> float:
        """Length of the text over its length compressed by zlib, in UTF-8 bytes."""
        return compression_ratio(self.text)


def compression_ratio(text: str) -> float:
    """Return the length of a text over its length compressed by zlib, in UTF-8 bytes."""
    data = text.encode("utf-8")
    return len(data) / len(zlib.compress(data))


@dataclass(frozen=True)
class Thresholds:
    """Thresholds for fallback to the next temperature, and for silence.

    None switches a threshold off.

    Attributes:
        compression_ratio: above it a text is repetitive, and decoded again.
        logprob: below it a mean log-probability is too low, and the window is decoded again.
        no_speech: above it a window with a low log-probability is silent.
    """

    compression_ratio: float | None = COMPRESSION_RATIO_THRESHOLD
    logprob: float | None = LOGPROB_THRESHOLD
    no_speech: float | None = NO_SPEECH_THRESHOLD

    def __post_init__(self) -> None:
        check_fields(self, _THRESHOLDS, "{}_threshold")

    def needs_fallback(self, result: DecodingResult) -> bool:
        """Return whether to decode again at the next temperature."""
        uncertain = self.logprob is not None and result.avg_logprob < self.logprob
        if uncertain and self._is_no_speech(result):
            return False
        limit = self.compression_ratio
        return uncertain or (limit is not None and result.compression_ratio > limit)

    def is_silent(self, result: DecodingResult) -> bool:
        """Return whether the window has no speech."""
        certain = self.logprob is not None and result.avg_logprob > self.logprob
        return self._is_no_speech(result) and not certain

    def _is_no_speech(self, result: DecodingResult) -> bool:
        return self.no_speech is not None and result.no_speech_prob > self.no_speech


@dataclass(frozen=True)
class Settings:
    """Settings of the transcription of a recording.

    Attributes:
        temperatures: tried in this order until a result is within the thresholds.
        thresholds: limits of a result.
        condition_on_previous_text: whether the text before a window is its prompt; False for
            batched windows.
        initial_prompt: prompt of the first window, such as names to expect.
        carry_initial_prompt: whether it is in the prompt of every window; True for batched ones.
        words: whether to return word timestamps.
        prepend_punctuations: punctuation that belongs to the next word.
        append_punctuations: punctuation that belongs to the word before.
        clips: chunks to transcribe, as seconds `(start, end)`; an end of None is the
            recording's.
        hallucination_silence_threshold: length in seconds of silence that is skipped where words
            around it look hallucinated; needs `words`, and windows that aren't batched.
        skip_silence: whether to skip windows without any sound.
        vad_filter: whether to transcribe only spans of speech; or the path of Silero's ONNX model,
            which detects them (see `inarch.audio.voice`).
        multilingual: whether the language is detected for each window.
    """

    temperatures: tuple[float, ...] = TEMPERATURES
    thresholds: Thresholds = field(default_factory=Thresholds)
    condition_on_previous_text: bool = True
    initial_prompt: str | None = None
    carry_initial_prompt: bool = False
    words: bool = False
    prepend_punctuations: str = PREPEND_PUNCTUATIONS
    append_punctuations: str = APPEND_PUNCTUATIONS
    clips: tuple[tuple[float, float | None], ...] = ((0.0, None),)
    hallucination_silence_threshold: float | None = None
    skip_silence: bool = True
    vad_filter: bool | str | os.PathLike[str] = False
    multilingual: bool = False

    def __post_init__(self) -> None:
        check_fields(self, _SETTINGS)
        if not self.temperatures:
            raise InputError("temperature is empty; give one number of at least 0, or several")
        for temperature in self.temperatures:
            AT_LEAST_0.check("temperature", temperature)
        for start, end in self.clips:
            if end is not None and end < start:
                raise InputError(
                    f"clips has ({start}, {end}), which ends before it starts; exchange the two"
                )
        if self.hallucination_silence_threshold is not None and not self.words:
            raise InputError(
                'hallucination_silence_threshold needs the times of words: timestamps="word"'
            )
