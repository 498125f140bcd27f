"""Settings of sentence-transformers' folders that are those of a task and of its preprocessor."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from inarch.models.arguments import mutable_arguments
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.sentence_transformers.module_files import Config, TextConfig

if TYPE_CHECKING:
    from inarch.tasks.task import Task


def with_declared(
    preprocessor: TextPreprocessor, declared: TextConfig, limit: int
) -> TextPreprocessor:
    """Return a preprocessor with the settings of its texts that a folder declares.

    Args:
        limit: the backbone's longest sequence.
    """
    preprocessor.sequence_length = min(
        declared.max_seq_length or preprocessor.sequence_length, limit
    )
    preprocessor.lowercase = declared.lowercase or preprocessor.lowercase
    preprocessor.default_prompt_name = None
    preprocessor.prompts = declared.prompts
    preprocessor.default_prompt_name = declared.default_prompt_name
    for name in own_fields(declared):
        if name in mutable_arguments(type(preprocessor)):
            setattr(preprocessor, name, getattr(declared, name))
    return preprocessor


def declared_arguments(config: TextConfig, task: type[Task]) -> dict[str, Any]:
    """Return the arguments of a task that the config of its folder has, with the folder's files."""
    of_text = mutable_arguments(task.preprocessor_class).keys()
    names = [name for name in own_fields(config) if name not in of_text]
    return {name: getattr(config, name) for name in (*names, "files")}


def folder_config(kind: type[Config], task: Task) -> Config:
    """Return the config of a task's folder: its arguments, and those of its preprocessor."""
    text, of_text = task.preprocessor, mutable_arguments(task.preprocessor_class)
    owners = {name: text if name in of_text else task for name in own_fields(kind)}
    values = {name: getattr(owner, name) for name, owner in owners.items() if owner is not None}
    return kind(**values, files=task.files, **text_fields(text))


def own_fields(config: TextConfig | type[TextConfig]) -> list[str]:
    """Return the fields of a config that not all kinds have."""
    common = {field.name for field in dataclasses.fields(TextConfig)}
    return [field.name for field in dataclasses.fields(config) if field.name not in common]


def text_fields(preprocessor: TextPreprocessor | None) -> dict[str, Any]:
    """Return the settings of a preprocessor's texts by the fields of a `TextConfig`."""
    if preprocessor is None:
        return {}
    return {
        "max_seq_length": preprocessor.sequence_length,
        "lowercase": preprocessor.lowercase,
        "prompts": preprocessor.prompts,
        "default_prompt_name": preprocessor.default_prompt_name,
    }
