"""Decoding with fallback to higher temperatures (whisper/transcribe.py)."""

from __future__ import annotations

from typing import Any

from inarch.speech.options import DecodingOptions, DecodingResult, Settings
from inarch.speech.windows import WindowModel


def decode_with_fallback(
    model: WindowModel, encoded: Any, count: int, options: DecodingOptions, settings: Settings
) -> list[DecodingResult]:
    """Decode `count` encoded windows.

    Windows whose result is refused by the thresholds are decoded again at the next temperature;
    the last result counts.
    """
    found: dict[int, DecodingResult] = {}
    waiting = list(range(count))
    for temperature in settings.temperatures:
        chosen = encoded if len(waiting) == count else model.select(encoded, waiting)
        results = model.decode(chosen, options.at_temperature(temperature))
        found |= dict(zip(waiting, results, strict=True))
        waiting = [row for row in waiting if settings.thresholds.needs_fallback(found[row])]
        if not waiting:
            break
    return [found[row] for row in range(count)]
