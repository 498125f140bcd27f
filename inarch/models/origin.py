"""Parts and origin of a model: its backbone, its head, the checkpoint and the format it came in."""

from __future__ import annotations

from typing import Any

import keras

from inarch.checkpoints.maps import layout
from inarch.checkpoints.maps.source import Source
from inarch.models import registry


def backbone_of(model: keras.Model) -> Any:
    """Return the backbone of a task; a backbone is its own."""
    return getattr(model, "backbone", model)


def head_name(model: keras.Model) -> str | None:
    """Return the name of a task's head; None of a backbone, or of a task without a head."""
    return getattr(model, "head", None)


def origin_of(model: Any) -> Any:
    """Return the model whose checkpoint is known: of a task around a loaded backbone that."""
    return backbone_of(model) if model.layout is None else model


def source_of(model: Any) -> Source:
    """Return the format that a model came in; of a new one the first of its architecture."""
    sources = registry.of_backbone(type(backbone_of(model))).sources
    old: layout.Layout | None = origin_of(model).layout
    written_as = (old.model_type or old.config["model_type"]) if old else sources[0].model_type
    (source,) = (s for s in sources if s.model_type == written_as)
    return source


def ties_embeddings(model: keras.Model) -> bool:
    """Return whether output and input embeddings are one by the checkpoint of a model."""
    source, layout = source_of(model), origin_of(model).layout
    if layout is None:
        return source.ties_embeddings({})
    return source.ties_embeddings(layout.config, layout.names)
