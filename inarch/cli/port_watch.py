"""`inarch port check --watch`: a process for each check, so that what was edited counts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import typer

from inarch.port.subjects import find_folder

# Seconds between looks at the folder.
PAUSE = 0.3
# A check; its name and options follow.
COMMAND = [sys.executable, "-m", "inarch", "port", "check"]

# Path of each file, its time in nanoseconds and its size.
State = dict[str, tuple[int, int]]


def watch_check(name: str, options: Sequence[str], as_json: bool) -> None:
    """Check a folder, and again whenever a file of it changes, until it is interrupted.

    Args:
        name: of the folder.
        options: of `inarch port check`.
        as_json: whether each check is a line of JSON.

    Raises:
        InputError: there is no such folder.
    """
    folder = find_folder(name)
    command = [*COMMAND, name, *options]
    while True:
        # Before the check, so that what changes meanwhile is checked next.
        before = folder_state(folder)
        if as_json:
            done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, check=False)
            if done.stdout:
                typer.echo(json.dumps(json.loads(done.stdout), ensure_ascii=False))
        else:
            subprocess.run(command, check=False)
            typer.echo(f"-- {time.strftime('%H:%M:%S')}: waiting for a change in {folder}")
        sys.stdout.flush()
        while folder_state(folder) == before:
            time.sleep(PAUSE)


def folder_state(folder: Path) -> State:
    """Return the time and the size of each file of a folder that a check reads."""
    found = {}
    for path in folder.glob("*"):
        if path.suffix in (".py", ".toml"):
            try:
                stat = path.stat()
            except FileNotFoundError:  # an editor is about to put another in its place
                continue
            found[path.name] = stat.st_mtime_ns, stat.st_size
    return found
