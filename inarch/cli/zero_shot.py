"""The command `zero-shot`."""

from __future__ import annotations

from typing import Annotated

import typer

from inarch.backend import import_keras
from inarch.cli import output
from inarch.cli.options import (
    BatchSize,
    FieldName,
    IgnoreField,
    Input,
    Json,
    Output,
    Preset,
    Texts,
    TokenizerFrom,
)
from inarch.cli.texts import read_texts
from inarch.cli.trained_head import check_trained


def zero_shot(
    preset: Preset,
    texts: Texts = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="A class; repeated for each.")
    ] = None,
    hypothesis_template: Annotated[
        str, typer.Option("--template", help="Hypothesis, with {} where a class goes.")
    ] = "This example is {}.",
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Let any number of the classes be true.")
    ] = False,
    input: Input = None,
    field: FieldName = "text",
    batch_size: BatchSize = 32,
    tokenizer: TokenizerFrom = None,
    ignore_field: IgnoreField = None,
    output_file: Output = None,
    as_json: Json = False,
) -> None:
    """Classify each text into classes of your own, by a model of natural language inference."""
    if not label:
        raise typer.BadParameter("no class: give each as --label NAME")
    given = read_texts(texts, input, field)
    import_keras()
    from inarch.tasks import ZeroShotClassifier

    model = ZeroShotClassifier.from_preset(
        preset, tokenizer=tokenizer, ignore_fields=ignore_field or ()
    )
    check_trained(model.classifier, preset)
    found = model.classify(given, label, hypothesis_template, multi_label, batch_size)  # type: ignore[arg-type]
    rows = [
        {"text": text, **each}
        for text, answers in zip(given, found, strict=True)
        for each in answers
    ]

    def table() -> None:
        shown = [{k: row[k] for k in ("label", "score", "text")} for row in rows]
        output.print_table(shown, right=("score",))

    output.write(rows, as_json, output_file, table)
