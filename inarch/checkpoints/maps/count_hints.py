"""Hints for errors: indices that a file lacks, or has beyond what the config counts."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from inarch.checkpoints.maps.counts import count_in
from inarch.checkpoints.maps.entries import Entry, Rule, holds, spellings
from inarch.checkpoints.maps.fields import ConfigEntry, Field
from inarch.validation import listed

# Names of a file that are looked at; no published model has as many.
MAX_NAMES = 200_000


def count_hints(
    entries: Iterable[Entry],
    config: Iterable[ConfigEntry],
    names: Iterable[str],
    arguments: Mapping[str, Any],
) -> Iterator[str]:
    """Iterate over what is wrong with each count, and the way out.

    Args:
        entries: the entries of a map, as the map has them.
        config: the config map, which has the names of the fields that count.
        names: the names in the file, without a prefix.
        arguments: the backbone's arguments.
    """
    counted = [e for e in entries if isinstance(e, Rule) and e.indices and holds(e, arguments)]
    wanted, found = defaultdict(set), defaultdict(set)
    patterns: dict[str, tuple[str, ...]] = {}
    for entry in counted:
        arguments_of = {index: count.argument for index, count in entry.indices}
        for count in dict(entry.indices).values():
            wanted[count.argument].update(count.indices(arguments))
        for name in spellings(entry):
            parts = re.split(r"\{(\w+)\}", name)
            text = "".join(r"(\d{1,9})" if i % 2 else re.escape(p) for i, p in enumerate(parts))
            patterns[text] = tuple(arguments_of[index] for index in parts[1::2])
    for name, (text, owners) in itertools.product(
        itertools.islice(names, MAX_NAMES), patterns.items()
    ):
        if match := re.fullmatch(text, name):
            for owner, number in zip(owners, match.groups(), strict=True):
                found[owner].add(int(number))
    fields = {e.ours: e.theirs for e in config if isinstance(e, Field)}
    for argument, indices in wanted.items():
        size, field = count_in(arguments, argument), fields.get(argument, argument)
        lacking = sorted(map(str, indices - found[argument]), key=int)
        beyond = sorted((str(i) for i in found[argument] if i >= size), key=int)
        if lacking and found[argument]:
            yield (
                f"{field!r} is {size}, and the file has nothing of {listed(lacking)}: fetch the "
                f"shards that are missing, or set it to what the file has"
            )
        if beyond:
            yield (
                f"{field!r} is {size}, and the file also has {listed(beyond)}: set it to "
                f"{int(beyond[-1]) + 1} if the file is right"
            )
