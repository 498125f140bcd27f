"""The command `rerank`."""

from __future__ import annotations

from typing import Annotated, Any

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


def rerank(
    preset: Preset,
    texts: Texts = None,
    query: Annotated[
        list[str] | None,
        typer.Option("--query", "-q", help="What the texts are to answer; may be repeated."),
    ] = None,
    input: Input = None,
    field: FieldName = "text",
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Texts per query, best first; all by default.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Put this prompt of the model first.")] = None,
    batch_size: BatchSize = 32,
    tokenizer: TokenizerFrom = None,
    ignore_field: IgnoreField = None,
    output_file: Output = None,
    as_json: Json = False,
) -> None:
    """Rank the texts by how well they answer a query, by a cross-encoder."""
    if not query:
        raise typer.BadParameter("no query: give --query, once for each")
    given = read_texts(texts, input, field)
    import_keras()
    from inarch.tasks import Reranker

    model = Reranker.from_preset(preset, tokenizer=tokenizer, ignore_fields=ignore_field or ())
    check_trained(model, preset)
    lists: Any = [given] * len(query)  # a pair among them is refused by name
    found = model.rank(query, lists, top_k, prompt_name=prompt, batch_size=batch_size)
    rows = [
        {"query": each_query, **document}
        for each_query, ranking in zip(query, found, strict=True)
        for document in ranking
    ]

    def table() -> None:
        names = ("score", "index", "text") if len(query) == 1 else ("query", "score", "text")
        output.print_table([{name: row[name] for name in names} for row in rows], right=("score",))

    output.write(rows, as_json, output_file, table)
