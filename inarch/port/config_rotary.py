"""Entries of a drafted config map that are of rotary positions."""

from __future__ import annotations

from collections.abc import Mapping

from inarch.port.arguments import find_field, nested_rotary, rotary_base
from inarch.port.code import call, code
from inarch.port.decisions import Decision, decide, guess
from inarch.port.draft import Draft

HOLDER = "rope_parameters"
COMPUTED = ("rope_theta", "rope_type", "partial_rotary_factor")
# The scalings that `RotaryEmbedding` has.
_SCALING = "    types=SCALING_FIELDS),"
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
    lines = [f'field("{HOLDER}.rope_theta", "rope_theta", {value!r}{legacy_code(older)}),']
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


def scaling_lines(draft: Draft) -> Found:
    """Return the lines of the scalings that `RotaryEmbedding` has."""
    names = [name for name in _NEXT_TO if not draft.has(name) and name not in draft.usual]
    fixed = [f'must_be("{name}", None, reason="read next to a scaling"),' for name in names]
    kind = draft.scaled_kind
    given = [f'holder="{HOLDER}.{kind}"', "length=LENGTH"] if kind else ["length=LENGTH"]
    lines = call("rotary_scaling(", '"rope_scaling"', *given, "check=check_scaling", end=",")
    return [*lines, _SCALING, *fixed], {*names}, []


def share_lines(draft: Draft) -> Found:
    """Return the line of the share of features that are rotated."""
    name = "partial_rotary_factor"
    older = _older_names(draft, name)
    share = float(nested_rotary(draft.usual, name))
    return [f'field("{HOLDER}.{name}", "{name}", {share!r}{legacy_code(older)}),'], {*older}, []


def _older_names(draft: Draft, name: str) -> tuple[str, ...]:
    """Return the older names of a field."""
    return draft.evidence.legacy.get(name, ()) if draft.evidence else (name,)


def legacy_code(names: tuple[str, ...]) -> str:
    """Return the option of older names as code."""
    return f", legacy={code(names)}" if names else ""
