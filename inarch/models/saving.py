"""A model written to a folder in the format it came in."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from inarch.checkpoints.formats import files
from inarch.checkpoints.formats.weights import CODES, DTYPES, Shard
from inarch.checkpoints.io import atomic_write
from inarch.checkpoints.io.contents import holds_other_config
from inarch.checkpoints.maps import layout, transfer
from inarch.checkpoints.maps.author_formats import find_author_format
from inarch.checkpoints.maps.config_map import computed_fields, write_fields
from inarch.checkpoints.maps.nested import without
from inarch.checkpoints.maps.plan import match
from inarch.checkpoints.maps.source import Source
from inarch.errors import CheckpointError
from inarch.json_fields import json_text
from inarch.models import registry
from inarch.models.ignored import write_ignore_fields
from inarch.models.layer_settings import check_not_quantized
from inarch.models.origin import backbone_of, origin_of, source_of, ties_embeddings
from inarch.models.sidecar import filter_sidecar
from inarch.models.variables import get_value, mapped_variables
from inarch.paths import resolve_inside
from inarch.user_warnings import warn

CONFIG = "config.json"


@dataclass(frozen=True)
class HeadToSave:
    """Head of a task as its export needs it: name, config arguments, other config fields."""

    name: str
    arguments: Mapping[str, Any]
    fields: Mapping[str, Any]


def save(
    model: keras.Model,
    destination: str | os.PathLike,
    head: HeadToSave | None = None,
    tie_word_embeddings: bool | None = None,
    extra: Callable[[Path], None] = lambda folder: None,
    overwrite: bool = False,
    model_card: bool = False,
) -> None:
    """Write `model` to a folder in the format it came in (Hugging Face's where it is new).

    The checkpoint that is there is replaced as a whole or not at all.

    Args:
        tie_word_embeddings: whether output and input embeddings are one; `None` is what the
            checkpoint declares, whose head is passed through.
        extra: writes further files, such as the tokenizer's, into the new folder.
        overwrite: whether the folder may hold other things and no checkpoint.
        model_card: whether to write a README.md, where there is none of somebody else's.

    Raises:
        CheckpointFileError: the folder can't be written.
        InputError: the model is quantized.
    """
    check_not_quantized(model)
    source, arguments = source_of(model), backbone_of(model).arguments
    variables = mapped_variables(model)
    ours = {name: tuple(v.shape) for name, v in variables.items()}
    origin = origin_of(model)
    old: layout.Layout | None = origin.layout
    name = head.name if head else None
    if tie_word_embeddings is None:
        tie_word_embeddings = ties_embeddings(model)
    code = _code(next(iter(variables.values())))
    shards = layout.shards_to_write(source, old, ours, arguments, name, tie_word_embeddings, code)
    header = {n: info for shard in shards for n, info in shard.tensors.items()}
    plan = match(source, header, ours, arguments, name, tie_word_embeddings, "this model")
    passthrough = _passthrough(origin, plan.passthrough, header, head=name)
    values = transfer.exporter(
        plan, header, ours, lambda n: get_value(model, n, variables[n]), passthrough
    )
    _warn_of_rounded(model, code, {n: i.dtype for n, i in header.items() if n not in passthrough})
    overwrite = overwrite or holds_author_format(destination)
    with atomic_write.replacing(destination, overwrite) as fresh:
        text = _config_text(source, old, arguments, head, tie_word_embeddings, code, header)
        write_checkpoint(fresh, text, shards, values)
        write_texts(fresh, filter_sidecar(old.sidecar_files, old.head == name) if old else {})
        extra(fresh)
        if model_card:
            from inarch.models.model_card import write_card  # which describes what is saved here

            write_card(model, fresh, Path(destination))
        write_ignore_fields(fresh, old.ignored if old else ())


def _passthrough(
    origin: Any, names: Collection[str], header: Mapping[str, Any], head: str | None
) -> dict[str, np.ndarray]:
    """Return the tensors that aren't a model's variables: those of its checkpoint, else zeros.

    Raises:
        CheckpointError: the checkpoint had one for this head, and it wasn't kept.
    """
    found = dict(origin.passthrough)
    missing = sorted(set(names) - found.keys())
    if missing and origin.layout is not None and origin.layout.head == head:
        raise CheckpointError(
            f"the checkpoint's {', '.join(missing)} were not kept with this model; "
            "load it with from_preset to write them back"
        )
    for name in missing:
        found[name] = np.zeros(header[name].shape, DTYPES[header[name].dtype])
    return found


def holds_author_format(destination: str | os.PathLike) -> bool:
    """Return whether a folder holds a checkpoint in an author format, next to which one may save.

    It must be so by names that no other program's files have.
    """
    known = isinstance(destination, str | os.PathLike) and os.path.isdir(destination)
    if not known or holds_other_config(Path(destination)):
        return False
    found = find_author_format(Path(destination), registry.author_formats())
    return found is not None and found.unmistakable


def write_checkpoint(
    folder: Path,
    config_text: str,
    shards: Sequence[Shard],
    values: Callable[[str], np.ndarray],
) -> None:
    for shard in shards:
        path = resolve_inside(folder, shard.filename, plain=True)
        files.write_safetensors(path, shard, values)
    if len(shards) > 1 or shards[0].filename != "model.safetensors":
        _write_json(folder / "model.safetensors.index.json", files.index_of(shards))
    (folder / CONFIG).write_bytes(config_text.encode())


def _warn_of_rounded(model: keras.Model, code: str, codes: Mapping[str, str]) -> None:
    """Warn where values that were rounded to 16 bits are written as float32."""
    wide = [name for name, other in codes.items() if other == "F32"]
    if wide and code in ("BF16", "F16"):
        held = np.dtype(DTYPES[code]).name
        warn(
            f"{model.name} holds its weights in {held}, and writes {len(wide)} tensors "
            f"({wide[0]} and so on) as float32, as in the checkpoint, with rounded values; save "
            "the model that was loaded in float32 to lose nothing"
        )


def _code(variable: Any) -> str:
    return CODES[np.dtype(variable.dtype)]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json_text(value), "utf-8")


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        resolve_inside(folder, name, plain=True).write_bytes(text.encode())


def _config_text(
    source: Source,
    old: layout.Layout | None,
    arguments: Mapping[str, Any],
    head: HeadToSave | None,
    tie_word_embeddings: bool,
    code: str,
    names: Collection[str],
) -> str:
    """Return the text of config.json: the checkpoint's own where nothing changed."""
    config: dict[str, Any] = dict(old.config) if old else {"model_type": source.model_type}
    if config.get("model_type") is None:
        config = {"model_type": source.model_type} | without(config, ["model_type"])
    name = head.name if head else None
    if old is None or old.head != name:
        written = source.heads[name].architectures[0] if name else source.architecture
        config["architectures"] = [written]
    if old is None:
        config["dtype"] = np.dtype(DTYPES[code]).name
    write_fields(source.config, arguments, config, complete=old is None)
    if head:
        entries = source.heads[head.name].config
        # A new head on a checkpoint of another one.
        config = computed_fields(entries, config)
        write_fields(entries, head.arguments, config)
        config |= head.fields
    if tie_word_embeddings != source.ties_embeddings(config, names):
        config["tie_word_embeddings"] = tie_word_embeddings
    if old and config == old.config:
        return old.config_text
    return json_text(config)
