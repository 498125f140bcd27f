"""The command `classify`."""

from __future__ import annotations

from typing import Annotated

import typer

from inarch.cli.text_run import TextRun


def classify(
    run: TextRun,
    top_k: Annotated[
        int | None,
        typer.Option(
            min=1, help="Classes per text, best first; by default one, or those that reach the "
            "model's thresholds.",
        ),
    ] = None,
    all_classes: Annotated[bool, typer.Option("--all", help="All classes of each text.")] = False,
) -> None:  # fmt: skip
    """Classify each text, with the probability of its class."""
    if all_classes and top_k:
        raise typer.BadParameter("give --top-k or --all, not both")
    most = None if all_classes else top_k or "auto"
    model = run.load("TextClassifier")
    run.classify(lambda texts: model.classify(texts, most, run.batch_size))
