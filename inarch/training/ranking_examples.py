"""Queries with several documents each, as a reranker ranks them and is trained on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from inarch.data import bucket
from inarch.data.columns import values_of
from inarch.errors import InputError, InputTypeError
from inarch.losses.ranking import RankingLoss
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.preprocessors.raw_texts import single_texts
from inarch.runtime.forward import compiles_per_shape
from inarch.validation import shown

# A query and its documents.
Group = tuple[str, tuple[str, ...]]

_FORMS = "(query, [document, ...]) or (query, positive, negative, ...)"


def queries_of(query: Any, documents: Any) -> list[Group]:
    """Return each query with its documents, from one query or a list of them.

    Raises:
        InputTypeError: something isn't a string.
        InputError: there are other numbers of queries and of lists of documents; or no documents.
    """
    if isinstance(query, str):
        queries, lists = [query], [documents]
    else:
        queries, lists = _strings(query, "query"), list(documents)
        if len(queries) != len(lists) or any(isinstance(each, str) for each in lists):
            raise InputError(
                f"there are {len(queries)} queries, and documents is {shown(documents)}; give a "
                "list of documents for each query"
            )
    groups = [(q, tuple(_strings(d, "documents"))) for q, d in zip(queries, lists, strict=True)]
    for i, (_, texts) in enumerate(groups):
        if not texts:
            of = "" if isinstance(query, str) else f" of query {i}"
            raise InputError(f"documents{of} is an empty list; give one text or more")
    return groups


def _strings(texts: Any, name: str) -> list[str]:
    return single_texts(
        texts, name, f"{name} has the pair {{text}} at {{index}}; give single texts"
    )


def check_queries(
    preprocessor: TextPreprocessor, queries: Sequence[str], prompt_name: str | None = None
) -> None:
    """Raise InputError where a query, its prompt before it, would be cut for any document."""
    limit = preprocessor.sequence_length
    encodings = preprocessor.encode([(query, "") for query in queries], prompt_name)
    for i, encoding in enumerate(encodings):
        if len(encoding.ids) >= limit:
            raise InputError(
                f"query {i}, {shown(queries[i])}, is as long as sequence_length={limit} with its "
                "special tokens, and would be cut to make room for a document; shorten it, or set "
                "a longer preprocessor.sequence_length"
            )


def checked_pairs(texts: Sequence[Any]) -> Sequence[Any]:
    """Return texts that are pairs; InputTypeError where one is a single text."""
    for i, text in enumerate(texts):
        if isinstance(text, str):
            raise InputTypeError(
                f"text {i} is {shown(text)}, a single text; a reranker reads pairs: "
                "[(query, document), ...]"
            )
    return texts


def check_no_metrics(model: keras.Model, loss: RankingLoss) -> None:
    """Raise InputError where a model is compiled with metrics, which can't read a loss's labels."""
    if any(metric.name == "compile_metrics" for metric in model.metrics):
        raise InputError(
            f"metrics are given, which read one target of each score, and {type(loss).__name__} "
            "reads two; compile without them, and measure what rank gives by "
            "inarch.metrics"
        )


def is_grouped(x: Any) -> bool:
    """Return whether `x` is a list of queries with several documents each, and not of pairs."""
    first = x[0] if isinstance(x, list | tuple) and x else None
    if not isinstance(first, list | tuple) or not first or not isinstance(first[0], str):
        return False
    return len(first) > 2 or (len(first) == 2 and not isinstance(first[1], str | bytes))


def groups_of(x: Sequence[Any]) -> list[Group]:
    """Return queries with their documents, each given in one of two forms.

    Raises:
        InputTypeError: an example has another form, or something else than strings in it.
        InputError: a query has no documents.
    """
    return [_group(item, i) for i, item in enumerate(x)]


def _group(item: Any, index: int) -> Group:
    if not isinstance(item, list | tuple) or len(item) < 2:
        raise InputTypeError(f"example {index} is {shown(item)}; give {_FORMS}")
    query, *documents = item
    if len(documents) == 1:
        documents = documents[0]
        if isinstance(documents, str):
            raise InputTypeError(
                f"example {index} is a pair, and the first one has several documents; give {_FORMS}"
            )
        documents = values_of(documents)
        if not isinstance(documents, list | tuple | np.ndarray):
            raise InputTypeError(f"example {index} has {shown(documents)}; give {_FORMS}")
    for text in (query, *documents):
        if not isinstance(text, str):
            raise InputTypeError(f"example {index} has {shown(text)}, which isn't text")
    if not len(documents):
        raise InputError(f"example {index} has no documents; leave the query out")
    return query, tuple(documents)


def labels_of(y: Any, groups: Sequence[Group], loss: RankingLoss) -> list[np.ndarray]:
    """Return the label of each document of each query, float32.

    Raises:
        InputError: there are other numbers of labels than of documents; a label is no number, or
            out of the range of the loss; labels are given that the loss doesn't read; or it needs
            a negative, and a query has one document.
    """
    name = type(loss).__name__
    alone = next((i for i, (_, documents) in enumerate(groups) if len(documents) < 2), None)
    if loss.positive_first and alone is not None:
        raise InputError(
            f"example {alone} has one document, and {name} compares the first with the others; "
            "give a negative"
        )
    if not loss.needs_labels:
        if y is not None:
            raise InputError(
                f"y is given, and {name} reads no labels: the first document of a query is the "
                "positive; give no y, or another loss"
            )
        return [np.zeros(len(documents), np.float32) for _, documents in groups]
    if y is None:
        raise InputError(f"{name} needs a label for each document: give y, a list for each query")
    y = values_of(y)
    if not hasattr(y, "__len__") or len(y) != len(groups):
        count = len(y) if hasattr(y, "__len__") else shown(y)
        raise InputError(f"there are {len(groups)} queries, and y has {count}; give a list of each")
    return [
        _labels(row, len(g[1]), i, loss) for i, (row, g) in enumerate(zip(y, groups, strict=True))
    ]


def _labels(row: Any, count: int, index: int, loss: RankingLoss) -> np.ndarray:
    try:
        labels = np.asarray(values_of(row), np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise InputError(f"y has {shown(row)} for query {index}; give numbers") from None
    if loss.positive_first and len(labels) == count - 1:
        labels = np.append(0.0, -labels)  # margins of the positive over each negative
    if len(labels) != count:
        raise InputError(
            f"y has {len(labels)} labels for query {index}, which has {count} documents; give one "
            "for each"
        )
    least, most = loss.label_range
    wrong = np.flatnonzero(~(np.isfinite(labels) & (labels >= least) & (labels <= most)))
    if len(wrong):
        limits = f" from {least} to {most}" if np.isfinite(most) else ""
        raise InputError(
            f"y has {labels[wrong[0]]} for document {wrong[0]} of query {index}; "
            f"{type(loss).__name__} reads numbers{limits}"
        )
    return labels.astype(np.float32)


def group_rows(
    labels: Sequence[np.ndarray], weights: np.ndarray | None
) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """Return a function from the indices of a batch's queries to the rows of their documents.

    It gives the index of each row's document, counted over all queries; `[rows, 2]` labels and
    numbers of queries, as the ranking losses read them; and the weights, if there are any. Where
    queries have different numbers of documents, a backend that compiles gets rows of padding, so
    that there are few shapes.
    """
    sizes = np.array([len(row) for row in labels])
    starts = np.cumsum(sizes) - sizes
    fixed = not compiles_per_shape() or len(set(sizes.tolist())) == 1

    def rows(indices: np.ndarray) -> tuple[np.ndarray, ...]:
        places = np.concatenate([starts[i] + np.arange(sizes[i]) for i in indices])
        target = np.concatenate([labels[i] for i in indices])
        numbers = np.repeat(np.arange(len(indices)), sizes[indices])
        count = len(places) if fixed else bucket(len(places))
        padding = (0, count - len(places))
        y = np.stack(
            [np.pad(target, padding), np.pad(numbers, padding, constant_values=-1)], axis=-1
        )
        found = (np.pad(places, padding, mode="edge"), y.astype(np.float32))
        if weights is None:
            return found
        return (*found, np.pad(np.repeat(weights[indices], sizes[indices]), padding))

    return rows
