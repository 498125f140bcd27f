"""Entities from the scores of tokens, as transformers' token-classification pipeline decodes them.

Source: transformers, pipelines/token_classification.py. Labels of BIOES, which
that pipeline doesn't know, are those of `tag_scheme`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inarch.errors import InputError
from inarch.metrics.tag_scheme import OUTSIDE, prefixes_of, split_label, starts_entity
from inarch.validation import shown

# Of tokens, and of words.
TOKEN_AGGREGATIONS = ("none", "simple")
AGGREGATIONS = (*TOKEN_AGGREGATIONS, "first", "average", "max")


def check_aggregation(aggregation: Any) -> None:
    """Raise InputError unless `aggregation` is one of the known ones."""
    if aggregation not in AGGREGATIONS:
        known = ", ".join(AGGREGATIONS)
        raise InputError(f"aggregation is {shown(aggregation)}; it must be one of {known}")


@dataclass(frozen=True)
class TokenScores:
    """Scores of the tokens of a text, or of one of its windows, without special tokens.

    Attributes:
        scores: probabilities of the classes, `[tokens, classes]`.
        offsets: `(start, end)` of each token in characters of the text.
        is_subword: whether a token continues the word of the one before; read where words count.
        is_first, is_last: whether these are the first and the last tokens of the text.
    """

    scores: np.ndarray
    offsets: Sequence[tuple[int, int]]
    is_subword: Sequence[bool] = ()
    is_first: bool = True
    is_last: bool = True


@dataclass(frozen=True)
class Entity:
    """A span of a text, of neighbouring units (tokens or words) of one kind.

    Attributes:
        label: the kind.
        start, end: its place, in characters of the text.
        score: mean probability of its units.
        units: the number of them.
        begins: whether its first label marks a beginning.
        cut_before, cut_after: whether it is at an edge of a window, beyond which the text goes on.
    """

    label: str
    start: int
    end: int
    score: float
    units: int
    begins: bool
    cut_before: bool = False
    cut_after: bool = False


def subwords(
    text: str,
    tokens: Sequence[str],
    offsets: Sequence[tuple[int, int]],
    marked: bool,
    unknown: str | None,
) -> list[bool]:
    """Return which tokens continue the word of the one before, by transformers' rule.

    Args:
        tokens: as the vocabulary writes them.
        marked: whether a token within a word begins with a mark, such as `##`. It is then longer
            than its text. Otherwise words are what is between spaces.
        unknown: the token for what isn't in the vocabulary, always a word.
    """
    if marked:
        found = [len(t) != len(text[a:b]) for t, (a, b) in zip(tokens, offsets, strict=True)]
    else:
        found = [a > 0 and " " not in text[a - 1 : a + 1] for a, _ in offsets]
    return [f and t != unknown for f, t in zip(found, tokens, strict=True)]


def decode(
    text: str, windows: Sequence[TokenScores], labels: Sequence[str], aggregation: str
) -> list[dict[str, Any]]:
    """Return the entities of a text as `{"label", "text", "start", "end", "score"}`, in order.

    Of entities that windows find at one place the longest is returned, and of equally long ones
    that of the highest score. One that goes on beyond the edge of its window is one with its
    continuation in the next. White space at the ends of a token is no part of an entity, and what
    is nothing else is none.

    Args:
        windows: scores of the tokens of each window of the text, in order.
        labels: names of the classes.
        aggregation: `"none"` for each token by itself, with the prefix of its label; `"simple"` for
            neighbouring tokens of a kind; `"first"`, `"average"` or `"max"` for neighbouring words,
            whose label is that of the first token, of the mean scores, or of the token with the
            highest score.
    """
    prefixes = prefixes_of(labels)
    found = [_entities(window, labels, aggregation, prefixes) for window in windows]
    entities = _joined(found) if aggregation != "none" else [e for part in found for e in part]
    if len(windows) > 1:
        entities = _without_overlaps(entities)
    results = (_result(entity, text) for entity in entities)
    return [result for result in results if result["text"]]


def _result(entity: Entity, text: str) -> dict[str, Any]:
    span = text[entity.start : entity.end]
    start = entity.start + len(span) - len(span.lstrip())
    span = span.strip()
    end = start + len(span)
    return {
        "label": entity.label, "text": span, "start": start, "end": end, "score": entity.score
    }  # fmt: skip


def _entities(
    window: TokenScores, labels: Sequence[str], aggregation: str, prefixes: str
) -> list[Entity]:
    """Return the entities of one window."""
    units = _units(window, aggregation)
    parts = [split_label(label, prefixes) for label in labels]
    runs: list[list[int]] = []  # units that are one entity
    for i, (number, *_) in enumerate(units):
        goes_on = runs and aggregation != "none"
        if goes_on and not starts_entity(parts[units[i - 1][0]], parts[number]):
            runs[-1].append(i)
        else:
            runs.append([i])
    found = []
    for run in runs:
        number, _, start, _ = units[run[0]]
        prefix, kind = parts[number]
        label = labels[number] if aggregation == "none" else kind
        if label != OUTSIDE:
            end = max(units[i][3] for i in run)
            score = sum(units[i][1] for i in run) / len(run)
            cut_before = run[0] == 0 and not window.is_first
            cut_after = run[-1] == len(units) - 1 and not window.is_last
            found.append(
                Entity(label, start, end, score, len(run), prefix in "BS", cut_before, cut_after)
            )
    return found


def _units(window: TokenScores, aggregation: str) -> list[tuple[int, float, int, int]]:
    """Return the class, score, start and end of each token; of each word where words count."""
    scores, offsets = window.scores, window.offsets
    if aggregation in TOKEN_AGGREGATIONS:
        words = [[i] for i in range(len(scores))]
    else:
        words = []
        for i, is_subword in enumerate(window.is_subword):
            if words and is_subword:
                words[-1].append(i)
            else:
                words.append([i])
        scores = np.array([_score_of(scores[word], aggregation) for word in words])
    if not words:
        return []
    return [
        (number, score, offsets[word[0]][0], offsets[word[-1]][1])
        for number, score, word in zip(
            scores.argmax(-1).tolist(), scores.max(-1).tolist(), words, strict=True
        )
    ]


def _score_of(scores: np.ndarray, aggregation: str) -> np.ndarray:
    """Return the probabilities of a word's classes, of those of its tokens."""
    if aggregation == "average":
        return scores.mean(axis=0)
    return scores[int(scores.max(axis=1).argmax()) if aggregation == "max" else 0]


