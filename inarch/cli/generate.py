"""The command `generate`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from inarch.cli import output
from inarch.cli.text_run import TextRun

MaxNewTokens = Annotated[int | None, typer.Option(min=1, help="Most tokens of a text.")]
MinNewTokens = Annotated[int | None, typer.Option(min=0, help="Tokens before a text may end.")]
DoSample = Annotated[
    bool | None,
    typer.Option("--do-sample/--no-do-sample", help="Draw tokens, or take the likeliest."),
]
Temperature = Annotated[float | None, typer.Option(help="Divisor of the logits.")]
TopK = Annotated[int | None, typer.Option(help="Draw from this many tokens; 0: from all.")]
TopP = Annotated[float | None, typer.Option(help="Draw from tokens of this probability together.")]
MinP = Annotated[
    float | None, typer.Option(help="Least share of the likeliest token's probability.")
]
Penalty = Annotated[
    float | None, typer.Option(help="Above 1: make tokens that came before less likely.")
]
NGramSize = Annotated[
    int | None, typer.Option(help="Let no sequence of this many tokens come twice.")
]
NumBeams = Annotated[int | None, typer.Option(help="Beams of beam search.")]
LengthPenalty = Annotated[
    float | None, typer.Option(help="Above 0 beam search favours long texts.")
]
NumReturnSequences = Annotated[int | None, typer.Option(help="Texts of each prompt.")]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="End before this text; may be repeated."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Draw the same texts again.")]
Stream = Annotated[
    bool | None,
    typer.Option(
        "--stream/--no-stream",
        help="Print text as it comes; the default for one text on a terminal.",
    ),
]


def generate(
    run: TextRun,
    max_new_tokens: MaxNewTokens = None,
    min_new_tokens: MinNewTokens = None,
    do_sample: DoSample = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: Penalty = None,
    no_repeat_ngram_size: NGramSize = None,
    num_beams: NumBeams = None,
    length_penalty: LengthPenalty = None,
    num_return_sequences: NumReturnSequences = None,
    stop: Stop = None,
    seed: Seed = None,
    stream: Stream = None,
) -> None:
    """Continue each text; the options and their defaults are those of transformers."""
    options = {
        "max_new_tokens": max_new_tokens, "min_new_tokens": min_new_tokens,
        "do_sample": do_sample, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "min_p": min_p, "repetition_penalty": repetition_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size, "num_beams": num_beams,
        "length_penalty": length_penalty, "num_return_sequences": num_return_sequences,
        "stop_strings": stop or None, "seed": seed,
    }  # fmt: skip
    to_file = run.as_json or run.output_file is not None
    given = run.texts
    if stream and to_file:
        raise typer.BadParameter("--stream prints text as it comes: leave out --json and --output")
    model = run.load("CausalLM")
    if stream is None:
        names = ("num_beams", "num_return_sequences")
        # Also the file's own options may be for several sequences, of which no stream is.
        several = any((options[n] or model.generation.get(n) or 1) != 1 for n in names)
        stream = len(given) == 1 and not (several or to_file) and sys.stdout.isatty()
    if stream:
        for prompt in given:
            _print_stream(prompt, model.stream(prompt, **options))
        return
    found = model.generate(given, batch_size=run.batch_size, **options)
    rows = [
        {"text": prompt, "generated": text}
        for prompt, several in zip(given, found, strict=True)
        for text in ([several] if isinstance(several, str) else several)
    ]
    output.write(rows, run.as_json, run.output_file, lambda: _print_rows(rows))


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        typer.echo(f"{row['text']}{row['generated']}")


def _print_stream(prompt: Any, pieces: Iterable[str]) -> None:
    """Print a prompt and, piece by piece as it comes, the text that follows it."""
    typer.echo(prompt, nl=False)
    for piece in pieces:
        typer.echo(piece, nl=False)
        sys.stdout.flush()
    typer.echo()
