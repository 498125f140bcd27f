"""The command `embed`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from inarch.cli.text_run import TextAnswers, TextRun
from inarch.errors import InputError

# Precisions whose numbers are steps of a range that all vectors share.
RANGED = ("int8", "uint8")


def embed(
    run: TextRun,
    prompt: Annotated[str | None, typer.Option(help="Put this prompt of the model first.")] = None,
    truncate_dim: Annotated[int | None, typer.Option(help="Keep so many numbers of each.")] = None,
    precision: Annotated[
        str, typer.Option(help="float32, float16, int8, uint8, binary or ubinary.")
    ] = "float32",
) -> None:
    """Compute sentence vectors, one per text; or sparse or token vectors, as the model has them."""
    import numpy as np

    if precision in RANGED:
        run = run.together()
    model = run.load("TextEmbedder", "SparseEmbedder", "MultiVectorEmbedder")
    kind = type(model).__name__
    options: dict[str, Any] = {"batch_size": run.batch_size}
    columns: dict[str, Any]
    if kind == "TextEmbedder":
        options |= {"prompt_name": prompt, "truncate_dim": truncate_dim, "precision": precision}
        embed, columns = model.embed, {"vector": _example(model, truncate_dim, precision)}
    elif truncate_dim is not None or precision != "float32":
        raise InputError(
            f"--truncate-dim and --precision are of one vector per text, and {run.preset} is a "
            f"{kind}'s; leave them out"
        )
    elif kind == "SparseEmbedder":
        options |= {"prompt_name": prompt}
        embed = model.embed
        columns = {"indices": np.zeros(1, np.int64), "values": np.zeros(1, np.float32)}
    else:
        embed = _of_tokens(model, run, prompt)
        columns = {"vectors": np.zeros((1, model.output.shape[-1]), np.float32)}
    answers = TextAnswers(
        lambda texts: embed(texts, **options),
        lambda found: [found if kind == "SparseEmbedder" else dict.fromkeys(columns, found)],
        columns,
    )
    shown = {"vector": _preview, "indices": _preview, "values": _preview, "vectors": _shape}
    run.answer(answers, right=(), shown=shown)


def _example(model: Any, truncate_dim: int | None, precision: str) -> Any:
    """Return a vector of the kind that texts have."""
    import numpy as np

    ranged = precision in RANGED
    plain = "float32" if ranged else precision
    vectors = model.embed([], truncate_dim=truncate_dim, precision=plain)
    return np.zeros(vectors.shape[1:], precision if ranged else vectors.dtype)


def _of_tokens(model: Any, run: TextRun, prompt: str | None) -> Callable[..., Any]:
    """Return what embeds the tokens of texts, as documents unless the prompt is of queries."""
    if prompt not in (None, "query", "document"):
        raise InputError(
            f"--prompt is {prompt!r}, and {run.preset} makes vectors of queries and documents; "
            "give query or document"
        )
    return model.embed_query if prompt == "query" else model.embed_document


def _preview(vector: Any) -> str:
    numbers = " ".join(f"{x:7.4f}" if vector.dtype.kind == "f" else f"{x}" for x in vector[:4])
    return f"{numbers} ... ({len(vector)} numbers; all with --json or --output)"


def _shape(vectors: Any) -> str:
    return f"{len(vectors)} of {vectors.shape[-1]} numbers; all with --json or --output"
