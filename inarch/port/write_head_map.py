"""Write the heads of a drafted `checkpoint.py`."""

from __future__ import annotations

from collections.abc import Sequence

from inarch.port.code import code
from inarch.port.draft import Draft
from inarch.port.graph import DECODER
from inarch.port.heads import OWN, PAIR_HEADS, PAIRS, PERMUTED, HeadDraft


def head_lines(draft: Draft, modules: Sequence[HeadDraft]) -> list[str]:
    """Return the lines of every head.

    Args:
        draft: in the names of the reference's files.
        modules: its heads in the names of the reference's modules.
    """
    both = zip(draft.heads, modules, strict=True)
    return [line for head, own in both for line in _head(draft, head, own)]


def _head(draft: Draft, head: HeadDraft, module: HeadDraft) -> list[str]:
    classes = ", ".join(f'"{name}"' for name in head.classes)
    classes += "," if len(head.classes) == 1 else ""
    lines = [f'"{head.name}": Head(', f"    ({classes}),"]
    parts = _entries(draft, head)
    if head.other is not None:
        others = _entries(draft, head.other)
        parts = {
            name: [*_where("when", head.switch, on), *_where("unless", head.switch, others[name])]
            for name, on in parts.items()
        }
    own = _entries(draft, module)["weights"]
    if own != parts["weights"] and head.other is None:
        parts = {"weights": parts["weights"], "module_weights": own, **parts}
    for name, entries in parts.items():
        if len(entries) == 1:
            lines.append(f"    {name}={entries[0]}")
        elif entries:
            lines += [f"    {name}=[", *(f"        {entry}" for entry in entries), "    ],"]
    config = [f'field("{f}", "{ours}", {draft.usual[f]!r})' for f, ours in head.sizes]
    if head.dropout is not None:
        field, default, older = head.dropout
        legacy = f', legacy=("{older}",)' if older else ""
        config.append(f'probability("{field}", "dropout", {code(default)}{legacy})')
    if len(config) > 1:
        lines += ["    config=[", *(f"        {entry}," for entry in config), "    ],"]
    elif config:
        lines.append(f"    config=[{config[0]}],")
    if draft.single_text and head.name in PAIR_HEADS[1:]:
        lines.append('    requires=("single_text",),')
    if head.pooled:
        lines.append('    requires=("pooler",),')
    return [*lines, "),"]


def _where(function: str, switch: str, entries: list[str]) -> list[str]:
    """Return the lines of entries that are there where a switch is on, or off."""
    if not entries:
        return []
    inner = [*entries[:-1], entries[-1].rstrip(",") + "),"]
    return [f'{function}("{switch}",', *(f"    {line}" for line in inner)]


def _entries(draft: Draft, head: HeadDraft) -> dict[str, list[str]]:
    """Return the lines of the entries of a head by the argument of `Head` that they are."""
    weights = [
        f'dense("{theirs}", "{ours}"{_bias(bias)}),' for theirs, ours, bias in head.dense
    ] + [f'norm("{theirs}", "{ours}"{_bias(bias)}),' for theirs, ours, bias in head.norms]
    tied: list[str] = []
    untied: list[str] = []
    if head.layer_sum:
        theirs = head.layer_sum[1]
        weights.append(
            f'when("layer_outputs", rule("{theirs}", "layer_weights/weights", "n -> n")),'
        )
    if head.name in (*OWN.values(), PERMUTED):
        more, tied, untied = _vocabulary(draft, head)
        weights += more
    return {"weights": weights, "tied": tied, "untied": untied}


def _tied_tables(draft: Draft, head: HeadDraft, table: str) -> list[str]:
    """Return the lines of output embeddings that are a table of tokens: the decoder's."""
    line = f'tied("{head.table}", "{table}"),'
    if head.module_table:
        return [line, f'tied("{head.module_table}", "{table}"),']
    if not draft.has("shared_embeddings"):
        return [line]
    copy = next(name for name, _ in draft.graph.copies if name.startswith(DECODER))
    own = f'tied("{head.table}", ".{copy}"),'
    switch = "shared_embeddings"
    return [*_where("when", switch, [line]), *_where("unless", switch, [own])]


def _bias(bias: bool | str) -> str:
    return "" if bias is True else f", bias={code(bias)}"


def _vocabulary(draft: Draft, head: HeadDraft) -> tuple[list[str], list[str], list[str]]:
    """Return the lines of output embeddings: always, where they are tied, and where not."""
    is_masked = head.name == "masked_lm"
    bias = "masked_lm_head/output_bias" if is_masked else "logits/bias"
    bias = "logits_bias/bias" if head.name == OWN[PAIRS] else bias
    axes = "one=1 v -> (one v)" if head.rows else "v -> v"
    kernel = "masked_lm_head/output_kernel" if is_masked else "logits/kernel"
    if head.name == PERMUTED:  # under its own name, since no layer here is it
        own = head.table.split(".")[-2]
        bias, kernel = f"{own}/bias", f"{own}/kernel"
    always, tied, untied = [], [], []
    if len(head.bias) == 1:
        line = f'rule("{head.bias[0]}", "{bias}", "{axes}"),'
        always += _where("when", head.bias_switch, [line]) if head.bias_switch else [line]
    elif head.bias:
        alone, own = head.bias
        tied = [f'rule("{alone}", "{bias}", "v -> v"),', f'tied("{own}", "{alone}"),']
        untied = [
            f'rule("{own}", "{bias}", "v -> v"),',
            f'unused("{alone}", reason="the untied layer has its own bias",',
            f'    like="{own}"),',
        ]
    if head.table:
        tokens = draft.graph.slot("token_embedding")
        table = f".{tokens.module.name}.weight" if tokens else ""
        tied[:0] = _tied_tables(draft, head, table)
        legacy = f', legacy="{head.module_table}"' if head.module_table else ""
        whole = f'rule("{head.table}", "{kernel}", "v d -> d v"{legacy}),'
        parts = [f'rule("{head.table}", "{kernel}",', f'    "v d -> d v"{legacy}),']
        untied[:0] = [whole] if len(whole) <= 82 else parts
    if draft.is_always_tied:
        untied = []
    return always, tied, untied
