"""The commands that help with another architecture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inarch.backend import import_keras
from inarch.cli import output
from inarch.cli.options import Json

if TYPE_CHECKING:
    from inarch.port import Inspection

# Names are compared with an architecture that has so much in common.
SIMILAR = 0.5

port = typer.Typer(no_args_is_help=True, help="Help with an architecture that isn't here yet.")


@port.command()
def inspect(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, a hub id, whose headers are fetched alone, or a file: safetensors, or "
            "its header as JSON."
        ),
    ],
    config: Annotated[
        Path | None, typer.Option("--config", help="The config, if it isn't with the weights.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a checkpoint is made of, what is like it here, and which layers it lacks here."""
    import_keras()
    from inarch.port import inspect
    from inarch.verify.report_text import visible

    found = inspect(source, config)
    if as_json:
        output.print_json(found.to_json())
        return
    for line in lines(found):
        typer.echo(visible(line))


def lines(found: Inspection) -> list[str]:
    """Return an inspection in words, a line each."""
    model = found.model_type or "a model without model_type"
    guessed = sum(part.pattern.count for part in found.parts if part.role and part.by == "shape")
    told = [
        f"{model}: {found.tensors:,} tensors, {found.explained:,} of them explained"
        + (f", {guessed:,} by their shapes alone" if guessed else "")
    ]
    for part in found.parts:
        pattern = part.pattern
        role = (part.role or "unexplained") + ("?" if part.by == "shape" and part.role else "")
        axes = ", ".join(pattern.axes)
        told.append(f"  {pattern.name}  [{axes}]  x {pattern.count:,}  {role}")
    told.append("layers:")
    for brick in found.bricks:
        guess = " (a guess)" if brick.is_guess else ""
        told.append(f"  {brick.kind}{guess}: {brick.layer or 'no layer here'}")
    if found.nearest is None:
        told.append("nothing here is like it")
    else:
        near = found.nearest
        told.append(
            f"nearest: {near.architecture} ({near.model_type}), {near.shared:.0%} in common"
        )
        differences = {
            "which lacks": near.added, "which has besides": near.missing,
            "which has no tensors": near.added_names if near.shared > SIMILAR else (),
            "whose tensors aren't there": near.missing_names if near.shared > SIMILAR else (),
        }  # fmt: skip
        told += [f"  {word}: {', '.join(names)}" for word, names in differences.items() if names]
    new = [brick.kind for brick in found.new_layers]
    told.append(f"new layers needed: {'; '.join(new) if new else 'none that is known'}")
    return told
