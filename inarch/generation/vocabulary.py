"""Log-probabilities of a vocabulary, and the best of all continuations."""

from __future__ import annotations

from typing import Any

import keras

ops: Any = keras.ops  # Typed, every result may be None.

# Tokens of which the best one is found first.
GROUP = 128


def log_probabilities(logits: Any) -> Any:
    """Return logits `[rows, vocabulary]` less the logarithm of the sum of their powers.

    On JAX tokens come before rows, as logits are computed there: else XLA copies them.
    """
    if not _is_by_token():
        return ops.log_softmax(logits, axis=-1)
    by_token = ops.transpose(logits)
    return ops.transpose(by_token - ops.logsumexp(by_token, axis=0, keepdims=True))


def best_continuations(log_probs: Any, scores: Any) -> tuple[Any, Any, Any]:
    """Return the best `2 * beams` continuations of each row, best first.

    At most `beams` of them end, so at least `beams` continue. Of equal ones those of earlier beams
    and smaller tokens come first, on JAX and TensorFlow.

    Args:
        log_probs: float `[rows * beams, vocabulary]`.
        scores: float `[rows, beams]`, the sums so far.

    Returns:
        Sums, tokens and beams, `[rows, 2 * beams]` each.
    """
    (rows, beams), size = scores.shape, log_probs.shape[-1]
    sums, count = log_probs + ops.reshape(scores, (-1, 1)), 2 * beams
    if beams * (size // GROUP) < count:
        best, places = ops.top_k(ops.reshape(sums, (rows, beams * size)), count)
        places = ops.cast(places, "int32")
        return best, places % size, places // size
    # The best are in the groups with the best maxima: sorting fewer takes a quarter of the time.
    maxima = _group_maxima(sums)
    groups = maxima.shape[1]
    _, found = ops.top_k(ops.reshape(maxima, (rows, beams * groups)), count)
    found = ops.sort(ops.cast(found, "int32"), axis=-1)
    tokens = ops.expand_dims(found % groups, 2) * GROUP + ops.arange(GROUP, dtype="int32")
    tokens = ops.reshape(tokens, (rows, count * GROUP))
    in_beam = ops.repeat(found // groups, GROUP, axis=1)
    first = ops.expand_dims(ops.arange(rows, dtype="int32") * beams, 1)
    values = _sums_of(sums, first + in_beam, ops.minimum(tokens, size - 1))
    values = ops.where(tokens < size, values, -float("inf"))  # beyond the end of the last group
    best, order = ops.top_k(values, count)
    return best, *(ops.take_along_axis(x, order, axis=1) for x in (tokens, in_beam))


def _is_by_token() -> bool:
    """Return whether the logits of a token lie side by side in memory, and not those of a row."""
    return keras.backend.backend() == "jax"


def _group_maxima(sums: Any) -> Any:
    """Return the largest of every `GROUP` sums `[rows, size]`, the last group's of what is left."""
    rows, size = sums.shape
    whole = size // GROUP * GROUP
    if _is_by_token():
        sums = ops.transpose(sums)
        maxima = [ops.max(ops.reshape(sums[:whole], (-1, GROUP, rows)), axis=1)]
        maxima += [ops.max(sums[whole:], axis=0, keepdims=True)] if whole < size else []
        return ops.transpose(ops.concatenate(maxima, axis=0))
    maxima = [ops.max(ops.reshape(sums[:, :whole], (rows, -1, GROUP)), axis=2)]
    maxima += [ops.max(sums[:, whole:], axis=1, keepdims=True)] if whole < size else []
    return ops.concatenate(maxima, axis=1)


def _sums_of(sums: Any, rows: Any, tokens: Any) -> Any:
    """Return the entries of `sums` `[rows, size]` at indices of one shape."""
    count, size = sums.shape
    if _is_by_token():
        return ops.take(ops.reshape(ops.transpose(sums), (-1,)), tokens * count + rows)
    return ops.take(ops.reshape(sums, (-1,)), rows * size + tokens)
