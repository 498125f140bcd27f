"""`inarch verify`: a checkpoint against the reference, or golden files read and written."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inarch.backend import choose_backend
from inarch.cli import certificates, output
from inarch.cli.certificates import Certificate, WriteCertificate
from inarch.cli.options import IgnoreField, Json
from inarch.cli.steps import show_progress
from inarch.errors import CheckpointFileError, InputError

if TYPE_CHECKING:
    from inarch.models.registry import Architecture
    from inarch.verify.golden import Golden

GOLDEN = Path("tests/golden")


class Against(StrEnum):
    """Reference that a model is compared with."""

    transformers = "transformers"
    golden = "golden"


Given = Annotated[
    str | None,
    typer.Argument(
        metavar="[PRESET]",
        help="A checkpoint folder, a name of `inarch presets`, a hub id, or a golden file; "
        "with --golden an architecture, or none for all.",
    ),
]
Other = Annotated[
    Against, typer.Option(help="The reference itself, or the golden file of its architecture.")
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="SEED", min=0, help="Random weights of order one, for untrained ones."),
]
Page = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the report as one HTML file.")
]
Everything = Annotated[
    bool, typer.Option("--all", help="Print every tensor in place of every layer.")
]
Write = Annotated[bool, typer.Option("--golden", help="Write the golden file of an architecture.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="With --golden: replace a file that differs.")
]
Folder = Annotated[Path, typer.Option(help="Where golden files are.")]


def verify(
    preset: Given = None,
    against: Other = Against.transformers,
    perturb: Seed = None,
    html: Page = None,
    everything: Everything = False,
    golden: Write = False,
    overwrite: Overwrite = False,
    folder: Folder = GOLDEN,
    ignore_field: IgnoreField = None,
    certificate: Certificate = None,
    write_certificate: WriteCertificate = None,
    as_json: Json = False,
) -> None:
    """Check layer by layer that ours computes what the reference does; report where it doesn't."""
    # On an accelerator JAX may compute in less than float32, which the check would notice.
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    choose_backend()
    if certificate is not None or write_certificate is not None:
        if golden or overwrite or everything or perturb is not None or html is not None:
            raise InputError("a certificate is of no run with other options than --folder, --json")
        _certificates(preset, folder, certificate, write_certificate, as_json)
        return
    if golden:
        if perturb is not None or html is not None or as_json:
            raise InputError("--golden writes files; --perturb, --html and --json don't go with it")
        _write_goldens(preset, folder, overwrite)
        return
    if preset is None:
        raise InputError("nothing to verify; name a checkpoint folder, a preset or a golden file")
    certificates.check_written(html)
    if overwrite:
        raise InputError("--overwrite goes with --golden alone")
    if perturb is not None and (against is Against.golden or preset.endswith(".safetensors")):
        raise InputError("--perturb goes with --against transformers; a golden file is perturbed")
    from inarch.workflows.verification import verify_checkpoint, verify_golden

    with show_progress() as progress:
        if preset.endswith(".safetensors"):
            report = verify_golden(preset, progress)
        elif against is Against.golden:
            report = verify_golden(_golden_for(preset, folder), progress)
        else:
            report = verify_checkpoint(
                preset, perturb=perturb, ignore_fields=ignore_field or (), progress=progress
            )
    if as_json:
        output.print_json(report.to_json())
    else:
        from inarch.cli import verdict

        verdict.show(report, everything)
    if html is not None:
        from inarch.verify.html import render

        output.write_text(render(report), html)
    if not report.passed:
        raise typer.Exit(1)


def _certificates(
    preset: str | None, folder: Path, stated: Path | None, written: Path | None, as_json: bool
) -> None:
    """Compute a certificate again, or write one."""
    if stated is not None and written is not None:
        raise InputError("--certificate reads a file and --write-certificate writes one; give one")
    if stated is not None:
        certificates.recheck_certificate(stated, preset, as_json)
    elif written is not None:
        if preset is None or as_json:
            raise InputError(
                "--write-certificate takes a golden file or a checkpoint, and no --json"
            )
        certificates.check_written(written)
        is_golden = preset.endswith(".safetensors")
        golden = Path(preset) if is_golden else _golden_for(preset, folder)
        certificates.write_certificate(golden, None if is_golden else preset, written)


def _golden_for(preset: str, folder: Path) -> Path:
    """Return the golden file of the architecture that a checkpoint has."""
    from inarch.models.loading import Checkpoint
    from inarch.verify.golden import Golden

    with Checkpoint(preset) as checkpoint:
        architecture, model_type = checkpoint.architecture, checkpoint.source.model_type
    name = model_type if model_type in architecture.variants else architecture.name
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointFileError(
            f"{path} does not exist; golden files are in the repository, see --folder, and "
            "`inarch verify --golden` writes one"
        )
    found = Golden.read(path).model_type
    if found not in architecture.model_types:
        raise CheckpointFileError(
            f"{path} is of a model of model_type {found!r}, and {architecture.name} has "
            f"{', '.join(architecture.model_types)}; write it anew with "
            f"`inarch verify --golden {name} --overwrite`"
        )
    return path


def _write_goldens(name: str | None, folder: Path, overwrite: bool) -> None:
    from inarch.models import registry
    from inarch.verify.golden_changes import changes
    from inarch.workflows.verification import golden_of

    known = registry.goldens()
    if name is not None and name not in known:
        raise InputError(f"{name!r} is no architecture here; known: {', '.join(sorted(known))}")
    if folder == GOLDEN and not folder.is_dir():
        raise CheckpointFileError(
            f"there is no folder {folder} for golden files; run this in the repository, or name "
            "one with --folder"
        )
    differing = []
    for architecture in [name] if name else sorted(known):
        path = folder / f"{architecture}.safetensors"
        with show_progress() as progress:
            progress(f"the golden file of {architecture}")
            fresh = golden_of(known[architecture])
        _report_config_map(known[architecture], fresh)
        lines = changes(path, fresh)
        for line in lines:
            typer.echo(f"{path}: {line}")
        if path.is_file() and lines and not overwrite:
            differing.append(str(path))
        elif lines:
            fresh.write(path)
            what = f"{known[architecture].class_name} ({fresh.model_type})"
            typer.echo(f"{path}: written for {what}, {path.stat().st_size:,} bytes")
        else:
            typer.echo(f"{path}: nothing changes")
    if differing:
        raise CheckpointFileError(
            f"left as they are: {', '.join(differing)}; if the changes above are meant, give "
            "--overwrite"
        )


def _report_config_map(architecture: Architecture, fresh: Golden) -> None:
    """Name what the reference reads and the config map doesn't account for, and the other way."""
    from inarch.verify.config_account import unaccounted, unread

    for source in architecture.sources:
        for line in unaccounted(source, fresh.reads):
            typer.echo(f"{source.model_type}: {line}; the config map has no entry for it")
        for name in unread(source, fresh.reads):
            typer.echo(f"{source.model_type}: the config map has {name!r}, which is never read")
