"""A job that is killed at every line of its code, in a process of its own for each; see test_jobs.

Run with a folder and the number of lines from one that it is killed at to the next.
"""

import itertools
import os
import signal
import sys
from io import FileIO
from pathlib import Path

from inarch.cli import job, job_run
from inarch.cli.job import Job
from inarch.cli.texts import TextSource
from inarch.errors import InputError
from inarch.tasks import stream  # noqa: F401  # once, and not in each process

TEXTS = ["a", "bad", "c" * 100, InputError("no text"), "e", "f", "bad", "h", "i", "j"]


class Slow(FileIO):
    """A file that takes few bytes at a time, so that a line is written in several steps."""

    def write(self, data):
        return super().write(bytes(data[:50]))


def answers(texts):
    if "bad" in texts:
        raise InputError("it is bad")
    return [text.upper() for text in texts]


def rows(number, text, answer):
    """Rows of a text: of some none, of some several."""
    return [{"text": text, "answer": answer, "row": number}] * (number % 3)


def run(folder, resume):
    source = TextSource("texts", iter(TEXTS))
    work = Job(folder / "out.jsonl", {"top_k": 1}, resume, folder / "bad.jsonl")
    try:
        work.skip(source)
        job_run.run_job(work, source, answers, rows, 3)
    finally:
        work.close()


def killed_at(line, folder, resume):
    """Run the job in a process that kills itself at a line; return whether it came so far."""
    pid = os.fork()
    if pid == 0:
        count = itertools.count()

        def trace(frame, event, argument):
            if frame.f_code.co_filename not in (job.__file__, job_run.__file__):
                return None
            if event == "line" and next(count) == line:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        sys.settrace(trace)
        try:
            run(folder, resume)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    assert status == 0, (line, resume)
    return False


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def main(folder, step):
    os.fsync = lambda handle: None  # no power is cut here
    job.FileIO = Slow
    (folder / "whole").mkdir()
    assert not killed_at(-1, folder / "whole", False)
    expected = contents(folder / "whole")
    assert sorted(expected) == ["bad.jsonl", "out.jsonl"]
    for line in itertools.count(0, step):
        place = folder / str(line)
        place.mkdir()
        if not killed_at(line, place, False):
            assert line > 300, line
            return
        assert (
            "out.jsonl" not in contents(place)
            or contents(place)["out.jsonl"] == (expected["out.jsonl"])
        )
        killed_at(line * 7 % 400, place, True)
        killed_at(-1, place, True)
        assert contents(place) == expected, line


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
