"""Files of a pull request besides an architecture's folder, written once that is right."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inarch.errors import CheckpointFileError, InputError
from inarch.files import replace_file
from inarch.models import registry
from inarch.models.registry import Architecture
from inarch.port import repository
from inarch.port.checking import FAILED, Check, check
from inarch.port.pull_request import pull_request_text
from inarch.port.subjects import GOLDENS
from inarch.verify.certificate import Certificate
from inarch.verify.golden import Golden
from inarch.verify.golden_changes import changes
from inarch.verify.transformers_reference import has_reference
from inarch.workflows.certification import certify, command_for
from inarch.workflows.verification import golden_of

# The steps of a check that are wrong because of what is written here.
OWN_STEPS = ("golden", "docs")
TEXT = "pull-request.md"

Progress = Callable[[str], Any]


@dataclass(frozen=True)
class Finished:
    """Result of `finish`.

    Attributes:
        check: of the folder, after all was written.
        written: the files that are new or others than before.
        kept: the files that nothing changed in.
        missing: what could not be written, each with the reason.
    """

    check: Check
    written: tuple[Path, ...]
    kept: tuple[Path, ...]
    missing: tuple[str, ...]


class _Files:
    """Files written one by one, each whole, where their content changes."""

    def __init__(self) -> None:
        self.written: list[Path] = []
        self.kept: list[Path] = []
        self.missing: list[str] = []

    def put(self, path: Path, text: str) -> None:
        if path.is_file() and path.read_text("utf-8") == text:
            self.kept.append(path)
            return
        replace_file(path, lambda fresh: fresh.write_text(text, "utf-8"))
        self.written.append(path)


def finish(
    name: str,
    output: Path,
    *,
    checkpoint: Path | None = None,
    goldens: Path = GOLDENS,
    overwrite: bool = False,
    progress: Progress = lambda step: None,
) -> Finished:
    """Write golden files, rows, sections, a line, certificates and the pull request's text.

    What is there and right already is left as it is, so that a second run changes nothing.

    Args:
        name: of the architecture's folder.
        output: the folder for the text and the certificates; it is made.
        checkpoint: as of `check`.
        goldens: where golden files are.
        overwrite: whether golden files that differ are replaced.
        progress: called with what takes long before it begins.

    Raises:
        InputError: there is no such folder, or its check is red; nothing is written.
        CheckpointFileError: a golden file differs and isn't to be replaced, and nothing is
            written; or a file can't be.
        CheckpointError: a new golden file isn't what ours computes; nothing is written.
        ReferenceModelError: transformers can't compute the golden file.
    """
    first = check(name, checkpoint, goldens, progress)
    for step in first.steps:
        if step.state == FAILED and step.name not in OWN_STEPS:
            raise InputError(
                f"{name} isn't ready, and nothing was written: {step.name} failed: {step.summary}. "
                f"`inarch port check {name}` says all of it"
            )
    known, files = registry.architectures()[name], _Files()
    fresh = _fresh_goldens(known, goldens, overwrite, files, progress)
    certificates = _certificates(known, goldens, fresh, progress)
    output.mkdir(parents=True, exist_ok=True)
    for path, golden in fresh.items():
        golden.write(path)
        files.written.append(path)
    _put_pages(known, [path.stem for path in fresh], files, progress)
    for golden_name, certificate in certificates.items():
        files.put(output / f"{golden_name}.json", certificate.text())
    last = check(name, checkpoint, goldens, progress)
    files.put(output / TEXT, pull_request_text(known, last, certificates))
    return Finished(last, tuple(files.written), tuple(files.kept), tuple(files.missing))


def _fresh_goldens(
    known: Architecture, goldens: Path, overwrite: bool, files: _Files, progress: Progress
) -> dict[Path, Golden]:
    """Return the golden files that are to be written, as the reference computes them now."""
    found, differing = {}, []
    for name, variant in known.goldens().items():
        path = goldens / f"{name}.safetensors"
        if not has_reference():
            if path.is_file():
                files.kept.append(path)
            else:
                files.missing.append(
                    f"{path}: torch and transformers aren't installed (pip install "
                    "'inarch[verify]')"
                )
            continue
        progress(f"the golden file of {name}")
        fresh = golden_of(variant)
        lines = changes(path, fresh)
        if not lines:
            files.kept.append(path)
        elif path.is_file() and not overwrite:
            differing.append(f"{path} ({'; '.join(lines[:3])})")
        else:
            found[path] = fresh
    if differing:
        raise CheckpointFileError(
            f"nothing was written, since golden files would change: {', '.join(differing)}. If "
            "that is meant, give --overwrite"
        )
    return found


def _certificates(
    known: Architecture, goldens: Path, fresh: Mapping[Path, Golden], progress: Progress
) -> dict[str, Certificate]:
    """Return the certificates by the golden files that are there, or are to be written."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="inarch-port-") as folder:
        for name in known.goldens():
            path = source = goldens / f"{name}.safetensors"
            if path in fresh:
                source = Path(folder) / path.name
                fresh[path].write(source)
            if source.is_file():
                progress(f"the certificate of {name}")
                made = certify(source, progress=progress)
                found[name] = replace(made, command=command_for(path))
    return found


def _put_pages(known: Architecture, anew: list[str], files: _Files, progress: Progress) -> None:
    """Write the rows, sections and lines of the repository's pages."""
    root = repository.ROOT
    if not (root / repository.TABLES).is_file():
        files.missing.append(f"the pages: there is no repository around {root / 'inarch'}")
        return
    readme = repository.read_page(repository.README)
    files.put(root / repository.README, repository.with_table(readme))
    files.put(root / repository.CHANGELOG, repository.changelog_with(known))
    names = [n for n in known.goldens() if n in (*anew, *repository.missing_sections(known))]
    there = [n for n in names if (GOLDENS / f"{n}.safetensors").is_file()]
    if there:
        progress(f"faults of {', '.join(there)}")
        files.put(root / repository.FAULTS, repository.faults_with(there))
    elif names:
        files.missing.append(f"{root / repository.FAULTS}: there is no golden file of {names[0]}")
    else:
        files.kept.append(root / repository.FAULTS)
    if (root / repository.DRAFT_TABLE).is_file():
        files.put(root / repository.DRAFTS, repository.drafts_page())
