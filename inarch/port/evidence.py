"""Evidence that a reference gives of an architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.port.config_parts import Parts
from inarch.port.experts import HeldExpert
from inarch.port.heads import DECODERS, ENCODERS, PAIRS, HeadClass
from inarch.port.layer_fields import LayerField
from inarch.port.sharing import Sharing
from inarch.port.sparse_layers import SparseLayers
from inarch.verify.config_reads import ConfigReads


@dataclass(frozen=True)
class Evidence:
    """Evidence from the reference.

    Attributes:
        model_type: of its config.
        file: of its code, below transformers.
        base: name of the class without a head.
        prefix: what precedes its tensors in files with a head.
        defaults: of its config.
        aliases: other names of fields.
        config: of the tiny model.
        tensors: of the tiny model without a head.
        calls: names of its modules in the order of their first calls, with an index for a number.
        epsilons: of its norms, by module.
        padding: whether the table of positions has a row of padding.
        heads: classes with a head.
        inputs: arguments of its `forward`.
        switches: for each field that is true or false, what it adds and takes away.
        legacy: for fields of `rope_parameters`, older names that its config takes them under.
        saved: tensors of the model that each tensor of its file holds, where the names differ.
        unused: tensors on which no output depends.
        shaping: fields of which the config's class makes others.
        derived: fields of sizes whose defaults follow from other fields.
        properties: values of what is read of the config and isn't among its fields.
        embedding_dropout: fields of rates of dropout that act before the first layer.
        rms: whether norms without an offset don't subtract the mean; None without any.
        feed_forwards: for values of one field, the activation and whether there is a gate.
        gated: tensors of a model that has a gate where this one has none, or the other way.
        reads: the fields that its code reads; None where they couldn't be recorded.
        parts: tensors that depend on fields.
        follows: fields that are the width of the model unless they are given.
        ties: tensors of the model without a head that are others, with those.
        tie: whether output and input embeddings are one by default.
        sines: tensors that its code computes and never trains, with arguments of `SinePositions`.
        widths: fields of a head's width that its config lacks and its code reads.
        ties_tables: whether its tables of tokens are one only where the output embeddings are too.
        sharing: how the layers of its stack share weights; None where each has its own.
        layers: fields with one of two values for each layer.
        scaled_kind: the kind of layers whose rotary positions an older field scales; `""` of none.
        idle: fields without a value on which no output depends where they have one.
        window: the switch of a window that is in no layer where it is off, and the field of the
            window with its value where it is on; None of no such switch.
        sparse: fields that say which layers have experts; None of a model without experts.
        experts: tensors of an expert in its files, by what holds them in the model.
        attends_ahead: whether tokens attend to those after them; None where no run shows it.
        projects: whether embeddings are projected where they are as wide as the model too.
    """

    model_type: str
    file: str
    base: str
    prefix: str
    defaults: Mapping[str, Any]
    aliases: Mapping[str, str]
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    calls: tuple[str, ...]
    epsilons: Mapping[str, float]
    padding: bool
    heads: tuple[HeadClass, ...]
    inputs: tuple[str, ...]
    switches: Mapping[str, frozenset[str]] = field(default_factory=dict)
    legacy: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    saved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    embedding_dropout: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    derived: tuple[str, ...] = ()
    shaping: tuple[str, ...] = ()
    rms: bool | None = None
    feed_forwards: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    gated: Mapping[str, TensorInfo] = field(default_factory=dict)
    reads: ConfigReads | None = None
    parts: Parts = field(default_factory=Parts)
    follows: tuple[str, ...] = ()
    ties: Mapping[str, str] = field(default_factory=dict)
    tie: bool = True
    sines: Mapping[str, str] = field(default_factory=dict)
    widths: tuple[str, ...] = ()
    ties_tables: bool = False
    sharing: Sharing | None = None
    layers: Mapping[str, LayerField] = field(default_factory=dict)
    scaled_kind: str = ""
    idle: tuple[str, ...] = ()
    projects: bool = False
    window: tuple[str, Mapping[str, Any]] | None = None
    sparse: SparseLayers | None = None
    experts: Mapping[str, HeldExpert] = field(default_factory=dict)
    attends_ahead: bool | None = None
    version: str = ""

    @property
    def is_pair(self) -> bool:
        """Return whether it is an encoder with a decoder."""
        return "decoder_input_ids" in self.inputs

    @property
    def usual(self) -> dict[str, Any]:
        """Return the defaults, and None for fields that its config lacks and its code reads.

        Fields that its config's class leaves without a value have the one that a switch brings.
        """
        blank = {name: value for one in self.layers.values() for name, value in one.blank.items()}
        blank |= self.window[1] if self.window else {}
        return {**self.defaults, **blank, **dict.fromkeys(self.widths)}

    @property
    def model_reads(self) -> Sequence[str]:
        """Return the fields that its model without a head reads."""
        return self.reads.modeling.get("", ()) if self.reads else ()

    @property
    def kind(self) -> str:
        """Return whether it is an encoder, a decoder or both."""
        return PAIRS if self.is_pair else DECODERS if self.causal else ENCODERS

    @property
    def causal(self) -> bool:
        """Return whether it is a decoder, by a run, or else by its classes."""
        if self.attends_ahead is not None:
            return not self.is_pair and not self.attends_ahead
        names = [head.name for head in self.heads]
        return not self.is_pair and not any(
            name.endswith(("ForMaskedLM", "WithLMHeadModel")) for name in names
        )
