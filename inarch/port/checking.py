"""Check of an architecture's folder: step by step from its formats to the rows of the docs."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inarch.errors import InarchError, MissingExtraError
from inarch.port import file_steps, model_steps, repository
from inarch.port.outcome import Count, Outcome, Tally
from inarch.port.subjects import GOLDENS, NotRun, Subjects

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"

# Each step, those that have to pass before it, and the way on where it fails.
STEPS: dict[str, tuple[Callable[[Subjects, Tally], Outcome], tuple[str, ...], str]] = {
    "folder": (
        file_steps.folder, (),
        "checkpoint.py makes one Source for each of model_types in presets.toml, with names of "
        "its own classes: docs/contribute/maps.md",
    ),
    "config": (
        file_steps.config, ("folder",),
        "list every field that is read in the config map of checkpoint.py, and none that isn't: "
        "docs/contribute/maps.md",
    ),
    "prove": (
        model_steps.prove, ("folder",),
        "pair each of these in the weight map of checkpoint.py: docs/contribute/prove.md",
    ),
    "load": (
        model_steps.load, ("prove",),
        "mend what the error names, in backbone.py or checkpoint.py: docs/contribute/backbone.md",
    ),
    "verify": (
        model_steps.verify, ("load",),
        "mend the first of these layers, in backbone.py or by its line in checkpoint.py; `inarch "
        "verify` with --all shows every tensor: docs/contribute/verify.md",
    ),
    "export": (
        model_steps.export, ("load",),
        "no rule may look at a value, and each tensor needs its reason: docs/map-language.md",
    ),
    "heads": (
        model_steps.heads, ("load",),
        "mend the head's entries in checkpoint.py and its method in backbone.py: "
        "docs/contribute/tasks.md",
    ),
    "tokenizer": (
        model_steps.tokenizer, ("folder",),
        "mend text.py, or the special tokens in it: docs/contribute/text.md",
    ),
    "golden": (
        file_steps.golden, ("folder",),
        "write it anew: `inarch port finish NAME --overwrite`: docs/contribute/goldens.md",
    ),
    "sizes": (
        file_steps.sizes, (),
        "leave to a layer what a layer can do; shorten tables by under() and ranges: "
        "docs/contribute/structure.md",
    ),
    "presets": (
        file_steps.presets, ("folder",),
        "complete the tables of presets.toml: docs/contribute/presets.md",
    ),
    "decided": (
        file_steps.decided,
        (),
        "read the reference's code for each, decide, say in the pull request what, and take the "
        "mark out: docs/contribute/maps.md",
    ),
    "docs": (
        repository.docs, ("folder",),
        "`inarch port finish NAME` writes them: docs/contribute/pull-request.md",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A step of a check.

    Attributes:
        name: of the step.
        state: `passed`, `failed` or `not run`.
        summary: what was looked at, or why it wasn't, in a line.
        faults: what is wrong, a line each, the first one first.
        way_on: what to do where it failed.
    """

    name: str
    state: str
    summary: str
    faults: tuple[str, ...] = ()
    way_on: str = ""


