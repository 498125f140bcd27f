"""Write the entries of a drafted config map, each by its evidence."""

from __future__ import annotations

from typing import Any

from inarch.port.arguments import find_field
from inarch.port.code import choice_lines, code, wrapped
from inarch.port.config_followed import fallback_lines, part_lines, score_lines
from inarch.port.config_layers import (
    OF_LAYER_TYPES,
    lines_by_type,
    rotary_layer_lines,
    window_line,
    window_lines,
)
from inarch.port.config_others import OtherFields
from inarch.port.config_pair import decoder_lines, gated_lines, gating_lines
from inarch.port.config_rotary import rotary_lines, scaling_lines, share_lines
from inarch.port.decisions import Decision, decide, guess
from inarch.port.draft import Draft
from inarch.port.find_embeddings import words_for_positions
from inarch.port.head_arguments import argument_lines
from inarch.port.known_arguments import BY_ARGUMENT, GATING, STEM
from inarch.port.write_experts import sparse_lines
from inarch.port.write_stem import stem_line

# Functions that return the lines of arguments with more than one entry, or with one of its own.
OF_ARGUMENT = {
    "layer_types": lines_by_type, "attention_windows": window_lines,
    "rotary_layers": rotary_layer_lines, "rope_theta": rotary_lines,
    "rope_scaling": scaling_lines, "partial_rotary_factor": share_lines,
    "sparse_layers": sparse_lines,
}  # fmt: skip


def config_lines(draft: Draft) -> tuple[list[str], list[Decision]]:
    """Return the lines of the config map, and what they leave to be decided."""
    writer = _Writer(draft)
    lines = writer.mapped()
    others = OtherFields(draft, writer.taken)
    lines += others.lines()
    return lines, [*writer.decisions, *others.decisions]


class _Writer:
    def __init__(self, draft: Draft):
        self.draft = draft
        self.usual = draft.usual
        self.evidence = draft.evidence
        self.taken: set[str] = set()
        self.decisions: list[Decision] = []

    # --- arguments -------------------------------------------------------------------------

    def mapped(self) -> list[str]:
        """Return a line for each argument."""
        names = [argument.name for argument in self.draft.arguments]
        lines = [line for name in names if name in BY_ARGUMENT for line in self._line(name)]
        lines += self._noted(part_lines(self.draft))
        lines += self._noted(score_lines(self.draft))
        lines += self._noted((*argument_lines(self.draft.heads, self.usual), []))
        return [part for line in lines for part in wrapped(line)]

    def _noted(self, found: tuple[list[str], set[str], list[Decision]]) -> list[str]:
        """Return lines, and keep the fields and the decisions that come with them."""
        lines, fields, decisions = found
        self.taken |= fields
        self.decisions += decisions
        return lines

    def _line(self, name: str) -> list[str]:
        known = BY_ARGUMENT[name]
        if write := OF_ARGUMENT.get(name):
            return self._noted(write(self.draft))
        if name in OF_LAYER_TYPES:  # next to those
            return []
        if name == "num_decoder_layers" and self._is_derived(name):
            return self._noted(decoder_lines(self.draft))
        if name == "activation" and self.evidence is not None and self.evidence.gated:
            return self._noted(gating_lines(self.draft))
        field = self.draft.graph.switches.get(name) or find_field(name, self.usual)
        if field is None:
            value = next(a.default for a in self.draft.arguments if a.name == name)
            kind = decide if known.type == "int" and value in (None, "None") else guess
            self.decisions.append(kind(name, f"{value}, since no field has it"))
            return [f'constant("{name}", {value}),']
        self.taken.add(field)
        aliases = self._aliases(field)
        default = self.usual[field]
        if name == "padding_id":
            return self._padding(field, default)
        if name == "positions":
            values = words_for_positions(self.draft.graph, self.evidence)
            return choice_lines(field, name, default, values)
        if known.form == "token_id":
            return [f'token_id("{field}", "{name}", {default!r}),']
        if name == "max_sequence_length" and self.draft.graph.padded_table:
            return [f'table_rows("{field}", "{name}"{self._default(default)}, after=PADDING),']
        is_one = name == "embedding_dim" and not self.draft.graph.has("embeddings_projection")
        if is_one or known.form == "fallback":
            return fallback_lines(self.draft, name, field)
        if field == GATING and str(default).startswith("gated-"):
            return gated_lines(self.draft)
        if name in STEM and (lines := stem_line(self.draft, name, field)):
            return lines
        if known.form == "subset":
            return [f'subset("{field}", "{name}", names=("c2p", "p2c")),']
        if known.form == "choice":
            return [
                f'choice("{field}", "{name}", {code(default)}, values=ACTIVATIONS{aliases}),'
            ]  # fmt: skip
        if known.form == "probability":
            self._note_default(field, default)
            return [f'probability("{field}", "{name}", {code(default)}{aliases}),']
        if isinstance(default, float):
            self._note_default(field, default)
            more = aliases + ", nullable=True" * known.type.endswith("None")
            return [f'field("{field}", "{name}", {code(default)}{more}),']
        if name == "sliding_window":
            return window_line(self.draft, field, self._default(default))
        more = self._default(default, name)
        if not more and isinstance(default, int) and default < 0:
            more = f", least={default}"
        return [f'field("{field}", "{name}"{more}{aliases}),']

    def _default(self, value: Any, name: str = "") -> str:
        """Return the reference's default as code; none where only a file's value is known."""
        if self.evidence is None and not isinstance(value, bool):
            return ""
        required = value is None and name != "intermediate_dim"
        if name and self._is_derived(name):
            field = str(find_field(name, self.usual))
            self.decisions.append(decide(field, "its default follows from other fields"))
            required = True
        return "" if required else f", {code(value)}"

    def _is_derived(self, name: str) -> bool:
        """Return whether the default of an argument's field follows from other fields."""
        field = find_field(name, self.usual)
        return self.evidence is not None and field in self.evidence.derived

    def _padding(self, field: str, default: Any) -> list[str]:
        if self.draft.graph.padded:
            return ["PADDING,"]
        return [f'token_id("{field}", "padding_id", {default!r}),']

    def _note_default(self, field: str, value: Any) -> None:
        if self.evidence is None:
            self.decisions.append(guess(field, f"its default is the file's value, {value!r}"))

    def _aliases(self, field: str) -> str:
        aliases = self.evidence.aliases if self.evidence else {}
        names = [alias for alias, name in aliases.items() if name == field]
        if not names:
            return ""
        inner = ", ".join(f'"{name}"' for name in names)
        return f", aliases=({inner}{',' if len(names) == 1 else ''})"
