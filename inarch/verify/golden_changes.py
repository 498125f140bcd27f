"""Changes that rewriting a golden file would make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from inarch.errors import CheckpointFileError
from inarch.verify.golden import Golden
from inarch.verify.reference import Reference


def changes(path: Path, fresh: Golden) -> list[str]:
    """Return what writing a golden file would change, in lines; all of one that can't be read."""
    if not path.is_file():
        return ["it is new"]
    try:
        old = Golden.read(path)
    except CheckpointFileError as e:
        return [f"it becomes readable; {e}"]
    return differences(old, fresh)


def differences(old: Golden, new: Golden) -> list[str]:
    """Return what rewriting a golden file would change, in lines for a reader."""
    lines = []
    if old.config_text != new.config_text:
        lines.append("the config changes")
    for name in sorted(old.defaults.keys() | new.defaults.keys()):
        before, after = (g.defaults.get(name, "absent") for g in (old, new))
        if before != after and name != "transformers_version":
            lines.append(f"the reference's default of {name}: {before!r} becomes {after!r}")
    for what, before, after in _reads(old, new):
        lines += [f"{what} {name!r}" for name in sorted(after - before)]
        lines += [f"{what} {name!r} no longer" for name in sorted(before - after)]
    lines += _changed("weight", old.weights, new.weights)
    for head in sorted(old.runs.keys() | new.runs.keys()):
        what = head or "backbone"
        if head not in old.runs or head not in new.runs:
            lines.append(f"{what}: {'added' if head in new.runs else 'removed'}")
            continue
        lines += _changed_run(what, old.runs[head], new.runs[head])
    lines += _changed_run("covering", old.covering, new.covering)
    for name in sorted(old.about.keys() | new.about.keys()):
        before, after = old.about.get(name), new.about.get(name)
        if before != after:
            lines.append(f"{name}: {before} becomes {after}")
    return lines


def _changed_run(what: str, old: Reference, new: Reference) -> list[str]:
    before, after = (
        {f"{what} {' '.join(map(str, p.tap))}": p.value for p in run.tensors} for run in (old, new)
    )
    return [
        *_changed("value", before, after),
        *_changed(f"{what} input", old.inputs, new.inputs),
    ]


def _changed(what: str, old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> list[str]:
    lines = [f"{what} {name} is added" for name in new.keys() - old.keys()]
    lines += [f"{what} {name} is removed" for name in old.keys() - new.keys()]
    for name in old.keys() & new.keys():
        if old[name].shape != new[name].shape:
            lines.append(f"{what} {name}: shape {old[name].shape} becomes {new[name].shape}")
        elif (error := np.abs(old[name].astype("float64") - new[name]).max()) > 1e-12:
            lines.append(f"{what} {name} changes by up to {error:.1e}")
    return sorted(lines)


def _reads(old: Golden, new: Golden) -> list[tuple[str, set[str], set[str]]]:
    """Return fields that modeling code and other code reads, before and after."""
    modeling, elsewhere = (
        [{n for names in g.reads.modeling.values() for n in names} for g in (old, new)],
        [{*g.reads.elsewhere} for g in (old, new)],
    )
    return [
        ("the reference reads", modeling[0], modeling[1]),
        ("code for all models reads", elsewhere[0], elsewhere[1]),
    ]
