"""How a recording is transcribed: what is asked of each window, and when an answer is refused.

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
    """How one window is decoded.

    Attributes:
        language: code of the spoken language.
        task: "transcribe", or "translate" to English.
        temperature: 0 for the likeliest token, above it tokens are drawn.
        beam_size: number of beams at temperature 0; None for greedy search.
        best_of: how many samples are drawn above temperature 0; the likeliest counts.
        patience: beams wait for `beam_size * patience` finished ones (arXiv:2204.05424).
        length_penalty: exponent of the length that ranks candidates (arXiv:1609.08144); None for
            the mean log-probability.
        timestamps: whether timestamp tokens are decoded.
        prompt: tokens of what was said before.
        prompt_room: tokens that the prompts of a recording may come to have; windows with the same
            number share their compiled programs.
        max_initial_timestamp: latest start of the first segment, in seconds.
        max_tokens: most tokens of a window; the model's limit where None.
        suppress_tokens: token ids that are never decoded; -1 stands for those of the model's own
            configuration, by default the symbols that nobody says. Tokens of tasks and the like
            are added, unless it is empty or None, which suppresses nothing.
        suppress_blank: whether a window must not begin with a space or with the end.
        prefix: tokens that the window's text begins with; they aren't in the result. With
            `max_tokens` as many of the last count as leave room for these.
        hotwords: tokens that every window's prompt begins with, before `prompt`.
        repetition_penalty: above 1 tokens of the window are less likely to come again
            (arXiv:1909.05858). It and the next are by default as generation_config.json says.
        no_repeat_ngram_size: sequences of so many tokens come but once in a window; 0 for no rule.
        seed: of what is drawn above temperature 0.
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
            raise InputError(f"patience is {self.patience}, and it needs a beam_size")
        if self.prefix and self.hotwords:
            raise InputError("prefix and hotwords are both given; hotwords need a free beginning")

    def at(self, temperature: float) -> DecodingOptions:
        """These options at another temperature: beams belong to 0, samples to all above."""
        if temperature > 0:
            return replace(self, temperature=temperature, beam_size=None, patience=None)
        return replace(self, temperature=temperature, best_of=None)


@dataclass(frozen=True)
class Decoded:
    """What was heard in one window.

    Attributes:
        tokens: token ids without prompt, start and end.
        text: their text, stripped.
        avg_logprob: mean log-probability of the tokens, the end included.
        no_speech_prob: probability that nothing is said.
        temperature: the one it was decoded at.
    """

    tokens: Sequence[int]
    text: str
    avg_logprob: float
    no_speech_prob: float
    temperature: float

    @property
    def compression_ratio(self) -> float:
        """Length of the text over its length once compressed by zlib, in UTF-8 bytes."""
        data = self.text.encode("utf-8")
        return len(data) / len(zlib.compress(data))


@dataclass(frozen=True)
class Thresholds:
    """When a window is decoded again at a higher temperature, and when it counts as silent.

    None switches a threshold off.

    Attributes:
        compression_ratio: above it a text repeats itself, and is decoded again.
        logprob: a mean log-probability below it is too uncertain, and is decoded again.
        no_speech: above it a window that is uncertain, too, is silent.
    """

    compression_ratio: float | None = COMPRESSION_RATIO_THRESHOLD
    logprob: float | None = LOGPROB_THRESHOLD
    no_speech: float | None = NO_SPEECH_THRESHOLD

    def __post_init__(self) -> None:
        check_fields(self, _THRESHOLDS, "{}_threshold")

    def failed(self, result: Decoded) -> bool:
        """Whether to decode again."""
        uncertain = self.logprob is not None and result.avg_logprob < self.logprob
        if uncertain and self._says_nothing(result):
            return False
        limit = self.compression_ratio
        return uncertain or (limit is not None and result.compression_ratio > limit)

    def silent(self, result: Decoded) -> bool:
        """Whether nothing was said."""
        certain = self.logprob is not None and result.avg_logprob > self.logprob
        return self._says_nothing(result) and not certain

    def _says_nothing(self, result: Decoded) -> bool:
        return self.no_speech is not None and result.no_speech_prob > self.no_speech


@dataclass(frozen=True)
class Settings:
    """How the windows of a recording are put together.

    Attributes:
        temperatures: tried in this order until an answer is good enough.
        thresholds: when an answer isn't.
        condition_on_previous_text: whether the text before a window is in its prompt; never where
            windows are batched.
        initial_prompt: text that the first window is told, such as names to expect.
        carry_initial_prompt: whether it is in the prompt of every window; always where windows are
            batched.
        words: whether words are timed.
        prepend_punctuations: marks that belong to the word after them.
        append_punctuations: marks that belong to the word before them.
        clips: chunks to transcribe, as seconds `(start, end)`; an end of None is the
            recording's.
        hallucination_silence_threshold: skip silence longer than this many seconds where words
            around it look invented; needs `words`, and windows that aren't batched.
        skip_silence: whether windows without any sound are passed over undecoded.
        vad_filter: whether only spans of speech are heard; or the path of Silero's ONNX model,
            which finds them (see `inarch.audio.voice`).
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
            raise InputError("temperature is empty; give one of at least 0, or several to try")
        for temperature in self.temperatures:
            AT_LEAST_0.check("temperature", temperature)
        for start, end in self.clips:
            if end is not None and end < start:
                raise InputError(f"the clip from {start} to {end} seconds has no length")
        if self.hallucination_silence_threshold is not None and not self.words:
            raise InputError(
                'hallucination_silence_threshold needs the times of words: timestamps="word"'
            )
