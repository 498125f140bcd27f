"""The errors inarch raises, each also a built-in kind, so `except ValueError` keeps working.

Every message names the thing, its value and the way out.
"""


class InarchError(Exception):
    """Base of every error that inarch raises on purpose."""


class CheckpointError(InarchError, ValueError):
    """A checkpoint says something that can't be carried over as it stands."""


class ConfigError(CheckpointError):
    """A config is unreadable, or has a field that could change the numbers and isn't mapped."""


class WeightMapError(CheckpointError):
    """Tensors and variables don't pair up: missing, unknown or of another shape."""


class CheckpointFileError(InarchError, OSError):
    """A file is absent, truncated or malformed, or can't be written."""


class PresetError(InarchError, ValueError):
    """A preset name, hub id or folder leads nowhere."""


class InputError(InarchError, ValueError):
    """An argument or an input has a value that can't be used."""


class InputTypeError(InarchError, TypeError):
    """An argument or an input is of a kind that can't be used."""


class MissingExtraError(InarchError, ImportError):
    """An optional dependency is needed and not installed."""


class OriginalError(InarchError, RuntimeError):
    """The original implementation is absent, can't run the checkpoint, or gives no numbers."""


class AudioFileError(InarchError, OSError):
    """An audio file is absent, empty or damaged, or holds no sound."""
