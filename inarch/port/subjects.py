"""Tiny checkpoints and recorded reads that the steps of a check are done on.

They come from the golden files of an architecture where there are some, else from transformers
where that is installed. A checkpoint may be given besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import inarch.models
from inarch.errors import CheckpointFileError, ConfigError, InputError
from inarch.models import registry
from inarch.models.registry import Architecture
from inarch.port.tiny_models import tiny_backbone
from inarch.validation import shown
from inarch.verify.config_reads import ConfigReads
from inarch.verify.golden import ROWS, Golden
from inarch.verify.inputs import make_inputs, reference_inputs
from inarch.verify.tiny_reference import record_tiny_reads, write_tiny_checkpoint
from inarch.verify.transformers_reference import has_reference
from inarch.workflows.verification import GOLDEN_HEADS

# The folder that the package is in; a repository, unless it was installed from a wheel.
ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "golden"


class NotRun(Exception):
    """Reason why a step of a check can't be done here."""


@dataclass(frozen=True)
class Subject:
    """A checkpoint that steps are done on.

    Attributes:
        name: of a golden file, or what was given.
        folder: where it is.
        heads: the heads whose weights it has and that are compared with the reference; `""` is the
            bare backbone.
        golden: the golden file that it is from, if it is from one.
        is_given: whether it was given by the user.
    """

    name: str
    folder: Path
    heads: tuple[str, ...]
    golden: Path | None = None
    is_given: bool = False


class Subjects:
    """Models and files that a check of one architecture reads, each made when a step needs it.

    Args:
        name: of the architecture's folder.
        work: an empty folder for checkpoints.
        goldens: where golden files are.
        checkpoint: a further checkpoint of the architecture, if there is one.
        progress: called with what takes long before it begins.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(
        self,
        name: str,
        work: Path,
        goldens: Path = GOLDENS,
        checkpoint: Path | None = None,
        progress: Callable[[str], Any] = lambda step: None,
    ):
        self.name, self.work, self.progress = name, work, progress
        self.golden_folder, self.checkpoint = goldens, checkpoint
        self.folder = find_folder(name)

    @cached_property
    def architecture(self) -> Architecture:
        """The architecture, read from its table.

        Raises:
            ConfigError: it has no table, or one that can't be read.
        """
        known = registry.architectures()
        if self.name not in known:
            raise ConfigError(f"{self.folder} has no {registry.TABLE}; write it")
        return known[self.name]

    @cached_property
    def unreadable(self) -> dict[str, str]:
        """The golden files that can't be read, each with the error."""
        return {}

    @cached_property
    def goldens(self) -> dict[str, Golden]:
        """The golden files that are there and can be read, by name."""
        found = {}
        for name in self.architecture.goldens():
            path = self.golden_path(name)
            if path.is_file():
                try:
                    found[name] = Golden.read(path)
                except CheckpointFileError as e:
                    self.unreadable[name] = str(e)
        return found

    def golden_path(self, name: str) -> Path:
        """Return the path of a golden file."""
        return self.golden_folder / f"{name}.safetensors"

    @cached_property
    def reads(self) -> Mapping[str, ConfigReads]:
        """The fields that the reference reads, by the names of golden files.

        Raises:
            NotRun: nothing records them here.
        """
        found = {}
        for name, known in self.architecture.goldens().items():
            if name in self.goldens:
                found[name] = self.goldens[name].reads
            else:
                self._require_reference(name)
                self.progress(f"the fields that the reference of {name} reads")
                inputs = make_inputs(tiny_backbone(known), 0, ROWS)
                theirs = reference_inputs(inputs, known.inputs)
                found[name] = record_tiny_reads(known, theirs)
        return found

    @cached_property
    def all(self) -> tuple[Subject, ...]:
        """The checkpoints, tiny ones first.

        Raises:
            NotRun: there is none.
        """
        found: list[Subject] = []
        for name, known in self.architecture.goldens().items():
            if name in self.goldens:
                folder = self.work / name
                folder.mkdir()
                self.goldens[name].unpack(folder)
                heads = tuple(self.goldens[name].runs)
                found.append(Subject(name, folder, heads, self.golden_path(name)))
            elif has_reference():
                self.progress(f"checkpoints of {name} by the reference")
                found += self._live(name, known)
        if self.checkpoint is not None:
            found.append(Subject(str(self.checkpoint), self.checkpoint, (), is_given=True))
        if not found:
            self._require_reference(self.name, " and no checkpoint is given (--checkpoint FOLDER)")
        return tuple(found)

    def _live(self, name: str, known: Architecture) -> Iterator[Subject]:
        """Iterate over checkpoints that the reference writes: the bare model, and each head."""
        for head in ("", *(h for h in GOLDEN_HEADS if h in known.sources[0].heads)):
            folder = self.work / f"{name}-{head or 'backbone'}"
            write_tiny_checkpoint(known, head or None, folder)
            yield Subject(f"{name}, {head or 'backbone'} by the reference", folder, (head,))

    def _require_reference(self, name: str, more: str = "") -> None:
        if not has_reference():
            path = self.golden_path(name)
            raise NotRun(f"{path} isn't there, torch and transformers aren't installed{more}")


def find_folder(name: str) -> Path:
    """Return the folder of an architecture, whatever is in it.

    Raises:
        InputError: there is none.
    """
    homes = [Path(path) for path in inarch.models.__path__]
    folder = next((p for home in homes for p in home.iterdir() if p.name == name), None)
    if not name.isidentifier() or folder is None or not folder.is_dir():
        known = sorted(p.parent.name for home in homes for p in home.glob(f"*/{registry.TABLE}"))
        raise InputError(
            f"{homes[0]} has no folder {shown(name)}; name an architecture: {', '.join(known)}"
        )
    return folder
