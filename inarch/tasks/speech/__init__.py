"""Speech to text: all that stands above the decoding of one window."""

from inarch.tasks.speech.formats import FORMATS, render
from inarch.tasks.speech.speech_to_text import SpeechPreprocessor, SpeechToText
from inarch.tasks.speech.subtitles import Layout
from inarch.tasks.speech.transcript import Segment, Transcript, Word

__all__ = [
    "FORMATS",
    "Layout",
    "Segment",
    "SpeechPreprocessor",
    "SpeechToText",
    "Transcript",
    "Word",
    "render",
]
