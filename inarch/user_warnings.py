"""Warnings that point at the user's own line, however deep in this package they arise."""

from __future__ import annotations

import sys
import warnings

# Packages whose frames are between the user's call and a warning.
INSIDE = frozenset(["inarch", "keras"])


def warn(message: str) -> None:
    """Issue a UserWarning at the innermost line that is neither of this package nor of Keras."""
    level, frame = 1, sys._getframe()
    while frame and str(frame.f_globals.get("__name__")).partition(".")[0] in INSIDE:
        if frame.f_back is None:
            break  # a program of this package's own
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
