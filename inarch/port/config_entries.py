"""Write the entries of a drafted config map, each by its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inarch.checkpoints.maps.common_fields import ANYWHERE, TOKENS
from inarch.checkpoints.maps.config import ENCODER_DECODER, TEXT_ENCODER
from inarch.checkpoints.maps.foreign_fields import foreign_fields
from inarch.port.arguments import BY_ARGUMENT, GATING, SHARED, find_field
from inarch.port.code import call, code, is_literal, wrapped
from inarch.port.config_pair import decoder_lines, gated_lines, gating_lines
from inarch.port.config_rotary import rotary_lines, scaling_lines, share_lines
from inarch.port.decisions import Decision, decide, guess
from inarch.port.draft import Draft
from inarch.port.head_arguments import head_lines
from inarch.validation import shown

OF_ALL = frozenset(name for entry in ANYWHERE for name in entry.theirs)
OF_ENCODERS = frozenset(name for entry in TEXT_ENCODER for name in entry.known_names)
REASONS = {
    **dict.fromkeys(("layerdrop", "encoder_layerdrop", "decoder_layerdrop"),
        "layers that training leaves out"),
    "init_std": "initial weights", "initializer_factor": "initial weights",
    "embed_init_std": "initial weights", "initializer_cutoff_factor": "initial weights",
    "pretraining_tp": "another order of the same sums",
    "rope_scaling": "the older name of what is next to a rope_type",
}  # fmt: skip


def config_lines(draft: Draft) -> tuple[list[str], list[Decision]]:
    """Return the lines of the config map, and what they leave to be decided."""
    writer = _Writer(draft)
    lines = writer.mapped() + writer.others()
    return lines, writer.decisions


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
        lines += self._noted(head_lines(self.draft.heads, self.usual))
        return [part for line in lines for part in wrapped(line)]

    def _noted(self, found: tuple[list[str], set[str], list[Decision]]) -> list[str]:
        """Return lines, and keep the fields and the decisions that come with them."""
        lines, fields, decisions = found
        self.taken |= fields
        self.decisions += decisions
        return lines

    def _line(self, name: str) -> list[str]:
        known = BY_ARGUMENT[name]
        if name == "rope_theta":
            return self._noted(rotary_lines(self.draft))
        if name == "rope_scaling":
            return self._noted(scaling_lines(self.draft))
        if name == "partial_rotary_factor":
            return self._noted(share_lines(self.draft))
        if name == "num_decoder_layers" and self._is_derived(name):
            return self._noted(decoder_lines(self.draft))
        if name == "activation" and self.evidence is not None and self.evidence.gated:
            return self._noted(gating_lines(self.draft))
        field = self.draft.graph.switches.get(name) or find_field(name, self.usual)
        if field is None:
            value = next(a.default for a in self.draft.arguments if a.name == name)
            self.decisions.append(guess(name, f"{value}, since no field has it"))
            return [f'constant("{name}", {value}),']
        self.taken.add(field)
        aliases = self._aliases(field)
        default = self.usual[field]
        if name == "padding_id":
            return self._padding(field, default)
        if known.form == "token_id":
            return [f'token_id("{field}", "{name}", {default!r}),']
        if name == "max_sequence_length" and self.draft.graph.padded:
            return [f'table_rows("{field}", "{name}"{self._default(default)}, after=PADDING),']
        if name == "embedding_dim" and not self.draft.graph.has("embeddings_projection"):
            hidden = find_field("hidden_dim", self.usual)
            return [f'fallback("{field}", "{name}"{self._own(field)}, other="{hidden}"),']
        if known.form == "fallback":
            return self._fallback(name, field)
        if field == GATING and str(default).startswith("gated-"):
            return gated_lines(self.draft)
        if known.form == "choice":
            return [
                f'choice("{field}", "{name}", {code(default)}, values=ACTIVATIONS{aliases}),'
            ]  # fmt: skip
        if known.form == "probability":
            self._note_default(field, default)
            return [f'probability("{field}", "{name}", {code(default)}{aliases}),']
        if isinstance(default, float):
            self._note_default(field, default)
            return [f'field("{field}", "{name}", {code(default)}{aliases}),']
        if name == "sliding_window":
            return [f'field("{field}", "{name}"{self._default(default)}, nullable=True, least=2),']
        return [f'field("{field}", "{name}"{self._default(default, name)}{aliases}),']

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

    def _fallback(self, name: str, field: str) -> list[str]:
        heads = find_field("num_heads", self.usual)
        given = self._own(field)
        if name == "num_key_value_heads":
            return [f'fallback("{field}", "{name}"{given}, other="{heads}"),']
        if not isinstance(self.usual.get(heads or ""), int):
            return [f'field("{field}", "{name}"),']
        return [
            f'fallback("{field}", "{name}"{given},',
            "    other=lambda config: WIDTH.read(config) // HEADS.read(config)),",
        ]

    def _own(self, field: str) -> str:
        """Return the default of a field that takes after others, as code; none without its own."""
        follows = self.evidence is None or field in self.evidence.derived
        default = None if follows else self.usual[field]
        return "" if default is None else f", {default!r}"

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

    # --- fields that are no arguments ----------------------------------------------------------

    def others(self) -> list[str]:
        """Return a line for each field that isn't an argument."""
        lines = []
        if self.draft.graph.is_pair:
            lines += ["ENCODER_DECODER,", *([] if self.draft.graph.padded else ["PADDING_ROW,"])]
            self.taken |= {name for entry in ENCODER_DECODER for name in entry.known_names}
            self.taken |= {*TOKENS.theirs}
        elif not self.draft.graph.causal:
            odd = self._switched()
            left_out = "".join(f' and "{name}" not in entry.known_names' for name in odd)
            whole = f"*[entry for entry in ENCODER_ONLY if{left_out.removeprefix(' and')}],"
            lines.append(whole if odd else "ENCODER_ONLY,")
            self.taken |= OF_ENCODERS - {"pad_token_id", *odd}
            if not self.draft.graph.padded:
                lines.append("PADDING_ROW,")
            self.taken.add("pad_token_id")
        else:
            lines += ['must_be("is_causal", True),']
            self.taken |= {"is_causal"}
        read, default_of = self._read_fields()
        heads = {name for head in self.draft.heads for name in head.config_fields}
        fixed, unread = [], []
        others = sorted({*default_of} - self.usual.keys())
        for name in [*self.usual, *others]:
            if name in self.taken | heads or name in OF_ALL:
                continue
            if read is None or name.startswith("_"):  # reads of such names aren't recorded
                fixed += self._unknown(name)
            elif name in read:
                fixed += self._fixed(name, default_of.get(name, self.usual.get(name)))
            elif self.evidence is not None and name in self.evidence.shaping:
                fixed += self._shaping(name)
            elif name not in SHARED and not self._is_off(name):
                unread.append(name)
        return [*lines, *fixed, *self._unread([*unread, *self._left_over(read or set())])]

    def _switched(self) -> list[str]:
        """Return the fields of all encoders that the reference reads and that the file changes."""
        read, _ = self._read_fields()
        given, usual = self.draft.given, self.usual
        names = sorted(OF_ENCODERS & {*(read or ())} & given.keys() & usual.keys())
        return [name for name in names if given[name] != usual[name]]

    def _is_off(self, name: str) -> bool:
        """Return whether a field is another architecture's switch, which is off here."""
        return foreign_fields().has(name) and not self.usual[name]

    def _left_over(self, read: set[str]) -> list[str]:
        """Return the fields that only the file has and that the reference never reads."""
        if self.evidence is None:
            return []
        extra = [n for n in self.draft.given if n not in self.usual and n not in SHARED]
        extra = [n for n in extra if n not in self.taken | read and n not in self._aliased()]
        shaping = self.evidence.shaping
        odd = [name for name in extra if foreign_fields().has(name) or name in shaping]
        words = {True: "its class makes other fields of it", False: "other architectures read it"}
        self.decisions += [
            decide(name, f"in the file alone, and {words[name in shaping]}") for name in odd
        ]
        return [name for name in extra if name not in odd]

    def _aliased(self) -> set[str]:
        return {*self.evidence.aliases} if self.evidence else set()

    def _read_fields(self) -> tuple[set[str] | None, dict[str, Any]]:
        """Return the fields that the reference reads, with the defaults of those that it lacks."""
        if self.evidence is None or self.evidence.reads is None:
            return None, {}
        reads = self.evidence.reads
        modeling = {name for names in reads.modeling.values() for name in names}
        elsewhere = {n for n in reads.elsewhere if n not in SHARED and not foreign_fields().has(n)}
        absent = {
            name: reads.absent.get(name, self.evidence.properties.get(name))
            for name in modeling
            if name not in self.usual and name not in OF_ALL
        }  # fmt: skip
        return modeling | elsewhere, absent

    def _fixed(self, name: str, value: Any) -> list[str]:
        """Return the line of a field that is read and whose other values aren't computed."""
        if name in REASONS:
            return [f'ignored("{name}", reason="{REASONS[name]}"),']
        if repeated := self._per_layer(name, value):
            return [repeated]
        if not is_literal(value) or not is_literal(self.draft.given.get(name, value)):
            self.decisions.append(decide(name, f"{shown(value)}: the reference reads it"))
            return []
        values = [value]
        given = self.draft.given.get(name, value)
        if given != value and name not in SHARED:
            self.decisions.append(
                decide(name, f"{given!r} in the file, {value!r} by default, and no argument has it")
            )
            values = [given]
        elif name in self.usual:
            self.decisions.append(
                decide(name, f"the reference reads it, and only {value!r} is drafted")
            )
        text = ", ".join(map(code, values))
        lines = call("must_be(", f'"{name}"', text)
        lines[-1] += "  # DECIDE" if name in self.usual else ""
        return lines

    def _shaping(self, name: str) -> list[str]:
        """Return the line of a field that only the config's class reads."""
        value = self.usual[name]
        self.decisions.append(
            decide(name, f"the config's class makes other fields of it; only {value!r} is drafted")
        )
        return [f'must_be("{name}", {code(value)}, reason="the config\'s class reads it"),']

    def _per_layer(self, name: str, value: Any) -> str | None:
        """Return the line of a list with the same value for every layer; None of another."""
        layers = self.usual.get(find_field("num_layers", self.usual) or "")
        if not isinstance(value, list) or len(value) != layers or len({*map(str, value)}) != 1:
            return None
        return f'must_match("{name}", lambda config: [{code(value[0])}] * LAYERS.read(config)),'

    def _unknown(self, name: str) -> list[str]:
        """Return the line of a field of which only the file's value is known."""
        if name in SHARED:
            return []
        value = self.usual[name]
        if repeated := self._per_layer(name, value):
            return [repeated]
        if not is_literal(value):
            self.decisions.append(decide(name, "whether it is read isn't known"))
            return []
        self.decisions.append(
            decide(name, f"whether it is read isn't known; only {value!r} is accepted")
        )
        return [f'must_be("{name}", {code(value)}),  # DECIDE']

    def _unread(self, names: Sequence[str]) -> list[str]:
        if not names:
            return []
        reason = 'reason="the reference never reads it"'
        return call("ignored(", *(f'"{name}"' for name in names), reason)
