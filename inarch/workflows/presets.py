"""Loading, proof and export of a checkpoint as the task that it was made for.

Each task defines in its own class which checkpoints are its own: by `Task.head`, the head whose
weights it reads, and by `Task.is_declared_by`, for those that are known by other files than the
weights. Only the order in which the tasks are tried is decided here.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import inarch.tasks
from inarch.checkpoints.formats.compare import Comparison, compare
from inarch.checkpoints.io.atomic_write import check_destination
from inarch.checkpoints.io.steady import retry_when_changed
from inarch.checkpoints.maps.entries import spellings
from inarch.checkpoints.maps.proof import Proof
from inarch.errors import InputError
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.models.saving import holds_author_format, save
from inarch.preprocessors.text_source import tokenizer_of
from inarch.tasks.settings_file import read_settings
from inarch.tasks.task import Task
from inarch.text.discovery import has_tokenizer
from inarch.text.files import write_tokenizer_files
from inarch.validation import shown

__all__ = ["Export", "class_of", "export", "has_tokenizer", "headed_task", "load", "prove"]

# Options of `Task.from_preset` that a bare backbone has no use for.
OF_TEXT = ("preprocessor", "tokenizer")


def tasks() -> list[type[Task]]:
    """Return every task that `inarch.tasks` exports."""
    exported = (getattr(inarch.tasks, name) for name in inarch.tasks.__all__)
    return [each for each in exported if isinstance(each, type) and issubclass(each, Task)]


def tasks_by_head() -> dict[str, type[Task]]:
    """Return the task of each head, which a checkpoint with nothing but the head is made for.

    Other tasks that read the same head define `is_declared_by`.
    """
    usual = Task.is_declared_by.__func__  # type: ignore[attr-defined]
    plain = [t for t in tasks() if t.head and t.is_declared_by.__func__ is usual]  # type: ignore[attr-defined]
    return {task.head: task for task in plain if task.head}


def headed_task(checkpoint: Checkpoint) -> type[Task] | None:
    """Return the task whose head is in a checkpoint, or None."""
    return next((task for task in tasks_by_head().values() if _has_head(checkpoint, task)), None)


def class_of(checkpoint: Checkpoint) -> type[Task] | type[Backbone]:
    """Return the class that a checkpoint was made for: a task, or the bare backbone.

    First comes the task that saved the folder here, then one that the files of another library
    declare, then that of the head in the weights. A checkpoint of none is its backbone's.

    Raises:
        CheckpointFileError: a file that declares a task is damaged.
    """
    saved = read_settings(checkpoint.folder).task
    able = [t for t in tasks() if t.head is None or _has_head(checkpoint, t)]
    for task in able:
        if task.__name__ == saved:
            return task
    for task in able:
        if task.is_declared_by(checkpoint):
            return task
    return headed_task(checkpoint) or checkpoint.architecture.backbone


def _has_head(checkpoint: Checkpoint, task: type[Task]) -> bool:
    head = task.head
    return head is not None and head in checkpoint.source.heads and checkpoint.has_head(head)


@retry_when_changed
def load(preset: str | os.PathLike, **options: Any) -> Any:
    """Load a checkpoint as the task that it was made for, with its tokenizer.

    A checkpoint of no task, such as a bare encoder, gives its backbone. To open it as another
    task call that task's own `from_preset`, such as `TextEmbedder.from_preset`.

    Args:
        preset: a folder, a built-in name, or a hub id (`owner/name`, optionally `@revision`).
        options: arguments of the `from_preset` of what is found: `dtype`, `load_weights`,
            `ignore_fields`; for a task `preprocessor` and `tokenizer`, and its own arguments.

    Raises:
        PresetError, CheckpointFileError, ConfigError, WeightMapError: as `Task.from_preset`.
        InputError: a tokenizer or preprocessor is given, and the checkpoint is of no task.
    """
    with Checkpoint(preset, ignore_fields=options.get("ignore_fields", ())) as checkpoint:
        found, path = class_of(checkpoint), checkpoint.path
        checkpoint.check_unchanged()
    if not issubclass(found, Task):
        for name in OF_TEXT:
            if (given := options.pop(name, None)) is not None:
                raise InputError(
                    f"{name} is {shown(given)}, and {path} holds no task, so that it opens as "
                    f"{found.__name__}, which takes token ids; leave {name} out, or load it by a "
                    "task's own from_preset"
                )
    return found.from_preset(path, **options)


def prove(preset: str | os.PathLike | Checkpoint, ignore_fields: Collection[str] = ()) -> Proof:
    """Prove that loading a checkpoint loses nothing, by its headers alone, its head included.

    Args:
        preset: as `Backbone.from_preset` takes it, or an opened checkpoint.
        ignore_fields: as of `Backbone.from_preset`, for a checkpoint that isn't open yet.

    Raises:
        PresetError, CheckpointFileError: as `Backbone.from_preset`.
        ConfigError: a field of the config has a value that can't be computed.
        WeightMapError: with every tensor and variable that breaks the proof.
    """
    with ExitStack() as stack:
        if isinstance(preset, Checkpoint):
            return _prove(preset)
        return _prove(stack.enter_context(Checkpoint(preset, ignore_fields=ignore_fields)))


def _prove(checkpoint: Checkpoint) -> Proof:
    task = headed_task(checkpoint)
    if task:
        proof = checkpoint.prove(lambda: task.build_untrained(checkpoint), task.head)
    else:
        proof = checkpoint.prove()
    # Several heads share names of tensors; the checkpoint's own is the one that they are of.
    heads = {name: checkpoint.source.heads[name] for name in checkpoint.stored_heads()}
    own = {n: f"head {name}" for name, h in heads.items() for e in h.weights for n in spellings(e)}
    named = {n: own.get(n, why) for n, why in proof.passthrough.items() if why.startswith("head ")}
    return replace(proof, passthrough={**proof.passthrough, **named})


@dataclass(frozen=True, repr=False)
class Export:
    """Result of `export`.

    Attributes:
        through: name of the class that the checkpoint went through.
        comparison: the tensors of the new folder, compared with the checkpoint's.
    """

    through: str
    comparison: Comparison

    @property
    def same(self) -> bool:
        """True where the new folder has the checkpoint's tensors, byte for byte."""
        return self.comparison.same

    def in_words(self) -> str:
        """Return the result in a line."""
        equal = len(self.comparison.equal)
        return (
            f"{equal} of {self.comparison.total} tensors are byte-equal to the checkpoint's, "
            f"through {self.through}"
        )

    def __repr__(self) -> str:
        return f"<Export: {self.in_words()}>"


