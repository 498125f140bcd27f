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
from inarch.cli.classify import classify
from inarch.cli.embed import embed
from inarch.cli.fill_mask import fill_mask
from inarch.cli.generate import generate
from inarch.cli.options import Json
from inarch.cli.port import port
from inarch.cli.rerank import rerank
from inarch.cli.tag import tag
from inarch.cli.text_run import text_command
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


for of_texts in (embed, fill_mask, classify, answer, zero_shot, tag):
    app.command()(text_command(of_texts))
app.command()(text_command(rerank, is_whole=True))
app.command()(text_command(generate, batch_size=8, is_whole=True))
app.command()(info)
app.command()(prove)
app.command(cls=WhisperCommand)(transcribe)
app.command()(verify)
app.command()(export)
app.command()(presets)
app.add_typer(port, name="port")
