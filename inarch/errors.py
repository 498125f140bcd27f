"""The errors inarch raises, each also a built-in kind, so `except ValueError` keeps working.

Every message names the thing, its value and the way out.
"""

# Bytes of a message; of a longer one the middle is left out, and the way out stays at its end.
LONGEST = 2000
ENDING = 600


class InarchError(Exception):
    """Base of every error that inarch raises on purpose.

    A message may quote a file, whatever is in it: as text it is printable and of at most 2,000
    bytes.
    """

    def __str__(self) -> str:
        return _bounded(_printable(super().__str__()))


def _printable(text: str) -> str:
    """The text with all that isn't shown, such as control characters, written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def _bounded(text: str) -> str:
    if 4 * len(text) <= LONGEST or len(data := text.encode()) <= LONGEST:
        return text
    start = data[: LONGEST - ENDING - 50].decode(errors="ignore")
    end = data[-ENDING:].decode(errors="ignore")
    return f"{start} [... {len(text) - len(start) - len(end):,} characters ...] {end}"


class CheckpointError(InarchError, ValueError):
    """A checkpoint says something that can't be carried over as it stands."""


class ConfigError(CheckpointError):
    """A config is unreadable, or has a field that could change the numbers and isn't mapped."""


class WeightMapError(CheckpointError):
    """Tensors and variables don't pair up: missing, unknown or of another shape."""


class CheckpointFileError(InarchError, OSError):
    """A file is absent, truncated or malformed, or can't be written."""


class FolderChangedError(CheckpointFileError):
    """Another process has changed a folder while it was read."""


class PresetError(InarchError, ValueError):
    """A preset name, hub id or folder leads nowhere."""


class InputError(InarchError, ValueError):
    """An argument or an input has a value that can't be used."""


class InputTypeError(InarchError, TypeError):
    """An argument or an input is of a kind that can't be used."""


class ReadOnlyError(InarchError, AttributeError):
    """An attribute that is fixed when an object is built was to be set."""


class MissingExtraError(InarchError, ImportError):
    """An optional dependency is needed and not installed."""


class ReferenceModelError(InarchError, RuntimeError):
    """The reference implementation is absent, can't run the checkpoint, or gives no numbers."""


class AudioFileError(InarchError, OSError):
    """An audio file is absent, empty or damaged, or holds no sound."""
