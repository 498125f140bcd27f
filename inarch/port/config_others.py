"""Write the entries of a drafted config map for fields that are no arguments."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from inarch.checkpoints.maps.common_fields import ANYWHERE, TOKENS
from inarch.checkpoints.maps.config import ENCODER_DECODER, TEXT_ENCODER
from inarch.checkpoints.maps.foreign_fields import foreign_fields
from inarch.port.arguments import find_field
from inarch.port.code import call, code, is_literal
from inarch.port.config_followed import followed_line
from inarch.port.decisions import Decision, decide
from inarch.port.draft import Draft
from inarch.port.find_relative import RELATIVE_SEGMENTS
from inarch.port.heads import OF_NO_TASK
from inarch.port.known_arguments import SHARED
from inarch.port.patterns import WIDTHS
from inarch.validation import shown

OF_ALL = frozenset(name for entry in ANYWHERE for name in entry.theirs)
OF_ENCODERS = frozenset(name for entry in TEXT_ENCODER for name in entry.known_names)
REASONS = {
    **dict.fromkeys(("layerdrop", "encoder_layerdrop", "decoder_layerdrop"),
        "layers that training leaves out"),
    "init_std": "initial weights", "initializer_factor": "initial weights",
    "embed_init_std": "initial weights", "initializer_cutoff_factor": "initial weights",
    "pretraining_tp": "another order of the same sums",
    **dict.fromkeys(("dense_seq_output", "fused_bias_fc", "fused_dropout_add_ln", "use_flash_attn",
        "use_xentropy"), "other ways of flash-attn's models to the same numbers"),
    "reorder_and_upcast_attn": "the precision of 16-bit training",
    "pad_vocab_size_multiple": "how vocab_size came about, which has it",
    **dict.fromkeys(("summary_activation", "summary_first_dropout", "summary_last_dropout",
        "summary_proj_to_labels", "summary_type", "summary_use_proj"),
        "of multiple choice heads, for which there is no task"),
    **dict.fromkeys(("apply_spec_augment", "mask_time_prob", "mask_time_length",
        "mask_time_min_masks", "mask_feature_prob", "mask_feature_length",
        "mask_feature_min_masks"), "what training masks of its inputs"),
    **dict.fromkeys(("ctc_loss_reduction", "ctc_zero_infinity"), "the reference's loss"),
    **dict.fromkeys(("mem_len", "reuse_len", "use_mems_eval", "use_mems_train"),
        "memories of earlier segments, which no call here has"),
    "router_aux_loss_coef": "has a part with output_router_logits alone",
    "rope_scaling": "the older name of what is next to a rope_type",
}  # fmt: skip
# Of a field of a file that names code of its repository.
OF_REPOSITORY = "in the file alone, which names code of its own that isn't run"


class OtherFields:
    """Lines of the fields that are no arguments, and what they leave to be decided.

    Args:
        taken: fields that have entries.
    """

    def __init__(self, draft: Draft, taken: Collection[str]):
        self.draft = draft
        self.usual = draft.usual
        self.evidence = draft.evidence
        self.taken = {*taken}
        self.decisions: list[Decision] = []

    def lines(self) -> list[str]:
        """Return a line for each field that isn't an argument."""
        lines = []
        if self.draft.graph.is_pair:
            lines += ["ENCODER_DECODER,", *([] if self.draft.graph.padded else ["PADDING_ROW,"])]
            self.taken |= {name for entry in ENCODER_DECODER for name in entry.known_names}
            self.taken |= {*TOKENS.theirs}
            lines += self._of_pairs()
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
            reason = 'reason="versions of transformers before 5 read it"'
            lines += ['must_be("is_causal", True),', f'must_be("pruned_heads", {{}}, {reason}),']
            self.taken |= {"is_causal", "pruned_heads"}
        read, default_of = self._read_fields()
        heads = {name for head in self.draft.heads for name in head.config_fields}
        idle = self._of_no_task() - heads - self.taken
        heads |= idle
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
            elif self.evidence is not None and name in self.evidence.idle and name not in SHARED:
                fixed += call("ignored(", f'"{name}"', 'reason="no output depends on it"')
        if names := [name for name in self.usual if name in idle]:
            reason = 'reason="only heads read it for which there is no task"'
            fixed += call("ignored(", *(f'"{name}"' for name in names), reason)
        fixed += self._of_other_code(read or set())
        return [*lines, *fixed, *self._unread([*unread, *self._left_over(read or set())])]

    def _of_pairs(self) -> list[str]:
        """Return the lines of fields that encoder-decoders alone have."""
        lines = []
        if self.draft.is_always_tied:
            lines.append('must_be("tie_word_embeddings", True),')
        if "encoder_ffn_dim" in self.usual:  # BART's relatives
            is_first = self.draft.graph.order == "pre"
            reason = 'reason="versions of transformers before 4 read it"'
            lines += call("must_be(", '"normalize_before"', code(is_first), reason)
        return lines

    def _of_no_task(self) -> set[str]:
        """Return the fields that the reference reads in heads alone that no task computes."""
        reads = self.evidence.reads if self.evidence else None
        if reads is None:
            return set()
        others = {n for head, names in reads.modeling.items() if head not in OF_NO_TASK
                  for n in names}  # fmt: skip
        idle = {n for head in OF_NO_TASK for n in reads.modeling.get(head, ())}
        return idle - others - {*reads.elsewhere}

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
        known = self.taken | read | {*REASONS}
        extra = [n for n in extra if n not in known and n not in self._aliased()]
        if self.draft.given.get("auto_map"):
            return []  # of code that isn't run: `_of_other_code`
        shaping = self.evidence.shaping
        odd = [name for name in extra if foreign_fields().has(name) or name in shaping]
        words = {True: "its class makes other fields of it", False: "other architectures read it"}
        self.decisions += [
            decide(name, f"in the file alone, and {words[name in shaping]}") for name in odd
        ]
        return [name for name in extra if name not in odd]

    def _of_other_code(self, read: set[str]) -> list[str]:
        """Return the lines of fields that only the file has, where it names code of its own.

        That code isn't run, so that a field that transformers never reads may change its numbers.
        """
        lines, given = [], self.draft.given
        extra = [n for n in given if n not in self.usual and n not in self.taken | read]
        extra = [n for n in extra if n not in SHARED and n not in self._aliased()]
        for name in extra if self.evidence is not None else ():
            if name in REASONS:
                lines.append(f'ignored("{name}", reason="{REASONS[name]}"),')
            elif given.get("auto_map"):
                self.decisions.append(decide(name, OF_REPOSITORY))
                if is_literal(given[name]):
                    reason = 'reason="the repository\'s own code may read it"'
                    lines += call("must_be(", f'"{name}"', code(given[name]), reason)
        return lines

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
        if name == "pad_token_id" and not (self.evidence and self.evidence.padding):
            return ["PADDING_ROW,"]
        if name in REASONS:
            return [f'ignored("{name}", reason="{REASONS[name]}"),']
        if self._counts_convolutions(name, value):
            return [f'must_match("{name}", lambda config: len(CONVOLUTIONS.read(config))),']
        if followed := followed_line(self.draft, name):
            return followed
        if repeated := self._per_layer(name, value):
            return [repeated]
        follows = name not in self.usual or self.draft.graph.positions == RELATIVE_SEGMENTS
        if name in WIDTHS and follows and self._has_widths():
            width = "WIDTH.read(config) // HEADS.read(config)"
            return [f'must_match("{name}", lambda config: {width}),']
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

    def _counts_convolutions(self, name: str, value: Any) -> bool:
        """Return whether a field is the number of convolutions, in the tiny model too."""
        if not self.draft.graph.stem or self.evidence is None or type(value) is not int:
            return False
        field, tiny = find_field("conv_dims", self.usual) or "", self.evidence.config
        return (value, tiny.get(name)) == (len(self.usual[field]), len(tiny[field]))

    def _has_widths(self) -> bool:
        """Return whether the width of a head follows from two fields."""
        return all(find_field(name, self.usual) for name in ("hidden_dim", "num_heads"))

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
