"""The command `answer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from inarch.cli.text_run import TextRun
from inarch.cli.texts import Text


def answer(
    run: TextRun,
    question: Annotated[
        str | None,
        typer.Option(
            "--question", "-q",
            help="The question for all texts; without it, each is a pair of question and context.",
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Answers per question, best first.")] = 1,
    stride: Annotated[
        int | None, typer.Option(min=0, help="Tokens that two windows of a long text share.")
    ] = None,
    max_answer_length: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 15,
    allow_no_answer: Annotated[
        bool, typer.Option("--allow-no-answer", help="Let no answer be one of the answers.")
    ] = False,
) -> None:  # fmt: skip
    """Find the place in each text that answers a question."""
    pairs = _pairs(run.texts, question)
    questions, contexts = ([pair[i] for pair in pairs] for i in (0, 1))
    found = run.load("QuestionAnswerer").answer(
        questions,
        contexts,
        top_k=top_k,
        stride=stride,
        max_answer_length=max_answer_length,
        handle_impossible_answer=allow_no_answer,
        batch_size=run.batch_size,
    )
    rows = [
        {"question": each_question, "text": context, **each}
        for (each_question, context), answers in zip(pairs, found, strict=True)
        for each in ([answers] if top_k == 1 else answers)
    ]
    run.write(rows, ("score", "answer", "question", "text"))


def _pairs(texts: Sequence[Text], question: str | None) -> list[tuple[str, str]]:
    """Return pairs of question and context."""
    pairs: list[tuple[str, str]] = []
    for index, text in enumerate(texts):
        if isinstance(text, str) == (question is None):
            raise typer.BadParameter(
                f"text {index} is {'no pair' if question is None else 'a pair'}: give --question "
                "and single texts, or pairs (question, context) by --input and --field"
            )
        pairs.append(text if isinstance(text, tuple) else (str(question), text))
    return pairs
