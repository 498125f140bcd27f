"""Write the places of layers that must be written, and inputs that aren't tokens."""

from __future__ import annotations

import textwrap

from inarch.port.code import code
from inarch.port.draft import Draft
from inarch.port.find_missing import AXES
from inarch.port.graph import CROSS_ATTENTION, EMBEDDINGS


def missing_lines(start: str, text: str, end: str = ")") -> list[str]:
    """Return the lines of a layer that must be written, in the place of one that computes."""
    pieces = textwrap.wrap(text, 80, drop_whitespace=False)
    return [f"{start}MissingLayer(", *(f"    {code(piece)}" for piece in pieces), end]


def called_lines(draft: Draft, part: str, given: str = "x", side: str = "") -> list[str]:
    """Return the lines that call a layer in the place of a part; none where bricks are there."""
    text = draft.graph.missing_text(part, side)
    if not text:
        return []
    *lines, _ = missing_lines("x = ", text)
    lines[-1] += ","
    return [*lines, f'    name="{side}{"_" if side else ""}{part}",', f")({given})"]


def missing_embedding(draft: Draft) -> list[str]:
    """Return the lines of what makes the input of the first layer, where no brick does."""
    return called_lines(draft, EMBEDDINGS, f'inputs["{draft.graph.reads}"]')


def cross_lines(draft: Draft) -> list[str]:
    """Return the lines of attention to a sequence that comes from elsewhere."""
    text = draft.graph.missing_text(CROSS_ATTENTION)
    return missing_lines("cross_attention = ", text) if text else []


def raw_input(draft: Draft) -> str:
    """Return the input of a model that reads no tokens, as code."""
    name = draft.graph.reads
    axes = ", ".join(["None"] * AXES[name])
    comma = "," if AXES[name] == 1 else ""
    return f'keras.Input(({axes}{comma}), name="{name}")'


def raw_input_lines(draft: Draft) -> list[str]:
    """Return the lines of the inputs of a model that reads no tokens."""
    return [
        f'inputs = {{"{draft.graph.reads}": {raw_input(draft)}}}',
        'inputs["padding_mask"] = keras.Input((None,), dtype="int32", name="padding_mask")',
        'mask = inputs["padding_mask"]',
    ]
