"""Sources of a task's tokenizer and preprocessor settings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch.checkpoints.io import hub
from inarch.errors import CheckpointFileError, InputError, InputTypeError
from inarch.models import registry
from inarch.models.loading import Checkpoint
from inarch.text import Tokenizer
from inarch.text.discovery import has_tokenizer, tokenizers_near
from inarch.validation import shown

AUTO = "auto"


@dataclass(frozen=True)
class TextSource:
    """The folder whose settings a preprocessor gets, and the tokenizer that it gets."""

    folder: Path
    tokenizer: Tokenizer


@dataclass(frozen=True)
class TextChoice:
    """Choice of a caller of `from_preset` in place of the checkpoint's own text files.

    Args:
        settings: the folder of the preprocessor's tokenizer and settings; None for the
            checkpoint's.
        tokenizer: a tokenizer, or the folder of one; None for that of `settings`.
    """

    settings: Path | None = None
    tokenizer: Tokenizer | Path | None = None

    def open(self, checkpoint: Checkpoint, kind: type[Tokenizer] = Tokenizer) -> TextSource:
        """Return the source for a checkpoint, whose tokenizer is of a `kind`.

        Raises:
            CheckpointFileError: there is no tokenizer; the error names where one may be.
            CheckpointError: there is one, and it can't be used.
        """
        folder = self.settings or checkpoint.folder
        # What the architecture declares is looked at first, and no other one's is imported.
        checkpoint.architecture.module("text")
        if isinstance(self.tokenizer, Tokenizer):
            return TextSource(folder, self.tokenizer)
        return TextSource(folder, _read(self.tokenizer or folder, checkpoint, kind))


def check_choice(preprocessor_class: type, preprocessor: Any, tokenizer: Any) -> TextChoice:
    """Check the arguments `preprocessor` and `tokenizer` of `from_preset`, and return the choice.

    Raises:
        InputTypeError: one is of a kind that it can't be.
        InputError: both are given.
        PresetError: a folder or name that leads nowhere.
    """
    own = isinstance(preprocessor, preprocessor_class)
    named = isinstance(preprocessor, str | os.PathLike)
    if not (preprocessor is None or own or named):
        raise InputTypeError(
            f"preprocessor is {shown(preprocessor)}; give a {preprocessor_class.__name__}, the "
            "folder or name of a checkpoint to take it from, or None to feed prepared arrays"
            + (
                "; a tokenizer is given as tokenizer="
                if isinstance(preprocessor, Tokenizer)
                else ""
            )
        )
    if tokenizer is not None and not isinstance(tokenizer, Tokenizer | str | os.PathLike):
        raise InputTypeError(
            f"tokenizer is {shown(tokenizer)}; give a Tokenizer, or the folder or name of a "
            "checkpoint to take it from"
        )
    if tokenizer is not None and preprocessor != AUTO:
        raise InputError(
            f"preprocessor is {shown(preprocessor)} and tokenizer {shown(tokenizer)}; give one of "
            "them: a preprocessor has a tokenizer"
        )
    settings = _folder(preprocessor) if named and preprocessor != AUTO else None
    if isinstance(tokenizer, str | os.PathLike):
        tokenizer = _folder(tokenizer)
    return TextChoice(settings, tokenizer)


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer:
    """Return the tokenizer of an opened checkpoint.

    Raises:
        CheckpointFileError, CheckpointError: as `TextChoice.open`.
    """
    return TextChoice().open(checkpoint).tokenizer


def _folder(preset: str | os.PathLike) -> Path:
    return hub.resolve(preset, registry.presets())


def _read(folder: Path, checkpoint: Checkpoint, kind: type[Tokenizer]) -> Tokenizer:
    size = checkpoint.arguments().get("vocabulary_size")
    try:
        return kind.from_folder(folder, vocabulary_size=size)
    except CheckpointFileError as error:
        if has_tokenizer(folder):
            raise
        raise CheckpointFileError(f"{error} {way_out(folder, checkpoint)}") from error


def way_out(folder: Path, checkpoint: Checkpoint) -> str:
    """Return advice for a folder that holds no tokenizer."""
    near = tokenizers_near(folder)
    made_from = checkpoint.config.get("_name_or_path")
    if near:
        found = f"There is one in {' and in '.join(map(str, near))}. "
    elif isinstance(made_from, str) and made_from and not os.path.isabs(made_from):
        found = f"config.json states that the model was made from {shown(made_from)}. "
    else:
        found = ""
    return (
        f"{found}Give the folder or name that the tokenizer is in as tokenizer=... (--tokenizer in "
        "commands), or preprocessor=None to feed token ids."
    )
