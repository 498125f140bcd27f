"""Finds the architectures by looking at the folders beside this file; there is no list to edit."""

from __future__ import annotations

import functools
import importlib
import importlib.resources
import importlib.util
import pkgutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import inarch.models
from inarch.checkpoints.io.hub import Preset
from inarch.checkpoints.maps.author_formats import AuthorFormat
from inarch.checkpoints.maps.source import Source
from inarch.errors import ConfigError

# Of an architecture's folder; the others are of its authors' own formats.
USUAL_MODULES = frozenset(["backbone", "checkpoint", "decoder", "text"])


@dataclass(frozen=True)
class Architecture:
    """One folder: its backbone class, the formats it reads, and its presets by name.

    Args:
        sources: Hugging Face's formats of it; the first is the one that is written.
        author_formats: the authors' own formats, from modules such as `google.py`.
    """

    name: str
    backbone: type[Any]
    sources: tuple[Source, ...]
    presets: Mapping[str, Preset]
    author_formats: tuple[AuthorFormat, ...] = ()


@functools.cache
def architectures() -> dict[str, Architecture]:
    """Every architecture, by the name of its folder; one without its table isn't finished."""
    modules = pkgutil.iter_modules(inarch.models.__path__)
    packages = {m.name: f"inarch.models.{m.name}" for m in modules if m.ispkg}
    return {
        name: _load(package)
        for name, package in packages.items()
        if importlib.util.find_spec(f"{package}.checkpoint")
    }


def _load(package: str) -> Architecture:
    backbone = importlib.import_module(f"{package}.backbone")
    checkpoint = importlib.import_module(f"{package}.checkpoint")
    (cls,) = (
        value
        for name, value in vars(backbone).items()
        if name.endswith("Backbone") and value.__module__ == backbone.__name__
    )
    sources = tuple(v for v in vars(checkpoint).values() if isinstance(v, Source))
    table = importlib.resources.files(package).joinpath("presets.toml")
    rows = tomllib.loads(table.read_text("utf-8")) if table.is_file() else {}
    presets = {name: Preset(name=name, **row) for name, row in rows.items()}
    author_formats: tuple[AuthorFormat, ...] = ()
    for name in _author_modules(package):
        module = importlib.import_module(f"{package}.{name}")
        author_formats += tuple(v for v in vars(module).values() if isinstance(v, AuthorFormat))
    return Architecture(package.rpartition(".")[2], cls, sources, presets, author_formats)


def _author_modules(package: str) -> list[str]:
    """Return the modules of an architecture's folder that its own design doesn't name."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return sorted({m.name for m in pkgutil.iter_modules(folders)} - USUAL_MODULES)


def presets() -> dict[str, Preset]:
    """Every built-in name."""
    return {name: p for a in architectures().values() for name, p in a.presets.items()}


def author_formats() -> tuple[AuthorFormat, ...]:
    """Every format of original authors."""
    return tuple(original for a in architectures().values() for original in a.author_formats)


def by_model_type(model_type: object) -> tuple[Architecture, Source]:
    """The architecture and format of a `model_type` in `config.json`.

    Raises:
        ConfigError: none has it; the known ones are listed.
    """
    known = {s.model_type: (a, s) for a in architectures().values() for s in a.sources}
    if not isinstance(model_type, str) or model_type not in known:
        raise ConfigError(
            f"config.json has model_type {model_type!r}; known here: {', '.join(sorted(known))}"
        )
    return known[model_type]


def of_backbone(cls: type[Any]) -> Architecture:
    """The architecture of a backbone class, or of the class that it derives from."""
    for architecture in architectures().values():
        if issubclass(cls, architecture.backbone):
            return architecture
    raise ConfigError(
        f"{cls.__name__} belongs to no architecture folder, so no file format is known for it"
    )
