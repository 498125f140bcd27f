"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inarch.cli import output

Preset = Annotated[
    str,
    typer.Argument(
        metavar="PRESET", help="A checkpoint folder, a name of `inarch presets`, or a hub id."
    ),
]
Texts = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TEXT]...", help="Texts; without any, one per line of standard input."),
]
Input = Annotated[
    Path | None,
    typer.Option("--input", "-i", help="Read a .jsonl, .parquet, .csv, .tsv or text file."),
]
FieldName = Annotated[
    str,
    typer.Option("--field", "--column", help="The field or the column that holds the text."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", callback=output.check_output,
        help="Write to a .parquet, .npy, .jsonl or .json file.",
    ),
]  # fmt: skip
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with a .jsonl file whose job was stopped; without it such a job is left alone.",
    ),
]
BadRows = Annotated[
    Path | None,
    typer.Option(
        "--bad-rows", metavar="FILE",
        help="With a .jsonl output, list rows without an answer in this .jsonl file, and go on.",
    ),
]  # fmt: skip
Chunk = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="With a .jsonl output, texts that are answered and written together; by default 1024.",
    ),
]  # fmt: skip
IgnoreField = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore-field", metavar="NAME",
        help="A field of config.json that does nothing: take it as absent; may be repeated.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size", min=1, help="Texts of a batch; 64 tokens each, where they are packed."
    ),
]
TokenizerFrom = Annotated[
    str | None,
    typer.Option(
        "--tokenizer", metavar="FOLDER",
        help="Take the tokenizer from this folder, or the checkpoint of this name.",
    ),
]  # fmt: skip
