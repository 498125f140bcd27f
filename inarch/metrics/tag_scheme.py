"""Labels of tokens that spell entities: BIO, and BIOES.

`B-PER` begins an entity of the kind `PER` and `I-PER` goes on with it (Ramshaw and Marcus, 1995,
cmp-lg/9505040); `O` is outside of any. In BIOES `E-PER` ends one, and `S-PER` is a whole one.
"""

from __future__ import annotations

from collections.abc import Sequence

from inarch.errors import InputError

OUTSIDE = "O"


def prefixes_of(labels: Sequence[str]) -> str:
    """Return the letters that labels begin with: those of BIOES where all are such, else of BIO."""
    found = {
        label[0] if label[1:2] == "-" and label[2:] else "" for label in labels if label != OUTSIDE
    }
    return "BIES" if "B" in found and found & {*"ES"} and found <= {*"BIES"} else "BI"


def split_label(label: str, prefixes: str = "BI") -> tuple[str, str]:
    """Return the prefix and the kind of a label: `("B", "PER")`; `("I", label)` without one."""
    if label[:1] and label[0] in prefixes and label[1:2] == "-":
        return label[0], label[2:]
    return "I", label


def starts_entity(previous: tuple[str, str], label: tuple[str, str]) -> bool:
    """Return whether an entity begins at a label, split, or goes on from the one before it."""
    before, kind_before = previous
    prefix, kind = label
    return prefix in "BS" or before in "ES" or kind != kind_before


def check_scheme(labels: Sequence[str]) -> None:
    """Raise InputError where labels with and without prefixes clash, or one lacks its `B-`."""
    prefixes = prefixes_of(labels)
    bare: set[str] = set()
    found: dict[str, str] = {}
    for label in labels:
        prefix, kind = split_label(label, prefixes)
        if kind == label:
            bare.add(label)
        else:
            found[kind] = found.get(kind, "") + prefix
    for kind, of_kind in found.items():
        if not {*of_kind} & {"B", "S"}:
            raise InputError(
                f"labels have '{of_kind[0]}-{kind}' and no 'B-{kind}', so that two entities next "
                f"to each other would be one; give labels with 'B-{kind}', or {kind!r} alone"
            )
        if kind in bare:
            raise InputError(
                f"labels have {kind!r} and '{of_kind[0]}-{kind}', whose entities would have one "
                f"name; rename {kind!r}"
            )


def span_labels(labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return for each kind of entity the number of the label of each prefix.

    Raises:
        InputError: there is no label for what is outside of entities, or a kind lacks a label.
    """
    check_scheme(labels)
    if OUTSIDE not in labels:
        raise InputError(
            f"labels have no {OUTSIDE!r} for what is in no span; give labels with it, such as "
            "['O', 'B-PER', 'I-PER']"
        )
    prefixes = prefixes_of(labels)
    found: dict[str, dict[str, int]] = {}
    for number, label in enumerate(labels):
        if label != OUTSIDE:
            prefix, kind = split_label(label, prefixes)
            found.setdefault(kind, {})["" if kind == label else prefix] = number
    for kind, numbers in found.items():
        if "" not in numbers and (missing := [p for p in prefixes if p not in numbers]):
            raise InputError(
                f"labels have no '{missing[0]}-{kind}', which a span of that kind may need; give "
                f"{', '.join(repr(f'{p}-{kind}') for p in prefixes)}"
            )
    return found
