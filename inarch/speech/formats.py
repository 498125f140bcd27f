"""File formats of transcripts: text, subtitles, table, JSON (whisper/utils.py).

All formats but JSON leave out segments without text.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from inarch.errors import InputError
from inarch.speech.subtitles import SubtitleLayout, cues
from inarch.speech.transcript import Transcript


def timestamp(seconds: float, hours: bool, decimal: str) -> str:
    """Format seconds as `[HH:]MM:SS.mmm`; `hours` are always written if true."""
    rest, milliseconds = divmod(round(seconds * 1000.0), 1000)
    rest, whole_seconds = divmod(rest, 60)
    whole_hours, minutes = divmod(rest, 60)
    head = f"{whole_hours:02d}:" if hours or whole_hours else ""
    return f"{head}{minutes:02d}:{whole_seconds:02d}{decimal}{milliseconds:03d}"


def _txt(transcript: Transcript, layout: SubtitleLayout) -> str:
    return "".join(f"{s.text.strip()}\n" for s in transcript.segments if s.text.strip())


def _srt(transcript: Transcript, layout: SubtitleLayout) -> str:
    def time(seconds: float) -> str:
        return timestamp(seconds, True, ",")

    return "".join(
        f"{number}\n{time(cue.start)} --> {time(cue.end)}\n{cue.text}\n\n"
        for number, cue in enumerate(cues(transcript.segments, layout), 1)
    )


def _vtt(transcript: Transcript, layout: SubtitleLayout) -> str:
    def time(seconds: float) -> str:
        return timestamp(seconds, False, ".")

    return "WEBVTT\n\n" + "".join(
        f"{time(cue.start)} --> {time(cue.end)}\n{cue.text}\n\n"
        for cue in cues(transcript.segments, layout)
    )


def _tsv(transcript: Transcript, layout: SubtitleLayout) -> str:
    rows = [
        (round(1000 * s.start), round(1000 * s.end), s.text.strip().replace("\t", " "))
        for s in transcript.segments
        if s.text.strip()
    ]
    return "start\tend\ttext\n" + "".join(f"{a}\t{b}\t{text}\n" for a, b, text in rows)


def _json(transcript: Transcript, layout: SubtitleLayout) -> str:
    return json.dumps(transcript.to_json(), ensure_ascii=False)


FORMATS: dict[str, Callable[[Transcript, SubtitleLayout], str]] = {
    "txt": _txt,
    "srt": _srt,
    "vtt": _vtt,
    "json": _json,
    "tsv": _tsv,
}


def render(transcript: Transcript, format: str, layout: SubtitleLayout | None = None) -> str:
    """Return a transcript in a format of `FORMATS`.

    Args:
        transcript: the transcript.
        format: "txt", "srt", "vtt", "json" or "tsv" (times in milliseconds).
        layout: layout of subtitles.

    Raises:
        InputError: there is no such format.
    """
    if format not in FORMATS:
        raise InputError(f"format is {format!r}; it must be one of {', '.join(FORMATS)}")
    return FORMATS[format](transcript, layout or SubtitleLayout())
