"""The command `answer`."""

from __future__ import annotations

from collections.abc import Sequence
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
from inarch.cli.texts import Text, read_texts
from inarch.cli.trained_head import check_trained


def answer(
    preset: Preset,
    texts: Texts = None,
    question: Annotated[
        str | None,
        typer.Option(
            "--question", "-q",
            help="The question for all texts; without it, each is a pair of question and context.",
        ),
    ] = None,
    input: Input = None,
    field: FieldName = "text",
    top_k: Annotated[int, typer.Option(min=1, help="Answers per question, best first.")] = 1,
    stride: Annotated[
        int | None, typer.Option(min=0, help="Tokens that two windows of a long text share.")
    ] = None,
    max_answer_length: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 15,
    allow_no_answer: Annotated[
        bool, typer.Option("--allow-no-answer", help="Let no answer be one of the answers.")
    ] = False,
    batch_size: BatchSize = 32,
    tokenizer: TokenizerFrom = None,
    ignore_field: IgnoreField = None,
    output_file: Output = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Find the place in each text that answers a question."""
    given = read_texts(texts, input, field)
    pairs = _pairs(given, question)
    import_keras()
    from inarch.tasks import QuestionAnswerer

    model = QuestionAnswerer.from_preset(
        preset, tokenizer=tokenizer, ignore_fields=ignore_field or ()
    )
    check_trained(model, preset)
    questions, contexts = ([pair[i] for pair in pairs] for i in (0, 1))
    found = model.answer(
        questions,
        contexts,
        top_k=top_k,
        stride=stride,
        max_answer_length=max_answer_length,
        handle_impossible_answer=allow_no_answer,
        batch_size=batch_size,
    )
    rows = [
        {"question": each_question, "text": context, **each}
        for (each_question, context), answers in zip(pairs, found, strict=True)
        for each in ([answers] if top_k == 1 else answers)
    ]

    def table() -> None:
        shown = [{k: row[k] for k in ("score", "answer", "question", "text")} for row in rows]
        output.print_table(shown, right=("score",))

    output.write(rows, as_json, output_file, table)


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
