"""The class that a checkpoint was written for, found by what is in it."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from inarch.checkpoints.formats.compare import Comparison, compare
from inarch.checkpoints.io.atomic_write import check_destination
from inarch.checkpoints.maps.entries import spellings
from inarch.checkpoints.maps.proof import Proof
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.models.saving import holds_author_format, save
from inarch.tasks import sentence_transformers
from inarch.tasks.masked_lm import MaskedLM
from inarch.tasks.speech_to_text import SpeechToText
from inarch.tasks.task import Task
from inarch.tasks.text_classifier import TextClassifier
from inarch.tasks.text_embedder import TextEmbedder
from inarch.tasks.text_source import tokenizer_of
from inarch.text.discovery import has_tokenizer
from inarch.text.files import write_tokenizer_files

__all__ = ["Export", "class_of", "export", "has_tokenizer", "headed_task", "prove"]

# The tasks whose heads are in checkpoints; every other head is carried along as it is.
HEADED: tuple[type[Task], ...] = (MaskedLM, TextClassifier, SpeechToText)


def headed_task(checkpoint: Checkpoint) -> type[Task] | None:
    """Return the task whose head is in a checkpoint, or None."""
    for task in HEADED:
        if task.head and task.head in checkpoint.source.heads and checkpoint.has_head(task.head):
            return task
    return None


def class_of(checkpoint: Checkpoint) -> type[Task] | type[Backbone]:
    """Return the class that uses the most of a checkpoint: a task, or the bare backbone."""
    if task := headed_task(checkpoint):
        return task
    if (checkpoint.folder / sentence_transformers.MODULES).is_file():
        return TextEmbedder
    return checkpoint.architecture.backbone


def prove(checkpoint: Checkpoint) -> Proof:
    """Prove the weight map on the headers of a checkpoint, its head included.

    Raises:
        ConfigError: a field of the config has a value that can't be computed.
        WeightMapError: with every tensor and variable that breaks the proof.
    """
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


@dataclass(frozen=True)
class Export:
    """Result of `export`: the class that the checkpoint went through, and the comparison."""

    through: str
    comparison: Comparison


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
        overwrite: whether the folder may hold other things and no checkpoint.

    Raises:
        PresetError, CheckpointFileError, ConfigError, WeightMapError: as
            `Backbone.from_preset`; or the folder can't be written.
    """
    check_destination(folder, overwrite or holds_author_format(folder))
    with Checkpoint(preset, ignore_fields=ignore_fields) as checkpoint:
        found, texts = class_of(checkpoint), has_tokenizer(checkpoint.folder)
        if issubclass(found, Task):
            task = found.from_preset(
                checkpoint.path, ignore_fields=ignore_fields, preprocessor="auto" if texts else None
            )
            task.save_to_preset(folder, overwrite=overwrite)
        else:
            model = found.from_preset(checkpoint.path, ignore_fields=ignore_fields)
            files = tokenizer_of(checkpoint).files if texts else {}
            save(
                model,
                folder,
                extra=lambda fresh: write_tokenizer_files(fresh, files),
                overwrite=overwrite,
            )
        return Export(found.__name__, compare(checkpoint.weights, Path(folder)))
