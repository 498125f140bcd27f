"""The command `embed`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from inarch.cli.text_run import TextRun
from inarch.errors import InputError


def embed(
    run: TextRun,
    prompt: Annotated[str | None, typer.Option(help="Put this prompt of the model first.")] = None,
    truncate_dim: Annotated[int | None, typer.Option(help="Keep so many numbers of each.")] = None,
    precision: Annotated[
        str, typer.Option(help="float32, float16, int8, uint8, binary or ubinary.")
    ] = "float32",
) -> None:
    """Compute sentence vectors, one per text; or sparse or token vectors, as the model has them."""
    model = run.load("TextEmbedder", "SparseEmbedder", "MultiVectorEmbedder")
    kind, size = type(model).__name__, run.batch_size
    columns: list[Any]
    if kind == "TextEmbedder":
        found = model.embed(
            run.texts,
            prompt_name=prompt,
            batch_size=size,
            truncate_dim=truncate_dim,
            precision=precision,
        )
        columns = [{"vector": vector} for vector in found]
    elif truncate_dim is not None or precision != "float32":
        raise InputError(
            f"--truncate-dim and --precision are of one vector per text, and {run.preset} is a "
            f"{kind}'s; leave them out"
        )
    elif kind == "SparseEmbedder":
        columns = model.embed(run.texts, prompt_name=prompt, batch_size=size)
    else:
        columns = [{"vectors": vectors} for vectors in _token_vectors(model, run, prompt)]
    rows = [{"text": text, **row} for text, row in zip(run.texts, columns, strict=True)]
    shown = {"vector": _preview, "indices": _preview, "values": _preview, "vectors": _shape}
    run.write(rows, right=(), shown=shown)


def _token_vectors(model: Any, run: TextRun, prompt: str | None) -> list[Any]:
    """Return the token vectors of the texts, as documents unless the prompt is of queries."""
    if prompt not in (None, "query", "document"):
        raise InputError(
            f"--prompt is {prompt!r}, and {run.preset} makes vectors of queries and documents; "
            "give query or document"
        )
    embed = model.embed_query if prompt == "query" else model.embed_document
    return embed(run.texts, batch_size=run.batch_size)


def _preview(vector: Any) -> str:
    numbers = " ".join(f"{x:7.4f}" if vector.dtype.kind == "f" else f"{x}" for x in vector[:4])
    return f"{numbers} ... ({len(vector)} numbers; all with --json or --output)"


def _shape(vectors: Any) -> str:
    return f"{len(vectors)} of {vectors.shape[-1]} numbers; all with --json or --output"
