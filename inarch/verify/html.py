"""A report as one HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import resources

from inarch.errors import MissingExtraError
from inarch.verify.report import Report
from inarch.verify.report_text import (
    Scale,
    attention_of,
    coverage,
    headline,
    layer_table,
    not_compared,
    number,
    pieces,
    sentence,
    share,
    state,
    texts_read_differently,
    top_layer,
    visible,
    within,
)

TEMPLATE = "report.html.jinja"


def render(report: Report) -> str:
    """Return the report as one HTML file that loads nothing from elsewhere.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as e:
        raise MissingExtraError(
            "the HTML report needs jinja2, which is not installed: pip install 'inarch[verify]'"
        ) from e
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        # Exactly str: what a macro gives is markup, and its line breaks are the template's own.
        finalize=lambda value: visible(value) if type(value) is str else value,
    )  # fmt: skip
    environment.filters |= {
        "number": number, "pieces": pieces, "sentence": sentence,
        "percent": _percent, "decade": _decade,
    }  # fmt: skip
    template = environment.from_string(
        resources.files(__package__).joinpath(TEMPLATE).read_text("utf-8")
    )
    attention = attention_of(report.first, report.measures)
    first = report.first
    return template.render(
        report=report,
        inf=math.inf,
        worst=report.worst if report.measures else None,
        edge=any(m.worst == math.inf for m in report.measures),
        opened=top_layer(first.layer or first.measure.layer) if first else None,
        share=share,
        headline=headline(report),
        coverage=coverage(report),
        not_compared=visible(not_compared(report)),
        rows=layer_table(report),
        has_finding=[finding.measure for finding in report.findings],
        state=lambda measure: state(measure, report),
        within=within,
        scale=Scale.of(report),
        attention=attention,
        bars=_bars(attention.heads) if attention else [],
        unread=texts_read_differently(report),
    )


def _bars(values: Sequence[float]) -> list[tuple[float, float]]:
    """Return each value with its share of the largest; what isn't a number fills its bar."""
    top = max((v for v in values if math.isfinite(v)), default=0.0) or 1.0
    return [(v, v / top if math.isfinite(v) else 1.0) for v in values]


def _decade(exponent: int) -> str:
    if -2 <= exponent <= 2:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _percent(place: float) -> str:
    """Return a place on the scale as a share of the plot, with room on the right for infinity."""
    return f"{3 + 84 * place:.2f}%"
