"""`inarch tag`: the entities of texts."""

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


def tag(
    preset: Preset,
    texts: Texts = None,
    input: Input = None,
    field: FieldName = "text",
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
    batch_size: BatchSize = 32,
    tokenizer: TokenizerFrom = None,
    ignore_field: IgnoreField = None,
    output_file: Output = None,
    as_json: Json = False,
) -> None:
    """Find the entities of each text, with their places in it: one row for each entity."""
    given = read_texts(texts, input, field)
    import_keras()
    from inarch.tasks import TokenClassifier

    model = TokenClassifier.from_preset(
        preset, tokenizer=tokenizer, ignore_fields=ignore_field or ()
    )
    check_trained(model, preset)
    found = model.tag(given, aggregation, stride, batch_size)
    rows = [{"index": i, **entity} for i, entities in enumerate(found) for entity in entities]

    def table() -> None:
        output.print_table(rows, right=("index", "start", "end", "score"))

    output.write(rows, as_json, output_file, table)
