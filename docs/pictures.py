"""Take the README's pictures: commands run in a terminal of their own, as SVG.

`python docs/pictures.py docs/_static`, where the demo's model and transformers are installed.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.text import Text

from inarch.cli import demo

WIDTH, HEIGHT = 100, 60
# The name that the demo's model goes by in the pictures.
MODEL = "all-MiniLM-L6-v2"
PICTURES = {"demo.svg": "inarch demo", "verify.svg": f"inarch verify {MODEL}"}
# Fonts would be fetched from elsewhere; any monospaced one will do.
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def take(command: str, path: Path) -> None:
    """Run a command and draw what it leaves on a terminal."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    console.print(Text.from_ansi(output(command)))
    drawn = console.export_svg(title="inarch", unique_id=path.stem)
    path.write_text(FONTS.sub("", drawn), "utf-8")


def output(command: str) -> str:
    """Return the text that a command prints on a terminal, without its progress."""
    program = [sys.executable, "-c", "from inarch.cli import main; main()", *command.split()[1:]]
    pid, terminal = pty.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        os.environ |= {"COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
        os.execv(program[0], program)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    chunks: list[bytes] = []
    while not chunks or chunks[-1]:
        try:
            chunks.append(os.read(terminal, 65536))
        except OSError:  # the program has ended and closed its end
            break
    _, status = os.waitpid(pid, 0)
    text = b"".join(chunks).decode().replace("\r\n", "\n").strip("\n")
    if status:
        sys.exit(f"{command} failed:\n{text}")
    return text


def main(folder: Path) -> None:
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as here:
        os.chdir(here)
        Path(MODEL).symlink_to(demo.find()[0])
        for name, command in track(PICTURES.items(), "pictures", console=Console(stderr=True)):
            take(command, folder / name)
        os.chdir(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
