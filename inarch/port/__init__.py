"""Help with an architecture: a checkpoint's inspection, a folder's draft, its check and finish."""

from inarch.port.checking import Check, check
from inarch.port.finishing import Finished, finish
from inarch.port.inspection import Inspection, inspect
from inarch.port.new import Ported, new

__all__ = ["Check", "Finished", "Inspection", "Ported", "check", "finish", "inspect", "new"]
