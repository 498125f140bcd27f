"""The options of `inarch transcribe`, by the names of openai-whisper's command and its defaults."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from inarch.cli.whisper_spelling import optional_float, optional_int


class Format(StrEnum):
    """File formats of a transcript."""

    txt = "txt"
    srt = "srt"
    vtt = "vtt"
    json = "json"
    tsv = "tsv"
    all = "all"


class SpeechTask(StrEnum):
    """Tasks of speech recognition."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


def option(help: str, *names: str, **settings: Any) -> Any:
    """Return an option with its help."""
    return typer.Option(*names, help=help, **settings)


def whole(help: str) -> Any:
    """Return an option that takes a whole number or "None"."""
    return option(help, parser=optional_int, metavar="INT|None")


def number(help: str) -> Any:
    """Return an option that takes a number or "None"."""
    return option(help, parser=optional_float, metavar="FLOAT|None")


Files = Annotated[
    list[str],
    typer.Argument(metavar="FILE...", help="Sound of any format; - reads standard input."),
]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="PRESET", help="A folder, a name of `inarch presets`, or a hub id."
    ),
]
Language = Annotated[
    str | None,
    typer.Option(help="Code or English name; auto: detect it; else the model's own, or detected."),
]
TaskName = Annotated[
    SpeechTask | None,
    typer.Option(help="Transcribe, or translate to English; else by the model's settings."),
]
Batch = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Decode so many windows at once: quicker; none gets the text of others.",
    ),
]
Threads = Annotated[
    int, typer.Option(min=0, help="Compute on so many processors; 0 takes all that are there.")
]

# --- output --------------------------------------------------------------------------------------

FormatName = Annotated[
    Format, option("What to write; all needs --output-dir.",
                   "--format", "--output-format", "-f"),
]  # fmt: skip
OutputDir = Annotated[
    Path | None,
    option("Write a file for each there, named after it; made where it isn't there.",
           "--output-dir", "-o"),
]  # fmt: skip
Verbose = Annotated[
    bool | None,
    option(
        "Print segments as they come: on with --output-dir; without it, to standard error.",
        "--verbose/--no-verbose",
        show_default=False,
    ),
]

# --- decoding ------------------------------------------------------------------------------------

Temperature = Annotated[float, option("Of sampling; 0 for the likeliest.", min=0)]
Increment = Annotated[
    Any, number("Added to the temperature where a text fails a threshold; None: never.")
]
BestOf = Annotated[Any, whole("Samples of which the likeliest counts, above 0.")]
Beams = Annotated[Any, whole("Beams at temperature 0; None for the likeliest token.")]
Patience = Annotated[float | None, option("Of beam search (arXiv:2204.05424).")]
LengthPenalty = Annotated[
    float | None, option("Exponent of the length (arXiv:1609.08144).", min=0, max=1)
]
SuppressTokens = Annotated[
    str, option("Token ids that never come, with commas; -1: the model's own list.")
]
SuppressBlank = Annotated[bool, option("Begin no window with a space.")]
WithoutTimestamps = Annotated[bool, option("Have no times decoded.", "--without-timestamps")]
Prefix = Annotated[str | None, option("Text that each window begins with.")]
Hotwords = Annotated[str | None, option("Text that each window's prompt begins with.")]
Penalty = Annotated[
    float | None,
    option("Above 1: tokens that came are less likely; else the model's setting, or 1."),
]
Ngrams = Annotated[
    int | None,
    option("Sequences of so many tokens come once; 0: any; else the model's setting.", min=0),
]
MaxTokens = Annotated[
    int | None, option("Most tokens of a window (openai-whisper's sample_len).", min=1)
]
LatestStart = Annotated[
    float | None,
    option("Latest start of a window's first segment, in seconds; else the model's setting, or 1.",
           "--max-initial-timestamp", min=0),
]  # fmt: skip
Seed = Annotated[int, option("Of what is drawn above temperature 0.")]
CompressionThreshold = Annotated[Any, number("Above it a text repeats itself and is decoded anew.")]
LogprobThreshold = Annotated[Any, number("Below it a text is improbable and is decoded anew.")]
NoSpeechThreshold = Annotated[Any, number("Above it an improbable window counts as silent.")]

# --- windows -------------------------------------------------------------------------------------

Prompt = Annotated[str | None, option("Text that comes before, such as names to expect.")]
CarryPrompt = Annotated[bool, option("Put it before every window.", "--carry-initial-prompt")]
Condition = Annotated[bool, option("Put the text before each window into its prompt.")]
Clips = Annotated[str, option("Seconds to transcribe, as start,end,start,end,...")]
SkipSilence = Annotated[bool, option("Pass over windows without any sound.")]
VadFilter = Annotated[
    bool, option("Transcribe speech alone: by Silero's model if installed, else by level.",
                 "--vad-filter"),
]  # fmt: skip
VadModel = Annotated[Path | None, option("Silero's ONNX model for that.")]
Multilingual = Annotated[bool, option("Detect the language of each window.", "--multilingual")]

# --- words and subtitles -------------------------------------------------------------------------

Words = Annotated[bool, option("Time words, too.", "--word-timestamps")]
Prepended = Annotated[str, option("Marks that belong to the next word.")]
Appended = Annotated[str, option("Marks that belong to the word before.")]
SilenceThreshold = Annotated[
    Any, number("Skip silence of more seconds around invented words; no batches.")
]
Highlight = Annotated[
    bool, option("Underline words in subtitles as they are spoken.", "--highlight-words")
]
LineWidth = Annotated[int | None, option("Most characters of a line.", min=1)]
LineCount = Annotated[int | None, option("Most lines of a subtitle; counts with a width.", min=1)]
WordsPerLine = Annotated[
    int | None, option("Most words of a subtitle; counts without a width.", min=1)
]
