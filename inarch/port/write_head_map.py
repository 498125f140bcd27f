"""Write the heads of a drafted `checkpoint.py`."""

from __future__ import annotations

from inarch.port.code import code
from inarch.port.draft import Draft
from inarch.port.heads import OWN, PAIR_HEADS, PAIRS, HeadDraft


def head_lines(draft: Draft) -> list[str]:
    """Return the lines of every head."""
    return [line for head in draft.heads for line in _head(draft, head)]


def _head(draft: Draft, head: HeadDraft) -> list[str]:
    classes = ", ".join(f'"{name}"' for name in head.classes)
    classes += "," if len(head.classes) == 1 else ""
    weights = [
        f'dense("{theirs}", "{ours}"' + ("" if bias else ", bias=False") + "),"
        for theirs, ours, bias in head.dense
    ]
    weights += [f'norm("{theirs}", "{ours}"),' for theirs, ours in head.norms]
    lines = [f'"{head.name}": Head(', f"    ({classes}),"]
    tied: list[str] = []
    untied: list[str] = []
    if head.name in OWN.values():
        more, tied, untied = _vocabulary(draft, head)
        weights += more
    for name, entries in (("weights", weights), ("tied", tied), ("untied", untied)):
        if len(entries) == 1:
            lines.append(f"    {name}={entries[0]}")
        elif entries:
            lines += [f"    {name}=[", *(f"        {entry}" for entry in entries), "    ],"]
    if head.dropout is not None:
        field, default, older = head.dropout
        legacy = f', legacy=("{older}",)' if older else ""
        lines.append(f'    config=[probability("{field}", "dropout", {code(default)}{legacy})],')
    if draft.single_text and head.name in PAIR_HEADS[1:]:
        lines.append('    requires=("single_text",),')
    if head.pooled:
        lines.append('    requires=("pooler",),')
    return [*lines, "),"]


def _vocabulary(draft: Draft, head: HeadDraft) -> tuple[list[str], list[str], list[str]]:
    """Return the lines of output embeddings: always, where they are tied, and where not."""
    is_masked = head.name == "masked_lm"
    bias = "masked_lm_head/output_bias" if is_masked else "logits/bias"
    bias = "logits_bias/bias" if head.name == OWN[PAIRS] else bias
    axes = "one=1 v -> (one v)" if head.rows else "v -> v"
    kernel = "masked_lm_head/output_kernel" if is_masked else "logits/kernel"
    always, tied, untied = [], [], []
    if len(head.bias) == 1:
        always.append(f'rule("{head.bias[0]}", "{bias}", "{axes}"),')
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
        tied.insert(0, f'tied("{head.table}", "{table}"),')
        whole = f'rule("{head.table}", "{kernel}", "v d -> d v"),'
        parts = [f'rule("{head.table}", "{kernel}",', '    "v d -> d v"),']
        untied[:0] = [whole] if len(whole) <= 82 else parts
    return always, tied, untied
