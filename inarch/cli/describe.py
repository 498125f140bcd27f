"""What a checkpoint holds and what would be made of it, from its headers alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from inarch.checkpoints.plan import UNKNOWN_HEAD, listed
from inarch.errors import CheckpointError, CheckpointFileError, InarchError
from inarch.models.preset import Checkpoint
from inarch.tasks import auto, sentence_transformers
from inarch.tasks.text_source import tokenizer_of, way_out

# Tensors carried for one reason that are still named one by one; a head has fewer.
FEW = 12


def describe(preset: str | os.PathLike, ignore_fields: Collection[str] = ()) -> dict[str, Any]:
    """Facts on a checkpoint; what keeps it from loading is under `problem`, None if nothing does.

    Raises:
        PresetError, CheckpointFileError, ConfigError: it leads nowhere, can't be read, or is of
            an architecture that isn't here.
    """
    with Checkpoint(preset, ignore_fields=ignore_fields) as checkpoint:
        original = checkpoint.original
        weights = original.weights if original else checkpoint.weights
        header = weights.header
        found: dict[str, Any] = {
            "folder": str(checkpoint.folder),
            "architecture": checkpoint.architecture.name,
            "written_by": checkpoint.written_by,
            "format": weights.format,
            "files": [shard.filename for shard in weights.shards],
            "bytes": sum(info.nbytes for info in header.values()),
            "tensors": len(header),
            "dtypes": dict(Counter(info.dtype for info in header.values())),
            "heads": _heads(checkpoint),
            "tokenizer": _tokenizer(checkpoint),
            "tokenizer_advice": _tokenizer_advice(checkpoint),
            "pooling": _pooling(checkpoint),
        }
        return found | _loading(checkpoint)


def _loading(checkpoint: Checkpoint) -> dict[str, Any]:
    try:
        arguments = checkpoint.arguments()
        proof = auto.prove(checkpoint)
    except CheckpointError as e:
        return {"class": None, "problem": str(e)}
    return {
        "class": auto.class_of(checkpoint).__name__,
        "arguments": arguments,
        "parameters": proof.elements,
        "loaded": proof.tensors,
        "tied": list(proof.tied),
        "derived": list(proof.derived),
        "carried": proof.carried,
        "problem": None,
    }


def _heads(checkpoint: Checkpoint) -> dict[str, str]:
    """Each head in the file, and the task that uses it; the others are kept for export."""
    tasks = {task.head: task.__name__ for task in auto.HEADED}
    return {name: tasks.get(name, "carried along") for name in checkpoint.held_heads()}


def _tokenizer(checkpoint: Checkpoint) -> dict[str, Any] | str | None:
    if not auto.has_tokenizer(checkpoint.folder):
        return None
    try:
        tokenizer = tokenizer_of(checkpoint)
    except InarchError as e:
        return str(e)
    return {
        "vocabulary_size": tokenizer.vocabulary_size,
        "longest": tokenizer.model_max_length,
        "special_tokens": tokenizer.special_tokens,
    }


def _tokenizer_advice(checkpoint: Checkpoint) -> str | None:
    """What to do where there is no tokenizer."""
    if auto.has_tokenizer(checkpoint.folder):
        return None
    return way_out(checkpoint.folder, checkpoint)


def _pooling(checkpoint: Checkpoint) -> dict[str, Any] | str | None:
    if not (checkpoint.folder / sentence_transformers.MODULES).is_file():
        return None
    try:
        said = sentence_transformers.read(checkpoint.folder)
    except (CheckpointError, CheckpointFileError) as e:
        return str(e)
    return {
        "modes": list(said.pooling),
        "normalize": said.normalize,
        "longest": said.max_seq_length,
    }


def facts(found: dict[str, Any]) -> dict[str, str]:
    """`describe`'s result as lines for a reader."""
    dtypes = ", ".join(f"{count} {name}" for name, count in found["dtypes"].items())
    lines = {
        "folder": found["folder"],
        "architecture": f"{found['architecture']} ({_listed(found['written_by']) or 'unnamed'})",
        "weights": f"{found['tensors']} tensors ({dtypes}), {found['bytes']:,} bytes, "
        f"{found['format']}: {_listed(found['files'])}",
    }
    if found["problem"]:
        lines["loads"] = "no"
        lines["problem"] = found["problem"]
    else:
        lines["loads as"] = f"{found['class']}, {found['parameters']:,} parameters"
        shown = found["arguments"].items()
        lines["config"] = ", ".join(f"{name}={value}" for name, value in shown)
        lines["loaded"] = f"{found['loaded']} tensors"
        lines["tied"] = _listed(found["tied"]) or "none"
        lines["derived"] = _listed(found["derived"]) or "none"
        lines["carried"] = _listed(reasons(found["carried"])) or "none"
        unknown = [name for name, why in found["carried"].items() if why == UNKNOWN_HEAD]
        lines["unknown"] = listed(unknown) or "none"
    lines["heads"] = _listed(f"{name} ({use})" for name, use in found["heads"].items()) or "none"
    for name in ("tokenizer", "pooling"):
        value = found[name]
        if isinstance(value, dict):
            value = ", ".join(f"{k}={_short(v)}" for k, v in value.items())
        lines[name] = value or "none"
    if found["tokenizer_advice"]:
        lines["tokenizer"] = f"none. {found['tokenizer_advice']}"
    return lines


def reasons(carried: Mapping[str, str]) -> list[str]:
    """What is carried and why; the many tensors of an optimizer's state in one piece."""
    lines = []
    for why in dict.fromkeys(carried.values()):
        names = [name for name, reason in carried.items() if reason == why]
        if len(names) > FEW:
            names = [f"{len(names)} tensors such as {names[0]}"]
        lines += [f"{name} ({why})" for name in names]
    return lines


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = list(value.values())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _listed(names: Any) -> str:
    return ", ".join(names)
