"""Write `checkpoint.py` of a draft: config map, weight map and heads."""

from __future__ import annotations

import re
from collections.abc import Iterable

from inarch.port.arguments import find_field, side_argument
from inarch.port.code import call, code
from inarch.port.config_entries import config_lines
from inarch.port.config_pair import gating_constants
from inarch.port.decisions import Decision
from inarch.port.draft import Draft
from inarch.port.find_slots import GATE, UP
from inarch.port.graph import BY_HEAD, Slot
from inarch.port.in_files import in_file_names
from inarch.port.write_head_map import head_lines
from inarch.port.write_pair import layer_names

PARTS = ("query", "key", "value")
CONFIG_NAMES = (
    "ACTIVATIONS", "ENCODER_DECODER", "ENCODER_ONLY", "PADDING_ROW", "choice", "constant",
    "fallback", "field", "ignored", "must_be", "must_match", "probability", "table_rows",
    "token_id",
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
    published = draft.published(fixed) if draft.evidence else {}
    body += [
        "HUGGING_FACE = Source(",
        f'    model_type="{draft.model_type}",',
        f'    architecture="{draft.base}",',
        f'    prefix="{draft.prefix}",',
        *([f"    published={code(published)},"] if published else []),
        "    config=[",
        *(f"        {line}" for line in lines),
        "    ],",
        "    weights=[",
        *(f"        {line}" for line in _weights(filed)),
        "    ],",
    ]
    if filed.graph.slots != draft.graph.slots:
        body += ["    module_weights=[", *(f"        {line}" for line in _weights(draft)), "    ],"]
    if draft.single_text:
        body.append('    optional_layers={"single_text": ()},')
    if pooler := draft.pooler:
        bias = "" if pooler.bias is not None else ", bias=False"
        body.append(f'    optional_layers={{"pooler": dense("{pooler.name}", "pooler"{bias})}},')
    body += ["    heads={", *(f"        {line}" for line in head_lines(filed)), "    },"]
    if not draft.ties:
        body.append("    tie_word_embeddings=False,")
    body.append(")")
    noted = draft.replace(decisions=(*draft.decisions, *decisions))
    text = "\n".join([*noted.comments("checkpoint"), *body, ""])
    words = draft.evidence.file if draft.evidence else "names and shapes of a file alone"
    head = f'"""{draft.title} as transformers stores it ({words})."""'
    return "\n".join([head, "", *imports(text), "", text]), decisions


def imports(text: str) -> list[str]:
    """Return the lines that import the names of the map language that a text uses."""

    def used(names: Iterable[str]) -> list[str]:
        return [name for name in names if re.search(rf"(?<![.\w]){name}\b([(,.)]| if )", text)]

    lines = ["import numpy as np", ""] if "np." in text else []
    if "Mapping[" in text:
        lines[:0] = ["from collections.abc import Mapping", "from typing import Any", ""]
    config = used(CONFIG_NAMES)
    lines += ["from inarch.checkpoints.maps.config import (", *(f"    {n}," for n in config), ")"]
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
    if "SCALING_TYPES" in text:
        head.append("from inarch.layers.rotary_scaling import SCALING_TYPES, check_scaling")
    return [*lines, whole, *head]


def _constants(draft: Draft, lines: str) -> list[str]:
    found = []
    for constant, argument in (
        ("LAYERS", "num_encoder_layers" if draft.has("num_encoder_layers") else "num_layers"),
        ("LENGTH", "max_sequence_length"),
        ("HEADS", "num_heads"),
        ("WIDTH", "hidden_dim"),
    ):
        if f"{constant}.read" in lines or f"={constant}," in lines:
            field = find_field(argument, draft.usual)
            default = f", {draft.usual[field]!r}" if draft.evidence and field else ""
            found.append(f'{constant} = field("{field}", "{argument}"{default})')
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


# --- weights -----------------------------------------------------------------------------------


def _weights(draft: Draft) -> list[str]:
    """Return the lines of the weight map, those of a stack's layers below its name."""
    lines: list[str] = []
    names = [argument.name for argument in draft.arguments]
    stacks: dict[str, list[Slot]] = {}
    for slot in draft.graph.slots:
        if slot.module.stack:
            stacks.setdefault(slot.module.stack, []).append(slot)
    done: set[str] = set()
    for slot in draft.graph.slots:
        stack = slot.module.stack
        if slot.ours == ("pooler",) or stack in done:
            continue
        if not stack:
            lines += _entries(draft, slot)
            continue
        done.add(stack)
        side = slot.side
        index = "g" if draft.graph.shared else "i"
        theirs = stack.replace("{i}", f"{{{index}}}")
        lines.append(f'under("{theirs}", "{side}{"_" if side else ""}layer_{{{index}}}",')
        inner = [line for each in stacks[stack] for line in _switched(draft, each)]
        inner += _buffers(draft, stack)
        if side:
            inner.append(f'i="{side_argument("num_layers", side, names)}",')
        if draft.graph.shared:
            inner.append('g="num_groups",')
        inner[-1] = inner[-1].rstrip(",") + "),"
        lines += [f"    {line}" for line in inner]
    lines += [f'tied("{copy}", "{table}"),' for copy, table in draft.graph.copies]
    return lines + _buffers(draft, "")


def _switched(draft: Draft, slot: Slot) -> list[str]:
    """Return the lines of one slot, and of what is in its place where an argument decides."""
    graph = draft.graph
    others = [o for o in graph.switched if o.side == slot.side] if graph.gating else []
    lines = _entries(draft, slot)
    if not others or not {GATE, UP} & {*slot.ours}:
        return lines
    if graph.gated and slot.ours == (UP,):  # with the gate
        return []
    own = [s for s in graph.slots if s.side == slot.side and {GATE, UP} & {*s.ours}]
    gated, plain = (own, others) if graph.gated else (others, own)
    lines = []
    for name, slots in (("is_gated", gated), ("is_plain", plain)):
        inner = [line for each in slots for line in _entries(draft, each)]
        inner[-1] = inner[-1].rstrip(",") + "),"
        lines += [f"when({name},", *(f"    {line}" for line in inner)]
    return lines


def _entries(draft: Draft, slot: Slot) -> list[str]:
    """Return the lines of one slot."""
    module, graph = slot.module, draft.graph
    ours = [_our_name(draft, name, slot) for name in slot.ours]
    if slot.kind == "embedding":
        return call("embedding(", f'"{module.inner}"', f'"{ours[0]}"')
    if slot.kind == "norm":
        bias = "" if module.bias is not None else ", bias=False"
        line = f'norm("{module.inner}", "{ours[0]}"{bias})'
        if graph.ordering and ours == ["final_norm"]:
            line = f'when("normalize_first", {line})'
        return [f"{line},"]
    if len(ours) > 1:
        return _fused(draft, slot, ours)
    has_bias = graph.biases.get(slot.ours[0], True)
    given = "" if has_bias is True else f", bias={code(has_bias)}"
    function = "CONV1D.dense" if graph.transposed else "dense"
    line = f'{function}("{module.inner}", "{ours[0]}"{given}),'
    if slot.ours == ("embeddings_projection",) and not graph.projects:
        return [
            'when(lambda arguments: arguments["embedding_dim"] != arguments["hidden_dim"],',
            f"    {line.rstrip(',')}),",
        ]
    return [line]


def _our_name(draft: Draft, name: str, slot: Slot) -> str:
    if draft.graph.is_pair:
        return layer_names(draft, slot.side).get(name, name)
    is_table = name in ("token_embedding", "position_embedding")
    return f"embeddings/{name}" if is_table and draft.graph.positions == "learned" else name


def _fused(draft: Draft, slot: Slot, ours: list[str]) -> list[str]:
    """Return the lines of a tensor that holds several of ours."""
    module, graph = slot.module, draft.graph
    if len(ours) == 2:
        ours = ours if graph.gate_first else ours[::-1]
        pieces, results, shifts = "(o + o)", ["o", "o"], "(o + o) -> o, o"
    elif graph.fused == BY_HEAD:
        pieces, results = "(h=num_heads (q + k + v))", ["(h q)", "(h k)", "(h v)"]
        shifts = "(h=num_heads (q + k + v)) -> (h q), (h k), (h v)"
    elif draft.has("num_key_value_heads"):
        pieces, results, shifts = "(q + k + v)", ["q", "k", "v"], "(q + k + v) -> q, k, v"
    else:
        pieces, results, shifts = "(o + o + o)", ["o", "o", "o"], "(o + o + o) -> o, o, o"
    theirs = f"i {pieces}" if graph.transposed else f"{pieces} i"
    pattern = f"{theirs} -> {', '.join(f'i {one}' for one in results)}"
    stem = ours[0].rpartition("/")[0]
    names = ", ".join(f'"{name.rpartition("/")[2]}"' for name in ours)
    lines = [
        f'rule("{module.inner}{module.joint}weight",',
        f'    [f"{stem}/{{name}}/kernel" for name in ({names})],',
        f'    "{pattern}"),',
    ]
    bias = graph.biases.get(slot.ours[0], False)
    if bias:
        shift = [
            f'rule("{module.inner}{module.joint}bias",',
            f'    [f"{stem}/{{name}}/bias" for name in ({names})],',
            f'    "{shifts}"),',
        ]
        if isinstance(bias, str):
            shift[-1] = shift[-1].rstrip(",") + "),"
            shift = [f'when("{bias}",', *(f"    {line}" for line in shift)]
        lines += shift
    return lines


def _buffers(draft: Draft, stack: str) -> list[str]:
    """Return the lines of tensors that are no weights."""
    lines = []
    reason = "no output of the reference's model depends on it"
    for name in draft.unused:
        before, found, after = name.partition("{i}")
        if (before + found if found else "") == stack:
            lines += call("unused(", f'"{after.lstrip(".") if found else name}"',
                          f'reason="{reason}"')  # fmt: skip
    for name in draft.buffers:
        before, found, after = name.partition("{i}")
        if (before + found if found else "") != stack:
            continue
        inner = after.lstrip(".") if found else name
        if name.endswith("position_ids"):
            lines += [
                f'derived("{inner}", lambda shape: np.arange(shape[-1]).reshape(shape),',
                '    reason="range of positions"),',
            ]
        else:
            lines.append(f'unused("{inner}", reason="a buffer, which the graph computes"),')
    return lines
