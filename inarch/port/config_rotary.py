"""Entries of a drafted config map that are of rotary positions."""

from __future__ import annotations

from collections.abc import Mapping

from inarch.port.arguments import find_field, nested_rotary, rotary_base
from inarch.port.code import code
from inarch.port.decisions import Decision, decide, guess
from inarch.port.draft import Draft

HOLDER = "rope_parameters"
OF_LAYER_TYPES = ("local_attention", "global_rope_theta", "local_rope_theta")
COMPUTED = ("rope_theta", "rope_type", "partial_rotary_factor")
# The scalings that `RotaryEmbedding` has.
_SCALING = (
    'rotary_scaling("rope_scaling", length=LENGTH, check=check_scaling,',
    "    types={name: known.fields for name, known in SCALING_TYPES.items()}),",
)
_NEXT_TO = ("original_max_position_embeddings", "partial_rotary_factor")

# Lines, the fields that they account for, and what they leave to be decided.
Found = tuple[list[str], set[str], list[Decision]]


def rotary_lines(draft: Draft) -> Found:
    """Return the lines of the base, and of what is next to it."""
    nested = draft.usual.get(HOLDER)
    if not isinstance(nested, Mapping):
        field = find_field("rope_theta", draft.usual)
        if field is None:
            line = 'constant("rope_theta", 10000.0),'
            return [line], set(), [guess("rope_theta", "10000, since no field has it")]
        value = float(rotary_base(draft.usual) or 10000.0)
        return [f'field("{field}", "rope_theta", {value!r}),'], {field}, []
    decisions = []
    value = float(rotary_base(draft.usual) or 10000.0)
    older = _older_names(draft, "rope_theta")
    lines = [f'field("{HOLDER}.rope_theta", "rope_theta", {value!r}{_legacy(older)}),']
    if not draft.graph.scaled:
        lines += [
            f'must_be("{HOLDER}.rope_type", "default"),',
            'must_be("rope_scaling", None, reason="its older name"),',
        ]
    for name, other in nested.items():
        if name not in COMPUTED:
            text = f"{other!r} here, and no brick computes it"
            decisions.append(decide(f"{HOLDER}.{name}", text))
            lines.append(f'must_be("{HOLDER}.{name}", None, 1.0),  # DECIDE')
    return lines, {HOLDER, "rope_scaling", *older}, decisions


def lines_by_type(draft: Draft) -> Found:
    """Return the lines of the kinds of layers, and of the base that each of them has."""
    kinds = draft.graph.layer_types
    lines = [
        'per_layer("layer_types", "layer_types", layers=LAYERS,', f"    values={code({**kinds})}),",
    ]  # fmt: skip
    fields, decisions = {"layer_types"}, []
    if draft.has("local_attention"):
        usual = draft.usual["local_attention"]
        lines += [
            f'field("local_attention", "local_attention", {usual!r}),',
            'must_match("sliding_window", lambda config:',
            f'    config.get("local_attention", {usual!r}) // 2),',
        ]
        fields |= {"local_attention", "sliding_window"}
    if not draft.has("global_rope_theta"):
        return lines, fields, []
    for kind, ours in kinds.items():
        nested = draft.usual[HOLDER][kind]
        older = draft.evidence.legacy.get(f"{kind}.rope_theta", ()) if draft.evidence else ()
        field, value = f"{HOLDER}.{kind}", float(nested["rope_theta"])
        lines += [
            f'field("{field}.rope_theta", "{ours}_rope_theta", {value!r}{_legacy(older)}),',
            f'must_be("{field}.rope_type", "default"),',
        ]
        fields |= {*older}
        for name in nested.keys() - {*COMPUTED}:
            decisions.append(decide(f"{field}.{name}", "no brick computes it"))
            lines.append(f'must_be("{field}.{name}", None, 1.0),  # DECIDE')
    lines.append('must_be("rope_scaling", None, reason="its older name"),')
    return lines, fields | {HOLDER, "rope_scaling"}, decisions


def scaling_lines(draft: Draft) -> Found:
    """Return the lines of the scalings that `RotaryEmbedding` has."""
    names = [name for name in _NEXT_TO if not draft.has(name) and name not in draft.usual]
    fixed = [f'must_be("{name}", None, reason="read next to a scaling"),' for name in names]
    return [*_SCALING, *fixed], {*names}, []


def share_lines(draft: Draft) -> Found:
    """Return the line of the share of features that are rotated."""
    name = "partial_rotary_factor"
    older = _older_names(draft, name)
    share = float(nested_rotary(draft.usual, name))
    return [f'field("{HOLDER}.{name}", "{name}", {share!r}{_legacy(older)}),'], {*older}, []


def _older_names(draft: Draft, name: str) -> tuple[str, ...]:
    """Return the older names of a field."""
    return draft.evidence.legacy.get(name, ()) if draft.evidence else (name,)


def _legacy(names: tuple[str, ...]) -> str:
    return f", legacy={code(names)}" if names else ""
