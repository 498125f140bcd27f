"""Write `checkpoint.py` of a draft: config map, weight map and heads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from inarch.port.arguments import find_field
from inarch.port.code import call, code
from inarch.port.config_entries import config_lines
from inarch.port.config_pair import gating_constants
from inarch.port.decisions import Decision
from inarch.port.draft import Draft
from inarch.port.in_files import in_file_names
from inarch.port.write_head_map import head_lines
from inarch.port.write_stem import sizes_code
from inarch.port.write_weights import weight_lines

PARTS = ("query", "key", "value")
CONFIG_NAMES = (
    "ACTIVATIONS", "ENCODER_DECODER", "ENCODER_ONLY", "PADDING_ROW", "choice", "constant",
    "every_nth", "fallback", "field", "first_layers", "ignored", "must_be", "must_match",
    "per_layer", "probability", "sizes", "subset", "table_rows", "token_id",
)  # fmt: skip
RULE_NAMES = (
    "CONV1D", "dense", "derived", "embedding", "norm", "rule", "tied", "under", "unless", "unused",
    "when",
)  # fmt: skip


def checkpoint_text(draft: Draft) -> tuple[str, list[Decision]]:
    """Return the text of the module, and what its config map leaves to be decided."""
    lines, decisions = config_lines(draft)
    body = ["# A table to be checked against the reference, line by line.", "# fmt: off"]
    joined = "\n".join(lines)
    body += _constants(draft, joined)
    filed = in_file_names(draft)
    fixed = re.findall(r'must_be\("(\w+)"', joined)
    published = draft.published([*fixed, *draft.deciding]) if draft.evidence else {}
    body += [
        "HUGGING_FACE = Source(",
        f'    model_type="{draft.model_type}",',
        f'    architecture="{draft.base}",',
        f'    prefix="{draft.prefix}",',
        *_published(published),
        "    config=[",
        *(f"        {line}" for line in lines),
        "    ],",
        "    weights=[",
        *(f"        {line}" for line in weight_lines(filed)),
        "    ],",
    ]
    graphs = filed.graph, draft.graph
    if any(getattr(graphs[0], n) != getattr(graphs[1], n) for n in ("slots", "mixture")):
        body += [
            "    module_weights=[",
            *(f"        {line}" for line in weight_lines(draft)),
            "    ],",
        ]
    if draft.single_text:
        body.append('    optional_layers={"single_text": ()},')
    if pooler := draft.pooler:
        bias = "" if pooler.bias is not None else ", bias=False"
        body.append(f'    optional_layers={{"pooler": dense("{pooler.name}", "pooler"{bias})}},')
    heads = head_lines(filed, draft.heads)
    body += ["    heads={", *(f"        {line}" for line in heads), "    },"]
    if not draft.ties:
        body.append("    tie_word_embeddings=False,")
    body.append(")")
    noted = draft.replace(decisions=(*draft.decisions, *decisions))
    text = "\n".join([*noted.comments("checkpoint"), *body, ""])
    words = draft.evidence.file if draft.evidence else "names and shapes of a file alone"
    head = f'"""{draft.title} as transformers stores it ({words})."""'
    return "\n".join([head, "", *imports(text), "", text]), decisions


def _published(fields: Mapping[str, Any]) -> list[str]:
    items = [f"{code(name)}: {code(value)}" for name, value in fields.items()]
    return call("    published={", *items, end="},", width=92) if items else []


def imports(text: str) -> list[str]:
    """Return the lines that import the names of the map language that a text uses."""

    def used(names: Iterable[str]) -> list[str]:
        return [name for name in names if re.search(rf"(?<![.\w]){name}\b([(,.)]| if )", text)]

    lines = ["import numpy as np", ""] if "np." in text else []
    if "Mapping[" in text:
        lines[:0] = ["from collections.abc import Mapping", "from typing import Any", ""]
    config = used(CONFIG_NAMES)
    lines += ["from inarch.checkpoints.maps.config import (", *(f"    {n}," for n in config), ")"]
    if "EveryNthBut(" in text:
        lines.append("from inarch.checkpoints.maps.per_layer import EveryNthBut")
    if "rotary_scaling(" in text:
        lines.append("from inarch.checkpoints.maps.rotary import rotary_scaling")
    rules = [n for n in used(RULE_NAMES) if n != "tied" or "tied(" in text.replace("tied=", "")]
    whole = f"from inarch.checkpoints.maps.rule import {', '.join(rules)}"
    if len(whole) > 100:
        whole = "\n".join(
            ["from inarch.checkpoints.maps.rule import (", *(f"    {n}," for n in rules), ")"]
        )
    named = "Head, Source" if " Head(" in text else "Source"
    head = [f"from inarch.checkpoints.maps.source import {named}"]
    if "SinePositions(" in text:
        head.append("from inarch.layers import SinePositions")
    if "SCALING_FIELDS" in text:
        head.append("from inarch.layers.rotary_scaling import SCALING_FIELDS, check_scaling")
    return [*lines, *([whole] if rules else []), *head]


def _constants(draft: Draft, lines: str) -> list[str]:
    found = []
    for constant, argument in (
        ("LAYERS", "num_encoder_layers" if draft.has("num_encoder_layers") else "num_layers"),
        ("LENGTH", "max_sequence_length"),
        ("HEADS", "num_heads"),
        ("WIDTH", "hidden_dim"),
    ):
        if f"{constant}.read" in lines or f"={constant}," in lines or f"={constant})" in lines:
            field = find_field(argument, draft.usual)
            default = f", {draft.usual[field]!r}" if draft.evidence and field else ""
            found.append(f'{constant} = field("{field}", "{argument}"{default})')
    if "CONVOLUTIONS" in lines:
        found.append(f"CONVOLUTIONS = {sizes_code(draft, 'conv_dims')}")
    if "FEED_FORWARDS" in lines:
        found += gating_constants(draft)
    if draft.graph.gating:
        found += [
            "", "", "def is_gated(arguments: Mapping[str, Any]) -> bool:",
            '    return arguments["activation"].startswith("gated_")', "", "",
            "def is_plain(arguments: Mapping[str, Any]) -> bool:",
            "    return not is_gated(arguments)", "", "",
        ]  # fmt: skip
    if "PADDING," in lines or "after=PADDING" in lines:
        value = draft.usual.get("pad_token_id")
        if isinstance(value, int):
            found.append(f'PADDING = token_id("pad_token_id", "padding_id", {value!r})')
        else:
            found.append('PADDING = field("pad_token_id", "padding_id", least=0)')
    return found
