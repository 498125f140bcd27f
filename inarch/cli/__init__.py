"""The `inarch` command. It parses, calls and prints; Keras is imported when a command needs it."""

from __future__ import annotations


def main() -> None:
    """Run the `inarch` command with the arguments of the process."""
    import sys

    try:
        from inarch.cli.app import app
    except KeyboardInterrupt:
        sys.exit(130)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that can't show a character gets an escape, not an error.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="inarch")