def export(
    preset: str | os.PathLike,
    folder: str | os.PathLike,
    ignore_fields: Collection[str] = (),
    *,
    overwrite: bool = False,
) -> Export:
    """Load a checkpoint and write it to `folder`, tokenizer included; then compare the two.

    Args:
        preset: as `Backbone.from_preset` takes it.
        folder: as `Backbone.save_to_preset` takes it.
        ignore_fields: as of `Backbone.from_preset`.
        overwrite: whether the folder may hold other things and no checkpoint.

    Raises:
        PresetError, CheckpointFileError, ConfigError, WeightMapError: as
            `Backbone.from_preset`; or the folder can't be written.
    """
    check_destination(folder, overwrite or holds_author_format(folder))
    with Checkpoint(preset, ignore_fields=ignore_fields) as checkpoint:
        found = class_of(checkpoint)
        if issubclass(found, Task):
            has_source = found.has_source(checkpoint)
            task = found.from_preset(
                checkpoint.path,
                ignore_fields=ignore_fields,
                preprocessor="auto" if has_source else None,
            )
            task.save_to_preset(folder, overwrite=overwrite)
        else:
            model = found.from_preset(checkpoint.path, ignore_fields=ignore_fields)
            texts = has_tokenizer(checkpoint.folder)
            files = tokenizer_of(checkpoint).files if texts else {}
            save(
                model,
                folder,
                extra=lambda fresh: write_tokenizer_files(fresh, files),
                overwrite=overwrite,
            )
        return Export(found.__name__, compare(checkpoint.weights, Path(folder)))
