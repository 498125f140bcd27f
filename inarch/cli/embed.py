"""The command `embed`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from inarch.cli.text_run import TextRun


def embed(
    run: TextRun,
    prompt: Annotated[str | None, typer.Option(help="Put this prompt of the model first.")] = None,
    truncate_dim: Annotated[int | None, typer.Option(help="Keep so many numbers of each.")] = None,
    precision: Annotated[
        str, typer.Option(help="float32, float16, int8, uint8, binary or ubinary.")
    ] = "float32",
) -> None:
    """Compute sentence vectors, one per text."""
    vectors = run.load("TextEmbedder").embed(
        run.texts,
        prompt_name=prompt,
        batch_size=run.batch_size,
        truncate_dim=truncate_dim,
        precision=precision,
    )
    rows = [{"text": t, "vector": v} for t, v in zip(run.texts, vectors, strict=True)]
    run.write(rows, right=(), shown={"vector": _preview})


def _preview(vector: Any) -> str:
    numbers = " ".join(f"{x:7.4f}" for x in vector[:4])
    return f"{numbers} ... ({len(vector)} numbers; all with --json or --output)"
