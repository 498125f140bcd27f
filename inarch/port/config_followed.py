"""Write entries of a drafted config map: fields that follow others, or decide about layers."""

from __future__ import annotations

from inarch.port.arguments import find_field
from inarch.port.code import choice_lines
from inarch.port.decisions import Decision
from inarch.port.draft import Draft
from inarch.port.known_arguments import BY_ARGUMENT


def followed_line(draft: Draft, name: str) -> list[str]:
    """Return the line of a field that must be the width of the model; none of another."""
    if draft.evidence is None or name not in draft.evidence.follows:
        return []
    return [f'must_match("{name}", lambda config: WIDTH.read(config)),']


def fallback_lines(draft: Draft, name: str, field: str) -> list[str]:
    """Return the lines of a field that takes after others where it is absent."""
    heads, hidden = (find_field(name, draft.usual) for name in ("num_heads", "hidden_dim"))
    given = own_default(draft, field)
    others = {
        "num_key_value_heads": heads, "embedding_dim": hidden,
        "decoder_vocabulary_size": find_field("vocabulary_size", draft.usual),
    }  # fmt: skip
    if other := others.get(name):
        return [f'fallback("{field}", "{name}"{given}, other="{other}"),']
    if not isinstance(draft.usual.get(heads or ""), int):
        return [f'field("{field}", "{name}"),']
    return [
        f'fallback("{field}", "{name}"{given},',
        "    other=lambda config: WIDTH.read(config) // HEADS.read(config)),",
    ]


def own_default(draft: Draft, field: str) -> str:
    """Return the default of a field that takes after others, as code; none without its own."""
    follows = draft.evidence is None or field in draft.evidence.derived
    default = None if follows else draft.usual[field]
    return "" if default is None else f", {default!r}"


def score_lines(draft: Draft) -> tuple[list[str], set[str], list[Decision]]:
    """Return the line of the field that scores are scaled by, if there is one."""
    field = draft.graph.score_field
    if not field:
        return [], set(), []
    return [f'field("{field}", "{field}", {draft.usual[field]!r}),'], {field}, []


def part_lines(draft: Draft) -> tuple[list[str], set[str], list[Decision]]:
    """Return the lines of the arguments that say which layers there are, and their fields."""
    lines, fields = [], set()
    for argument, field in draft.graph.parts.items():
        if argument in BY_ARGUMENT:
            continue
        fields.add(field)
        usual = draft.usual[field]
        if isinstance(usual, bool):
            lines.append(f'field("{field}", "{argument}", {usual}),')
            continue
        values = {usual: False, draft.given[field]: True}
        if usual is None and isinstance(draft.given[field], bool):
            values = {None: False, False: False, True: True}
        parts = choice_lines(field, argument, usual, values)
        line = " ".join(part.strip() for part in parts)
        lines += [line] if len(line) <= 92 else parts
    return lines, fields, []
