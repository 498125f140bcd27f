"""Batches by length, in an order that can be undone; packing and masking of rows of token ids."""

from inarch.data.buckets import BUCKETS, PlannedBatch, bucket, by_length, pad
from inarch.data.mask_generator import MaskedLMMaskGenerator
from inarch.data.packers import MultiSegmentPacker, StartEndPacker

__all__ = [
    "BUCKETS",
    "MaskedLMMaskGenerator",
    "MultiSegmentPacker",
    "PlannedBatch",
    "StartEndPacker",
    "bucket",
    "by_length",
    "pad",
]
