"""Certificates on the command line: `inarch verify --write-certificate`, `--certificate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inarch.cli import output
from inarch.cli.steps import show_progress
from inarch.errors import CheckpointFileError

Certificate = Annotated[
    Path | None,
    typer.Option(
        "--certificate", metavar="FILE",
        help="Compute again what a certificate says, of the checkpoint if it is of one.",
    ),
]  # fmt: skip
WriteCertificate = Annotated[
    Path | None,
    typer.Option(
        "--write-certificate", metavar="FILE",
        help="Write the certificate of a golden file, or of a checkpoint by its architecture's.",
    ),
]  # fmt: skip


def check_written(path: Path | None) -> None:
    """Refuse before the work a file that can't be written after it.

    Raises:
        CheckpointFileError: it is a folder, or its folder isn't there.
    """
    if path is not None and path.is_dir():
        raise CheckpointFileError(f"{path} is a folder; name a file")
    if path is not None and not path.parent.is_dir():
        raise CheckpointFileError(f"{path} can't be written: there is no folder {path.parent}")


def write_certificate(golden: Path, preset: str | None, path: Path) -> None:
    """Write the certificate of a golden file, and of a checkpoint where one is given."""
    from inarch.workflows.certification import certify

    with show_progress() as progress:
        made = certify(golden, preset, progress=progress)
    made.write(path)
    typer.echo(
        f"{path}: {made.class_name} ({made.model_type}), {len(made.noise)} layers, "
        f"{len(made.faults)} faults caught; compute it again by `inarch verify"
        f"{f' {preset}' if preset else ''} --certificate {path}`"
    )


def recheck_certificate(path: Path, preset: str | None, as_json: bool) -> None:
    """Compute a certificate again and print what is as it says, and what differs."""
    from inarch.verify.report_text import visible
    from inarch.workflows.rechecking import recheck

    with show_progress() as progress:
        found = recheck(path, preset, progress)
    if as_json:
        output.print_json(found.to_json())
    else:
        for part in found.parts:
            mark = "✗" if part.differences else "✓" if part.was_run else "–"
            typer.echo(visible(f"{mark} {part.name:<10}  {part.summary}"))
            for line in part.differences:
                typer.echo(visible(f"    {line}"))
        verdict = "holds here" if found.passed else "doesn't hold here"
        typer.echo(visible(f"{path} {verdict}"))
    if not found.passed:
        raise typer.Exit(1)
