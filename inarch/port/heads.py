"""Heads of a drafted architecture: their tensors, and the graph of those that are recognized."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.port.decisions import Decision, decide
from inarch.port.modules import TheirModule, group_modules
from inarch.port.patterns import TensorPattern, collapse_names
from inarch.port.roles import recognize

# Kinds of models, and the head that each alone has.
KINDS = ENCODERS, DECODERS, PAIRS = "encoder", "decoder", "encoder-decoder"
OWN = {ENCODERS: "masked_lm", DECODERS: "causal_lm", PAIRS: "seq2seq_lm"}
# Ends of the names of classes, and the head of each.
PURPOSES = (
    ("ForMaskedLM", "masked_lm"), ("WithLMHeadModel", "masked_lm"), ("LMHeadModel", "causal_lm"),
    ("ForCausalLM", "causal_lm"), ("ForSequenceClassification", "text_classifier"),
    ("ForTokenClassification", "token_classifier"), ("ForMultipleChoice", "multiple_choice"),
    ("ForQuestionAnsweringSimple", "question_answering"),
    ("ForQuestionAnswering", "question_answering"), ("ForNextSentencePrediction", "next_sentence"),
    ("ForConditionalGeneration", "seq2seq_lm"), ("MTModel", "seq2seq_lm"),
)  # fmt: skip
# Heads that are drafted of an encoder-decoder; but for the first they read one text as both.
PAIR_HEADS = (OWN[PAIRS], "text_classifier", "question_answering")
# Of a class with several heads.
JOINT = "ForPreTraining"
ONE_LAYER = ("token_classifier", "question_answering", "next_sentence")
# Names of our layers by the number of dense layers of a head, and what such a head begins with.
CLASSIFIERS = {1: ("logits",), 2: ("pooled_dense", "logits")}
LABELS = 5


@dataclass(frozen=True)
class HeadClass:
    """A class of theirs with a head.

    Attributes:
        name: of the class.
        tensors: all of its tensors, or those of the file that it wrote.
        ties: names of tensors that are others', with those.
        fields: of the config that only this head reads.
    """

    name: str
    tensors: Mapping[str, TensorInfo]
    ties: Mapping[str, str] = field(default_factory=dict)
    fields: Sequence[str] = ()


@dataclass(frozen=True)
class HeadDraft:
    """A head.

    Attributes:
        name: ours.
        classes: theirs.
        dense: names of their dense layers, and ours, with whether they have a bias.
        norms: of their norms, and ours.
        bias: names of a bias for each token, the one that stands by itself first.
        table: name of the output embeddings' tensor, if it may be tied.
        ties: whether that is the table of the inputs by default.
        dropout: the field of its rate, with its default and an older name.
        rows: whether the bias has an axis of one row before that of tokens.
        scaled: whether tied logits are of vectors divided by the root of their width.
        pooled: whether it reads the pooled output.
        activation: of its first dense layer, as code.
    """

    name: str
    classes: tuple[str, ...]
    dense: tuple[tuple[str, str, bool], ...] = ()
    norms: tuple[tuple[str, str], ...] = ()
    bias: tuple[str, ...] = ()
    table: str = ""
    ties: bool = True
    dropout: tuple[str, Any, str] | None = None
    rows: bool = False
    scaled: bool = False
    pooled: bool = False
    activation: str = ""

    @property
    def config_fields(self) -> tuple[str, ...]:
        """Fields of the config that are the head's."""
        return () if self.dropout is None else (self.dropout[0], self.dropout[2])


def draft_heads(
    classes: Sequence[HeadClass],
    prefix: str,
    config: Mapping[str, Any],
    kind: str,
    own: Collection[str] = (),
) -> tuple[list[HeadDraft], list[Decision]]:
    """Return the heads of classes, and a line for each that isn't drafted.

    Args:
        prefix: what precedes the backbone's tensors in their files.
        config: of the models whose tensors are given.
        kind: of the models.
        own: the backbone's tensors, by which a head's are known where nothing precedes them.
    """
    heads: dict[str, HeadDraft] = {}
    decisions: list[Decision] = []
    for cls in classes:
        name = purpose_of(cls.name, kind)
        if name is None:
            continue
        outside = {
            n: info for n, info in cls.tensors.items()
            if n not in own and not (prefix and n.startswith(prefix))
        }  # fmt: skip
        known = name in heads or (kind == PAIRS and name not in PAIR_HEADS)
        draft = None if known else _draft(name, cls, outside, prefix, config)
        if draft is not None:
            heads[name] = draft
        elif name not in heads:
            listed = sorted(outside)
            named = ", ".join(listed[:3]) + (" ..." if len(listed) > 3 else "")
            decisions.append(
                decide(cls.name, f"a head that isn't drafted ({named or 'no tensor'})")
            )
    return [_with_joint_classes(head, classes) for head in heads.values()], decisions


