"""The command `tag`."""

from __future__ import annotations

from typing import Annotated

import typer

from inarch.cli.text_run import TextRun


def tag(
    run: TextRun,
    aggregation: Annotated[
        str,
        typer.Option(
            metavar="WAY", help="none, or entities by: simple, first, average or max of a word."
        ),
    ] = "simple",
    stride: Annotated[
        int | None,
        typer.Option(min=0, help="Tokens that neighbouring windows of a long text share."),
    ] = None,
) -> None:
    """Find the entities of each text, with their places in it: one row for each entity."""
    found = run.load("TokenClassifier").tag(run.texts, aggregation, stride, run.batch_size)
    rows = [{"index": i, **entity} for i, entities in enumerate(found) for entity in entities]
    run.write(rows, right=("index", "start", "end", "score"))
