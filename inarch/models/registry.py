"""Registry of architectures: folders next to this file, each with its `presets.toml`.

That table is data, and lists what a folder has: opening a checkpoint reads the tables of all and
imports the one folder that the checkpoint is of.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import inarch.models
from inarch.checkpoints.io.hub import Preset
from inarch.checkpoints.maps.author_formats import AuthorFormat
from inarch.checkpoints.maps.source import Source
from inarch.errors import ConfigError

TABLE = "presets.toml"


@dataclass(frozen=True)
class Input:
    """Input of a model, as a line of `[inputs]` declares it.

    Args:
        reference: name of the argument of the reference's `forward`.
        rows: the backbone's argument that counts the rows of the table in which the input is looked
            up, or how many values it may have, from 0 on. Whole numbers without are a padding mask.
        axes: the order of our axes in the reference's tensor; None where it is the same.
    """

    reference: str
    rows: str | int | None = None
    axes: list[int] | None = field(default=None, hash=False)

    def value_count(self, arguments: Mapping[str, Any]) -> int | None:
        """Return how many values the input may have, from 0 on, under a backbone's arguments."""
        return arguments[self.rows] if isinstance(self.rows, str) else self.rows


@dataclass(frozen=True)
class Unreached:
    """Rows and branches that no input reaches, from an `[[unreached]]` entry of `presets.toml`.

    Args:
        layer: path of the layer that has the table of `rows`, or of the layers with `branches`.
        reason: why no output at a token depends on them.
        rows: rows of the table, by number.
        branches: what the layers have switched on, by name.
        formats: names of the golden files that it is about; all where none is given.
    """

    layer: str
    reason: str
    rows: list[int] = field(default_factory=list, hash=False)
    branches: list[str] = field(default_factory=list, hash=False)
    formats: list[str] = field(default_factory=list, hash=False)


@dataclass(frozen=True)
class Architecture:
    """Folder of `inarch/models`, whose modules are imported when they are needed.

    Args:
        name: of the folder.
        class_name: of the backbone in `backbone.py`.
        model_types: of Hugging Face's formats that `checkpoint.py` makes; the first is the one that
            a new model is written in.
        inputs: of the model, by name; some of them only under some arguments.
        tiny: the backbone's arguments for the model of golden files and tests.
        presets: published checkpoints, by their built-in names.
        unreached: rows of tables and branches of layers that need not be compared.
        author_modules: names of the modules that read the authors' own formats.
        variants: model types whose graph or config differs from the first's, each with the
            arguments in which its tiny model does: they have golden files of their own.
    """

    name: str
    class_name: str
    model_types: tuple[str, ...]
    inputs: Mapping[str, Input] = field(hash=False)
    tiny: Mapping[str, Any] = field(hash=False)
    presets: Mapping[str, Preset] = field(hash=False)
    unreached: tuple[Unreached, ...] = ()
    author_modules: tuple[str, ...] = ()
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def goldens(self) -> dict[str, Architecture]:
        """Return the architecture by the names of its golden files, each with its own formats.

        The file of the folder's name stands for all formats but those of the variants.
        """
        others = tuple(t for t in self.model_types if t not in self.variants)
        found = {self.name: replace(self, model_types=others)}
        for model_type, changes in self.variants.items():
            found[model_type] = replace(
                self, model_types=(model_type,), tiny={**self.tiny, **changes}
            )
        return {
            name: replace(
                each,
                unreached=tuple(u for u in self.unreached if not u.formats or name in u.formats),
            )
            for name, each in found.items()
        }

    def of_format(self, model_type: str) -> Architecture:
        """Return the architecture with the formats of one golden file, which has `model_type`."""
        return self.goldens()[model_type if model_type in self.variants else self.name]

    def module(self, name: str) -> ModuleType | None:
        """Return a module of the folder, imported; None where the folder has no such file."""
        path = f"{inarch.models.__name__}.{self.name}.{name}"
        return importlib.import_module(path) if importlib.util.find_spec(path) else None

    @functools.cached_property
    def backbone(self) -> type[Any]:
        """The backbone's class."""
        return vars(self._required("backbone"))[self.class_name]

    @functools.cached_property
    def sources(self) -> tuple[Source, ...]:
        """Hugging Face's formats that the folder makes, in the order of `model_types`.

        What `checkpoint.py` imports by name from another folder is that folder's.

        Raises:
            ConfigError: it makes none of a model type, or two.
        """
        made = [v for v in vars(self._required("checkpoint")).values() if isinstance(v, Source)]
        found = {id(source): source for source in made}.values()
        count = Counter(source.model_type for source in found)
        for model_type in self.model_types:
            if count[model_type] != 1:
                raise ConfigError(
                    f"{TABLE} of {self.name} has model_type {model_type!r}, of which checkpoint.py "
                    f"makes {count[model_type]} Sources (it has {', '.join(count) or 'none'}); "
                    "make one of each"
                )
        return tuple(s for t in self.model_types for s in found if s.model_type == t)

    @functools.cached_property
    def author_formats(self) -> tuple[AuthorFormat, ...]:
        """The authors' own formats, from modules such as `google.py`."""
        modules = [vars(self._required(name)) for name in self.author_modules]
        formats = [v for module in modules for v in module.values() if isinstance(v, AuthorFormat)]
        return tuple(f for f in formats if f.table.model_type in self.model_types)

    def _required(self, name: str) -> ModuleType:
        module = self.module(name)
        if module is None:
            raise ConfigError(f"inarch/models/{self.name} has a {TABLE} and no {name}.py; add it")
        return module


