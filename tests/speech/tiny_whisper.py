"""A Whisper of a few thousand weights that takes windows of 30 s, and its tokenizer."""

import functools

import numpy as np

from inarch.models.variables import (
    build_without_values,
    initialize,
    named_variables,
    set_value,
)
from inarch.models.whisper.backbone import WhisperBackbone
from inarch.tasks import SpeechPreprocessor, SpeechToText
from inarch.text import WhisperTokenizer
from inarch.text.byte_level import BYTE_TO_UNICODE

LANGUAGES = ("en", "zh", "de")
# An English-only model.
ENGLISH = ()
CONTROL = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")


def make_tokenizer(languages=LANGUAGES):
    """Bytes for tokens, and the control tokens and times."""
    vocabulary = {letter: i for i, letter in enumerate(BYTE_TO_UNICODE)}
    size = len(vocabulary)
    first = ("endoftext", "startoftranscript")
    special = {f"<|{name}|>": size + i for i, name in enumerate(first)}
    named = {f"<|{code}|>": size + 2 + i for i, code in enumerate(languages)}
    special |= {f"<|{name}|>": size + 2 + len(named) + i for i, name in enumerate(CONTROL)}
    return WhisperTokenizer(vocabulary, [], special, named)


def make_task(tokenizer, seed=0, scale=0.3, **arguments):
    backbone, waiting = build_without_values(
        lambda: WhisperBackbone(
            tokenizer.vocabulary_size, 1, 1, 2, 2, 8, 12, 12, num_mels=4,
            max_decoder_sequence_length=40,
        )
    )  # fmt: skip
    random = np.random.default_rng(seed)
    for name, variable in named_variables(backbone).items():
        value = scale * random.normal(size=tuple(variable.shape))
        set_value(variable, 1 + value if name.endswith("gamma") else value)
    initialize(waiting)
    preprocessor = SpeechPreprocessor(tokenizer, 4, 40)
    return SpeechToText(backbone, preprocessor, **arguments)


@functools.cache
def shared_task():
    """The task of all tests that leave it as it is, compiled once."""
    return make_task(make_tokenizer())


def noise(seconds, seed=0):
    samples = 0.1 * np.random.default_rng(seed).normal(size=int(seconds * 16000))
    return samples.astype(np.float32)
