"""Sound: from any file or array to samples, log-mel spectrograms, windows and spans of speech."""

import inarch.installed_backend  # noqa: F401
from inarch.audio.layer import LogMelSpectrogram
from inarch.audio.load import load_audio
from inarch.audio.mel import HOP, log_mel_spectrogram, mel_filters
from inarch.audio.samples import SAMPLE_RATE
from inarch.audio.speech import merge_spans, speech_spans
from inarch.audio.voice import voice_spans
from inarch.audio.window import WINDOW_FRAMES, WINDOW_SAMPLES, cut_window, pad_or_trim

__all__ = [
    "HOP",
    "SAMPLE_RATE",
    "WINDOW_FRAMES",
    "WINDOW_SAMPLES",
    "LogMelSpectrogram",
    "cut_window",
    "load_audio",
    "log_mel_spectrogram",
    "mel_filters",
    "merge_spans",
    "pad_or_trim",
    "speech_spans",
    "voice_spans",
]
