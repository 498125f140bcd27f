"""The command `fill-mask`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from inarch.cli.text_run import TextAnswers, TextRun


def fill_mask(
    run: TextRun,
    top_k: Annotated[int, typer.Option(min=1, help="Answers per blank.")] = 5,
) -> None:
    """Predict the likeliest tokens for each mask token, such as [MASK], of each text."""
    model = run.load("MaskedLM")
    answers = TextAnswers(
        lambda texts: model.fill_mask(texts, top_k, run.batch_size),
        _results,
        {"mask": 0, "token": "", "token_id": 0, "score": 0.0, "filled": ""},
    )
    run.answer(answers, ("mask", "score", "token", "filled"))


def _results(masks: Any) -> Iterator[dict[str, Any]]:
    for number, answers in enumerate(masks):
        for answer in answers:
            found = {name: answer[name] for name in ("token", "token_id", "score")}
            yield {"mask": number, **found, "filled": answer["text"]}
