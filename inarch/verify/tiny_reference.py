"""The reference's tiny model of an architecture: its config, and checkpoints that it writes itself.

torch and transformers are imported by the functions that need them.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch.checkpoints.maps.config_map import write_fields
from inarch.errors import ReferenceModelError
from inarch.models.registry import Architecture
from inarch.verify.config_reads import ConfigReads, record_reads
from inarch.verify.perturb import random_values
from inarch.verify.transformers_reference import libraries, reference_class

LABELS = 4


@dataclass(frozen=True)
class TinyReference:
    """The reference's config of the sizes in `[tiny]`.

    Attributes:
        fields: what its config.json holds; it leaves out what the reference has a default for.
        config: transformers' config of them.
        usual: transformers' config without any field.
    """

    fields: Mapping[str, Any]
    config: Any
    usual: Any


def tiny_reference(
    architecture: Architecture, changes: Mapping[str, Any] | None = None
) -> TinyReference:
    """Return the reference's config of an architecture's first format, of the sizes in `[tiny]`.

    Args:
        changes: fields with other values than sizes and defaults give.

    Raises:
        MissingExtraError: torch or transformers isn't installed.
        ReferenceModelError: transformers doesn't know the model type.
        ConfigError: an argument has no field.
    """
    _, transformers = libraries()
    source = architecture.sources[0]
    fields: dict[str, Any] = {"model_type": source.model_type, "architectures": []}
    fields |= source.published
    write_fields(source.config, architecture.tiny, fields, complete=True)
    fields |= changes or {}
    fields["id2label"] = {str(i): f"LABEL_{i}" for i in range(LABELS)}
    try:
        usual = transformers.AutoConfig.for_model(source.model_type)
        words = architecture.tiny.get("vocabulary_size")
        small = _small_ids(usual.to_dict(), words) if words else {}
        fields |= {name: number for name, number in small.items() if name not in fields}
        config = transformers.AutoConfig.for_model(**fields)
    except (ValueError, KeyError) as e:
        raise ReferenceModelError(
            f"transformers {transformers.__version__} doesn't know model_type "
            f"{source.model_type!r}: {e}"
        ) from e
    return TinyReference(fields, config, usual)


def write_tiny_checkpoint(
    architecture: Architecture,
    head: str | None,
    folder: Path,
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Have the reference write its tiny model, with random weights of order one in every tensor.

    Args:
        head: the head of the model, or None for the bare one.
        folder: where to; it is made.
        changes: fields with other values than sizes and defaults give.

    Raises:
        MissingExtraError, ReferenceModelError, ConfigError: as `tiny_reference`.
    """
    torch, transformers = libraries()
    config = tiny_reference(architecture, changes).config
    cls = reference_class(architecture.sources[0], head, transformers)
    model = cls.from_config(config) if head is None else cls(config)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if not tensor.requires_grad:  # a table that its code computes
                continue
            kind = _kind(name, tensor.dim())
            values = random_values(name, kind, tuple(tensor.shape))
            tensor.copy_(torch.from_numpy(values))
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        model.save_pretrained(folder)


def record_tiny_reads(architecture: Architecture, inputs: Mapping[str, Any]) -> ConfigReads:
    """Record the fields that the reference's code reads in its tiny model.

    Args:
        inputs: of a model of that size, by the names of the reference.

    Raises:
        MissingExtraError, ReferenceModelError, ConfigError: as `tiny_reference`.
    """
    torch, transformers = libraries()
    config = tiny_reference(architecture).config
    # Older names of fields are read as all others, whatever transformers says of them.
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        return record_reads(architecture.sources[0], config, {"": inputs}, torch, transformers)


def _kind(name: str, axes: int) -> str:
    """Return what a tensor most likely is, as variables of ours are called."""
    if axes == 1:
        return "gamma" if name.endswith("weight") else "bias"
    return "embeddings" if "embed" in name else "kernel"


def _small_ids(defaults: Mapping[str, Any], words: int) -> dict[str, int]:
    """Return ids of special tokens that a vocabulary of `words` has, for those beyond it."""
    ids = {n: i for n, i in defaults.items() if n.endswith("_token_id") and isinstance(i, int)}
    return {name: number % words for name, number in ids.items() if number >= words}
