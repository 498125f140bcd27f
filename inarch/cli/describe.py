"""Description of a checkpoint and of the model it gives, from its headers alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch import workflows
from inarch.checkpoints.formats import files
from inarch.checkpoints.maps.plan import UNKNOWN_HEAD
from inarch.errors import CheckpointError, CheckpointFileError, InarchError
from inarch.models.identify import UnknownTypeError, model_type_line
from inarch.models.loading import Checkpoint
from inarch.models.sidecar import sidecar_names
from inarch.preprocessors.text_source import tokenizer_of, way_out
from inarch.sentence_transformers import embedder_folder
from inarch.tasks.text_classifier import TextClassifier
from inarch.text.discovery import has_tokenizer
from inarch.validation import listed

# Tensors carried for one reason that are still named one by one; a head has fewer.
FEW = 12
# So many names are listed on a line for a reader, who has one screen; JSON has all.
LISTED = 4
CARRIED = "carried along"


def describe(preset: str | os.PathLike, ignore_fields: Collection[str] = ()) -> dict[str, Any]:
    """Describe a checkpoint; `problem` is what keeps it from loading, None if nothing does.

    Raises:
        PresetError, CheckpointFileError, ConfigError: it leads nowhere, can't be read, or is of
            an architecture that isn't here.
    """
    try:
        opened = Checkpoint(preset, ignore_fields=ignore_fields)
    except UnknownTypeError as e:
        return _describe_unknown(e)
    with opened as checkpoint:
        original = checkpoint.author_checkpoint
        weights = original.weights if original else checkpoint.weights
        loading = _loading(checkpoint)
        found: dict[str, Any] = {
            "folder": str(checkpoint.folder),
            "architecture": checkpoint.architecture.name,
            "model_type": checkpoint.source.model_type,
            "add_line": _line_to_add(checkpoint),
            "written_by": checkpoint.written_by,
            **_describe_weights(checkpoint.folder, weights),
            "ignored_fields": [*checkpoint.ignored],
            "unread_fields": checkpoint.unread_fields(),
            "heads": _heads(checkpoint),
            "labels": _labels(checkpoint),
            "tokenizer": _tokenizer(checkpoint, loading["problem"]),
            "tokenizer_advice": _tokenizer_advice(checkpoint),
            "pooling": _pooling(checkpoint),
        }
        return found | loading


def _loading(checkpoint: Checkpoint) -> dict[str, Any]:
    try:
        arguments = checkpoint.arguments()
        proof = workflows.prove(checkpoint)
        made_for = workflows.class_of(checkpoint)
    except (CheckpointError, CheckpointFileError) as e:
        return {"class": None, "problem": str(e)}
    return {
        "class": made_for.__name__,
        "arguments": arguments,
        "parameters": proof.elements,
        "loaded": proof.tensors,
        "tied": list(proof.tied),
        "derived": list(proof.derived),
        "passthrough": proof.passthrough,
        "problem": None,
    }


def _describe_unknown(error: UnknownTypeError) -> dict[str, Any]:
    """Describe a folder of unknown architecture: its tensors and its texts."""
    with files.open_weights(error.folder) as weights:
        return {
            "folder": str(error.folder),
            "architecture": None,
            "model_type": None,
            "written_by": error.written_by,
            **_describe_weights(error.folder, weights),
            "heads": {},
            "tokenizer": "there" if has_tokenizer(error.folder) else None,
            "tokenizer_advice": None,
            "pooling": None,
            "class": None,
            "problem": str(error),
        }


def _describe_weights(folder: Path, weights: Any) -> dict[str, Any]:
    """Describe the files of weights. A name that isn't a file's represents several files."""
    header = weights.header
    names = [shard.filename for shard in weights.shards]
    if all((folder / name).is_file() for name in names):
        size = sum((folder / name).stat().st_size for name in names)
    else:
        size = sum(info.nbytes for info in header.values())
    return {
        "format": weights.format,
        "files": names,
        "bytes": size,
        "tensors": len(header),
        "dtypes": dict(Counter(info.dtype for info in header.values())),
    }


def _line_to_add(checkpoint: Checkpoint) -> str | None:
    """Return the line that a config without a model type lacks."""
    if checkpoint.config.get("model_type") is not None:
        return None
    return model_type_line(checkpoint.source.model_type)


def _labels(checkpoint: Checkpoint) -> dict[str, Any] | str | None:
    """Return the classes of a trained classifier, and the activation that gives its scores."""
    head = TextClassifier.head
    if head not in checkpoint.stored_heads():
        return None
    try:
        found = TextClassifier.arguments_of(checkpoint, {})
    except InarchError as e:
        return str(e)
    return {"names": found["labels"], "activation_fn": found["activation_fn"]}


def _heads(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the task of each head in the file; heads without a task are kept for export."""
    tasks = {head: task.__name__ for head, task in workflows.tasks_by_head().items()}
    return {name: tasks.get(name, CARRIED) for name in checkpoint.stored_heads()}