@functools.cache
def architectures() -> dict[str, Architecture]:
    """Return every architecture, by the name of its folder.

    Raises:
        ConfigError: a table can't be read, or two have one name or model type.
    """
    tables = (p for folder in inarch.models.__path__ for p in Path(folder).glob(f"*/{TABLE}"))
    found = {path.parent.name: _read(path) for path in sorted(tables, key=lambda p: p.parent.name)}
    for what in ("model_types", "presets"):
        names = Counter(name for a in found.values() for name in getattr(a, what))
        if twice := [name for name, count in names.items() if count > 1]:
            folders = [a.name for a in found.values() if twice[0] in getattr(a, what)]
            raise ConfigError(
                f"{what} of {' and '.join(folders)} both have {twice[0]!r}; take it out of one"
            )
    return found


def _read(path: Path) -> Architecture:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
        rows = table.get("presets", {}).items()
        return Architecture(
            path.parent.name,
            class_name=table["backbone"],
            model_types=tuple(table["model_types"]),
            inputs={name: Input(**row) for name, row in table["inputs"].items()},
            tiny=table["tiny"],
            presets={name: Preset(name=name, **row) for name, row in rows},
            unreached=tuple(Unreached(**row) for row in table.get("unreached", ())),
            author_modules=tuple(table.get("author_formats", ())),
            variants=table.get("variants", {}),
        )
    except KeyError as e:
        raise ConfigError(f"{path} has no {e.args[0]!r}; add it") from e
    except (tomllib.TOMLDecodeError, TypeError, AttributeError) as e:
        raise ConfigError(f"{path} can't be read: {e}") from e


def register_backbones() -> None:
    """Make every backbone's class known to Keras by name, without importing its folder."""
    import keras

    known = keras.saving.get_custom_objects()
    for architecture in architectures().values():
        known.setdefault(f"inarch>{architecture.class_name}", _NotImported(architecture))


class _NotImported:
    """Placeholder in Keras's registry for a class until a saved model needs it."""

    def __init__(self, architecture: Architecture):
        self.architecture = architecture

    def from_config(self, config: dict[str, Any]) -> Any:
        return self.architecture.backbone.from_config(config)


def goldens() -> dict[str, Architecture]:
    """Return every architecture by the names of its golden files."""
    return {name: a for known in architectures().values() for name, a in known.goldens().items()}


def presets() -> dict[str, Preset]:
    """Return every built-in name."""
    return {name: p for a in architectures().values() for name, p in a.presets.items()}


def author_formats() -> tuple[AuthorFormat, ...]:
    """Return every author format."""
    return tuple(f for a in architectures().values() for f in a.author_formats)


def by_model_type(model_type: object) -> tuple[Architecture, Source]:
    """Return the architecture and format of a `model_type` in `config.json`.

    Raises:
        ConfigError: none has it; the known ones are listed.
    """
    known = {t: a for a in architectures().values() for t in a.model_types}
    if not isinstance(model_type, str) or model_type not in known:
        raise ConfigError(
            f"config.json has model_type {model_type!r}; known here: {', '.join(sorted(known))}"
        )
    architecture = known[model_type]
    return architecture, architecture.sources[architecture.model_types.index(model_type)]


def of_backbone(cls: type[Any]) -> Architecture:
    """Return the architecture of a backbone class, or of the class that it derives from.

    Raises:
        ConfigError: it is of no folder.
    """
    architecture = find_backbone(cls)
    if architecture is None:
        raise ConfigError(
            f"{cls.__name__} belongs to no architecture folder, so no file format is known for it"
        )
    return architecture


def find_backbone(cls: type[Any]) -> Architecture | None:
    """Return the architecture of a backbone class; None where it is of no folder."""
    for base in cls.__mro__:
        folder = base.__module__.removeprefix(f"{inarch.models.__name__}.").partition(".")[0]
        architecture = architectures().get(folder)
        if architecture and architecture.class_name == base.__name__:
            return architecture
    return None


def inputs_of(cls: type[Any]) -> Mapping[str, Input]:
    """Return the declared inputs of a backbone class; none of one that is of no folder."""
    architecture = find_backbone(cls)
    return architecture.inputs if architecture else {}
