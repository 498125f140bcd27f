"""Layout of a checkpoint on disk, kept so that an untouched model is written back equal."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import inarch.json_fields as fields
from inarch.checkpoints.formats.files import sharded
from inarch.checkpoints.formats.weights import DTYPES, Shard, TensorInfo
from inarch.checkpoints.maps.pattern import Pattern
from inarch.checkpoints.maps.plan import export_rules
from inarch.checkpoints.maps.source import Source
from inarch.errors import ConfigError
from inarch.paths import check_file_name
from inarch.validation import shown

# Shards of a new export hold at most this many bytes.
SHARD_LIMIT = 5_000_000_000
WHERE = "the layout of a model"
ORIGIN = fields.Validator(
    "a hub id", lambda v: isinstance(v, str) and bool(re.fullmatch(r"[\w.-]+/[\w.-]+", v))
)


@dataclass(frozen=True)
class Layout:
    """Key order, dtypes, shards, prefix and spellings of one checkpoint, and its config's text.

    Args:
        head: the head that was read from it, or none.
        sidecar_files: texts of further files that belong to the model, by name.
        model_type: of the format, which the config need not state.
        ignored: names of fields of the config that are taken as absent.
        origin: the hub id that it came from, or none.
    """

    config_text: str
    shards: tuple[Shard, ...]
    head: str | None = None
    sidecar_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    model_type: str | None = None
    ignored: tuple[str, ...] = ()
    origin: str | None = None

    @functools.cached_property
    def config(self) -> Mapping[str, Any]:
        """The content of config.json."""
        return json.loads(self.config_text)

    @property
    def names(self) -> set[str]:
        """The names of the tensors of all shards."""
        return {name for shard in self.shards for name in shard.tensors}

    def to_json(self) -> dict[str, Any]:
        shards = [
            {
                "filename": shard.filename,
                "metadata": shard.metadata,
                "tensors": [[n, i.dtype, list(i.shape)] for n, i in shard.tensors.items()],
            }
            for shard in self.shards
        ]
        return {
            "config_text": self.config_text,
            "shards": shards,
            "head": self.head,
            "sidecar_files": dict(self.sidecar_files),
            "model_type": self.model_type,
            "ignored": list(self.ignored),
            "origin": self.origin,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Layout:
        """Return the layout that `to_json` gave.

        Raises:
            ConfigError: it is of another form; a `.keras` file may hold anything.
        """
        listed = fields.read_field(value, "shards", fields.LIST, where=WHERE)
        sidecars = fields.read_field(value, "sidecar_files", fields.TEXT_OBJECT, {}, where=WHERE)
        for name in sidecars:
            check_file_name(name, "the layout's name of a file", plain=True)
        text = fields.read_field(value, "config_text", fields.TEXT, where=WHERE)
        fields.object_in(text, f"{WHERE}: 'config_text'", ConfigError)
        head = fields.read_field(value, "head", fields.TEXT, None, where=WHERE)
        kind = fields.read_field(value, "model_type", fields.TEXT, None, where=WHERE)
        ignored = fields.read_field(value, "ignored", fields.TEXTS, [], where=WHERE)
        origin = fields.read_field(value, "origin", ORIGIN, None, where=WHERE)
        shards = tuple(map(_shard, listed))
        return cls(text, shards, head, dict(sidecars), kind, tuple(ignored), origin)


def _shard(value: Any) -> Shard:
    where = f"{WHERE}, a shard"
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {shown(value)}; it must be an object, {{...}}")
    tensors = fields.read_field(value, "tensors", TENSORS, where=where)
    return Shard(
        check_file_name(value.get("filename"), "the layout's name of a shard", plain=True),
        {name: TensorInfo(dtype, tuple(shape)) for name, dtype, shape in tensors},
        fields.read_field(value, "metadata", fields.TEXT_OBJECT, None, where=where),
    )


def _is_tensor(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    name, dtype, shape = value
    known = isinstance(dtype, str) and dtype in DTYPES
    return fields.is_text(name) and known and fields.is_shape(shape)


TENSORS = fields.Validator(
    "a list of names, dtypes and shapes",
    lambda value: isinstance(value, list) and all(map(_is_tensor, value)),
)


def shards_to_write(
    source: Source,
    layout: Layout | None,
    ours: Mapping[str, tuple[int, ...]],
    arguments: Mapping[str, Any],
    head: str | None,
    tie: bool,
    dtype: str,
) -> list[Shard]:
    """Return the files and tensors that an export has.

    As they were where the checkpoint had this very head; else the map's own names, in the old
    order and dtypes as far as the old file goes, without the heads that the model replaced.
    `dtype` is the code for tensors that are new.
    """
    if layout is not None and layout.head == head:
        return [_as_safetensors(shard) for shard in layout.shards]
    new: dict[str, TensorInfo] = {}
    rules, idle = export_rules(source, arguments, head, tie)
    for rule in rules:
        pattern = Pattern.parse(rule.pattern)
        sizes = pattern.sizes(None, [ours[name] for name in rule.ours])
        shapes = pattern.their_shapes(sizes)
        new |= {n: TensorInfo(dtype, s) for n, s in zip(rule.theirs, shapes, strict=True)}
    new |= {
        name: new[like] if isinstance(like, str) else TensorInfo(dtype, like)
        for name, like in idle.items()
    }
    if layout is None:
        return sharded(dict(sorted(new.items())), SHARD_LIMIT, {"format": "pt"})
    old = {
        source.prefix_of(head) + source.without_prefix(name): info
        for shard in layout.shards
        for name, info in shard.tensors.items()
    }
    floats = [i.dtype for i in old.values() if i.dtype.startswith(("F", "BF"))]
    usual = max(floats, key=floats.count, default=dtype)
    header = {n: TensorInfo(old[n].dtype, new[n].shape) for n in old if n in new}
    header |= {n: TensorInfo(usual, i.shape) for n, i in new.items() if n not in header}
    return sharded(header, SHARD_LIMIT, {"format": "pt"})


def _as_safetensors(shard: Shard) -> Shard:
    """Return the shard under the name of a safetensors file; torch's files aren't written."""
    name = shard.filename
    if not name.endswith(".safetensors"):
        stem = name.removesuffix(".bin").removesuffix(".h5")
        name = re.sub(r"^(pytorch|tf)_model", "model", stem) + ".safetensors"
        return Shard(name, shard.tensors, {"format": "pt"})
    return shard
