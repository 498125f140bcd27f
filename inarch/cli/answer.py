"""The command `answer`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from inarch.cli.text_run import TextAnswers, TextRun
from inarch.cli.texts import Text
from inarch.errors import InputError


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
    model = run.load("QuestionAnswerer")

    def answer_texts(texts: list[Text]) -> list[Any]:
        pairs = [_pair(text, question) for text in texts]
        questions, contexts = ([pair[i] for pair in pairs] for i in (0, 1))
        return model.answer(
            questions,
            contexts,
            top_k=top_k,
            stride=stride,
            max_answer_length=max_answer_length,
            handle_impossible_answer=allow_no_answer,
            batch_size=run.batch_size,
        )

    answers = TextAnswers(
        answer_texts,
        lambda found: [found] if top_k == 1 else found,
        {"answer": "", "start": 0, "end": 0, "score": 0.0},
        lambda number, text: _source(text, question),
    )
    run.answer(answers, ("score", "answer", "question", "text"))


def _pair(text: Text, question: str | None) -> tuple[str, str]:
    """Return a pair of question and context.

    Raises:
        InputError: the text is one where it shouldn't be, or isn't where it should.
    """
    if isinstance(text, str) == (question is None):
        raise InputError(
            f"a text is {'no pair' if question is None else 'a pair'}: {str(text)[:40]!r}; give "
            "--question and single texts, or pairs (question, context) by --input and --field"
        )
    return text if isinstance(text, tuple) else (str(question), text)


def _source(text: Text | None, question: str | None) -> dict[str, str | None]:
    first, second = text if isinstance(text, tuple) else (question, text)
    return {"question": first, "text": second}
