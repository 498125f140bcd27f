"""Attention over packed rows on torch, which costs what their sequences cost by themselves.

Rows of several sequences have far more pairs of tokens than the sequences. Where shapes needn't be
known ahead, the sequences are taken out of the rows, those of like lengths together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

# Sequences are computed together down to this share of the longest one's length.
LEAST_LENGTH = 0.8

# The mask of the last call and its sequences.
_last: tuple[Any, PackedRows | None] | None = None


@dataclass(frozen=True)
class Sequences:
    """Sequences of like lengths among the tokens of all rows.

    Attributes:
        places: int `[sequences, longest]`, the place of each token, row after row.
        is_token: bool `[sequences, longest]`, false beyond the end; `None` if there is no such.
    """

    places: Any
    is_token: Any


@dataclass(frozen=True)
class PackedRows:
    """All sequences of packed rows, and for each token of the rows its place among them.

    The padding of a row counts as a sequence.
    """

    groups: tuple[Sequences, ...]
    inverse: Any


def packed_rows_of_context(context: Mapping[str, Any]) -> PackedRows | None:
    """Return `packed_rows` where attention depends on nothing but the padding mask of a context."""
    others = ("source", "mask", "cache", "attention_mask", "attention_bias")
    needs_pairs = context.get("causal") or context.get("return_attention_scores")
    if needs_pairs or any(context.get(name) is not None for name in others):
        return None
    return packed_rows(context.get("padding_mask"))


def packed_rows(padding_mask: Any) -> PackedRows | None:
    """Return the sequences of rows of which at least one has several.

    They are found once for the layers of a model, which have the same mask.

    Args:
        padding_mask: int `[batch, length]`, sequence ids.

    Returns:
        None where there is nothing to gain, where a sequence isn't in one piece, and where the
        values of the mask aren't known: on backends other than torch, and in graphs to be exported.
    """
    if keras.backend.backend() != "torch" or padding_mask is None:
        return None
    import torch

    if torch.compiler.is_compiling() or type(padding_mask) is not torch.Tensor:
        return None
    global _last
    last = _last
    if (
        last is None
        or last[0].shape != padding_mask.shape
        or last[0].device != padding_mask.device
        or not torch.equal(last[0], padding_mask)
    ):
        last = _last = padding_mask.clone(), _find_sequences(padding_mask)
    return last[1]


def attend_to_packed(
    queries: Any, keys: Any, values: Any, rows: PackedRows, scale: float, window: int | None
) -> Any:
    """Return scaled dot-product attention of each token to its own sequence, and of pads to pads.

    Args:
        queries, keys, values: float `[batch, T, heads, d]`.
        window: largest distance of tokens that attend to each other, or `None`.

    Returns:
        float `[batch, T, heads, d]`.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    flat = [x.flatten(0, 1).flatten(1) for x in (queries, keys, values)]
    heads = queries.shape[2]
    attended = []
    for group in rows.groups:
        length = group.places.shape[1]
        allowed = None if group.is_token is None else group.is_token[:, None, None]
        if window is not None and length > window + 1:
            index = torch.arange(length, device=queries.device)
            distance = (index[:, None] - index).abs()
            near = distance <= window
            # Each place attends to itself, also beyond the end: none attends to nothing.
            allowed = near if allowed is None else (allowed & near) | (distance == 0)
        # Whole rows are taken, which is several times as quick as indexing tensors of more axes.
        index = group.places.flatten()
        inputs = [
            x.index_select(0, index).view(-1, length, heads, x.shape[1] // heads).transpose(1, 2)
            for x in flat
        ]
        found = scaled_dot_product_attention(*inputs, attn_mask=allowed, scale=scale)
        attended.append(found.transpose(1, 2).flatten(0, 1).flatten(1))
    return torch.cat(attended).index_select(0, rows.inverse).view(*queries.shape[:-1], -1)


def _find_sequences(padding_mask: Any) -> PackedRows | None:
    import torch

    ids = padding_mask.to(torch.int64)
    if ids.numel() == 0 or ids.max() < 2 or ids.min() < 0:
        return None
    # A number for each pair of row and id, of which a new one begins each run of tokens.
    row = torch.arange(len(ids), device=ids.device)[:, None]
    numbers = (row * (int(ids.max()) + 1) + ids).flatten()
    values, sizes = torch.unique_consecutive(numbers, return_counts=True)
    starts = sizes.cumsum(0) - sizes
    if len(torch.unique(values)) < len(values):
        return None
    order = torch.argsort(sizes, descending=True, stable=True)
    starts, sizes = starts[order], sizes[order]
    inverse = torch.zeros(ids.numel(), dtype=torch.int64, device=ids.device)
    groups, first, before, lengths = [], 0, 0, sizes.tolist()
    while first < len(lengths):
        longest = lengths[first]
        end = first
        while end < len(lengths) and lengths[end] >= LEAST_LENGTH * longest:
            end += 1
        index = torch.arange(longest, device=ids.device)
        is_token = index < sizes[first:end, None]
        places = starts[first:end, None] + torch.where(is_token, index, 0)
        own = before + torch.arange(places.numel(), device=ids.device).reshape(places.shape)
        inverse[places[is_token]] = own[is_token]
        groups.append(Sequences(places, None if lengths[end - 1] == longest else is_token))
        before += places.numel()
        first = end
    return PackedRows(tuple(groups), inverse)
