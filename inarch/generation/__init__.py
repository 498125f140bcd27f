"""Generating tokens: compiled loops, rules on logits, and ways of choosing."""

import inarch.installed_backend  # noqa: F401
from inarch.generation.beam import BeamSearch
from inarch.generation.decoder import Decoder
from inarch.generation.generator import Generated, Generator
from inarch.generation.patient_beam import PatientBeamSearch
from inarch.generation.repetition import NoRepeatNgrams, RepetitionPenalty
from inarch.generation.rules import (
    FORBIDDEN,
    MinimumLength,
    Only,
    Rule,
    Suppress,
    SuppressAtFirst,
    Trace,
)
from inarch.generation.strategy import Greedy, Sample, Strategy
from inarch.generation.timestamps import TimestampRule

__all__ = [
    "FORBIDDEN",
    "BeamSearch",
    "Decoder",
    "Generated",
    "Generator",
    "Greedy",
    "MinimumLength",
    "NoRepeatNgrams",
    "Only",
    "PatientBeamSearch",
    "RepetitionPenalty",
    "Rule",
    "Sample",
    "Strategy",
    "Suppress",
    "SuppressAtFirst",
    "TimestampRule",
    "Trace",
]
