"""A job: results that are appended to a file chunk by chunk, so that a killed run can go on.

The lines of OUTPUT are in OUTPUT.part until the last one is written. After each chunk OUTPUT.job
has one more line, which says how many texts are done and how long the files were then. What a
killed process has written after that is cut off when the job goes on, so every text is answered in
the chunk, and with the numbers, that it has in a run without a break.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Any

from inarch.cli import output
from inarch.cli.texts import Text, TextSource
from inarch.errors import CheckpointFileError, InputError

# How the first line of OUTPUT.job begins.
START = b'{"inarch_job": '


@dataclass(frozen=True)
class Mark:
    """Progress of a job.

    Attributes:
        rows: texts that are done.
        digest: of these texts.
        size: of OUTPUT.part, in bytes.
        bad_rows: how many of the texts have no answer.
        bad_file: the file that lists them, None for none.
        bad_size: its size, in bytes.
    """

    rows: int = 0
    digest: str = ""
    size: int = 0
    bad_rows: int = 0
    bad_file: str | None = None
    bad_size: int = 0


class Job:
    """The files of a job, which no other process writes meanwhile.

    Args:
        path: the output.
        settings: the options that the results depend on, in JSON's types; a job goes on with the
            same ones only.
        resume: go on where a run before has ended.
        bad_file: where the texts without an answer are listed; None: the first of them is an error.

    Raises:
        InputError: another process runs the job; or it can't go on, or begin, with these arguments.
        CheckpointFileError: a file can't be written, or isn't of a job.
    """

    def __init__(
        self, path: Path, settings: Mapping[str, Any], resume: bool, bad_file: Path | None
    ):
        self.path = path
        self.part, self.notes = job_files(path)
        self.mark = Mark()
        self._files: list[FileIO] = []
        self._is_new = False
        try:
            self._notes = self._locked()
            settings = json.loads(json.dumps(settings, default=str))
            if not (self._found(settings, resume) and resume):
                self._begin(settings)
            self._part = self._open(self.part, self.mark.size)
            self._bad = self._open_bad_file(bad_file)
        except OSError as e:
            self.close()
            raise e if isinstance(e, CheckpointFileError) else self._unwritable(e) from e
        except BaseException:
            self.close()
            raise

    def _locked(self) -> FileIO:
        from inarch.checkpoints.io.locks import is_at, try_lock

        while True:
            handle = os.open(
                self.notes, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666
            )
            file = FileIO(handle, "r+")
            if not try_lock(handle):
                file.close()
                raise InputError(
                    f"another process is writing {self.path}; wait for it, or give another --output"
                )
            if is_at(handle, self.notes):
                self._files.append(file)
                return file
            file.close()  # of a job that has just ended, which has removed it

    def _found(self, settings: Mapping[str, Any], resume: bool) -> bool:
        """Return whether there is a job to go on with, and read how far it has come.

        Raises:
            InputError, CheckpointFileError: there are files that are not to be replaced.
        """
        lines = self._notes.readall().split(b"\n")[:-1]  # a last line without an end is none
        before, marks = (lines[0], lines[1:]) if lines else (b"", [])
        self._notes.seek(0)
        if not self._notes.read(len(START)).startswith(START[: os.path.getsize(self.notes)]):
            raise CheckpointFileError(f"{self.notes} isn't of a job; move it, or choose --output")
        if not self.part.exists():
            return False
        way_out = f"to begin again, delete {self.part}"
        if not lines:
            raise CheckpointFileError(
                f"{self.part} is there, and nothing in {self.notes} that says of which job it is; "
                f"{way_out}"
            )
        if not marks:
            return False
        try:
            mark = Mark(**json.loads(marks[-1]))
            theirs = dict(json.loads(before)["inarch_job"])
        except (ValueError, TypeError, KeyError) as e:
            raise CheckpointFileError(f"{self.notes} is damaged; {way_out}") from e
        if not resume:
            raise InputError(
                f"{self.part} has the results for {mark.rows:,} texts of a job that hasn't ended; "
                f"go on with it by --resume; or {way_out}"
            )
        for name in sorted({*theirs, *settings}):
            if theirs.get(name) != settings.get(name):
                raise InputError(
                    f"{self.part} is of a job with {name} {theirs.get(name)!r}, and this one has "
                    f"{settings.get(name)!r}; give the same; or {way_out}"
                )
        self.mark = mark
        end = sum(len(line) + 1 for line in lines)
        self._notes.truncate(end)
        self._notes.seek(end)
        return True

    def _begin(self, settings: Mapping[str, Any]) -> None:
        self._is_new = True
        # In this order: where there is a part, its notes are there and say of which job it is.
        self.part.unlink(missing_ok=True)
        self._notes.truncate(0)
        self._notes.seek(0)
        _write(self._notes, START + json.dumps(settings).encode() + b"}\n")

    def _open(self, path: Path, size: int) -> FileIO:
        """Open a file behind its first `size` bytes, which it has to have, and cut off the rest."""
        file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        self._files.append(file)
        found = os.fstat(file.fileno()).st_size
        if found < size:
            raise CheckpointFileError(
                f"{path} has {found:,} bytes, and had {size:,} when the job was stopped; to begin "
                f"again, delete {self.part}"
            )
        file.truncate(size)
        file.seek(size)
        return file

    def _open_bad_file(self, path: Path | None) -> FileIO | None:
        before = self.mark.bad_file
        if before is not None and self.mark.bad_rows and str(path) != before:
            raise InputError(
                f"{before} lists {self.mark.bad_rows:,} texts of this job without an answer; give "
                f"--bad-rows {before} again"
            )
        self._bad_file = None if path is None else str(path)
        if path is None:
            return None
        return self._open(path, self.mark.bad_size if self._bad_file == before else 0)

    @property
    def lists_bad_rows(self) -> bool:
        """True where texts without an answer are listed in a file, and are no error."""
        return self._bad is not None

    def skip(self, source: TextSource) -> None:
        """Take the texts that are done from a source, which has to have the same ones.

        Raises:
            InputError: it has others, or fewer.
        """
        self._digest = hashlib.blake2b(digest_size=16)
        for row in islice(source.rows, self.mark.rows):
            self._count(row)
        if self.mark.rows and self._digest.hexdigest() != self.mark.digest:
            raise InputError(
                f"the first {self.mark.rows:,} texts of {source.name} aren't those that "
                f"{self.part} has results for; give the same --input and --field; or, to begin "
                f"again, delete {self.part}"
            )

    def _count(self, row: Text | InputError) -> None:
        text = None if isinstance(row, InputError) else row
        self._digest.update(json.dumps(text).encode() + b"\n")

    def add(
        self, part: Sequence[Text | InputError], lines: Sequence[output.Row], bad: Sequence[Any]
    ) -> None:
        """Append what was found for some texts.

        Args:
            part: the texts.
            lines: rows of the output.
            bad: rows of the list of texts without an answer.

        Raises:
            CheckpointFileError: the files can't be written.
        """
        for row in part:
            self._count(row)
        try:
            _write(self._part, b"".join(map(output.json_line, lines)))
            if self._bad is not None:
                _write(self._bad, b"".join(map(output.json_line, bad)))
            mark = Mark(
                rows=self.mark.rows + len(part),
                digest=self._digest.hexdigest(),
                size=self._part.tell(),
                bad_rows=self.mark.bad_rows + len(bad),
                bad_file=self._bad_file,
                bad_size=self._bad.tell() if self._bad is not None else 0,
            )
            _write(self._notes, output.json_line(asdict(mark)))
        except OSError as e:
            raise self._unwritable(e) from e
        self.mark = mark

    def finish(self) -> None:
        """Put the output in its place and remove the notes."""
        try:
            self._part.close()
            os.replace(self.part, self.path)
            self._remove_notes()
        except OSError as e:
            raise self._unwritable(e) from e

    def close(self) -> None:
        """Close the files; of a new job that has not come through its first chunk, remove them."""
        if self._files and not self._notes.closed:
            if self._is_new and not self.mark.rows:
                self.part.unlink(missing_ok=True)
                self._remove_notes()
            elif not os.fstat(self._notes.fileno()).st_size:
                self._remove_notes()
        for file in self._files:
            file.close()

    def _remove_notes(self) -> None:
        if os.name == "nt":  # where an open file can't be removed
            self._notes.close()
        self.notes.unlink()
        self._notes.close()

    def _unwritable(self, error: OSError) -> CheckpointFileError:
        return CheckpointFileError(
            f"{error.filename or self.path} can't be written: {error.strerror or error}"
            f"{self.kept()}"
        )

    def kept(self, also: str = "") -> str:
        """Return the end of a message on why the job stops: what is done, and how it goes on."""
        if not self.mark.rows:
            return ""
        return f"; {self.mark.rows:,} texts are done: go on by --resume{also}"


def job_files(path: Path) -> tuple[Path, Path]:
    """Return the files that are next to the output of a job while it runs: its lines, its notes."""
    return path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.job")


def _write(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]
    os.fsync(file.fileno())
