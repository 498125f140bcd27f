"""The repository around an architecture: rows and lines about it, held to the folder and made."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from inarch.errors import CheckpointFileError
from inarch.models.registry import Architecture
from inarch.port.outcome import Outcome, Tally
from inarch.port.subjects import ROOT, NotRun, Subjects

README, FAULTS, CHANGELOG = "README.md", "docs/faults.md", "CHANGELOG.md"
TABLES, FAULT_TABLE = "docs/architectures.py", "tests/verify/fault_table.py"
DRAFTS, DRAFT_TABLE = "docs/drafts.md", "docs/drafts.py"


def docs(subjects: Subjects, tally: Tally) -> Outcome:
    """Hold the pages of the repository to the folder: its row, its section, its line."""
    if not (ROOT / TABLES).is_file():
        raise NotRun(f"there is no repository around {ROOT / 'inarch'}")
    known = subjects.architecture
    absent, lines = [], []
    readme = read_page(README)
    row = table_row(readme, known.name)
    if row is None:
        absent.append(f"a row of {README}")
    elif row != table_row(with_table(readme), known.name):
        lines.append(f"{README} has another row than the folder gives")
    absent += [f"a section of {FAULTS} ({name})" for name in missing_sections(known)]
    if not is_in_changelog(known):
        absent.append(f"a line of {CHANGELOG}")
    if absent and not lines:
        raise NotRun(f"not there yet: {', '.join(absent)}; `inarch port finish` writes them")
    return Outcome(f"{README}, {FAULTS} and {CHANGELOG} have it", (*lines, *absent))


def read_page(name: str) -> str:
    """Return the text of a page of the repository; an empty one where it isn't there."""
    path = ROOT / name
    return path.read_text("utf-8") if path.is_file() else ""


def with_table(readme: str) -> str:
    """Return the README with the table of architectures as the script of the docs makes it."""
    made: str = runpy.run_path(str(ROOT / TABLES))["with_table"](readme)
    return made


def drafts_page() -> str:
    """Return the page of drafts with the figures of the folders as they are now.

    Nothing is measured: what a run has shown stays as it is stored.
    """
    made: str = runpy.run_path(str(ROOT / DRAFT_TABLE))["current"]()
    return made


def table_row(readme: str, name: str) -> str | None:
    """Return the row of an architecture in the README's table."""
    found = re.search(rf"^\| `inarch/models/{name}` \|.*$", readme, re.MULTILINE)
    return found[0] if found else None


def missing_sections(architecture: Architecture) -> list[str]:
    """Return the golden files that the page of faults has no section of."""
    page = read_page(FAULTS)
    names = architecture.goldens()
    return [name for name in names if not re.search(rf"^## {name}$", page, re.MULTILINE)]


def is_in_changelog(architecture: Architecture) -> bool:
    """Return whether the changelog names an architecture, however it is written."""
    name = _plain(architecture.class_name.removesuffix("Backbone"))
    return name in _plain(read_page(CHANGELOG))


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


# --- writing -----------------------------------------------------------------------------------


def changelog_with(architecture: Architecture) -> str:
    """Return the changelog with a line about an architecture, among what the next version adds."""
    text = read_page(CHANGELOG)
    if is_in_changelog(architecture):
        return text
    types = ", ".join(f"`{name}`" for name in architecture.model_types)
    presets = ", ".join(f"`{name}`" for name in architecture.presets)
    line = f"- `{architecture.class_name}` ({types}), with the presets {presets}.\n"
    start, found, rest = text.partition("### Added\n\n")
    if not found:
        raise CheckpointFileError(f"{ROOT / CHANGELOG} has no part '### Added'; add one")
    entries, gap, more = rest.partition("\n\n")
    return start + found + entries.rstrip("\n") + "\n" + line + (gap[1:] + more if gap else "")


def faults_with(names: Sequence[str]) -> str:
    """Return the page of faults with the sections of golden files made anew, which takes minutes.

    Raises:
        CheckpointFileError: the script that makes them fails.
    """
    with tempfile.TemporaryDirectory(prefix="inarch-port-") as folder:
        page = Path(folder) / "faults.md"
        page.write_text(read_page(FAULTS), "utf-8")
        done = subprocess.run(
            [sys.executable, FAULT_TABLE, str(page), *names],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise CheckpointFileError(f"{ROOT / FAULT_TABLE} fails: {last[0]}")
        return page.read_text("utf-8")
