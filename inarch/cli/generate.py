"""The command `generate`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
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
PromptName = Annotated[
    str | None, typer.Option(help="The checkpoint's prompt to put before each text.")
]
Prompt = Annotated[str | None, typer.Option(help="A text to put before each.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Draw the same texts again.")]
Chat = Annotated[
    bool,
    typer.Option("--chat", help="Answer each text as a user's message, by the chat template."),
]
System = Annotated[
    str | None,
    typer.Option("--system", metavar="TEXT", help="System message before each; with --chat."),
]
Template = Annotated[
    str | None,
    typer.Option("--chat-template", metavar="NAME", help="One of several; with --chat."),
]
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
    prompt_name: PromptName = None,
    prompt: Prompt = None,
    seed: Seed = None,
    stream: Stream = None,
    chat: Chat = False,
    system: System = None,
    chat_template: Template = None,
) -> None:
    """Continue each text, or turn it into another one, as an encoder-decoder does.

    The options and their defaults are those of transformers. A prompt is for an encoder-decoder.
    """
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens, "min_new_tokens": min_new_tokens,
        "do_sample": do_sample, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "min_p": min_p, "repetition_penalty": repetition_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size, "num_beams": num_beams,
        "length_penalty": length_penalty, "num_return_sequences": num_return_sequences,
        "stop_strings": stop or None,
    }  # fmt: skip
    to_file = run.as_json or run.output_file is not None
    given = run.texts
    prompts, of_chats = _prompts(given, chat, system, chat_template)
    if stream and to_file:
        raise typer.BadParameter("--stream prints text as it comes: leave out --json and --output")
    model = run.load("CausalLM", "Seq2SeqLM")
    follows, own = _of_task(model, chat, {"prompt_name": prompt_name, "prompt": prompt})
    if stream is None:
        # Also the file's own options may be for several sequences, of which no stream is.
        resolved = model.resolve_options(options, seed)
        several = resolved.num_beams > 1 or resolved.num_return_sequences > 1
        stream = len(given) == 1 and not (several or to_file) and sys.stdout.isatty()
    options |= {"seed": seed} | of_chats | own
    if stream:
        for text, given_prompt in zip(given, prompts, strict=True):
            _print_stream(text if follows else "", model.stream(given_prompt, **options))
        return
    found = model.answers(prompts, batch_size=run.batch_size, **options)
    rows = [
        {"text": text, "generated": found_text}
        for text, several in zip(given, found, strict=True)
        for found_text in ([several] if isinstance(several, str) else several)
    ]
    printed = partial(_print_rows, rows, not follows)
    output.write(rows, run.as_json, run.output_file, printed, {"text": "", "generated": ""})


def _of_task(
    model: Any, chat: bool, prompts: Mapping[str, str | None]
) -> tuple[bool, dict[str, str]]:
    """Return whether a text goes on, and so is printed first, and the options of the task alone."""
    from inarch.tasks import CausalLM, Translator

    given = {name: value for name, value in prompts.items() if value is not None}
    is_causal = isinstance(model, CausalLM)
    if chat and not is_causal:
        raise typer.BadParameter("--chat is for a causal language model, and this is none")
    if given and (is_causal or isinstance(model, Translator)):
        raise typer.BadParameter(
            f"--{next(iter(given)).replace('_', '-')} is for an encoder-decoder whose texts name "
            "their task: put it into the text"
        )
    return is_causal and not chat, given


def _prompts(
    texts: Sequence[Any], chat: bool, system: str | None, template: str | None
) -> tuple[Sequence[Any], dict[str, str]]:
    """Return texts, or a chat of each, and the options of chats."""
    for name, value in (("--system", system), ("--chat-template", template)):
        if value is not None and not chat:
            raise typer.BadParameter(f"{name} is of chats: add --chat")
    prompts = [_messages(text, system) for text in texts] if chat else texts
    return prompts, {} if template is None else {"chat_template": template}


def _messages(text: Any, system: str | None) -> list[dict[str, Any]]:
    """Return the chat of a user's message, after that of the system if there is one."""
    before = [] if system is None else [{"role": "system", "content": system}]
    return [*before, {"role": "user", "content": text}]


def _print_rows(rows: Sequence[Mapping[str, Any]], answers_alone: bool) -> None:
    for row in rows:
        typer.echo(row["generated"] if answers_alone else f"{row['text']}{row['generated']}")


def _print_stream(before: Any, pieces: Iterable[str]) -> None:
    """Print a text and, piece by piece as it comes, the one that follows it."""
    typer.echo(before, nl=False)
    for piece in pieces:
        typer.echo(piece, nl=False)
        sys.stdout.flush()
    typer.echo()
