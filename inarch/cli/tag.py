"""The command `tag`."""

from __future__ import annotations

from typing import Annotated

import typer

from inarch.cli.text_run import TextAnswers, TextRun


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
    model = run.load("TokenClassifier")
    answers = TextAnswers(
        lambda texts: model.tag(texts, aggregation, stride, run.batch_size),
        lambda entities: entities,
        {"label": "", "text": "", "start": 0, "end": 0, "score": 0.0},
        lambda number, text: {"index": number},
    )
    run.answer(answers, right=("index", "start", "end", "score"))
