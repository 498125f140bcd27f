"""The graph that a draft has: which bricks, in which order, and which tensor is which variable."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inarch.port.decisions import Decision
from inarch.port.experts import NUMBER, Mixture
from inarch.port.modules import TheirModule
from inarch.port.patterns import INDICES

# Names of our variables' layers, by what they are.
TOKENS, POSITIONS, SEGMENTS = "token_embedding", "position_embedding", "segment_embedding"
# Projections of global tokens.
GLOBAL_PARTS = tuple(f"attention/global_{name}" for name in ("query", "key", "value"))
# Stacks of an encoder-decoder, by the names that their tensors begin with.
SIDES = ENCODER, DECODER = "encoder", "decoder"
# Parts of a graph in whose place a layer may be missing: what makes the input of the first layer,
# the layers, the sublayers of each, what follows these, and what is around the layers.
EMBEDDINGS, LAYERS, LAYER_END, AROUND = "embeddings", "layers", "layer_end", "around_layers"
ATTENTION, CROSS_ATTENTION, FEED_FORWARD = "attention", "cross_attention", "feed_forward"
# Kinds of slots that are of one tensor, and not of a module.
BY_THEMSELVES = ("bias", "parameter")
# Ways of a fused tensor to hold queries, keys and values.
BY_PROJECTION, BY_HEAD = "one after the other", "head by head"

# Positions that are a linear bias by distance on the scores of attention.
ALIBI = "ALiBi"

# Whether the sublayers of a block read the same input, and by which norms.
SEQUENTIAL, TWO_NORMS, ONE_NORM = "no", "two norms", "one norm"


@dataclass(frozen=True)
class Slot:
    """A layer of theirs that is one of ours, or several.

    Attributes:
        module: theirs.
        ours: names of ours, within a block where the module is in a stack.
        kind: `"dense"`, `"norm"`, `"embedding"`, `"stem"`, or of a tensor by itself `"bias"`,
            `"parameter"`.
        side: the stack of an encoder-decoder that it is in; `""` outside of both and elsewhere.
        when: arguments that must be true for it to be there, or false where `not ` precedes.
        idle: arguments with which the tensors are there and nothing reads them, likewise.
        rule: of a tensor by itself: our variable in the layer, and the pattern of their axes.
    """

    module: TheirModule
    ours: tuple[str, ...]
    kind: str
    side: str = ""
    when: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    rule: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Missing:
    """Place of a layer that no brick here computes.

    Attributes:
        part: of the graph, such as `"attention"`.
        text: why, and what tensors the layer has that must be written.
        side: the stack of an encoder-decoder that it is in.
        is_bare: whether it is attention without a tensor, which a layer without weights may be.
    """

    part: str
    text: str
    side: str = ""
    is_bare: bool = False

    @property
    def subject(self) -> str:
        """Return the name of the place for readers."""
        return f"{self.side} {self.part}".strip()


@dataclass(frozen=True)
class Graph:
    """An encoder or a decoder of like blocks, or both.

    What a run of the reference may change is in plain fields, so that a trial is a `replace`.

    Attributes:
        causal: whether tokens attend to those before them alone.
        slots: their layers and ours.
        order: of a block: `"post"`, `"pre"`, `"sandwich"` or `"output"`.
        norm: `"layer"` or `"rms"`.
        positions: `"learned"`, `"sinusoidal"`, `"rotary"`, `"relative"`, `"disentangled"`,
            `"relative, with segments"`, `"convolution"`, `"ALiBi"` or `"none"`.
        sines: arguments of `SinePositions` as code, where positions are sinusoids.
        offset: rows of the table of positions before the first that is used.
        padded: whether positions count the tokens that aren't padding, as fairseq does.
        gated: whether the feed-forward network has a gate.
        transposed: whether dense kernels lie as ours do, as GPT-2's.
        parallel: `"no"`, `"two norms"` or `"one norm"`: sublayers of a block read the same input.
        interleaved: whether rotary positions rotate neighboring features together.
        offset_norms: whether 1 is added to the weights of norms.
        joint_norms: whether queries and keys are normalized over all heads together.
        scaled_tokens: whether token vectors are multiplied with the root of their width.
        scaled: whether rotary positions have the published scalings.
        fused: how a fused tensor holds queries, keys and values.
        gate_first: whether the gate comes first in a tensor that holds both.
        biases: of the dense layers of a block: by ours, whether they have one, or the argument
            that decides.
        epsilon: of norms, where no field has it.
        fixed_epsilon: whether the reference reads no field of it.
        activation: of the feed-forward network, where no field has it.
        scaled_scores: whether scores are divided by the root of a head's width.
        capped_scores: whether scores have a soft cap.
        score_field: field that scores are scaled by; `""` without one.
        score_scale: that scale as code.
        copies: of an encoder-decoder: tensors that are the table of tokens again, with its name.
        scaling: whether the argument `scale_embedding` decides about scaled tokens.
        scales_input: whether that scales what is looked up, and not what the table gives.
        gating: whether the argument `activation` decides whether the network has a gate.
        switched: slots of a network that has a gate where `slots` has none, or the other way.
        switches: for each argument whose field a trial has shown, that field.
        shared: the stored layer of layer `i`, as code; `""` where each layer has its own weights.
        projects: whether embeddings as wide as the model are projected too.
        ordering: whether the argument `normalize_first` decides about the order of norms.
        layer_types: words of a config for the kinds of layers, with ours: `"global"`, `"local"`.
        window: how many tokens on either side a local layer sees, as code.
        two_way_window: the same where the argument `bidirectional` is true; `""` for no other.
        stored: tensor of the frequencies of rotary positions; `""` where they are computed.
        rotary_layers: values of a field for each layer, with whether its positions are rotary.
        local_positions: whether local layers alone have positions.
        parts: for each argument that decides about layers, the field that is it.
        stacks: names of the stacks whose layers are drafted, up to their numbers.
        mixture: experts in the place of feed-forward networks; None without any.
        missing: places of layers that must be written.
        unplaced: names of the modules and tensors that those have.
        mixer: layer that mixes tokens without weights, as code.
        reads: the input, where it isn't tokens.
        stem: name of the stack of convolutions that make features of samples; `""` without one.
        sizes: values of arguments by the tensors, for those that no field has.
        decisions: what couldn't be decided.
    """

    causal: bool
    slots: tuple[Slot, ...]
    order: str = "post"
    norm: str = "layer"
    positions: str = "learned"
    sines: str = ""
    offset: int = 0
    padded: bool = False
    gated: bool = False
    transposed: bool = False
    parallel: str = SEQUENTIAL
    interleaved: bool = False
    offset_norms: bool = False
    joint_norms: bool = False
    scaled_tokens: bool = False
    scaled: bool = False
    fused: str = BY_PROJECTION
    gate_first: bool = True
    biases: Mapping[str, bool | str] = field(default_factory=dict)
    epsilon: float = 1e-12
    fixed_epsilon: bool = False
    activation: str = "gelu"
    scaled_scores: bool = True
    capped_scores: bool = False
    score_field: str = ""
    score_scale: str = ""
    copies: tuple[tuple[str, str], ...] = ()
    scaling: bool = False
    scales_input: bool = False
    gating: bool = False
    switched: tuple[Slot, ...] = ()
    switches: Mapping[str, str] = field(default_factory=dict)
    shared: str = ""
    projects: bool = False
    ordering: bool = False
    layer_types: Mapping[str, str] = field(default_factory=dict)
    window: str = ""
    two_way_window: str = ""
    stored: str = ""
    rotary_layers: Mapping[Any, bool] = field(default_factory=dict)
    local_positions: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)
    stacks: tuple[str, ...] = ()
    mixture: Mixture | None = None
    missing: tuple[Missing, ...] = ()
    unplaced: frozenset[str] = frozenset()
    mixer: str = ""
    reads: str = ""
    stem: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()

    @property
    def has_input_layer(self) -> bool:
        """Return whether one layer makes the input of a stack, of tokens and positions."""
        has_table = self.positions in ("learned", "sinusoidal")
        return has_table or "zero_mask_tokens" in self.switches

    @property
    def varies(self) -> bool:
        """Return whether attention isn't the same in all layers."""
        return bool(self.layer_types or self.rotary_layers) or self.has_global_tokens

    @property
    def has_global_tokens(self) -> bool:
        """Return whether some tokens attend to all by projections of their own."""
        return self.has(GLOBAL_PARTS[0])

    @property
    def is_late(self) -> bool:
        """Return whether the first layer has no norm before attention."""
        return any(slot.module.is_late and slot.kind == "norm" for slot in self.slots)

    @property
    def is_pair(self) -> bool:
        """Return whether it is an encoder with a decoder."""
        return len(self.stacks) > 1 or any(slot.side for slot in self.slots)

    @property
    def padded_table(self) -> bool:
        """Return whether the table of positions has rows up to the padding id."""
        return self.padded and (self.positions == "learned" or "positions" in self.switches)

    @property
    def expert_tensors(self) -> frozenset[str]:
        """Return the tensors of experts and of their router, with an index for each number."""
        if self.mixture is None:
            return frozenset()
        index = f"{{{INDICES[1]}}}"
        names = [self.mixture.router, *(one.theirs for one in self.mixture.projections)]
        return frozenset(f"{self.stacks[0]}.{n.replace(NUMBER, index)}" for n in names)

    def has(self, ours: str) -> bool:
        """Return whether a layer of ours is among the slots."""
        return any(ours in slot.ours for slot in self.slots)

    def decisions_without(self, *subjects: str) -> tuple[Decision, ...]:
        """Return what couldn't be decided, but for some subjects."""
        return tuple(one for one in self.decisions if one.subject not in subjects)

    def missing_text(self, part: str, side: str = "") -> str:
        """Return what is lacking in the place of a part; `""` where a brick is."""
        found = (one.text for one in self.missing if (one.part, one.side) == (part, side))
        return next(found, "")

    def slot(self, ours: str, side: str = "") -> Slot | None:
        """Return the slot of a layer of ours, of any side or of one; None without it."""
        found = (slot for slot in self.slots if ours in slot.ours and side in (slot.side, ""))
        return next(found, None)

    def without(self, argument: str, is_on: bool) -> Graph:
        """Return the graph that it is with an argument true, or false, alone."""
        against = f"not {argument}" if is_on else argument
        slots = tuple(
            dataclasses.replace(
                s, when=tuple(n for n in s.when if n.split()[-1] != argument), idle=()
            )
            for s in self.slots
            if against not in s.when
        )
        parts = {name: field for name, field in self.parts.items() if name != argument}
        biases = {name: is_on if bias == argument else bias for name, bias in self.biases.items()}
        return self.replace(slots=slots, parts=parts, biases=biases)

    def size(self, ours: str, axis: int) -> int:
        """Return a size of the weight of a layer."""
        slot = self.slot(ours)
        return 0 if slot is None else slot.module.shape[axis]

    def replace(self, **changes: Any) -> Graph:
        """Return the graph with other attributes."""
        return dataclasses.replace(self, **changes)

    def swapped(self, one: str, other: str) -> Graph:
        """Return the graph with two layers of ours in each other's place."""
        names = {one: other, other: one}
        slots = tuple(
            dataclasses.replace(slot, ours=tuple(names.get(name, name) for name in slot.ours))
            for slot in self.slots
        )
        return self.replace(slots=slots)
