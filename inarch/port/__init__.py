"""What a checkpoint of another architecture is made of, from its header and config alone."""

from inarch.port.inspection import Inspection, inspect

__all__ = ["Inspection", "inspect"]
