"""`inarch transcribe`: what is said in sound files, as text, subtitles, a table or JSON."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inarch.cli import output
from inarch.cli.backend import choose_backend
from inarch.cli.options import IgnoreField
from inarch.errors import AudioFileError, CheckpointFileError, InputError

if TYPE_CHECKING:
    from inarch.tasks.speech import Layout


class Format(StrEnum):
    """What a transcript is written as."""

    txt = "txt"
    srt = "srt"
    vtt = "vtt"
    json = "json"
    tsv = "tsv"


class Kind(StrEnum):
    """What is made of speech."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Sound of any format.")]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="PRESET", help="A folder, a name of `inarch presets`, or a hub id."
    ),
]
FormatName = Annotated[Format, typer.Option("--format", "-f", help="What to write.")]
OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", "-o", help="Write a file for each there, named after it."),
]
Language = Annotated[
    str | None, typer.Option(help="Code or English name; detected where not given.")
]
TaskName = Annotated[Kind, typer.Option(help="Write what is said, or translate it to English.")]
Words = Annotated[bool, typer.Option("--word-timestamps", help="Time words, too.")]
Highlight = Annotated[
    bool, typer.Option("--highlight-words", help="Underline words in subtitles as they are said.")
]
LineWidth = Annotated[int | None, typer.Option(min=1, help="Most characters of a subtitle's line.")]
LineCount = Annotated[int | None, typer.Option(min=1, help="Most lines of a subtitle.")]
Beams = Annotated[int | None, typer.Option(min=1, help="Search so many beams in place of one.")]
Temperature = Annotated[
    float | None, typer.Option(min=0, help="Of sampling; without it, as high as it takes.")
]
Prompt = Annotated[
    str | None, typer.Option(help="Text that comes before, such as names to expect.")
]
Windows = Annotated[
    int | None,
    typer.Option(min=1, help="Hear so many windows at once: quicker, each without the others."),
]


def transcribe(
    files: Files,
    model: Model,
    format: FormatName = Format.txt,
    output_dir: OutputDir = None,
    language: Language = None,
    task: TaskName = Kind.TRANSCRIBE,
    word_timestamps: Words = False,
    highlight_words: Highlight = False,
    max_line_width: LineWidth = None,
    max_line_count: LineCount = None,
    beam_size: Beams = None,
    temperature: Temperature = None,
    initial_prompt: Prompt = None,
    batch_size: Windows = None,
    ignore_field: IgnoreField = None,
) -> None:
    """What is said in sound files, exactly as openai-whisper would write it.

    A file that holds no sound is told of, and the others are heard.
    """
    if (highlight_words or max_line_width or max_line_count) and not word_timestamps:
        raise InputError(
            "--highlight-words, --max-line-width and --max-line-count go with --word-timestamps"
        )
    targets = _targets(files, format, output_dir)
    choose_backend()
    from inarch.tasks.speech import Layout, SpeechToText

    layout = Layout(max_line_width, max_line_count, highlight_words=highlight_words)
    asked: dict[str, Any] = {
        "language": language, "task": task.value, "beam_size": beam_size,
        "initial_prompt": initial_prompt, "timestamps": "word" if word_timestamps else "segment",
    }  # fmt: skip
    asked |= {} if temperature is None else {"temperature": temperature}
    hear = SpeechToText.from_preset(model, ignore_fields=ignore_field or ()).predict
    verbose = 1 if output_dir is not None and sys.stdout.isatty() else 0
    together: dict[str, Any] = {"batch_size": batch_size, "batched": True} if batch_size else {}
    places = list(zip(files, targets, strict=True))
    failed = False
    for group in [places] if together else [[place] for place in places]:
        sounds = [(sound, target) for file, target in group if (sound := _load(file)) is not None]
        failed |= len(sounds) < len(group)
        found = hear([sound for sound, _ in sounds], verbose=verbose, **together, **asked)
        for transcript, (_, target) in zip(found, sounds, strict=True):
            _write(transcript, format, layout, target)
    if failed:
        raise typer.Exit(1)


def _load(file: str) -> Any:
    """The samples of a file; None where it holds no sound, which is told: the others go on."""
    from inarch.audio import load_audio

    try:
        return load_audio(file)
    except (AudioFileError, InputError) as e:
        output.complain(e)
        return None


def _write(transcript: Any, format: Format, layout: Layout, target: Path | None) -> None:
    from inarch.tasks.speech import render

    text = render(transcript, format.value, layout)
    if target is not None:
        output.write_text(text, target)
    else:
        typer.echo(text, nl=not text.endswith("\n"))


def _targets(files: list[str], format: Format, folder: Path | None) -> list[Path | None]:
    """Where each transcript goes; refuses before the work what would fail after it."""
    for file in files:
        if Path(file).is_dir():
            raise CheckpointFileError(f"{file} is a folder; give files")
        if not Path(file).is_file():
            raise CheckpointFileError(f"{file} can't be read: there is no such file")
    if folder is None:
        if len(files) > 1 and format is not Format.txt:
            raise InputError(
                f"{len(files)} files as {format.value} don't fit on standard output; name a folder "
                "with --output-dir"
            )
        return [None] * len(files)
    if not folder.is_dir():
        raise CheckpointFileError(f"there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise CheckpointFileError(f"{folder} can't be written to; name another folder")
    targets = [folder / f"{Path(file).stem}.{format.value}" for file in files]
    for i, target in enumerate(targets):
        if target.is_dir():
            raise CheckpointFileError(
                f"{target} is a folder, so no transcript can be written there"
            )
        if target in targets[:i]:
            first = files[targets.index(target)]
            raise InputError(f"{first} and {files[i]} would both be written to {target}")
    return list(targets)
