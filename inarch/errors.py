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
    """Escape what isn't shown in a text, such as control characters."""
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
    """Error for a checkpoint with content that can't be converted as it is."""


class ConfigError(CheckpointError):
    """Error for an unreadable config, or a field that could change the numbers and isn't mapped."""


class WeightMapError(CheckpointError):
    """Error for tensors and variables that don't match: missing, unknown or of another shape."""


class CheckpointFileError(InarchError, OSError):
    """Error for a file that is absent, truncated or malformed, or can't be written."""


class FolderChangedError(CheckpointFileError):
    """Error for a folder that another process has changed while it was read."""


class PresetError(InarchError, ValueError):
    """Error for a preset name, hub id or folder that leads nowhere."""


class InputError(InarchError, ValueError):
    """Error for an argument or an input of a value that can't be used."""


class InputTypeError(InarchError, TypeError):
    """Error for an argument or an input of a type that can't be used."""


class MissingLayerError(InarchError, NotImplementedError):
    """Error for building a drafted architecture one of whose layers must still be written."""


class ReadOnlyError(InarchError, AttributeError):
    """Error for setting an attribute that is fixed when an object is built."""


class MissingExtraError(InarchError, ImportError):
    """Error for an optional dependency that is needed and not installed."""


class ReferenceModelError(InarchError, RuntimeError):
    """Error for a reference that is absent, can't run the checkpoint, or gives no numbers."""


class AudioFileError(InarchError, OSError):
    """Error for an audio file that is absent, empty or damaged, or holds no sound."""
