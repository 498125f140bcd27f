"""Find the heads of classes by their tensors, and by the fields that they alone read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.checkpoints.maps.config import ACTIVATIONS
from inarch.port.decisions import Decision, decide, guess
from inarch.port.heads import (
    JOINT,
    OF_LABELS,
    OF_NO_TASK,
    ORDER_OF_TOKENS,
    OWN,
    PAIR_HEADS,
    PAIRS,
    PERMUTED,
    REPLACED,
    HeadClass,
    HeadDraft,
    purpose_of,
)
from inarch.port.modules import TheirModule, group_modules
from inarch.port.patterns import TensorPattern, collapse_names
from inarch.port.roles import recognize

ONE_LAYER = ("token_classifier", "question_answering")
# Names of our layers by the number of dense layers of a head, and what such a head begins with.
CLASSIFIERS: Mapping[int, tuple[str, ...]] = {1: ("logits",), 2: ("pooled_dense", "logits")}
OWN_NAMES: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "next_sentence": {1: ("next_sentence",)}, "sentence_order": {1: ("sentence_order",)},
    REPLACED: {1: ("replaced",), 2: ("replaced_dense", "replaced")},
}  # fmt: skip
# Values of a field that says which vector a text is classified by.
POOLINGS = ("cls", "mean")


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
    words = {n for c in classes if purpose_of(c.name, kind) == OWN[kind] for n in c.tensors}
    for cls in classes:
        name = purpose_of(cls.name, kind)
        if name is None:
            continue
        outside = outside_of(cls, prefix, own)
        if name == "multiple_choice" and words <= cls.tensors.keys():  # next to a language model
            outside = {n: info for n, info in outside.items() if n not in words}
        known = name in heads or (kind == PAIRS and name not in PAIR_HEADS)
        draft = None if known else _draft(name, cls, outside, prefix, config)
        if draft is not None and name not in OF_NO_TASK:
            draft = _with_switches(draft, cls, prefix, config, own)
        if draft is not None:
            heads[name] = draft
        elif name not in heads:
            listed = sorted(outside)
            named = ", ".join(listed[:3]) + (" ..." if len(listed) > 3 else "")
            decisions.append(
                decide(cls.name, f"a head that isn't drafted ({named or 'no tensor'})")
            )
    found = [_with_joint_classes(head, classes) for head in heads.values()]
    more = _joint_heads(classes, found, prefix, config, own)
    more += _permuted_heads(classes, prefix, config, own)
    text = "one number for each token, taken for whether the token was replaced"
    decisions += [guess(head.classes[0], text) for head in more if head.name == REPLACED]
    return [*found, *more], decisions


def outside_of(cls: HeadClass, prefix: str, own: Collection[str] = ()) -> dict[str, TensorInfo]:
    """Return the tensors of a class that aren't the backbone's."""
    return {
        name: info for name, info in cls.tensors.items()
        if name not in own and not (prefix and name.startswith(prefix))
    }  # fmt: skip


def _joint_heads(
    classes: Sequence[HeadClass], heads: Sequence[HeadDraft], prefix: str,
    config: Mapping[str, Any], own: Collection[str],
) -> list[HeadDraft]:  # fmt: skip
    """Return the heads that only classes with several have, by the tensors that no other has."""
    found = []
    for cls in classes:
        names = [OF_LABELS[label] for label in cls.inputs if label in OF_LABELS]
        names += [REPLACED] if cls.is_per_token else []
        names = [name for name in names if name not in {head.name for head in heads}]
        if not cls.name.endswith(JOINT) or len(names) != 1:
            continue
        taken = {tensor for head in heads if cls.name in head.classes for tensor in head.modules}
        rest = {
            name: info
            for name, info in outside_of(cls, prefix, own).items()
            if name not in taken and name.rpartition(".")[0] not in taken
        }
        draft = _draft(names[0], cls, rest, prefix, config)
        found += [] if draft is None else [draft]
    return found


def _permuted_heads(
    classes: Sequence[HeadClass], prefix: str, config: Mapping[str, Any], own: Collection[str]
) -> list[HeadDraft]:
    """Return the head that predicts tokens in any order, if a class has it: a table and a bias."""
    for cls in classes:
        if ORDER_OF_TOKENS in cls.inputs and cls.name.endswith("LMHeadModel"):
            draft = _draft(PERMUTED, cls, outside_of(cls, prefix, own), prefix, config)
            return [draft] if draft is not None and "." in draft.table else []
    return []


def _with_switches(
    draft: HeadDraft, cls: HeadClass, prefix: str, config: Mapping[str, Any], own: Collection[str]
) -> HeadDraft:
    """Return a head with the fields that decide about its layers."""
    plain = draft
    for switch, other_class in cls.switched.items():
        outside = outside_of(other_class, prefix, own)
        other = _draft(draft.name, other_class, outside, prefix, config)
        if other is not None and other != plain:
            draft = draft.switched(switch, other, is_on=bool(config.get(switch)))
    return draft


def _with_joint_classes(head: HeadDraft, classes: Sequence[HeadClass]) -> HeadDraft:
    """Return a head with the classes of several heads that have its tensors too."""
    own = {f"{name}.weight" for name, *_ in (*head.dense, *head.norms)} | {*head.bias}
    joint = [c.name for c in classes if c.name.endswith(JOINT) and own and own <= c.tensors.keys()]
    return replace(head, classes=(*head.classes, *joint))


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
    own = {} if name in OF_NO_TASK else _fields(cls, config, len(dense))
    made = HeadDraft(name, (cls.name,), **own)
    if name in (*OWN.values(), PERMUTED):
        made = replace(made, dropout=None, inner_dropout="", pooling="")
        return _language_head(made, cls, prefix, dense, norms, tables, [*alone, *biases])
    if len(norms) > 1 or tables or alone or not dense:
        return None
    return _classifier(made, cls, prefix, dense, norms)


def _fields(cls: HeadClass, config: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return the attributes of a head that its own fields give.

    Args:
        count: of its dense layers.
    """
    rates = [name for name in cls.fields if "dropout" in name]
    rates.sort(key=lambda name: ("class" not in name, "pool" in name))
    second = "".join(rates[1:2])
    # A rate that the config has by itself is no older name of the first.
    is_own = count == 2 and isinstance(config.get(second), float)
    acting = [n for n in cls.fields if isinstance(config.get(n), str) and config[n] in ACTIVATIONS]
    pooling = [name for name in cls.fields if config.get(name) in POOLINGS]
    return {
        "dropout": (rates[0], config.get(rates[0]), second * (not is_own)) if rates else None,
        "inner_dropout": second * is_own,
        "activation_field": acting[0] if len(acting) == 1 and count else "",
        "pooling": pooling[0] if len(pooling) == 1 else "",
    }


