"""Batches by length, packing and masking of rows of token ids, and lines of text files."""

from inarch.data.buckets import BUCKETS, PlannedBatch, bucket, by_length, pad, shuffle_by_length
from inarch.data.mask_generator import MaskedLMMaskGenerator
from inarch.data.packers import MultiSegmentPacker, StartEndPacker
from inarch.data.packing import PackedBatch, PackedPart, pack_together, packed_batches
from inarch.data.text_lines import TextLines

__all__ = [
    "BUCKETS",
    "MaskedLMMaskGenerator",
    "MultiSegmentPacker",
    "PackedBatch",
    "PackedPart",
    "PlannedBatch",
    "StartEndPacker",
    "TextLines",
    "bucket",
    "by_length",
    "pack_together",
    "packed_batches",
    "pad",
    "shuffle_by_length",
]
