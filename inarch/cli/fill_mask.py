"""The command `fill-mask`."""

from __future__ import annotations

from typing import Annotated

import typer

from inarch.cli.text_run import TextRun


def fill_mask(
    run: TextRun,
    top_k: Annotated[int, typer.Option(min=1, help="Answers per blank.")] = 5,
) -> None:
    """Predict the likeliest tokens for each mask token, such as [MASK], of each text."""
    found = run.load("MaskedLM").fill_mask(run.texts, top_k, run.batch_size)
    rows = [
        {
            "text": text, "mask": number, "token": answer["token"],
            "token_id": answer["token_id"], "score": answer["score"], "filled": answer["text"],
        }
        for text, masks in zip(run.texts, found, strict=True)
        for number, answers in enumerate(masks)
        for answer in answers
    ]  # fmt: skip
    run.write(rows, ("mask", "score", "token", "filled"))