def _language_head(
    made: HeadDraft, cls: HeadClass, prefix: str, dense: Sequence[TheirModule],
    norms: Sequence[TheirModule], tables: Sequence[TheirModule], bias: Sequence[TensorPattern],
) -> HeadDraft | None:  # fmt: skip
    shapes = [(1, 1), (0, 0)] if made.name == "masked_lm" else [(0, 0)]
    if (len(dense), len(norms)) not in shapes or len(tables) > 1 or len(bias) > 2:
        return None
    table = tables[0].name + tables[0].joint + "weight" if tables else ""
    return replace(
        made,
        dense=tuple((m.name, "masked_lm_head/transform", m.bias is not None) for m in dense),
        norms=tuple((m.name, "masked_lm_head/transform_norm", m.bias is not None) for m in norms),
        bias=tuple(dict.fromkeys(pattern.name for pattern in bias)),
        table=table,
        ties=not table or (cls.ties.get(table, "").startswith(prefix) and table in cls.ties),
        rows=any(len(pattern.shapes[0]) > 1 for pattern in bias),
        activation="gelu" if dense else "",
    )  # fmt: skip


def _classifier(
    made: HeadDraft, cls: HeadClass, prefix: str, dense: Sequence[TheirModule],
    norms: Sequence[TheirModule],
) -> HeadDraft | None:  # fmt: skip
    # The last layer is the one with the fewest outputs.
    ordered = sorted(dense, key=lambda m: -m.shape[0])
    if (made.name in ONE_LAYER and len(ordered) > 1 and not norms) or (norms and len(dense) != 2):
        return None
    names = OWN_NAMES.get(made.name, CLASSIFIERS).get(len(ordered))
    if names is None:
        return None
    pooled = any("pooler" in name for name in cls.tensors if name.startswith(prefix))
    activation = "gelu" if norms else "relu" if "pre" in ordered[0].words else "tanh"
    return replace(
        made,
        dense=tuple(
            (m.name, ours, m.bias is not None) for m, ours in zip(ordered, names, strict=True)
        ),
        norms=tuple((m.name, "pooled_norm", m.bias is not None) for m in norms),
        pooled=pooled and len(ordered) == 1 and made.name == "text_classifier",
        activation_field=made.activation_field if len(ordered) == 2 else "",
        activation=activation,
    )
