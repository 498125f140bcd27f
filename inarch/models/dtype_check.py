"""Check of the dtypes of a checkpoint's tensors before they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inarch.errors import WeightMapError
from inarch.user_warnings import warn


def check_dtypes(where: Path, stored: Mapping[str, str], variables: Mapping[str, Any]) -> None:
    """Refuse what isn't floating point; warn where precision is lost."""
    whole = [name for name, code in stored.items() if not code.startswith(("F", "BF"))]
    if whole:
        raise WeightMapError(
            f"{where} stores {', '.join(whole)} as {stored[whole[0]]}, not in floating point; a "
            "quantized checkpoint must be brought back to floats by the library that wrote it"
        )
    if "F64" in stored.values() and not any(v.dtype == "float64" for v in variables.values()):
        warn(f"{where} stores float64, rounded to float32 on loading")
