"""What a checkpoint is made of, and whether layers are missing for it here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from inarch.port.bricks import Brick, bricks_of
from inarch.port.header import Header, read_header
from inarch.port.nearest import Nearest, nearest_to
from inarch.port.patterns import patterns_of
from inarch.port.roles import Recognized, recognize


@dataclass(frozen=True)
class Inspection:
    """What the header and the config of a checkpoint show.

    Attributes:
        source: what was given.
        model_type: of the config, if it has one.
        tensors: number of tensors.
        explained: number of those whose role is known by name or guessed by shape.
        parts: the patterns of tensors with their roles.
        bricks: the layers that it needs.
        nearest: the architecture here that is most like it.
    """

    source: str
    model_type: str | None
    tensors: int
    explained: int
    parts: tuple[Recognized, ...]
    bricks: tuple[Brick, ...]
    nearest: Nearest | None

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
    patterns = patterns_of(header.tensors, header.config)
    parts = recognize(patterns, header.config)
    stated: Mapping[str, Any] = header.config
    return Inspection(
        source=header.source,
        model_type=stated.get("model_type") if isinstance(stated.get("model_type"), str) else None,
        tensors=len(header.tensors),
        explained=sum(part.pattern.count for part in parts if part.role is not None),
        parts=parts,
        bricks=bricks_of(parts, stated),
        nearest=nearest_to(parts, stated),
    )
