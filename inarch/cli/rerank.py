"""The command `rerank`."""

from __future__ import annotations

from typing import Annotated

import typer

from inarch.cli.text_run import TextRun


def rerank(
    run: TextRun,
    query: Annotated[
        list[str] | None,
        typer.Option("--query", "-q", help="What the texts are to answer; may be repeated."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Texts per query, best first; all by default.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Put this prompt of the model first.")] = None,
) -> None:
    """Rank the texts by how well they answer a query, by a cross-encoder."""
    if not query:
        raise typer.BadParameter("no query: give --query, once for each")
    lists = [run.texts] * len(query)  # a pair among them is refused by name
    found = run.load("Reranker").rank(
        query, lists, top_k, prompt_name=prompt, batch_size=run.batch_size
    )
    rows = [
        {"query": each_query, **document}
        for each_query, ranking in zip(query, found, strict=True)
        for document in ranking
    ]
    run.write(rows, ("score", "index", "text") if len(query) == 1 else ("query", "score", "text"))
