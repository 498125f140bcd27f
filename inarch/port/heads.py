"""Heads of a drafted architecture: classes of theirs, and the layers of those that are drafted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo

# Kinds of models, and the head that each alone has.
KINDS = ENCODERS, DECODERS, PAIRS = "encoder", "decoder", "encoder-decoder"
OWN = {ENCODERS: "masked_lm", DECODERS: "causal_lm", PAIRS: "seq2seq_lm"}
# Heads of models of sound.
CTC, AUDIO_CLASSIFIER = "ctc", "audio_classifier"
# A head that predicts tokens in any order, and the argument of `forward` that has the order.
PERMUTED, ORDER_OF_TOKENS = "permuted_lm", "perm_mask"
# Ends of the names of classes, and the head of each.
PURPOSES = (
    ("ForMaskedLM", "masked_lm"), ("WithLMHeadModel", "masked_lm"), ("LMHeadModel", "causal_lm"),
    ("ForCausalLM", "causal_lm"), ("ForSequenceClassification", "text_classifier"),
    ("ForTokenClassification", "token_classifier"), ("ForMultipleChoice", "multiple_choice"),
    ("ForQuestionAnsweringSimple", "question_answering"),
    ("ForQuestionAnswering", "question_answering"), ("ForNextSentencePrediction", "next_sentence"),
    ("ForConditionalGeneration", "seq2seq_lm"), ("MTModel", "seq2seq_lm"),
    ("DoubleHeadsModel", "multiple_choice"), ("ForCTC", CTC),
)  # fmt: skip
# Heads that are drafted of an encoder-decoder; but for the first they read one text as both.
PAIR_HEADS = (OWN[PAIRS], "text_classifier", "question_answering")
# Of a class with several heads.
JOINT = "ForPreTraining"
# Heads that no task computes; checkpoints keep their weights.
OF_NO_TASK = ("multiple_choice", "next_sentence", "sentence_order", "replaced_tokens", PERMUTED)
# Further heads of such classes, by the argument that takes their labels.
OF_LABELS = {"next_sentence_label": "next_sentence", "sentence_order_label": "sentence_order"}
# A head that gives one number for each token.
REPLACED = "replaced_tokens"
LABELS = 5


@dataclass(frozen=True)
class HeadClass:
    """A class of theirs with a head.

    Attributes:
        name: of the class.
        tensors: all of its tensors, or those of the file that it wrote.
        ties: names of tensors that are others', with those.
        fields: of the config that only this head reads.
        switched: for fields of true and false, the class where one has its other value.
        inputs: arguments of its `forward`.
        is_per_token: whether it gives one number for each token.
    """

    name: str
    tensors: Mapping[str, TensorInfo]
    ties: Mapping[str, str] = field(default_factory=dict)
    fields: Sequence[str] = ()
    switched: Mapping[str, HeadClass] = field(default_factory=dict)
    inputs: Sequence[str] = ()
    is_per_token: bool = False


@dataclass(frozen=True)
class HeadDraft:
    """A head.

    Attributes:
        name: ours.
        classes: theirs.
        dense: names of their dense layers, and ours, with whether they have a bias, or the field
            that decides.
        norms: of their norms, and ours, with the same.
        bias: names of a bias for each token, the one that stands by itself first.
        table: name of the output embeddings' tensor, if it may be tied.
        module_table: the name that the reference's module has, if another; `""` for none.
        ties: whether that is the table of the inputs by default.
        dropout: the field of its rate, with its default and an older name.
        rows: whether the bias has an axis of one row before that of tokens.
        scaled: whether tied logits are of vectors divided by the root of their width.
        pooled: whether it reads the pooled output.
        activation: of its first dense layer, as code.
        activation_field: the field that has it; `""` where none does.
        inner_dropout: the field of the rate before the first of two dense layers, if any.
        pooling: the field that has which vector a text is classified by; `""` for the first.
        bias_switch: the field that decides whether there is a bias for each token; `""` for none.
        switch: the field that decides between this head and `other`, where it is off.
        other: of other layers.
        sizes: fields of its sizes, each with the argument of its method.
        layer_sum: the field that decides whether what all layers give is summed up, and the tensor
            of their shares; none without one.
    """

    name: str
    classes: tuple[str, ...]
    dense: tuple[tuple[str, str, bool | str], ...] = ()
    norms: tuple[tuple[str, str, bool | str], ...] = ()
    bias: tuple[str, ...] = ()
    table: str = ""
    module_table: str = ""
    ties: bool = True
    dropout: tuple[str, Any, str] | None = None
    rows: bool = False
    scaled: bool = False
    pooled: bool = False
    activation: str = ""
    activation_field: str = ""
    inner_dropout: str = ""
    pooling: str = ""
    bias_switch: str = ""
    switch: str = ""
    other: HeadDraft | None = None
    sizes: tuple[tuple[str, str], ...] = ()
    layer_sum: tuple[str, ...] = ()

    @property
    def modules(self) -> set[str]:
        """Names of its modules and of the tensors that are in none."""
        layers = {dense[0] for dense in self.dense} | {norm[0] for norm in self.norms}
        return layers | {*self.bias, self.table.rpartition(".")[0]} - {""}

    @property
    def config_fields(self) -> tuple[str, ...]:
        """Fields of the config that are the head's."""
        rates = () if self.dropout is None else (self.dropout[0], self.dropout[2])
        return (*rates, *(field for field, _ in self.sizes))

    @property
    def switches(self) -> tuple[str, ...]:
        """Fields of true and false that decide about its layers."""
        layers = (*self.dense, *self.norms)
        found = [self.switch, self.bias_switch, *(b for *_, b in layers if isinstance(b, str))]
        inner = self.other.switches if self.other is not None else ()
        return tuple(dict.fromkeys(name for name in (*found, *inner) if name))

    def switched(self, switch: str, other: HeadDraft, is_on: bool) -> HeadDraft:
        """Return the head with a field that decides between it and another of the same class.

        Args:
            is_on: whether this is the head where the field is true.
        """
        on, off = (self, other) if is_on else (other, self)
        if [n[:2] for n in (*on.dense, *on.norms)] != [n[:2] for n in (*off.dense, *off.norms)]:
            return replace(on, switch=switch, other=off)
        found: dict[str, Any] = {}
        for part in ("dense", "norms"):
            sides = zip(*(getattr(head, part) for head in (self, on, off)), strict=True)
            found[part] = tuple(
                (*names, switch if on_has is True and off_has is False else has)
                for (*names, has), (*_, on_has), (*_, off_has) in sides
            )
        if on.bias and not off.bias:
            found |= {"bias": on.bias, "bias_switch": switch}
        return replace(self, **found)

    def without(self, switch: str, is_on: bool) -> HeadDraft:
        """Return the head that it is with one value of a field alone."""
        if switch == self.switch:
            found = self if is_on or self.other is None else self.other
            return replace(found, switch="", other=None)
        layers: dict[str, Any] = {
            part: tuple(
                (theirs, ours, is_on if has == switch else has)
                for theirs, ours, has in getattr(self, part)
            )
            for part in ("dense", "norms")
        }
        if switch in self.layer_sum:
            return replace(self, layer_sum=())
        if switch == self.bias_switch:
            layers |= {"bias_switch": "", "bias": self.bias if is_on else ()}
        return replace(self, **layers)


def class_names(config: Mapping[str, Any]) -> list[str]:
    """Return the names of classes in a config's `architectures` that can stand in code."""
    names = config.get("architectures")
    return [name for name in names if _is_class(name)] if isinstance(names, list) else []


def named_heads(config: Mapping[str, Any]) -> set[str]:
    """Return the heads of one kind of model alone that a config's classes are named for."""
    found = {purpose_of(name, kind) for name in class_names(config) for kind in KINDS}
    return {head for head in OWN.values() if head in found}


def _is_class(name: Any) -> bool:
    return isinstance(name, str) and name.isascii() and name.isidentifier()


def purpose_of(name: str, kind: str) -> str | None:
    """Return the head of a class by its name; None where a model of a kind has none such."""
    found = next((head for end, head in PURPOSES if name.endswith(end)), None)
    is_other = found in OWN.values() and found != OWN[kind]
    return None if is_other else found
