"""Find which layer of ours each module of an encoder or a decoder is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from inarch.port.attention_bricks import CROSS, GLOBAL
from inarch.port.decisions import Decision, decide, guess
from inarch.port.graph import GLOBAL_PARTS, POSITIONS, SEGMENTS, TOKENS, Slot
from inarch.port.modules import TheirModule
from inarch.port.norms import guess_order, norm_rank, sandwich_rank
from inarch.port.patterns import HIDDEN, first
from inarch.port.roles import BY_SHAPE, OTHER_TABLE, SQUARE

QUERY, KEY, VALUE, OUTPUT = (f"attention/{name}" for name in ("query", "key", "value", "output"))
UP, DOWN, GATE = (f"feed_forward/{name}" for name in ("up", "down", "gate"))
ATTENTION_NORM, FEED_FORWARD_NORM = "attention_norm", "feed_forward_norm"
CROSS_NORM = "cross_attention_norm"
# Of disentangled attention: the table of distances, its norm, and projections of its rows.
RELATIVE, RELATIVE_NORM = "relative_embedding", "relative_norm"
POSITION_PARTS = POSITION_KEY, POSITION_QUERY = "attention/position_key", "attention/position_query"
CONVOLUTION = "convolution", "convolution/norm"
SANDWICH = (
    ATTENTION_NORM, "attention_output_norm", FEED_FORWARD_NORM, "feed_forward_output_norm",
)  # fmt: skip
DENSE = {
    "query": (QUERY,), "key": (KEY,), "value": (VALUE,), "attention output": (OUTPUT,),
    "query, key and value": (QUERY, KEY, VALUE), "up": (UP,), "down": (DOWN,), "gate": (GATE,),
    "gate and up": (GATE, UP),
}  # fmt: skip
CROSS_PARTS = tuple(f"cross_{name}" for name in (QUERY, KEY, VALUE, OUTPUT))
# Slots in the order in which a table has them.
ORDER = (
    f"embeddings/{TOKENS}", TOKENS, f"embeddings/{POSITIONS}", POSITIONS, SEGMENTS,
    "projection_norm", "projection", "embeddings_norm", "embeddings_projection", "relative_bias",
    RELATIVE, RELATIVE_NORM,
    *CONVOLUTION, QUERY, KEY, VALUE, *GLOBAL_PARTS, *POSITION_PARTS,
    "attention/query_norm", "attention/key_norm", OUTPUT, *SANDWICH[:2], *CROSS_PARTS, CROSS_NORM,
    GATE, UP, DOWN,
    *SANDWICH[2:], "final_norm", "pooler",
)  # fmt: skip
OF_TASKS = "no token is global by default: default_inputs has to say which are, head by head"
_AFTER = re.compile(r"final|after|last")
_FINAL = re.compile(r"final|ln_f|after|(?:^|\.)(?:layer_?)?(?:norm|ln)$|last")


class SlotFinder:
    """Finds slots and notes what it couldn't decide.

    Args:
        fields: sizes of the config.
        calls: names of modules in the order in which a reference calls them.
        crosses: whether the layers of the stack attend to another one's too.
    """

    def __init__(self, fields: Mapping[str, int], calls: list[str], crosses: bool = False):
        self.fields = fields
        self.calls = calls
        self.crosses = crosses
        self.is_disentangled = False
        self.has_experts = False  # so that some layers alone may have a network without
        self.decisions: list[Decision] = []
        self.widths: set[int] = set()  # of the tables of tokens
        self.projections: list[TheirModule] = []  # of what isn't tokens, to the model's width
        self.stack = ""

    # --- the block -------------------------------------------------------------------------

    def block(self, inside: Sequence[TheirModule]) -> list[Slot]:
        """Return the slots of the layers of a stack."""
        self.stack = next((module.stack for module in inside), "")
        found: dict[tuple[str, ...], Slot] = {}
        square: list[TheirModule] = []
        norms: list[TheirModule] = []
        for module in inside:
            names = DENSE.get(module.role)
            if names and self._is_cross(module):
                names = tuple(f"cross_{name}" for name in names)
            elif names and GLOBAL.search(module.inner):
                names = tuple(name.replace("/", "/global_") for name in names)
                if names == GLOBAL_PARTS[:1]:
                    self.decisions.append(decide("global_mask", OF_TASKS))
            if "{j}" in module.name:
                self._unplaced(module, "it has two numbers")
            elif module.role == "norm":
                norms.append(module)
            elif module.role == "query and key norm":
                word = module.inner.rpartition(".")[2].lower()
                ours = "attention/query_norm" if word.startswith("q") else "attention/key_norm"
                found[(ours,)] = Slot(module, (ours,), "norm")
            elif module.role == SQUARE:
                square.append(module)
            elif module.role == "position projection" and self.is_disentangled:
                is_query = "_q" in module.inner_words.rpartition(".")[2]
                ours = POSITION_QUERY if is_query else POSITION_KEY
                found[(ours,)] = Slot(module, (ours,), "dense")
            elif names is None:
                self._unplaced(module, "no brick here has it")
            elif names in found:
                self._unplaced(module, f"{found[names].module.name} is {names[0]} already")
            else:
                self._note_shape(module, names)
                found[names] = Slot(module, names, "dense")
        left = [n for n in (QUERY, KEY, VALUE, OUTPUT) if not any(n in names for names in found)]
        for module in square[len(left) :]:
            self._unplaced(module, "one more than attention has")
        for ours, module in zip(left, square, strict=False):
            self._note_shape(module, (ours,))
            found[(ours,)] = Slot(module, (ours,), "dense")
        slots = [s for s in (*found.values(), *self._norms(norms)) if not self._is_odd(s)]
        self._note_layers([slot for slot in slots if not slot.module.is_late], inside)
        return slots

    def _is_odd(self, slot: Slot) -> bool:
        """Return whether the first layer lacks a module other than the norm before attention."""
        may_lack = slot.ours == (ATTENTION_NORM,) or self._is_beside_experts(slot)
        is_odd = slot.module.is_late and not may_lack
        if is_odd:
            self._unplaced(slot.module, "the first layer lacks it")
        return is_odd

    def _is_beside_experts(self, slot: Slot) -> bool:
        """Return whether a slot is of the network of layers that have no experts."""
        return self.has_experts and not {GATE, UP, DOWN}.isdisjoint(slot.ours)

    def _note_layers(self, slots: Sequence[Slot], inside: Sequence[TheirModule]) -> None:
        """Note what some layers of a stack alone have, which the draft has in all."""
        own = (slot.module for slot in slots if not self._is_beside_experts(slot))
        for module in dict.fromkeys(own):
            every = max(other.layers for other in inside if other.stack == module.stack)
            if module.layers < every:
                text = f"in {module.layers} of {every} layers, and the weight map wants it in all"
                self.decisions.append(decide(module.name, text))

    def _is_cross(self, module: TheirModule) -> bool:
        return self.crosses and bool(CROSS.search(module.inner_words))

    def _norms(self, norms: Sequence[TheirModule]) -> list[Slot]:
        """Return the norms of attention, of cross-attention and of the feed-forward network."""
        late = [module for module in norms if module.is_late]
        if len(norms) - len(late) > 1:  # the others are those of the sublayers
            norms = [module for module in norms if not module.is_late]
            for module in late:
                self._unplaced(module, "the first layer lacks it")
        if len(norms) == 1:
            (only,) = norms
            self.decisions.append(guess(only.name, "the norm of both sublayers of a block"))
            return [Slot(only, (ATTENTION_NORM,), "norm")]
        place = self._place if self.calls else self._norm_rank
        ordered = sorted(norms, key=place)
        ours = (ATTENTION_NORM, *([CROSS_NORM] if self.crosses else []), FEED_FORWARD_NORM)
        if len(norms) == len(ours) and not self.calls and len({place(m) for m in norms}) == 1:
            names = " and ".join(m.name for m in norms)
            self.decisions.append(guess(names, "norms of attention and of the network after it"))
        is_sandwich = len(norms) == len(SANDWICH) and bool(self.calls)
        if not self.calls and sorted(map(sandwich_rank, norms)) == [*range(len(SANDWICH))]:
            ordered, is_sandwich = sorted(norms, key=sandwich_rank), True
            names = ", ".join(m.name for m in ordered)
            self.decisions.append(guess(names, "norms before and after each sublayer"))
        if is_sandwich:
            pairs = zip(ordered, SANDWICH, strict=True)
            return [Slot(module, (ours,), "norm") for module, ours in pairs]
        for module in ordered[len(ours) :]:
            self._unplaced(module, f"a block has {len(ours)} norms")
        return [Slot(m, (n,), "norm") for m, n in zip(ordered, ours, strict=False)]

    def _place(self, module: TheirModule) -> int:
        """Return when a reference calls a module."""
        called = module.name in self.calls
        return self.calls.index(module.name) if called else len(self.calls)

    def _is_early(self, module: TheirModule) -> bool:
        """Return whether a reference calls a module right before the layers of the stack."""
        inner = [i for i, name in enumerate(self.calls) if name.startswith(self.stack or "\n")]
        return bool(inner) and self._place(module) < inner[0]

    def _norm_rank(self, module: TheirModule) -> int:
        """Return when a norm is called by its name: of attention, of neither, of what follows."""
        return 1 if self._is_cross(module) else norm_rank(module)

    def order(self, slots: Sequence[Slot]) -> str:
        """Return whether norms come before or after their sublayers, and of what."""
        of = {slot.ours[0]: slot.module for slot in slots}
        norm, query = of.get(ATTENTION_NORM), of.get(QUERY)
        if SANDWICH[1] in of:
            return "sandwich"
        if self.calls and norm and query:
            after = "output" if "final_norm" in of else "post"
            return "pre" if self._place(norm) < self._place(query) else after
        norms = [of[name] for name in (ATTENTION_NORM, FEED_FORWARD_NORM) if name in of]
        order, decision = guess_order(norms, "final_norm" in of)
        self.decisions.append(decision)
        return order

    # --- what is around the blocks ---------------------------------------------------------

    def tables(self, outside: Sequence[TheirModule]) -> list[Slot]:
        """Return the tables."""
        found: list[Slot] = []
        for role, ours in (
            ("token table", TOKENS), ("position table", POSITIONS), ("segment table", SEGMENTS),
            ("relative bias", "relative_bias"), ("relative table", RELATIVE),
        ):  # fmt: skip
            modules = [m for m in outside if m.role == role and len(m.shape) == 2]
            if role == "token table":
                words = self.fields.get("vocab_size", 0)
                modules.sort(key=lambda m: m.shape[0] != words)
            elif role == "position table":  # those of coordinates are narrower
                width = self.fields.get(str(first(self.fields, HIDDEN)))
                modules.sort(key=lambda m: m.shape[-1] != width)
            if modules:
                self._note_shape(modules[0], (ours,))
                found.append(Slot(modules[0], (ours,), "embedding"))
                self.is_disentangled |= ours == RELATIVE
            for module in modules[1:]:
                self._unplaced(module, f"{modules[0].name} is the {role} already")
        return found

    def others(self, outside: Sequence[TheirModule]) -> list[Slot]:
        """Return norms and projections before and after the blocks."""
        found: dict[str, Slot] = {}
        tables = ("token table", "position table", "segment table", "relative bias",
                  "relative table")  # fmt: skip
        self.widths = {m.shape[-1] for m in outside if m.role == tables[0]}
        dense = [m for m in outside if len(m.shape) == 2 and m.role not in (*tables, OTHER_TABLE)]
        self.projections = [m for m in dense if self._is_early(m)] if not self.widths else []
        for module in (m for m in outside if m.role not in tables):
            ours = self._outer_name(module, found)
            if ours is None or ours in found or module.role == OTHER_TABLE:
                self._unplaced(module, "no brick here has it")
                continue
            kind = "norm" if ours.endswith("norm") else "dense"
            found[ours] = Slot(module, (ours,), "convolution" if ours == "convolution" else kind)
        return list(found.values())

    def _outer_name(self, module: TheirModule, found: Mapping[str, Slot]) -> str | None:
        if any(part.isdigit() for part in module.name.split(".")):  # of one layer alone
            return None
        if self.is_disentangled and "conv" in module.words:
            return CONVOLUTION[module.role == "norm"]
        if module.role == "norm" and self.is_disentangled and "embeddings_norm" in found:
            return RELATIVE_NORM
        ahead = self._place(self.projections[0]) - self._place(module) if self.projections else -1
        if ahead == 0 or (ahead > 0 and module.role == "norm"):
            return "projection_norm" if ahead else "projection"
        if module.role == "norm":
            if self.calls:
                is_first = self._is_early(module)
            else:
                is_first = "emb" in module.words and not _AFTER.search(module.words)
                if not is_first and not _FINAL.search(module.words):
                    self.decisions.append(guess(module.name, "the norm after the last layer"))
            return "embeddings_norm" if is_first else "final_norm"
        if "pooler" in module.words:
            return "pooler"
        hidden = first(self.fields, HIDDEN)
        if not hidden or len(module.shape) != 2 or module.shape[0] != self.fields[hidden]:
            return None
        width = module.shape[1]
        is_input = (width != module.shape[0] or self._is_early(module)) and width in self.widths
        return "embeddings_projection" if is_input else None

    def _unplaced(self, module: TheirModule, why: str) -> None:
        shape = ", ".join(map(str, module.shape))
        role = f", {module.role}" if module.role else ""
        self.decisions.append(
            decide(module.name, f"[{shape}]{role}: {why}, and the weight map leaves it out")
        )

    def _note_shape(self, module: TheirModule, names: Sequence[str]) -> None:
        if module.by == BY_SHAPE:
            text = f"taken for {', '.join(names)} by its shape alone"
            self.decisions.append(guess(module.name, text))
