"""Inspection of a checkpoint: its parts, and the layers that are missing for it here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from inarch.port.brick import Brick
from inarch.port.bricks import find_bricks
from inarch.port.header import Header, read_header
from inarch.port.nearest import Nearest, find_nearest
from inarch.port.patterns import LENGTHS, collapse_names, flatten_sizes
from inarch.port.roles import Recognized, recognize

# Fields that scale, cap or switch off something, in the spellings of published configs, and the
# values with which they do nothing.
QUIRK = re.compile(
    r"soft_?cap|multiplier|no_rope|query_pre_attn_scalar|logit_scale|residual_scale|scale_emb"
    r"|parallel_(?:attn|residual)|clip_qkv|attention_sink|layer_scale|scale_depth|norm_topk"
)
# Tables with the fields that count their rows.
POSITIONS = "position table"
ROWS = {"token table": ("vocab_size",), "segment table": ("type_vocab_size",), POSITIONS: LENGTHS}
NOTHING: tuple[Any, ...] = (None, False, 1, 1.0, [], 0)


@dataclass(frozen=True)
class Inspection:
    """Parts of a checkpoint, as its header and its config show them.

    Attributes:
        source: what was given.
        model_type: of the config, if it has one.
        tensors: number of tensors.
        explained: number of those whose role is known by name or guessed by shape.
        parts: the patterns of tensors with their roles.
        bricks: the layers that it needs.
        nearest: the architecture here that is most like it.
        quirks: fields of the config that change a graph without a tensor: the reference's code
            has to be read for each.
    """

    source: str
    model_type: str | None
    tensors: int
    explained: int
    parts: tuple[Recognized, ...]
    bricks: tuple[Brick, ...]
    nearest: Nearest | None
    quirks: tuple[str, ...] = ()

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The patterns of tensors that nothing explains."""
        return tuple(part.pattern.name for part in self.parts if part.role is None)

    @property
    def new_layers(self) -> tuple[Brick, ...]:
        """The bricks that no layer here or of Keras computes."""
        return tuple(brick for brick in self.bricks if brick.layer is None)

    def to_json(self) -> dict[str, Any]:
        """Return all of it in plain values."""
        return {
            "source": self.source,
            "model_type": self.model_type,
            "nearest": None if self.nearest is None else asdict(self.nearest),
            "tensors": self.tensors,
            "explained": self.explained,
            "unexplained": list(self.unexplained),
            "quirks": list(self.quirks),
            "new_layers": [brick.kind for brick in self.new_layers],
            "bricks": [asdict(brick) for brick in self.bricks],
            "patterns": [
                {**asdict(part.pattern), "role": part.role, "by": part.by} for part in self.parts
            ],
        }


def inspect(source: str | os.PathLike, config: str | os.PathLike | None = None) -> Inspection:
    """Inspect a checkpoint by its header and its config; no weight is read and no code is run.

    Args:
        source: a folder, a hub id, whose headers are fetched alone, a safetensors file (its
            beginning is enough), or its header as a JSON file.
        config: the config's file; by default the `config.json` that is with the weights.

    Raises:
        PresetError, CheckpointFileError, ConfigError: see `read_header`.
    """
    return inspect_header(read_header(source, config))


def inspect_header(header: Header) -> Inspection:
    """Inspect a header that is read."""
    patterns = collapse_names(header.tensors, header.config)
    stated: Mapping[str, Any] = header.config
    sizes = flatten_sizes(stated)
    parts = tuple(_with_rows(part, sizes) for part in recognize(patterns, stated))
    return Inspection(
        source=header.source,
        model_type=stated.get("model_type") if isinstance(stated.get("model_type"), str) else None,
        tensors=len(header.tensors),
        explained=sum(part.pattern.count for part in parts if part.role is not None),
        parts=parts,
        bricks=find_bricks(parts, stated),
        nearest=find_nearest(parts, stated),
        quirks=_quirks(stated),
    )


def _with_rows(part: Recognized, sizes: Mapping[str, int]) -> Recognized:
    """Return a table with its rows by the field that counts such rows, not by another as large."""
    rows, axes = part.pattern.shapes[0][:1], part.pattern.axes
    for name in ROWS.get(str(part.role), ()) if rows else ():
        for more in range(3) if part.role == POSITIONS else range(1):
            if sizes.get(name, 0) + more == rows[0] > 1:
                words = f"{name} + {more}" if more else name
                return replace(part, pattern=replace(part.pattern, axes=(words, *axes[1:])))
    return part


def _quirks(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields of quirks that have another value than none."""
    nested = [value for value in config.values() if isinstance(value, Mapping)]
    fields = [item for part in (config, *nested) for item in part.items()]
    found = (name for name, value in fields if QUIRK.search(str(name)) and value not in NOTHING)
    return tuple(dict.fromkeys(found))