def _union(first: Entity, second: Entity) -> Entity:
    units = first.units + second.units
    return replace(
        first,
        end=max(first.end, second.end),
        score=(first.score * first.units + second.score * second.units) / units,
        units=units,
        cut_after=second.cut_after,
    )


def _joined(windows: Sequence[Sequence[Entity]]) -> list[Entity]:
    """Return the entities of all windows, with those in one that an edge has cut in two.

    Both halves reach the edges of their windows, and one has what the other lacks.
    """
    found: list[Entity] = []
    cut: int | None = None  # place of the last window's entity that may go on
    for entities in windows:
        last, cut = cut, None
        for entity in entities:
            half = found[last] if last is not None else None
            if half is not None and entity.cut_before and _goes_on(half, entity):
                assert last is not None
                found[last] = _union(half, entity)
                place = last
            else:
                found.append(entity)
                place = len(found) - 1
            if entity.cut_after:
                cut = place
    return found


def _goes_on(half: Entity, entity: Entity) -> bool:
    overlap = half.end > entity.start
    return (
        half.label == entity.label
        and half.start < entity.start
        and half.end < entity.end
        and (overlap or not entity.begins)
    )


def _without_overlaps(entities: Sequence[Entity]) -> list[Entity]:
    """Return entities by their place; of overlapping ones the longest, or the most likely."""
    found: list[Entity] = []
    for entity in sorted(entities, key=lambda e: e.start):
        if found and entity.start < found[-1].end:
            found[-1] = max(found[-1], entity, key=lambda e: (e.end - e.start, e.score))
        else:
            found.append(entity)
    return found
