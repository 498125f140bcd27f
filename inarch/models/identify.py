"""Identification of the architecture and format of a checkpoint without `model_type`.

The class that is called decides; without one the classes that `architectures` names; without those
the names of the tensors, where only one format explains them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.plan import match
from inarch.checkpoints.maps.source import Source
from inarch.errors import CheckpointError, ConfigError
from inarch.models import registry
from inarch.models.registry import Architecture


class UnknownTypeError(ConfigError):
    """Error for a config without `model_type` whose model type nothing else shows.

    Attributes:
        folder: the folder of the checkpoint.
        written_by: the classes that `architectures` names.
    """

    def __init__(self, message: str, folder: Path, written_by: list[str]):
        super().__init__(message)
        self.folder = folder
        self.written_by = written_by


Found = tuple[Architecture, Source]


def identify(
    config: Mapping[str, Any],
    header: Mapping[str, TensorInfo],
    cls: type[Any] | None,
    folder: Path,
) -> Found:
    """Return the architecture and format of a checkpoint whose config has no `model_type`.

    Args:
        config: the content of `config.json`.
        header: names, dtypes and shapes of the tensors.
        cls: the backbone class that is called; None where any will do.
        folder: where the config is.

    Raises:
        UnknownTypeError: none of them is decisive, or several formats are possible; it names the
            line to add to the config.
    """
    where = folder / "config.json"
    called = registry.find_backbone(cls) if cls else None
    candidates = [called] if called else registry.architectures().values()
    every = [(a, s) for a in candidates for s in a.sources]
    classes = _classes(config)
    written = [found for found in every if _wrote(found[1], classes)]
    if called:
        return (written or every)[0]
    if len(written) == 1:
        return written[0]
    if classes and not written:
        raise UnknownTypeError(
            f"{where} has no model_type, and architectures names {', '.join(classes)}, which is "
            f"none that is known here. {_way_out(every)}",
            folder,
            classes,
        )
    explained = [found for found in every if _explains(found[1], config, header)]
    # Fields that no format lists decide nothing; reading the config names them.
    explained = explained or [f for f in every if _explains(f[1], config, header, strict=False)]
    if len({a.name for a, _ in explained}) == 1:
        return explained[0]
    reason = (
        f"the tensors are those of {' and '.join(s.model_type for _, s in explained)} alike"
        if explained
        else "neither architectures nor the tensors show what it is of"
    )
    message = f"{where} has no model_type, and {reason}. {_way_out(explained or every)}"
    raise UnknownTypeError(message, folder, classes)


def model_type_line(model_type: str) -> str:
    """Return the line of `config.json` that states a model type."""
    return f'"model_type": "{model_type}",'


def _way_out(found: Iterable[Found]) -> str:
    found = list(found)
    types = [s.model_type for _, s in found]
    classes = ", ".join(dict.fromkeys(f"{a.backbone.__name__}.from_preset" for a, _ in found))
    return (
        f"Add the line {model_type_line(types[0])} (or {', '.join(types[1:])}) to it, "
        f"or load it by a class of an architecture: {classes}"
    )


def _classes(config: Mapping[str, Any]) -> list[str]:
    named = config.get("architectures")
    return [n for n in named if isinstance(n, str)] if isinstance(named, list) else []


def _wrote(source: Source, classes: Iterable[str]) -> bool:
    """Return whether one of the classes is transformers' for this format, whatever its head."""
    family = re.escape(source.architecture.removesuffix("Model"))
    known = {name for head in source.heads.values() for name in head.architectures}
    pattern = re.compile(rf"(TF|Flax)?{family}(Model|For\w+|LMHeadModel)")
    return any(name in known or pattern.fullmatch(name) for name in classes)


def _explains(
    source: Source,
    config: Mapping[str, Any],
    header: Mapping[str, TensorInfo],
    strict: bool = True,
) -> bool:
    """Return whether a format reads the config (`strict`: fully) and maps every tensor."""
    try:
        ignored = () if strict else source.config_map.unknown_fields(config)
        arguments = source.arguments(config, header, ignored)
        match(source, header, None, arguments)
    except CheckpointError:
        return False
    return True
