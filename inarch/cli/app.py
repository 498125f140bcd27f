"""The commands of `inarch`."""

from __future__ import annotations

import os
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from inarch.backend import import_keras
from inarch.cli import output
from inarch.cli.answer import answer
from inarch.cli.checkpoints import export, info, presets, prove
from inarch.cli.generate import generate
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
from inarch.cli.rerank import rerank
from inarch.cli.tag import tag
from inarch.cli.texts import read_texts
from inarch.cli.trained_head import check_trained
from inarch.cli.transcribe import transcribe
from inarch.cli.verify import verify
from inarch.cli.whisper_spelling import WhisperCommand
from inarch.cli.zero_shot import zero_shot
from inarch.errors import InarchError
from inarch.version import __version__


class Commands(TyperGroup):
    """The command group: our errors and warnings become one line each on standard error."""

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except BrokenPipeError:
                raise  # a reader that went away is no error of ours; typer ends quietly
            except (InarchError, OSError) as e:
                output.complain(e)
                raise typer.Exit(1) from e


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    output.complain(f"warning: {message}")


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"inarch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Published transformer checkpoints in Keras 3, proven loss-free, and back."""


@app.command()
def demo(
    sentences: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SENTENCE]...",
            help="Sentences to search too; without --query each is also a query.",
        ),
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option("--query", "-q", help="What to search for; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Load a published model, prove it, check it, search with it, and write it back equal."""
    # On an accelerator JAX may compute in less than float32, which the check would notice.
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    import_keras()
    from inarch.cli import demo as command

    if as_json:
        output.print_json(command.run(sentences or [], query or [], lambda line: None))
    else:
        command.run(sentences or [], query or [], command.printer())


@app.command()
def demo_speech(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...", help="Sound to transcribe in place of the shipped clip."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Load a published Whisper, prove it, and transcribe with it."""
    import_keras()
    from inarch.cli import demo_speech as command

    if as_json:
        output.print_json(command.run(files or [], lambda line: None))
    else:
        command.run(files or [], command.printer())


@app.command()
def embed(
    preset: Preset,
    texts: Texts = None,
    input: Input = None,
    field: FieldName = "text",
    prompt: Annotated[str | None, typer.Option(help="Put this prompt of the model first.")] = None,
    truncate_dim: Annotated[int | None, typer.Option(help="Keep so many numbers of each.")] = None,
    precision: Annotated[
        str, typer.Option(help="float32, float16, int8, uint8, binary or ubinary.")
    ] = "float32",
    batch_size: BatchSize = 32,
    tokenizer: TokenizerFrom = None,
    ignore_field: IgnoreField = None,
    output_file: Output = None,
    as_json: Json = False,
) -> None:
    """Compute sentence vectors, one per text."""
    given = read_texts(texts, input, field)
    import_keras()
    from inarch.tasks import TextEmbedder

    embedder = TextEmbedder.from_preset(
        preset, tokenizer=tokenizer, ignore_fields=ignore_field or ()
    )
    vectors = embedder.embed(
        given,
        prompt_name=prompt,
        batch_size=batch_size,
        truncate_dim=truncate_dim,
        precision=precision,
    )
    rows = [{"text": t, "vector": v} for t, v in zip(given, vectors, strict=True)]

    def table() -> None:
        shown = [{"text": r["text"], "vector": _preview(r["vector"])} for r in rows]
        output.print_table(shown)

    output.write(rows, as_json, output_file, table)


def _preview(vector: Any) -> str:
    numbers = " ".join(f"{x:7.4f}" for x in vector[:4])
    return f"{numbers} ... ({len(vector)} numbers; all with --json or --output)"


@app.command()
def fill_mask(
    preset: Preset,
    texts: Texts = None,
    input: Input = None,
    field: FieldName = "text",
    top_k: Annotated[int, typer.Option(min=1, help="Answers per blank.")] = 5,
    batch_size: BatchSize = 32,
    tokenizer: TokenizerFrom = None,
    ignore_field: IgnoreField = None,
    output_file: Output = None,
    as_json: Json = False,
) -> None:
    """Predict the likeliest tokens for each mask token, such as [MASK], of each text."""
    given = read_texts(texts, input, field)
    import_keras()
    from inarch.tasks import MaskedLM

    model = MaskedLM.from_preset(preset, tokenizer=tokenizer, ignore_fields=ignore_field or ())
    check_trained(model, preset)
    found = model.fill_mask(given, top_k, batch_size)  # type: ignore[arg-type]
    rows = [
        {
            "text": text, "mask": number, "token": answer["token"],
            "token_id": answer["token_id"], "score": answer["score"], "filled": answer["text"],
        }
        for text, masks in zip(given, found, strict=True)
        for number, answers in enumerate(masks)
        for answer in answers
    ]  # fmt: skip

    def table() -> None:
        shown = [{k: r[k] for k in ("mask", "score", "token", "filled")} for r in rows]
        output.print_table(shown, right=("score",))

    output.write(rows, as_json, output_file, table)


@app.command()
def classify(
    preset: Preset,
    texts: Texts = None,
    input: Input = None,
    field: FieldName = "text",
    top_k: Annotated[
        int | None,
        typer.Option(
            min=1, help="Classes per text, best first; by default one, or those that reach the "
            "model's thresholds.",
        ),
    ] = None,
    all_classes: Annotated[bool, typer.Option("--all", help="All classes of each text.")] = False,
    batch_size: BatchSize = 32,
    tokenizer: TokenizerFrom = None,
    ignore_field: IgnoreField = None,
    output_file: Output = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Classify each text, with the probability of its class."""
    if all_classes and top_k:
        raise typer.BadParameter("give --top-k or --all, not both")
    given = read_texts(texts, input, field)
    import_keras()
    from inarch.tasks import TextClassifier

    model = TextClassifier.from_preset(
        preset, tokenizer=tokenizer, ignore_fields=ignore_field or ()
    )
    check_trained(model, preset)
    found = model.classify(given, None if all_classes else top_k or "auto", batch_size)
    rows = [
        {"text": text, "label": answer["label"], "score": answer["score"]}
        for text, answers in zip(given, found, strict=True)
        for answer in answers
    ]

    def table() -> None:
        shown = [{k: r[k] for k in ("label", "score", "text")} for r in rows]
        output.print_table(shown, right=("score",))

    output.write(rows, as_json, output_file, table)


app.command()(rerank)
app.command()(answer)
app.command()(zero_shot)
app.command()(tag)
app.command()(generate)
app.command()(info)
app.command()(prove)
app.command(cls=WhisperCommand)(transcribe)
app.command()(verify)
app.command()(export)
app.command()(presets)
