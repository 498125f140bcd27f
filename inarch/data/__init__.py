"""Batches by length, padded as little as the backend allows, in an order that can be undone."""

from inarch.data.buckets import BUCKETS, PlannedBatch, bucket, by_length, pad

__all__ = ["BUCKETS", "PlannedBatch", "bucket", "by_length", "pad"]
