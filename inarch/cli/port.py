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
    """Show the parts of a checkpoint, the nearest architecture, and the layers that are new."""
    import_keras()
    from inarch.port import inspect
    from inarch.verify.report_text import visible

    found = inspect(source, config)
    if as_json:
        output.print_json(found.to_json())
        return
    for line in describe_lines(found):
        typer.echo(visible(line))


def describe_lines(found: Inspection) -> list[str]:
    """Return an inspection in words, a line each."""
    model = found.model_type or "a model without model_type"
    guessed = sum(part.pattern.count for part in found.parts if part.role and part.by == "shape")
    text = [
        f"{model}: {found.tensors:,} tensors, {found.explained:,} of them explained"
        + (f", {guessed:,} by their shapes alone" if guessed else "")
    ]
    for part in found.parts:
        pattern = part.pattern
        role = (part.role or "unexplained") + ("?" if part.by == "shape" and part.role else "")
        axes = ", ".join(pattern.axes)
        text.append(f"  {pattern.name}  [{axes}]  x {pattern.count:,}  {role}")
    text.append("layers:")
    for brick in found.bricks:
        guess = " (a guess)" if brick.is_guess else ""
        text.append(f"  {brick.kind}{guess}: {brick.layer or 'no layer here'}")
    if found.nearest is None:
        text.append("nothing here is like it")
    else:
        near = found.nearest
        text.append(
            f"nearest: {near.architecture} ({near.model_type}), {near.shared:.0%} in common"
        )
        differences = {
            "which lacks": near.added, "which has besides": near.missing,
            "which has no tensors": near.added_names if near.shared > SIMILAR else (),
            "whose tensors aren't there": near.missing_names if near.shared > SIMILAR else (),
        }  # fmt: skip
        text += [f"  {word}: {', '.join(names)}" for word, names in differences.items() if names]
    if found.quirks:
        text.append(f"read the reference's code for: {', '.join(found.quirks)}")
    new = [brick.kind for brick in found.new_layers]
    text.append(f"new layers needed: {'; '.join(new) if new else 'none that is known'}")
    return text
