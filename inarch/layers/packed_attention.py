"""Attention over packed rows on torch, which costs what their sequences cost by themselves.

Rows of several sequences have far more pairs of tokens than the sequences. Where shapes needn't be
known ahead, the sequences are taken out of the rows, those of like lengths together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import keras

from inarch.layers.direct_calls import facts_of

# Sequences are computed together down to this share of the longest one's length.
LEAST_LENGTH = 0.8

# Widths of heads that torch's attention over sequences of several lengths takes.
FUSED_WIDTHS = range(8, 257, 8)


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
    """All sequences of packed rows, one after another. The padding of a row counts as one.

    Its tensors are made outside of torch's inference mode, so that training may use them too.

    Attributes:
        starts: int32 `[sequences + 1]` on the CPU, the place of the first token of each, counted
            over all rows, and the end of the last.
        device: of the tokens.
        are_packed: whether a row has several.
    """

    starts: Any
    device: Any
    are_packed: bool

    @cached_property
    def offsets(self) -> Any:
        """`starts` on the device."""
        import torch

        with torch.inference_mode(False):
            return self.starts.to(self.device, non_blocking=True)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return int(self.starts.diff().max())

    @cached_property
    def groups(self) -> tuple[list[Sequences], Any]:
        """Sequences of like lengths, and int `[tokens]`, the place of each token among them."""
        import torch

        with torch.inference_mode(False):
            return _group(self.starts, self.device)


def packed_rows_of_context(context: Mapping[str, Any], dtype: str) -> PackedRows | None:
    """Return `packed_rows` where attention depends on nothing but the padding mask of a context."""
    others = ("source", "mask", "cache", "attention_mask", "attention_bias")
    needs_pairs = context.get("causal") or context.get("return_attention_scores")
    if needs_pairs or any(context.get(name) is not None for name in others):
        return None
    return packed_rows(context.get("padding_mask"), dtype)


def packed_rows(padding_mask: Any, dtype: str) -> PackedRows | None:
    """Return the sequences of rows where attention to each by itself costs less than over rows.

    So it does where a row has several, and on a GPU in 16 bits. They are found once for the layers
    of a model, which have the same mask.

    Args:
        padding_mask: int `[batch, length]`, sequence ids.
        dtype: of queries, keys and values.

    Returns:
        None where there is nothing to gain, where a sequence isn't in one piece, and where the
        values of the mask aren't known: on backends other than torch, and in graphs to be exported.
    """
    if keras.backend.backend() != "torch" or padding_mask is None:
        return None
    import torch

    if torch.compiler.is_compiling() or type(padding_mask) is not torch.Tensor:
        return None
    rows = _known_sequences(padding_mask)
    gains = rows is not None and (rows.are_packed or _fused(padding_mask, dtype) is not None)
    return rows if gains else None


# The mask of the last call, and its sequences.
_last: tuple[Any, PackedRows | None] | None = None


def _known_sequences(padding_mask: Any) -> PackedRows | None:
    """Return the sequences of a mask, found anew where the last one was another."""
    import torch

    facts = facts_of(padding_mask)
    if facts is not None and "sequences" in facts:
        return facts["sequences"]
    values = torch.as_tensor((facts or {}).get("values", padding_mask)).cpu()
    global _last
    last = _last
    if (
        last is None
        or last[0].shape != values.shape
        or (last[1] and last[1].device) != padding_mask.device
        or not torch.equal(last[0], values)
    ):
        with torch.inference_mode(False):
            last = _last = values.clone(), _find_sequences(values, padding_mask.device)
    if facts is not None:
        facts["sequences"] = last[1]
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

    fused = _fused(queries, keras.backend.standardize_dtype(queries.dtype))
    if fused is not None and queries.shape[-1] in FUSED_WIDTHS:
        flat = [x.flatten(0, 1) for x in (queries, keys, values)]
        sizes = (rows.offsets, rows.offsets, rows.longest, rows.longest)
        near = (-1, -1) if window is None else (window, window)
        return fused(*flat, *sizes, scale=scale, window_size=near).view(queries.shape)
    flat = [x.flatten(0, 1).flatten(1) for x in (queries, keys, values)]
    heads = queries.shape[2]
    attended = []
    groups, inverse = rows.groups
    for group in groups:
        length = group.places.shape[1]
        allowed = None if group.is_token is None else group.is_token[:, None, None]
        if window is not None and length > window + 1:
            index = torch.arange(length, device=queries.device)
            distance = (index[:, None] - index).abs()
            near_enough = distance <= window
            # Each place attends to itself, also beyond the end: none attends to nothing.
            allowed = near_enough if allowed is None else (allowed & near_enough) | (distance == 0)
        # Whole rows are taken, which is several times as quick as indexing tensors of more axes.
        index = group.places.flatten()
        inputs = [
            x.index_select(0, index).view(-1, length, heads, x.shape[1] // heads).transpose(1, 2)
            for x in flat
        ]
        found = scaled_dot_product_attention(*inputs, attn_mask=allowed, scale=scale)
        attended.append(found.transpose(1, 2).flatten(0, 1).flatten(1))
    return torch.cat(attended).index_select(0, inverse).view(*queries.shape[:-1], -1)


def _fused(tensor: Any, dtype: str) -> Callable[..., Any] | None:
    """Return torch's attention over sequences of several lengths, if it computes on this device."""
    if not tensor.is_cuda or dtype not in ("bfloat16", "float16"):
        return None
    return _varlen_attention(tensor.device)


