"""Values as code."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

# Longer values aren't written.
MAX_LITERAL = 400


def code(value: Any) -> str:
    """Return a value as a literal, strings in double quotes."""
    if isinstance(value, str):
        text = repr(value)
        return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text else text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{code(k)}: {code(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        inner = ", ".join(map(code, value))
        ends = "[]" if isinstance(value, list) else "()"
        return ends[0] + inner + ("," if ends == "()" and len(value) == 1 else "") + ends[1]
    return repr(value)


def is_literal(value: Any) -> bool:
    """Return whether a value can stand in code, short enough for a line."""
    text = code(value)
    try:
        return len(text) <= MAX_LITERAL and ast.literal_eval(text) == value
    except (ValueError, SyntaxError):
        return False


def call(start: str, *arguments: str, end: str = "),", width: int = 88) -> list[str]:
    """Return the lines of a call, on as many as it takes."""
    whole = f"{start}{', '.join(arguments)}{end}"
    if len(whole) <= width:
        return [whole]
    lines, line = [start], "   "
    for argument in arguments:
        if len(line) + len(argument) + 2 > width and line.strip():
            lines.append(line)
            line = "   "
        line += f" {argument},"
    lines.append(line.rstrip(",") + end)
    return lines


def layer_lines(start: str, options: Sequence[str], width: int = 92) -> list[str]:
    """Return the lines of a call in a constructor's body, as a formatter has them.

    Args:
        start: what precedes the parenthesis.
        options: arguments; those with line breaks stand by themselves.
        width: of the longest line.
    """
    inner = ", ".join(options)
    if "\n" not in inner and len(f"{start}({inner})") <= width:
        return [f"{start}({inner})"]
    if "\n" not in inner and len(inner) + 4 <= width:
        return [f"{start}(", f"    {inner}", ")"]
    lines = (line for option in options for line in f"{option},".split("\n"))
    return [f"{start}(", *(f"    {line}" for line in lines), ")"]


def choice_lines(field: str, argument: str, usual: Any, values: Any) -> list[str]:
    """Return the lines of a field's entry in a config map that has our word for each of its."""
    return [f'choice("{field}", "{argument}", {code(usual)},', f"    values={code(values)}),"]


def wrapped(line: str) -> list[str]:
    """Return a line of an entry, or two where it is long and has older names."""
    before, found, after = line.partition(", legacy=")
    if len(line) <= 92 or not found:
        return [line]
    return [f"{before},", f"    legacy={after}"]
