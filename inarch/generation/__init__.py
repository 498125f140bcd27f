"""Token generation: compiled loops, logits processors, and decoding strategies."""

import inarch.installed_backend  # noqa: F401
from inarch.generation.beam import BeamSearch
from inarch.generation.decoder import Decoder
from inarch.generation.generator import Generated, Generator
from inarch.generation.logits_processors import (
    NEG_INF,
    AllowTokens,
    GeneratedTokens,
    LogitsProcessor,
    MinLength,
    SuppressTokens,
    SuppressTokensAtBegin,
)
from inarch.generation.options import GenerationOptions
from inarch.generation.repetition import NoRepeatNGram, RepetitionPenalty
from inarch.generation.sampling import MinP, Temperature, TopK, TopP
from inarch.generation.strategy import Greedy, Sample, Strategy
from inarch.generation.timestamps import WhisperTimestamps
from inarch.generation.whisper_beam import WhisperBeamSearch

__all__ = [
    "NEG_INF",
    "AllowTokens",
    "BeamSearch",
    "Decoder",
    "Generated",
    "GeneratedTokens",
    "GenerationOptions",
    "Generator",
    "Greedy",
    "LogitsProcessor",
    "MinLength",
    "MinP",
    "NoRepeatNGram",
    "RepetitionPenalty",
    "Sample",
    "Strategy",
    "SuppressTokens",
    "SuppressTokensAtBegin",
    "Temperature",
    "TopK",
    "TopP",
    "WhisperBeamSearch",
    "WhisperTimestamps",
]