@cache
def _varlen_attention(device: Any) -> Callable[..., Any] | None:
    """Return torch's attention over sequences of several lengths where a GPU has its kernels."""
    import torch

    if torch.version.hip is not None or torch.cuda.get_device_capability(device) < (8, 0):
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # before torch 2.10
        return None
    takes = inspect.signature(varlen_attn).parameters
    return varlen_attn if {"scale", "window_size"} <= takes.keys() else None


def _find_sequences(padding_mask: Any, device: Any) -> PackedRows | None:
    """Return the sequences of a mask on the CPU, for tokens on a device."""
    import torch

    ids = padding_mask.to(torch.int64)
    if ids.numel() == 0 or ids.min() < 0 or (ids.max() < 2 and device.type == "cpu"):
        return None
    # A number for each pair of row and id, of which a new one begins each run of tokens.
    row = torch.arange(len(ids))[:, None]
    numbers = (row * (int(ids.max()) + 1) + ids).flatten()
    values, sizes = torch.unique_consecutive(numbers, return_counts=True)
    if len(torch.unique(values)) < len(values):
        return None
    ends = sizes.cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends]).to(torch.int32)
    return PackedRows(starts, device, bool(ids.max() > 1))


def _group(starts: Any, device: Any) -> tuple[list[Sequences], Any]:
    """Return `PackedRows.groups`."""
    import torch

    sizes = starts.diff().to(torch.int64)
    order = torch.argsort(sizes, descending=True, stable=True)
    sizes, starts = sizes[order], starts[:-1].to(torch.int64)[order]
    inverse = torch.zeros(int(sizes.sum()), dtype=torch.int64)
    groups, first, before, lengths = [], 0, 0, sizes.tolist()
    while first < len(lengths):
        longest = lengths[first]
        end = first
        while end < len(lengths) and lengths[end] >= LEAST_LENGTH * longest:
            end += 1
        index = torch.arange(longest)
        is_token = index < sizes[first:end, None]
        places = starts[first:end, None] + torch.where(is_token, index, 0)
        own = before + torch.arange(places.numel()).reshape(places.shape)
        inverse[places[is_token]] = own[is_token]
        all_alike = lengths[end - 1] == longest
        groups.append(Sequences(places.to(device), None if all_alike else is_token.to(device)))
        before += places.numel()
        first = end
    return groups, inverse.to(device)
