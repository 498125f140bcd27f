"""Inputs by number, so that each can be had again."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from inarch.models import registry

from .driver import Driver
from .mutators import mutated
from .seeds import every


def run(
    inputs: int, seconds: float = float("inf"), seed: int = 0, first: int = 0, only: str = ""
) -> Iterator[tuple[int, int, str, str | None]]:
    """Try inputs; yield how many, the number, its seed's name, and its problem or None."""
    seeds = {name: made for name, made in every().items() if only in name}
    names = sorted(seeds)
    driver = Driver()
    try:
        for architecture in registry.architectures().values():  # imported one by one otherwise
            assert architecture.backbone, architecture.sources
            assert architecture.author_formats is not None
        for name in names:  # imports what is imported late
            driver.problem(*seeds[name], watched=False)
        end = time.monotonic() + seconds
        for tried, number in enumerate(range(first, first + inputs), 1):
            chance = random.Random(f"{seed} {number}")
            name = chance.choice(names)
            reader, files = seeds[name]
            yield tried, number, name, driver.problem(reader, mutated(files, chance))
            if time.monotonic() > end:
                return
    finally:
        driver.close()
