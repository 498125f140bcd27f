"""The commands that help with another architecture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inarch.backend import import_keras
from inarch.cli import output
from inarch.cli.options import Json
from inarch.cli.steps import show_progress
from inarch.validation import listed, shortened

if TYPE_CHECKING:
    from inarch.port import Check, Inspection

# Names of tensors are compared with an architecture that has more than this share in common.
SIMILAR = 0.5
# At most this many faults of a step are shown.
MAX_FAULTS = 12

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


@port.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the new folder, such as distil_bert.")],
    source: Annotated[
        str, typer.Option("--from", help="A folder, a hub id or a file, as `inspect` takes it.")
    ],
    config: Annotated[
        Path | None, typer.Option("--config", help="The config, if it isn't with the weights.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder to write it in; by default among those that are here."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the folder of an architecture, and print what it couldn't decide.

    No weight is read and no code of the checkpoint's is run. Where transformers is installed and
    has the architecture, a tiny model of it is run, and the draft is compared with it.
    """
    import_keras()
    from inarch.port import new
    from inarch.verify.report_text import visible

    with show_progress() as progress:
        made = new(name, source, config=config, to=to, progress=progress)
    if as_json:
        output.print_json(made.to_json())
        return
    for line in made.in_words():
        typer.echo(visible(line))


Name = Annotated[str, typer.Argument(metavar="NAME", help="A folder of inarch/models.")]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint", metavar="FOLDER",
        help="A checkpoint of the architecture, to be proven, loaded and written back too, and for "
        "its tokenizer.",
    ),
]  # fmt: skip
Goldens = Annotated[
    Path | None, typer.Option("--folder", help="Where golden files are, if not in the repository.")
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Check again whenever a file of the folder changes.")
]


@port.command()
def check(
    name: Name,
    checkpoint: Checkpoint = None,
    folder: Goldens = None,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Check an architecture's folder: formats, proof, each layer, files and rows."""
    if watch:
        from inarch.cli.port_watch import watch_check

        options = {"--checkpoint": checkpoint, "--folder": folder}
        watch_check(name, [f"{k}={v}" for k, v in options.items() if v is not None], as_json)
        return
    _import_keras_for_checks()
    from inarch.port import check
    from inarch.port.subjects import GOLDENS
    from inarch.verify.report_text import visible

    with show_progress() as progress:
        found = check(name, checkpoint, folder or GOLDENS, progress)
    if as_json:
        output.print_json(found.to_json())
    else:
        for line in check_lines(found):
            typer.echo(visible(line))
    if not found.passed:
        raise typer.Exit(1)


@port.command()
def finish(
    name: Name,
    pull_request: Annotated[
        Path,
        typer.Option("--output", "-o", help="The folder for the text and the certificates."),
    ] = Path("pull-request"),
    checkpoint: Checkpoint = None,
    folder: Goldens = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace golden files that differ.")
    ] = False,
) -> None:
    """Write the files of a pull request that lie outside the folder, once its check is green."""
    _import_keras_for_checks()
    from inarch.port import finish
    from inarch.port.subjects import GOLDENS

    with show_progress() as progress:
        done = finish(
            name, pull_request, checkpoint=checkpoint, goldens=folder or GOLDENS,
            overwrite=overwrite, progress=progress,
        )  # fmt: skip
    for path in done.written:
        typer.echo(f"written: {path}")
    for path in done.kept:
        typer.echo(f"nothing changes: {path}")
    for line in done.missing:
        typer.echo(f"not written: {line}")
    if not done.check.passed:
        for line in check_lines(done.check):
            typer.echo(line)
        raise typer.Exit(1)


def _import_keras_for_checks() -> None:
    """Import Keras with settings of JAX for tiny models that are compared in float32."""
    # On an accelerator JAX may compute in less than float32, which the check would notice.
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    # Most of the time would go into compiling models that are too small to gain from it.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    import_keras()


def check_lines(found: Check) -> list[str]:
    """Return a check in words: a line for each step, then what the first failed one is about."""
    marks = {"passed": "✓", "failed": "✗", "not run": "–"}
    text = []
    for step in found.steps:
        summary = f"not run: {step.summary}" if step.state == "not run" else step.summary
        text.append(f"{marks[step.state]} {step.name:<9}  {summary}")
    score = found.score()
    counts = ", ".join(
        f"{count['right']} of {count['total']} {name}"
        for name in ("steps", "fields", "tensors", "layers")
        if (count := score[name])["total"]
    )
    text.append(f"score {score['total']:.4f}: {counts}")
    failed = found.first_failed
    if failed is not None:
        more = len(failed.faults) - MAX_FAULTS
        text += ["", f"{failed.name} failed:", *(f"  {f}" for f in failed.faults[:MAX_FAULTS])]
        text += [f"  and {more} more (--json)"] if more > 0 else []
        text.append(f"The way on: {failed.way_on}")
    return text


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
        text.append(f"  {shortened(pattern.name)}  [{axes}]  x {pattern.count:,}  {role}")
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
            "which lacks": near.added, "which also has": near.missing,
            "which has no tensors": near.added_names if near.shared > SIMILAR else (),
            "whose tensors aren't there": near.missing_names if near.shared > SIMILAR else (),
        }  # fmt: skip
        for word, names in differences.items():
            text += [f"  {word}: {listed(names, len(names))}"] if names else []
    if found.quirks:
        text.append(f"read the reference's code for: {', '.join(found.quirks)}")
    new = [brick.kind for brick in found.new_layers]
    text.append(f"new layers needed: {'; '.join(new) if new else 'none that is known'}")
    return text
