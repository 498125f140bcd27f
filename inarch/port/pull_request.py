"""The text of the pull request of an architecture, from its check and its certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from inarch.models.registry import Architecture
from inarch.port.checking import Check
from inarch.port.repository import CHANGELOG, FAULTS, README
from inarch.verify.certificate import Certificate

BY_HAND = (
    "The backbone reads like the paper's figure, and its docstring names the paper.",
    "Every default of the config map was looked up in the reference's code.",
    "The report of `inarch verify` on a real checkpoint is attached (HTML), or there is a reason "
    "why none can be had.",
    "The presets' licences and parameter counts are those of the published files.",
    "`docs/coming-from.md` has a row, where KerasHub has the class.",
    "`CASES` in `tests/reference/test_against_transformers.py` has a line for each further field "
    "that can change the numbers, and for each further class.",
    "`make test-all` passes.",
)


def pull_request_text(
    architecture: Architecture, found: Check, certificates: Mapping[str, Certificate]
) -> str:
    """Return the text, in Markdown.

    Args:
        found: the check after all was written.
        certificates: by the names of golden files.
    """
    return "\n".join(_lines(architecture, found, certificates)) + "\n"


def _lines(
    architecture: Architecture, found: Check, certificates: Mapping[str, Certificate]
) -> Iterator[str]:
    types = ", ".join(f"`{name}`" for name in architecture.model_types)
    yield f"Adds `{architecture.class_name}` for checkpoints of {types}.\n"
    yield "<!-- Name the issue that this closes, what you had to decide, and what the reference"
    yield "     does that its paper doesn't say. -->\n"
    yield "## Checked by `inarch port check`\n"
    yield "| step | state | |\n|---|---|---|"
    for step in found.steps:
        yield f"| {step.name} | {step.state} | {step.summary.replace('|', chr(92) + '|')} |"
    for name, stated in certificates.items():
        yield from _verified(name, stated)
    yield "\n## Written by `inarch port finish`\n"
    yield f"The golden files, the row of {README}, sections of {FAULTS}, the line of {CHANGELOG}."
    yield "\n## Checked by hand\n"
    yield from (f"- [ ] {line}" for line in BY_HAND)


def _verified(name: str, stated: Certificate) -> Iterator[str]:
    backend = stated.versions["backend"]
    reference = stated.versions.get("reference's transformers", "?")
    yield f"\n## Verified: {name}\n"
    yield (
        f"On {backend} {stated.versions[backend]}, against transformers {reference}; 1 is as good "
        f"as the reference's own float32, above 8 is wrong. {len(stated.faults)} faults "
        f"were put in, and all were caught; {stated.fault_kinds - len(stated.faults)} other kinds "
        "change nothing for these inputs.\n"
    )
    yield "| layer | noise ratio | on the reference's own values |\n|---|---|---|"
    for layer, row in stated.noise.items():
        yield f"| `{layer}` | {row['ratio']:.3g} | {row['isolated']:.3g} |"
    yield f"\nThe attached certificate repeats it: `inarch verify --certificate {name}.json`"