@dataclass(frozen=True)
class Check:
    """Result of a check.

    Attributes:
        name: of the architecture.
        steps: in order.
        tally: what the steps counted.
    """

    name: str
    steps: tuple[Step, ...]
    tally: Tally

    @property
    def passed(self) -> bool:
        """Return whether no step failed; some may not have run."""
        return self.first_failed is None

    @property
    def first_failed(self) -> Step | None:
        """The first step that failed."""
        return next((step for step in self.steps if step.state == FAILED), None)

    def score(self) -> dict[str, Any]:
        """Return how far the port has come, for a program: whatever is mended, nothing sinks.

        `total` is the mean of four shares, from 0 to 1: steps that passed, fields accounted for,
        tensors with a place, layers that are right. What can't be measured here counts in none.
        """
        states = {step.name: step.state for step in self.steps}
        due = [name for name, state in states.items() if state != NOT_RUN or self.is_stopped(name)]
        passed = sum(state == PASSED for state in states.values())
        tally, shares = self.tally, [passed / len(due)]
        counts = {"fields": tally.fields, "tensors": tally.tensors, "layers": tally.layers}
        for name, count in zip(("config", "prove", "verify"), counts.values(), strict=True):
            if name in due:
                shares.append(count.right / count.total if count.total else 0.0)
        return {
            "total": round(sum(shares) / len(shares), 4),
            "steps": asdict(Count(passed, len(due))),
            **{name: asdict(count) for name, count in counts.items()},
            "first_wrong": tally.cause,
        }

    def is_stopped(self, name: str) -> bool:
        """Return whether a step failed, or didn't run because one before it failed."""
        state = next(step.state for step in self.steps if step.name == name)
        waits = state == NOT_RUN and any(map(self.is_stopped, STEPS[name][1]))
        return state == FAILED or waits

    def to_json(self) -> dict[str, Any]:
        """Return all of it in plain values."""
        failed = self.first_failed
        return {
            "name": self.name,
            "passed": self.passed,
            "first_failed": failed.name if failed else None,
            "score": self.score(),
            "steps": [asdict(step) for step in self.steps],
        }


def check(
    name: str,
    checkpoint: Path | None = None,
    goldens: Path = GOLDENS,
    progress: Callable[[str], Any] = lambda step: None,
) -> Check:
    """Check the folder of an architecture.

    A step that can't be done here isn't run, and says why; so isn't one that needs a step which
    failed.

    Args:
        name: of the folder.
        checkpoint: a folder with a checkpoint of it, to be proven, loaded and written back as the
            tiny ones are, and whose tokenizer is compared.
        goldens: where golden files are.
        progress: called with what takes long before it begins.

    Raises:
        InputError: there is no such folder.
    """
    counted = Tally()
    done: dict[str, Step] = {}
    with tempfile.TemporaryDirectory(prefix="inarch-port-") as work:
        subjects = Subjects(name, Path(work), goldens, checkpoint, progress)
        for step, (function, before, way_on) in STEPS.items():
            found = Check(name, tuple(done.values()), counted)
            stop = next((each for each in before if found.is_stopped(each)), None)
            if stop is not None:
                reason = "failed" if done[stop].state == FAILED else "wasn't run"
                done[step] = Step(step, NOT_RUN, f"{stop} {reason}")
                continue
            progress(step)
            done[step] = _run(step, function, way_on.replace("NAME", name), subjects, counted)
    return Check(name, tuple(done.values()), counted)


def _run(
    name: str,
    function: Callable[[Subjects, Tally], Outcome],
    way_on: str,
    subjects: Subjects,
    counted: Tally,
) -> Step:
    """Do a step; whatever the code of the folder raises is what is wrong."""
    try:
        outcome = function(subjects, counted)
    except (NotRun, MissingExtraError) as e:
        return Step(name, NOT_RUN, str(e))
    except InarchError as e:
        lines = tuple(line.strip() for line in str(e).splitlines() if line.strip())
        return Step(name, FAILED, lines[0], lines, way_on)
    except Exception as e:  # of the code that is being written
        fault = f"{_place(e, subjects.folder)}{type(e).__name__}: {e}".strip()
        return Step(name, FAILED, fault.splitlines()[0], tuple(fault.splitlines()), way_on)
    if outcome.faults:
        many = len(outcome.faults)
        summary = outcome.faults[0] + (f" (and {many - 1} more)" if many > 1 else "")
        return Step(name, FAILED, summary, outcome.faults, way_on)
    return Step(name, PASSED, outcome.summary)


def _place(error: Exception, folder: Path) -> str:
    """Return the line of this or another folder that an error comes from, if it comes from one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).parent.parent == folder.parent]
    return f"{inside[-1].filename}:{inside[-1].lineno}: " if inside else ""
