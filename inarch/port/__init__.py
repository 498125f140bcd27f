"""Help with an architecture: inspection of any checkpoint, the draft of a folder, and its check."""

from inarch.port.checking import Check, check
from inarch.port.inspection import Inspection, inspect
from inarch.port.new import Ported, new

__all__ = ["Check", "Inspection", "Ported", "check", "inspect", "new"]
