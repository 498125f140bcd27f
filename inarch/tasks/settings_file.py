"""`inarch.json`: what a preset folder has no other place for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inarch.errors import CheckpointFileError
from inarch.file_names import SETTINGS
from inarch.json_fields import (
    COUNT,
    FLAG,
    OBJECT,
    TEXT,
    TEXTS,
    is_number,
    read_field,
    read_object,
)
from inarch.models.arguments import checked_values
from inarch.paths import resolve_inside
from inarch.validation import Validator
from inarch.version import __version__

if TYPE_CHECKING:
    from inarch.tasks.task import Task


# Values of tasks' arguments, which all other ones check where they are set.
_RATE = Validator("a number from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1)
_ARGUMENTS = {"dropout": _RATE, "mask_rate": _RATE, "whole_word_mask": FLAG, "language": TEXT}


@dataclass(frozen=True)
class SavedSettings:
    """Settings of a task and its preprocessor, as they were when the folder was written.

    Args:
        task: the class that wrote it, or none.
        arguments: of the task, by name.
        sequence_length: longest sequence in tokens, or none.
        lowercase: whether text is lower-cased, or none.
        allow_special: special tokens that count as such in text, or none.
        prompts: named texts to put before an input, or none.
        default_prompt_name: the prompt that is used where none is named, or none.
    """

    task: str | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sequence_length: int | None = None
    lowercase: bool | None = None
    allow_special: tuple[str, ...] | None = None
    prompts: Mapping[str, str] | None = None
    default_prompt_name: str | None = None

    def arguments_of(self, task: type, names: tuple[str, ...]) -> dict[str, Any]:
        """Return the named arguments, if a task of this class wrote them."""
        if self.task != task.__name__:
            return {}
        return {name: self.arguments[name] for name in names if name in self.arguments}


def read_settings(folder: Path) -> SavedSettings:
    """Read the settings in a folder; return none where it has no such file.

    Raises:
        CheckpointFileError: the file is damaged, or a setting is of another kind.
    """
    path = resolve_inside(folder, SETTINGS)
    if not path.is_file():
        return SavedSettings()
    content = read_object(path)
    read = partial(read_field, content, where=path, error=CheckpointFileError)
    special = read("allow_special", validator=TEXTS, default=None)
    arguments = read("settings", validator=OBJECT, default={})
    for name in _ARGUMENTS.keys() & arguments.keys():
        read_field(arguments, name, _ARGUMENTS[name], None, where=path, error=CheckpointFileError)
    return SavedSettings(
        task=read("task", validator=TEXT, default=None),
        arguments=arguments,
        sequence_length=read("sequence_length", validator=COUNT, default=None),
        lowercase=read("lowercase", validator=FLAG, default=None),
        allow_special=None if special is None else tuple(special),
        prompts=read("prompts", validator=OBJECT, default=None),
        default_prompt_name=read("default_prompt_name", validator=TEXT, default=None),
    )


def write_settings(task: Task, folder: Path) -> None:
    """Write the settings of a task and its preprocessor into a folder."""
    content: dict[str, Any] = {"inarch_version": __version__, "task": type(task).__name__}
    values = {**task.arguments, **checked_values(task)}
    if task.saved_settings:
        content["settings"] = {name: values[name] for name in task.saved_settings}
    if task.preprocessor:
        content |= checked_values(task.preprocessor)
    (folder / SETTINGS).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
