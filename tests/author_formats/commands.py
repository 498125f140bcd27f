"""Error messages of the command line for a folder that can't be read."""

from typer.testing import CliRunner

from inarch.cli.app import app

READING = ("info", "prove", "export", "verify")
PROVING = ("prove", "export")


def refusal(folder, commands=READING):
    """Return the one line that each of the commands fails with."""
    messages = set()
    for command in commands:
        more = {"export": [str(folder.parent / "unused")], "embed": ["a"]}.get(command, [])
        result = CliRunner().invoke(app, [command, str(folder), *more])
        assert isinstance(result.exception, SystemExit), repr(result.exception)
        assert (result.exit_code, result.stdout) == (1, "")
        lines = result.stderr.splitlines()
        (line,) = (line for line in lines if not line.startswith("inarch: warning: "))
        assert line.startswith("inarch: ")
        messages.add(line)
    (line,) = messages
    assert str(folder) in line
    return line
