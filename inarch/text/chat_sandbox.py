"""Sandbox that chat templates run in: they are programs, and come with checkpoints.

What they can reach is what jinja2's sandbox lets them: their own variables, which are plain values.
Here their time and memory are bounded too: a clock is read in every block of a template, and what
makes a large value out of small ones is refused beyond a size. Importing this needs jinja2.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from itertools import chain
from json import dumps
from typing import Any

import jinja2
from jinja2 import ext, nodes, utils
from jinja2.compiler import CodeGenerator
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Characters or entries of a value, bits of a number, and seconds of one rendering.
MAX_SIZE, MAX_BITS, MAX_SECONDS = 20_000_000, 10_000, 10.0
# Widths to pad or indent to, and digits to round to.
MAX_WIDTH = 1000

# Padded to any width, or repeated any number of times.
UNBOUNDED_FILTERS = ("batch", "center", "format", "slice", "urlize", "wordwrap", "xmlattr")
# Of formats: widths of many digits, and those that are taken from arguments.
_WIDE = re.compile(r"\d{4,}|%[^a-zA-Z%]*\*|\{[^{}]*\{")

# When the rendering of this context is to end.
_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))


class LimitError(jinja2.TemplateError):
    """A template takes too long, or makes too large a value."""


class RefusedError(jinja2.TemplateError):
    """A template calls `raise_exception`."""


class _Generator(CodeGenerator):
    """Code generator that reads the clock in each block, and checks the size of what is joined."""

    def blockvisit(self, nodes: Iterable[nodes.Node], frame: Any) -> None:
        self.writeline("environment.read_clock()")
        super().blockvisit(nodes, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:
        self.write("environment.join_texts((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Environment of chat templates, with the filters and functions that transformers gives them.

    Source: transformers, utils/chat_template_utils.py.
    """

    code_generator_class = _Generator
    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        # Not optimized: constants would be computed as the template is read.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            extensions=["jinja2.ext.loopcontrols", _Generation],
        )
        for name in UNBOUNDED_FILTERS:
            del self.filters[name]
        for name, check in _FILTER_CHECKS.items():
            self.filters[name] = _checked(self.filters[name], check)
        self.filters["tojson"] = _to_json
        del self.globals["lipsum"]
        self.globals |= {
            "raise_exception": _raise_exception,
            "strftime_now": lambda format: datetime.now().strftime(_narrow(format)),
            "dict": lambda *args, **kwargs: dict(*args, **kwargs),
            "namespace": _Namespace,
        }

    @staticmethod
    def read_clock() -> None:
        if time.monotonic() > _deadline.get():
            raise LimitError(f"it takes more than {MAX_SECONDS:g} seconds")

    @staticmethod
    def join_texts(parts: tuple[Any, ...]) -> str:
        texts = [str(part) for part in parts]
        _check_size(sum(map(len, texts)))
        return "".join(texts)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self.read_clock()
        _OPERATOR_CHECKS[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        __self.read_clock()
        method = getattr(__obj, "__wrapped__", __obj)  # as jinja2 gives those of formats
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str) and name in _METHOD_CHECKS:
            _METHOD_CHECKS[name](owner, *args, **kwargs)
        return super().call(__context, __obj, *args, **kwargs)


class _Generation(ext.Extension):
    """The tags `{% generation %}` around the text of an assistant, which do nothing here."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _Namespace(utils.Namespace):
    """Variables of a template, none of which is one of Python's own."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *given = args
        values = dict(*given, **kwargs)
        for name in values:
            _check_name(name)
        utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def render(template: jinja2.Template, variables: dict[str, Any]) -> str:
    """Return what a template makes of variables.

    Raises:
        LimitError: it takes too long, or is too large.
    """
    token = _deadline.set(time.monotonic() + MAX_SECONDS)
    try:
        pieces, size = [], 0
        for piece in template.generate(variables):
            size += len(piece)
            _check_size(size)
            pieces.append(piece)
        return "".join(pieces)
    finally:
        _deadline.reset(token)


def _check_name(name: Any) -> None:
    if str(name).startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace has {name!r}, which begins with '_'")


def _raise_exception(message: Any) -> None:
    raise RefusedError(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON as it is, which jinja2's own filter would escape for HTML."""
    _check_width(value, indent)
    return dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


# --- sizes -------------------------------------------------------------------------------------


def _check_size(size: int) -> None:
    if size > MAX_SIZE:
        raise LimitError(f"a value has {size:,} characters or entries; at most {MAX_SIZE:,} may be")


def _size(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") else 1


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _check_bits(bits: int) -> None:
    if bits > MAX_BITS:
        raise LimitError(f"a number has {bits:,} bits; at most {MAX_BITS:,} may be")


def _check_sum(left: Any, right: Any) -> None:
    _check_size(_size(left) + _size(right))


def _check_product(left: Any, right: Any) -> None:
    _check_bits(_bits(left) + _bits(right))
    for value, count in ((left, right), (right, left)):
        if isinstance(count, int) and hasattr(value, "__len__"):
            _check_size(len(value) * count)


def _check_power(left: Any, right: Any) -> None:
    if isinstance(right, int):
        _check_bits(_bits(left) * abs(right))


def _narrow(format: Any) -> Any:
    if isinstance(format, str) and _WIDE.search(format):
        raise LimitError(f"the format {format[:40]!r} has a width that isn't bounded")
    return format


def _check_remainder(left: Any, right: Any) -> None:
    _narrow(left)


def _check_width(value: Any, *widths: Any, **named: Any) -> None:
    for width in chain(widths, named.values()):
        if isinstance(width, int) and abs(width) > MAX_WIDTH:
            raise LimitError(f"a width is {width:,}; at most {MAX_WIDTH:,} may be")
        _check_size(_size(width) * _size(value))


def _check_replaced(value: Any, *texts: Any, **named: Any) -> None:
    longest = max((_size(text) for text in (*texts, *named.values())), default=0)
    _check_size((_size(value) + 1) * (longest + 1))


def _check_joined(value: Any, d: Any = "", attribute: Any = None) -> None:
    if hasattr(value, "__len__"):
        _check_size(len(value) * _size(d) + sum(map(_size, value)))


def _check_added(value: Any, attribute: Any = None, start: Any = 0) -> None:
    if not isinstance(start, int | float):
        raise LimitError("sum adds numbers alone")


def _checked(function: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """Return a filter whose arguments are checked; some are given a context or the like first."""
    passed = hasattr(function, "jinja_pass_arg")

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        check(*args[passed:], **kwargs)
        return function(*args, **kwargs)

    return call


_OPERATOR_CHECKS: dict[str, Callable[[Any, Any], None]] = {
    "+": _check_sum, "*": _check_product, "**": _check_power, "%": _check_remainder,
}  # fmt: skip
_METHOD_CHECKS: dict[str, Callable[..., None]] = {
    **dict.fromkeys(("center", "expandtabs", "ljust", "rjust", "zfill"), _check_width),
    **dict.fromkeys(("format", "format_map"), lambda text, *args, **kwargs: _narrow(text) and None),
    "replace": _check_replaced,
    "join": lambda separator, values=(): _check_joined(values, separator),
    "translate": lambda text, table: _check_replaced(text, *getattr(table, "values", tuple)()),
}
_FILTER_CHECKS: dict[str, Callable[..., None]] = {
    "indent": _check_width, "round": _check_width, "truncate": _check_width,
    "replace": _check_replaced, "join": _check_joined, "sum": _check_added,
}  # fmt: skip
