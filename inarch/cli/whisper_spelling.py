"""openai-whisper's spelling of options: `--beam_size 5`, `--word_timestamps True`."""

from __future__ import annotations

import os
from typing import Any

from typer.core import TyperCommand

from inarch.errors import InputError

TRUTH = {"True": True, "False": False}


class WhisperCommand(TyperCommand):
    """A command that takes its options with underscores, too, and flags with True or False.

    Its help is plain: in rich's columns long names are cut off.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs | {"rich_markup_mode": None})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        flags = {
            name: option.secondary_opts
            for option in self.params
            if getattr(option, "is_flag", False)
            for name in option.opts
        }
        return super().parse_args(ctx, respelled(args, flags))


def respelled(args: list[str], flags: dict[str, list[str]]) -> list[str]:
    """Return the arguments in the spelling that the command parser reads.

    Args:
        args: of the command line, up to `--` at most.
        flags: by the name of a flag, the names that switch it off.
    """
    found: list[str] = []
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if arg == "--":
            return [*found, arg, *rest]
        if not arg.startswith("--"):
            found.append(arg)
            continue
        name, equals, value = arg.partition("=")
        name = name.replace("_", "-")
        if name in flags and not equals and rest and rest[0] in TRUTH:
            equals, value = "=", rest.pop(0)
        if name in flags and value in TRUTH:
            # A flag that can't be switched off is off where it isn't named.
            found += [name] if TRUTH[value] else flags[name][:1]
        else:
            found.append(f"{name}{equals}{value}")
    return found


def optional_int(text: str) -> int | None:
    """Parse a whole number, or "None"."""
    return None if text == "None" else int(text)


def optional_float(text: str) -> float | None:
    """Parse a number, or "None"."""
    return None if text == "None" else float(text)


def clips_of(text: str) -> list[tuple[float, float | None]]:
    """Parse clips from "start,end,start,end,..." in seconds; the last end may be left out.

    Raises:
        InputError: it isn't made of numbers.
    """
    try:
        points: list[float | None] = [float(part) for part in text.split(",")] if text else [0.0]
    except ValueError as e:
        raise InputError(
            f"clip_timestamps is {text!r}; give seconds as start,end,start,end,..."
        ) from e
    if len(points) % 2:
        points.append(None)
    return list(zip(points[::2], points[1::2], strict=True))  # type: ignore[arg-type]


def temperatures(first: float, increment: float | None) -> list[float]:
    """Return the temperatures to try, up to 1, in openai-whisper's steps.

    Raises:
        InputError: the increment isn't above 0.
    """
    if increment is None or first > 1:
        return [first]
    if not increment > 0:
        raise InputError(
            f"temperature_increment_on_fallback is {increment}; it must be above 0, or None"
        )
    count = int((1.0 + 1e-6 - first) / increment) + 1
    return [first + i * increment for i in range(count)]


def limit_threads(number: int) -> None:
    """Compute on so many processors; to be called before a backend starts.

    Raises:
        InputError: the system can't keep a process to some processors.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise InputError("--threads needs an operating system that keeps a process to processors")
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[:number])
