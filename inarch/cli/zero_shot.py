"""The command `zero-shot`."""

from __future__ import annotations

from typing import Annotated

import typer

from inarch.cli.text_run import TextRun


def zero_shot(
    run: TextRun,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="A class; repeated for each.")
    ] = None,
    hypothesis_template: Annotated[
        str, typer.Option("--template", help="Hypothesis, with {} where a class goes.")
    ] = "This example is {}.",
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Let any number of the classes be true.")
    ] = False,
) -> None:
    """Classify each text into classes of your own, by a model of natural language inference."""
    if not label:
        raise typer.BadParameter("no class: give each as --label NAME")
    model = run.load("ZeroShotClassifier")
    run.classify(
        lambda texts: model.classify(texts, label, hypothesis_template, multi_label, run.batch_size)
    )
