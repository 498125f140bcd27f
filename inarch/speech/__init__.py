"""The Whisper engine: windows of sound to segments, transcripts and their file formats."""

from inarch.speech.formats import FORMATS, render
from inarch.speech.subtitles import SubtitleLayout
from inarch.speech.transcript import Segment, Transcript, Word

__all__ = ["FORMATS", "Segment", "SubtitleLayout", "Transcript", "Word", "render"]