def _tokenizer(checkpoint: Checkpoint, problem: str | None) -> dict[str, Any] | str | None:
    if not has_tokenizer(checkpoint.folder):
        return None
    try:
        tokenizer = tokenizer_of(checkpoint)
    except InarchError as e:
        # Where the config is refused, the tokenizer isn't read at all.
        return "there" if str(e) == problem else str(e)
    return {
        "vocabulary_size": tokenizer.vocabulary_size,
        "longest": tokenizer.model_max_length,
        "special_tokens": tokenizer.special_tokens,
    }


def _tokenizer_advice(checkpoint: Checkpoint) -> str | None:
    """Return advice where there is no tokenizer; None where there is one."""
    if has_tokenizer(checkpoint.folder):
        return None
    return way_out(checkpoint.folder, checkpoint)


def _pooling(checkpoint: Checkpoint) -> dict[str, Any] | str | None:
    listed = embedder_folder.MODULES
    if not (checkpoint.folder / listed).is_file() or listed in sidecar_names(checkpoint.folder):
        return None
    try:
        declared = embedder_folder.read(checkpoint.folder)
    except (CheckpointError, CheckpointFileError) as e:
        return str(e)
    modules = [module["type"] for module in declared.modules]
    return {
        "modes": list(declared.pooling),
        **({"modules": modules} if modules else {}),
        "normalize": declared.normalize,
        "longest": declared.max_seq_length,
    }


def facts(found: dict[str, Any]) -> dict[str, str]:
    """Format `describe`'s result as lines for a reader."""
    dtypes = ", ".join(f"{count} {name}" for name, count in found["dtypes"].items())
    kind = found["architecture"] or "unknown"
    lines = {
        "folder": found["folder"],
        "architecture": f"{kind} ({_listed(found['written_by']) or 'unnamed'})",
        "weights": f"{found['tensors']} tensors ({dtypes}), {found['bytes']:,} bytes, "
        f"{found['format']}: {_shortened(found['files'])}",
    }
    if found.get("add_line"):
        lines["model type"] = (
            f"{found['model_type']}, which config.json doesn't state: add {found['add_line']}"
        )
    if found["problem"]:
        lines["loads"] = "no"
        lines["problem"] = found["problem"]
    else:
        lines |= _loaded_lines(found)
    lines["heads"] = _shortened([f"{n} ({use})" for n, use in found["heads"].items()]) or "none"
    if found["heads"] and not {*found["heads"].values()} - {CARRIED}:
        lines["task"] = "none here for this head; the backbone loads, and the head is kept"
    if labels := found.get("labels"):
        lines["labels"] = labels if isinstance(labels, str) else _shortened(labels["names"])
        if not isinstance(labels, str) and labels["activation_fn"]:
            lines["scores"] = f"{labels['activation_fn']}, as the folder records"
    for key, name in (("ignored_fields", "ignored"), ("unread_fields", "unread fields")):
        if found.get(key):
            lines[name] = _shortened([*found[key]])
    for name in ("tokenizer", "pooling"):
        value = found[name]
        if isinstance(value, dict):
            value = ", ".join(f"{k}={_short(v)}" for k, v in value.items())
        lines[name] = value or "none"
    if found["tokenizer_advice"]:
        lines["tokenizer"] = f"none. {found['tokenizer_advice']}"
    return lines


def _loaded_lines(found: dict[str, Any]) -> dict[str, str]:
    """Return the lines on the use of the tensors, without empty ones but for `unknown`."""
    lines = {"loads as": f"{found['class']}, {found['parameters']:,} parameters"}
    lines["config"] = ", ".join(f"{name}={value}" for name, value in found["arguments"].items())
    lines["loaded"] = f"{found['loaded']} tensors"
    for name in ("tied", "derived"):
        if found[name]:
            lines[name] = _shortened(found[name])
    if found["passthrough"]:
        lines["passthrough"] = _shortened(reasons(found["passthrough"]))
    unknown = [name for name, why in found["passthrough"].items() if why == UNKNOWN_HEAD]
    lines["unknown"] = listed(unknown[:LISTED]) + _more(len(unknown) - LISTED) or "none"
    return lines


def reasons(carried: Mapping[str, str]) -> list[str]:
    """Return reasons by tensor name; those of an optimizer's state as one entry."""
    lines = []
    for why in dict.fromkeys(carried.values()):
        names = [name for name, reason in carried.items() if reason == why]
        if len(names) > FEW:
            names = [f"{len(names)} tensors such as {names[0]}"]
        lines += [f"{name} ({why})" for name in names]
    return lines


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = list(dict.fromkeys(value.values()))
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _shortened(names: Sequence[str]) -> str:
    """Return the first names of a list, and the number of the others."""
    return _listed(names[:LISTED]) + _more(len(names) - LISTED)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _listed(names: Any) -> str:
    return ", ".join(names)
