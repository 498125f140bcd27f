"""`inarch port new`: write the folder of an architecture from a checkpoint's header."""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inarch.models
from inarch.errors import ConfigError, InputError, ReferenceModelError
from inarch.models import registry
from inarch.port.decisions import Decision, decide
from inarch.port.draft import Draft
from inarch.port.folder import write_folder
from inarch.port.header import Header, read_header
from inarch.port.make_draft import make_draft
from inarch.port.reference import find_evidence
from inarch.port.write_files import decisions_of, files_of
from inarch.port.write_table import tokenizer_line
from inarch.validation import shown

NAME = re.compile(r"[a-z][a-z0-9_]{0,60}")


@dataclass(frozen=True)
class Ported:
    """A folder that was written.

    Attributes:
        folder: where it is.
        draft: what it was written from.
        decisions: for the person who ports.
    """

    folder: Path
    draft: Draft
    decisions: tuple[Decision, ...]

    def in_words(self) -> list[str]:
        """Return the folder and the decisions in words, a line each."""
        found = self.draft.evidence
        by = f"by {found.version}" if found else "by names and shapes alone: nothing was run"
        lines = [f"{self.folder}: {self.draft.model_type}, {by}"]
        lines += [f"{one.kind:<8} {one.in_words()}" for one in self.decisions]
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return it in plain values."""
        return {
            "folder": str(self.folder),
            "model_type": self.draft.model_type,
            "reference": self.draft.evidence.version if self.draft.evidence else None,
            "decisions": [vars(one) for one in self.decisions],
        }


def new(
    name: str,
    source: str | os.PathLike,
    *,
    config: str | os.PathLike | None = None,
    to: str | os.PathLike | None = None,
    progress: Callable[[str], Any] = lambda step: None,
) -> Ported:
    """Write the folder of a new architecture, whole or not at all.

    No weight is read and no code of the checkpoint's is run. Where transformers is installed and
    has the model type, a tiny model of its own is built and run.

    Args:
        name: of the folder.
        source: a folder, a hub id, whose headers are fetched alone, or a file (see `inspect`).
        config: the config's file; by default the one that is with the weights.
        to: folder to write it in; by default that of the architectures here.
        progress: called with each step before it begins.

    Raises:
        InputError: the name is none, or taken.
        ConfigError: the config has no model_type, or one that is here already.
        PresetError, CheckpointFileError: as `read_header`, or the folder can't be written.
    """
    parent = check_name(name, to)
    progress("the header")
    header = read_header(source, config)
    check_model_type(header.config.get("model_type"))
    draft = draft_of(name, header, progress)
    if (line := tokenizer_line(draft, header.tokenizer)) is not None:
        draft = draft.replace(decisions=(*draft.decisions, line))
    files = files_of(draft, header.tokenizer)
    write_folder(parent, name, files)
    return Ported(parent / name, draft, decisions_of(draft))


def draft_of(
    name: str, header: Header, progress: Callable[[str], Any] = lambda step: None
) -> Draft:
    """Return the draft of a header, with what a reference shows where there is one."""
    model_type = header.config.get("model_type")
    evidence, failed = None, []
    if isinstance(model_type, str):
        progress("a tiny reference")
        try:
            evidence = find_evidence(model_type, header.config)
        except ReferenceModelError as e:
            failed.append(decide("reference", f"{e}; drafted from names and shapes alone"))
    draft = make_draft(name, header, evidence)
    draft = draft.replace(decisions=(*failed, *draft.decisions))
    if evidence is None:
        return draft
    from inarch.port.settle import settle  # imports what runs a model

    return settle(draft, progress)


def check_name(name: str, to: str | os.PathLike | None = None) -> Path:
    """Return the folder that a folder of a name would be in.

    Raises:
        InputError: it is no name of a folder, or is taken.
    """
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise InputError(
            f"name={shown(name)} can't be that of a folder; pass one of small letters, digits and "
            "underscores that begins with a letter, such as distil_bert"
        )
    parent = Path(inarch.models.__path__[0]) if to is None else Path(to).expanduser()
    if name in registry.architectures() or (parent / name).exists():
        raise InputError(f"{parent / name} is there already; pass another name, or remove it")
    if to is None and (parent / f"{name}.py").exists():
        raise InputError(f"{parent / name}.py is a module; pass another name")
    return parent


def check_model_type(model_type: Any) -> None:
    """Raise ConfigError where an architecture here reads a model type."""
    for architecture in registry.architectures().values():
        if model_type in architecture.model_types:
            raise ConfigError(
                f"model_type {model_type!r} is here already, in inarch/models/{architecture.name}; "
                "its checkpoints load as they are"
            )
