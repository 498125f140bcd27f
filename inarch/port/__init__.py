"""Inspection of a checkpoint of any architecture, by its header and config alone."""

from inarch.port.inspection import Inspection, inspect

__all__ = ["Inspection", "inspect"]
