"""Write the files of a drafted folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inarch.port.config_entries import config_lines
from inarch.port.decisions import Decision
from inarch.port.draft import Draft
from inarch.port.in_files import name_lines
from inarch.port.write_backbone import backbone_text
from inarch.port.write_checkpoint import checkpoint_text
from inarch.port.write_table import table_text, text_text


def files_of(draft: Draft, tokenizer: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the texts of the folder's files, by name.

    Args:
        tokenizer: class and files of the checkpoint's, as far as they are known.
    """
    checkpoint, _ = checkpoint_text(draft)
    files = {
        "__init__.py": f'"""{draft.title}."""\n',
        "backbone.py": backbone_text(draft),
        "checkpoint.py": checkpoint,
        "presets.toml": table_text(draft),
    }
    text = text_text(draft, tokenizer or {})
    return files if text is None else files | {"text.py": text}


def decisions_of(draft: Draft) -> tuple[Decision, ...]:
    """Return every line for the person who ports, what can't be computed first."""
    _, of_config = config_lines(draft)
    lines = (*draft.decisions, *of_config, *name_lines(draft))
    return draft.replace(decisions=lines).all_decisions
