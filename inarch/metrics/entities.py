"""Precision, recall and F1 of entities, by the definition of CoNLL and of seqeval.

Source: conlleval.pl (Tjong Kim Sang and Buchholz, 2000); chakki-works/seqeval,
metrics/sequence_labeling.py. An entity counts as found where its place and its kind are right.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from inarch.errors import InputError
from inarch.metrics.tag_scheme import OUTSIDE, split_label, starts_entity

# Kind, start and end: of words, or of characters.
Span = tuple[str, int, int]


def entity_spans(labels: Sequence[str]) -> list[Span]:
    """Return the entities of a sequence of labels: kind, first place, and the place after the last.

    An `I-` that follows nothing of its kind begins an entity, as seqeval has it by default.
    """
    found: list[Span] = []
    outside = split_label(OUTSIDE)
    previous, begin = outside, 0
    for place, label in enumerate([*labels, OUTSIDE]):
        part = split_label(label, "BIES")
        if starts_entity(previous, part):
            if previous != outside:
                found.append((previous[1], begin, place))
            begin = place
        previous = part
    return found


def entity_scores(
    y_true: Sequence[Sequence[str]], y_pred: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Return precision, recall and F1 of the entities in sequences of labels; see `span_scores`.

    Args:
        y_true: for each text the true labels of its words, such as `["B-PER", "I-PER", "O"]`.
        y_pred: the predicted ones, as many.

    Raises:
        InputError: there are other numbers of texts, or of labels of a text.
    """
    if len(y_true) != len(y_pred):
        raise InputError(f"y_true has {len(y_true)} texts and y_pred {len(y_pred)}")
    for i, (true, predicted) in enumerate(zip(y_true, y_pred, strict=True)):
        if len(true) != len(predicted):
            raise InputError(
                f"text {i} has {len(true)} labels in y_true and {len(predicted)} in y_pred; give "
                "one for each word"
            )
    return span_scores([*map(entity_spans, y_true)], [*map(entity_spans, y_pred)])


def span_scores(
    true: Sequence[Collection[Span]], predicted: Sequence[Collection[Span]]
) -> dict[str, Any]:
    """Return precision, recall and F1 of spans, over all texts (micro-averaged).

    Returns:
        `{"precision", "recall", "f1", "support", "labels"}`: `support` is the number of true
        spans, and `labels` has the same four numbers for each kind. A share of nothing is 0.
    """
    pairs = [({*t}, {*p}) for t, p in zip(true, predicted, strict=True)]
    kinds = sorted({span[0] for both in pairs for spans in both for span in spans})
    by_kind = {
        kind: _scores([tuple({s for s in side if s[0] == kind} for side in pair) for pair in pairs])
        for kind in kinds
    }
    return {**_scores(pairs), "labels": by_kind}


def _scores(pairs: Sequence[Any]) -> dict[str, Any]:
    right = sum(len(true & predicted) for true, predicted in pairs)
    truths = sum(len(true) for true, _ in pairs)
    guesses = sum(len(predicted) for _, predicted in pairs)
    precision, recall = _share(right, guesses), _share(right, truths)
    f1 = _share(2 * precision * recall, precision + recall)
    return {"precision": precision, "recall": recall, "f1": f1, "support": truths}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
