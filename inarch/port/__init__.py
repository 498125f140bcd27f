"""Help with an architecture: inspection of any checkpoint, and the check of a folder."""

from inarch.port.checking import Check, check
from inarch.port.inspection import Inspection, inspect

__all__ = ["Check", "Inspection", "check", "inspect"]
