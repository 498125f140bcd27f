"""Every name of ours in the tables for those who come from elsewhere exists."""

import dataclasses
import inspect
import re
from pathlib import Path

import keras

import inarch.audio
import inarch.data
import inarch.generation
import inarch.layers
import inarch.losses
import inarch.metrics
import inarch.tasks
from inarch.speech.options import DecodingOptions, Settings
from inarch.speech.resolve_options import OTHER

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"
CODE = re.compile(r"`([^`]+)`")
# Where names in the tables are looked up.
HOMES = (inarch, inarch.data, inarch.layers, inarch.losses, inarch.tasks)
# Strings, a command, a file.
NO_NAME = re.compile(r'"|inarch |\w+\.py$')
# The inputs and outputs of models have names that no signature shows.
PORTS = {
    "token_ids", "segment_ids", "padding_mask", "sequence_output", "pooled_output",
    "encoder_features", "encoder_token_ids", "encoder_padding_mask", "decoder_token_ids",
    "decoder_padding_mask", "encoder_sequence_output", "decoder_sequence_output",
}  # fmt: skip


def codes(page):
    """Yield our names: of the right cell, and of the left one where the right is "the same"."""
    for row in re.findall(r"^\| (?!There)(.+) \|$", page, re.MULTILINE):
        left, right = row.split(" | ")
        shared = CODE.findall(left) if re.match("the same( names?|$|;)", right) else []
        yield from (code for code in shared + CODE.findall(right) if not NO_NAME.match(code))


def names(code):
    """The dotted name that code begins with, and the arguments that it gives by name."""
    return [re.match(r"[\w.]*", code)[0], *re.findall(r"\b(\w+)=", code)]


def known_names():
    """Methods and arguments of everything public, and the inputs and outputs of models."""
    found = {field.name for cls in (DecodingOptions, Settings) for field in dataclasses.fields(cls)}
    found |= PORTS | OTHER
    for home in HOMES:
        for cls in (getattr(home, name) for name in dir(home) if name[0].isupper()):
            found |= set(dir(cls))
            for method in (cls, *(m for _, m in inspect.getmembers(cls, inspect.isroutine))):
                if str(getattr(method, "__module__", "")).startswith("inarch"):
                    found |= set(inspect.signature(method).parameters)
    return found


def exists(name, known):
    if name in known:
        return True
    first, *rest = name.split(".")
    found = [{"inarch": inarch, "keras": keras}.get(first)]
    found += [getattr(home, first, None) for home in HOMES]
    for attribute in rest:
        found = [getattr(f, attribute, None) for f in found]
    return any(f is not None for f in found)


def test_every_name_of_ours_exists():
    known = known_names()
    found = {name for code in codes(PAGE.read_text("utf-8")) for name in names(code)}
    assert len(found) > 50
    assert [name for name in sorted(found) if not exists(name, known)] == []


def test_a_name_that_is_not_ours_is_noticed():
    page = "| `a` | `MaskedLM.fill_gaps(texts, best=3)` |\n| `dropin` | the same |\n"
    found = [name for code in codes(page) for name in names(code)]
    assert found == ["MaskedLM.fill_gaps", "best", "dropin"]
    assert not any(exists(name, known_names()) for name in found)
