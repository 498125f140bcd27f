"""Word timestamps: dynamic time warping of cross-attention weights (whisper/timing.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from inarch.speech.words import WordTiming

FILTER_WIDTH = 7
TOKENS_PER_SECOND = 50  # positions of the encoder's output

# Predecessor of a cell on the cheapest path.
DIAGONAL, ABOVE, LEFT = 0, 1, 2


def median_filter(x: np.ndarray, width: int = FILTER_WIDTH) -> np.ndarray:
    """Return the median of `width` neighbours along the last axis, reflected at its ends.

    An axis too short to reflect is returned unchanged.
    """
    margin = width // 2
    if x.shape[-1] <= margin:
        return x
    edges = [(0, 0)] * (x.ndim - 1) + [(margin, margin)]
    windows = sliding_window_view(np.pad(x, edges, mode="reflect"), width, axis=-1)
    return np.sort(windows, axis=-1)[..., margin]


def alignment_matrix(weights: np.ndarray, frames: int) -> np.ndarray:
    """Return how well each token fits each position, float `[tokens, positions]`.

    Args:
        weights: attention weights `[heads, tokens, positions]` of the alignment heads, after
            the softmax.
        frames: number of frames of the recording in the window, two for each position.
    """
    weights = weights[..., : frames // 2]
    weights = weights / weights.sum(axis=-1, keepdims=True)
    mean = weights.mean(axis=-2, keepdims=True)
    deviation = weights.std(axis=-2, keepdims=True)
    return median_filter((weights - mean) / deviation).mean(axis=0)


def dynamic_time_warping(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the cheapest path from the first corner of `cost` to the last.

    Dynamic time warping (Sakoe and Chiba, 1978). Sums are float32, and where two
    predecessors are equal the left one is taken even if it costs more: so does openai-whisper, and
    the paths are to be equal. Cells of an anti-diagonal are independent and computed together.

    Args:
        cost: `[rows, columns]`.
    """
    rows, columns = cost.shape
    # Cell (i, j) of the bordered matrix is at [i + j, i].
    total = np.full((rows + columns + 1, rows + 1), np.inf, np.float32)
    origin = np.full(total.shape, -1, np.int8)
    total[0, 0] = 0
    cost = cost.astype(np.float64)
    for d in range(2, rows + columns + 1):
        i = np.arange(max(1, d - columns), min(rows, d - 1) + 1)
        diagonal, above, left = total[d - 2, i - 1], total[d - 1, i - 1], total[d - 1, i]
        chosen = np.where(
            (diagonal < above) & (diagonal < left),
            DIAGONAL,
            np.where((above < diagonal) & (above < left), ABOVE, LEFT),
        )
        origin[d, i] = chosen
        best = np.choose(chosen, (diagonal, above, left)).astype(np.float64)
        total[d, i] = cost[i - 1, d - i - 1] + best
    return _walk_back(origin, rows, columns)


def _walk_back(origin: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    i, j, path = rows, columns, []
    while i > 0 or j > 0:
        path.append((i - 1, j - 1))
        came = ABOVE if j == 0 else LEFT if i == 0 else origin[i + j, i]
        i -= came != LEFT
        j -= came != ABOVE
    found = np.array(path[::-1])
    return found[:, 0], found[:, 1]


def word_timings(
    matrix: np.ndarray,
    words: Sequence[str],
    word_tokens: Sequence[Sequence[int]],
    probabilities: Sequence[float],
) -> list[WordTiming]:
    """Return the words with their times in seconds from the start of the window.

    Args:
        matrix: `[tokens, positions]`, see `alignment_matrix`; its last row is the end token.
        words: the words, and last the end token.
        word_tokens: the tokens of each.
        probabilities: of each text token.
    """
    if len(words) <= 1 or matrix.shape[1] == 0:
        return []
    rows, columns = dynamic_time_warping(-matrix)
    first = np.flatnonzero(np.diff(rows, prepend=rows[0] - 1))
    times = columns[first] / TOKENS_PER_SECOND
    bounds = np.cumsum([0, *(len(tokens) for tokens in word_tokens[:-1])])
    return [
        WordTiming(
            word, list(tokens), float(times[a]), float(times[b]), float(np.mean(probabilities[a:b]))
        )
        for word, tokens, a, b in zip(words, word_tokens, bounds, bounds[1:], strict=False)
    ]