def _with_joint_classes(head: HeadDraft, classes: Sequence[HeadClass]) -> HeadDraft:
    """Return a head with the classes of several heads that have its tensors too."""
    own = {f"{name}.weight" for name, *_ in (*head.dense, *head.norms)} | {*head.bias}
    joint = [c.name for c in classes if c.name.endswith(JOINT) and own and own <= c.tensors.keys()]
    return replace(head, classes=(*head.classes, *joint))


def class_names(config: Mapping[str, Any]) -> list[str]:
    """Return the names of classes in a config's `architectures` that can stand in code."""
    names = config.get("architectures")
    return [name for name in names if _is_class(name)] if isinstance(names, list) else []


def _is_class(name: Any) -> bool:
    return isinstance(name, str) and name.isascii() and name.isidentifier()


def purpose_of(name: str, kind: str) -> str | None:
    """Return the head of a class by its name; None where a model of a kind has none such."""
    found = next((head for end, head in PURPOSES if name.endswith(end)), None)
    is_other = found in OWN.values() and found != OWN[kind]
    return None if is_other else found


def _draft(
    name: str, cls: HeadClass, outside: Mapping[str, TensorInfo], prefix: str,
    config: Mapping[str, Any],
) -> HeadDraft | None:  # fmt: skip
    parts = recognize(collapse_names(outside, config), config)
    modules, others = group_modules(parts)
    words = config.get("vocab_size")
    tables = [m for m in modules if m.shape[:1] == (words,) and len(m.shape) == 2]
    dense = [m for m in modules if len(m.shape) == 2 and m not in tables]
    norms = [m for m in modules if len(m.shape) == 1]
    biases = [m.bias for m in tables if m.bias is not None]
    alone = [p.pattern for p in others if p.pattern.shapes[0] in ((words,), (1, words))]
    if len(others) > len(alone) or any(m.stack for m in modules):
        return None
    rates = sorted((n for n in cls.fields if "dropout" in n), key=lambda n: "class" not in n)
    dropout = (rates[0], config.get(rates[0]), "".join(rates[1:2])) if rates else None
    made = HeadDraft(name, (cls.name,), dropout=dropout)
    if name in OWN.values():
        return _language_head(made, cls, prefix, dense, norms, tables, [*alone, *biases])
    if norms or tables or alone or not dense:
        return None
    return _classifier(made, cls, prefix, dense)


def _language_head(
    made: HeadDraft, cls: HeadClass, prefix: str, dense: Sequence[TheirModule],
    norms: Sequence[TheirModule], tables: Sequence[TheirModule], bias: Sequence[TensorPattern],
) -> HeadDraft | None:  # fmt: skip
    shape = (1, 1) if made.name == "masked_lm" else (0, 0)
    if (len(dense), len(norms)) != shape or len(tables) > 1 or len(bias) > 2:
        return None
    table = tables[0].name + tables[0].joint + "weight" if tables else ""
    found = [
        (m.name, f"masked_lm_head/{ours}", m.bias is not None)
        for m, ours in ((*((m, "transform") for m in dense),))
    ]
    return HeadDraft(
        made.name, made.classes, tuple(found),
        tuple((m.name, "masked_lm_head/transform_norm") for m in norms),
        tuple(dict.fromkeys(pattern.name for pattern in bias)),
        table,
        ties=not table or (cls.ties.get(table, "").startswith(prefix) and table in cls.ties),
        rows=any(len(pattern.shapes[0]) > 1 for pattern in bias),
        activation="gelu" if dense else "",
    )  # fmt: skip


def _classifier(
    made: HeadDraft, cls: HeadClass, prefix: str, dense: Sequence[TheirModule]
) -> HeadDraft | None:
    # The last layer is the one with the fewest outputs.
    ordered = sorted(dense, key=lambda m: -m.shape[0])
    if made.name in ONE_LAYER and len(ordered) > 1:
        return None
    names = CLASSIFIERS.get(len(ordered))
    if names is None:
        return None
    if made.name == "next_sentence":
        names = ("next_sentence",)
    pooled = any("pooler" in name for name in cls.tensors if name.startswith(prefix))
    return HeadDraft(
        made.name, made.classes,
        tuple((m.name, ours, m.bias is not None) for m, ours in zip(ordered, names, strict=True)),
        dropout=made.dropout,
        pooled=pooled and len(ordered) == 1 and made.name == "text_classifier",
        activation="relu" if "pre" in ordered[0].words else "tanh",
    )  # fmt: skip
