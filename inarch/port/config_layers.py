"""Entries of a drafted config map for what differs between layers."""

from __future__ import annotations

from inarch.port.arguments import find_field
from inarch.port.code import call, code
from inarch.port.config_rotary import COMPUTED, HOLDER, Found, legacy_code
from inarch.port.decisions import decide
from inarch.port.draft import Draft

OF_LAYER_TYPES = ("local_attention", "global_rope_theta", "local_rope_theta")
OF_CLASS = "the config's class reads it"


def lines_by_type(draft: Draft) -> Found:
    """Return the lines of the kinds of layers, and of the base that each of them has."""
    lines, fields = _per_layer(draft, "layer_types", draft.graph.layer_types, "layer_types")
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
    decisions = []
    scaled = draft.scaled_kind if draft.graph.scaled else ""
    for kind, ours in draft.graph.layer_types.items():
        nested = draft.usual[HOLDER][kind]
        older = draft.evidence.legacy.get(f"{kind}.rope_theta", ()) if draft.evidence else ()
        field, value = f"{HOLDER}.{kind}", float(nested["rope_theta"])
        lines.append(
            f'field("{field}.rope_theta", "{ours}_rope_theta", {value!r}{legacy_code(older)}),'
        )
        if kind != scaled:
            lines.append(f'must_be("{field}.rope_type", "default"),')
        fields |= {*older}
        for name in nested.keys() - {*COMPUTED}:
            decisions.append(decide(f"{field}.{name}", "no brick computes it"))
            lines.append(f'must_be("{field}.{name}", None, 1.0),  # DECIDE')
    if not scaled:
        lines.append('must_be("rope_scaling", None, reason="its older name"),')
    return lines, fields | {HOLDER, "rope_scaling"}, decisions


def window_lines(draft: Draft) -> Found:
    """Return the line of the windows of layers, of which one number may stand for all."""
    field = str(find_field("attention_windows", draft.usual))
    usual = draft.usual[field]
    default = f", {usual}" if isinstance(usual, int) and draft.evidence else ""
    more = ", may_be_one=True" if isinstance(usual, int) else ""
    line = f'per_layer("{field}", "attention_windows"{default}, layers=LAYERS{more}),'
    return [line], {field}, []


def rotary_layer_lines(draft: Draft) -> Found:
    """Return the lines of the layers whose positions are rotary."""
    field = draft.graph.switches["rotary_layers"]
    return *_per_layer(draft, field, draft.graph.rotary_layers, "rotary_layers"), []


def window_line(draft: Draft, field: str, default: str) -> list[str]:
    """Return the lines of a window, which only some layers have where there are kinds of them."""
    line = f'field("{field}", "sliding_window"{default}'
    if switch := draft.graph.switches.get("use_sliding_window"):
        return [
            f"{line}, nullable=True, least=2,",
            f'    switch="{switch}", reason="{OF_CLASS}"),',
        ]
    return [
        f"{line}, least=2)," if draft.graph.layer_types else f"{line}, nullable=True, least=2),"
    ]


def _per_layer(draft: Draft, field: str, values: object, ours: str) -> tuple[list[str], set[str]]:
    """Return the lines of a list of a value for each layer, and the fields that it accounts for."""
    one = draft.evidence.layers.get(field) if draft.evidence else None
    start = [f'per_layer("{field}", "{ours}", layers=LAYERS,', f"    values={code(values)}"]
    if one is None or not one.way:
        return [start[0], f"{start[1]}),"], {field}
    function, given = one.spelling
    older = call(f"older={function}(", *given, end=")),", width=80)
    lines = [start[0], f"{start[1]},", *(f"    {line}" for line in older)]
    fields = {field, one.older} - {""}
    if one.older and (copy := f"_{one.older}") in draft.usual:
        lines.append(f'ignored("{copy}", reason="a copy of what {field} says"),')
        fields.add(copy)
    return lines, fields
