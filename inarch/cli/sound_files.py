"""The sounds that `inarch transcribe` reads, and the files that it writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from inarch.errors import AudioFileError, CheckpointFileError, InputError

STDIN = "-"
STDIN_NAME = "stdin"


def check_sound(file: str) -> None:
    """Refuse before any work what isn't sound.

    Raises:
        AudioFileError: there is no such file, or it is a folder.
    """
    if file == STDIN:
        return
    if Path(file).is_dir():
        raise AudioFileError(f"{file} is a folder; give files")
    if not Path(file).exists():
        raise AudioFileError(f"{file} can't be read: there is no such file")


def read_sound(file: str) -> Any:
    """Read the samples of a file, or of standard input.

    Raises:
        AudioFileError, InputError: it holds no sound.
    """
    from inarch.audio import load_audio

    if file == STDIN:
        return load_audio(sys.stdin.buffer.read(), name="standard input")
    return load_audio(file)


def own_stem(file: str) -> str:
    """Return the name of a file without its suffix."""
    return STDIN_NAME if file == STDIN else Path(file).stem


def output_stems(files: Sequence[str]) -> list[str]:
    """Return a name for the transcript of each file, without suffix; no two are the same.

    A file's own name comes first; where another has it, in any case of letters, a number follows.
    """
    wanted = [own_stem(file) for file in files]
    taken: set[str] = set()
    firsts = {stem.casefold() for stem in wanted}
    stems = []
    for stem in wanted:
        name, number = stem, 2
        while name.casefold() in taken or (number > 2 and name.casefold() in firsts):
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        stems.append(name)
    return stems


def make_folder(folder: Path, names: Iterable[str]) -> None:
    """Make a folder for files of these names, and its parents.

    Raises:
        CheckpointFileError: it can't be made or written to, or a name is taken by a folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise CheckpointFileError(f"{folder} can't be made: {e.strerror or e}") from e
    if not os.access(folder, os.W_OK):
        raise CheckpointFileError(f"{folder} can't be written to; name another folder")
    for target in (folder / name for name in names):
        if target.is_dir():
            raise CheckpointFileError(
                f"{target} is a folder, so no transcript can be written there"
            )


def check_standard_input(files: Sequence[str]) -> None:
    """Refuse standard input that is read twice, or is a terminal.

    Raises:
        InputError: it is named twice, or nothing is piped into it.
    """
    if files.count(STDIN) > 1:
        raise InputError("- is given twice, and standard input can be read but once")
    if STDIN in files and sys.stdin.isatty():
        raise InputError("- reads a sound from standard input, and nothing is piped into it")
