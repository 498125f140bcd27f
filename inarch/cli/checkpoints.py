"""The commands about checkpoints themselves: `info`, `prove`, `export` and `presets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inarch.backend import import_keras
from inarch.cli import output
from inarch.cli.options import IgnoreField, Json, Preset
from inarch.errors import CheckpointError


def info(preset: Preset, ignore_field: IgnoreField = None, as_json: Json = False) -> None:
    """Describe a checkpoint and the model that it gives, without loading a weight."""
    import_keras()
    from inarch.cli.describe import describe, facts

    found = describe(preset, ignore_field or ())
    if as_json:
        output.print_json(found)
    else:
        output.print_facts(facts(found))


def prove(preset: Preset, ignore_field: IgnoreField = None, as_json: Json = False) -> None:
    """Prove that loading a checkpoint loses nothing: each number has one place, both ways."""
    import_keras()
    from inarch import workflows
    from inarch.cli.describe import reasons
    from inarch.models.loading import Checkpoint

    with Checkpoint(preset, ignore_fields=ignore_field or ()) as checkpoint:
        proof = workflows.prove(checkpoint)
        through = workflows.class_of(checkpoint).__name__
    if as_json:
        output.print_json({"class": through, **vars(proof)})
        return
    typer.echo(f"proven: {proof.in_words(through)} ({proof.seconds:.2f} s)")
    for name in proof.tied:
        typer.echo(f"tied: {name}")
    for name in proof.derived:
        typer.echo(f"derived: {name}")
    for line in reasons(proof.passthrough):
        typer.echo(f"carried along: {line}")


def export(
    preset: Preset,
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    ignore_field: IgnoreField = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Write next to other files, without a checkpoint there."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Load a checkpoint, write it back, and compare the two tensor by tensor."""
    import_keras()
    from inarch import workflows

    done = workflows.export(preset, folder, ignore_field or (), overwrite=overwrite)
    found = done.comparison
    if as_json:
        result = {"class": done.through, "folder": str(folder), "tensors": found.total}
        output.print_json({**result, "same": found.same, **vars(found)})
    else:
        typer.echo(f"{folder}: {done.in_words()}")
    if not found.same:
        lists = {"different": found.different, "missing": found.missing, "added": found.added}
        named = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in lists.items() if names)
        raise CheckpointError(f"the export is not equal to the checkpoint ({named})")


def presets(as_json: Json = False) -> None:
    """List the built-in names and where their checkpoints are published."""
    import_keras()
    from inarch.models import registry

    found = registry.presets().values()
    rows = [
        {
            "name": p.name, "parameters": p.parameters, "licence": p.licence,
            "hub": p.hub, "revision": p.revision, "description": p.description,
        }
        for p in found
    ]  # fmt: skip
    if as_json:
        output.print_json(rows)
        return
    shown = ("name", "parameters", "hub", "licence", "description")
    lines = [{k: row[k] for k in shown} for row in rows]
    for line in lines:
        line["parameters"] = f"{line['parameters']:,}"
    output.print_entries(lines, ("name", "parameters", "licence"), ("hub", "description"))
