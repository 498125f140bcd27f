"""A report as its readers see it: numbers and words, a row for each layer, the scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from inarch.verify.report import Coverage, Finding, Measure, Report

# So many names of a list are shown.
FEW = 4

# --- words and numbers -------------------------------------------------------------------------


def headline(report: Report) -> str:
    """Return the verdict in a sentence: the doctor's where there is one."""
    first = report.first
    if first is not None:
        return sentence(first.diagnosis or f"the first wrong place is {first.where}")
    if report.unreached:
        part = report.unreached[0]
        names = ", ".join(map(str, part.missing))
        return (
            f"The model is right as far as its inputs reach: no output depends on {part.what} "
            f"{names} of {part.place}. Write the golden file anew, or give the reason in an "
            "[[unreached]] of presets.toml"
        )
    if not report.passed:
        total = report.tokenizer.texts if report.tokenizer else 0
        unread = texts_read_differently(report)
        return f"The model is right, but its tokenizer reads {unread} of {total} texts differently"
    also = ", and reads text as the reference does" if report.tokenizer else ""
    return f"{report.title} computes what the reference computes{also}"


def texts_read_differently(report: Report) -> int:
    """Return the number of texts that the tokenizers differ on, in one way or several."""
    return len({d.text for d in report.tokenizer.differences}) if report.tokenizer else 0


def coverage(report: Report) -> str:
    """Return where there are rows or branches that the inputs don't reach, or that all are."""
    partly = [
        f"{part.count - len(part.untouched)} of {part.count} {part.what} of {part.place}"
        + _reasons(part)
        for part in report.coverage
        if part.untouched
    ]
    if partly:
        return "; ".join(partly)
    layers = [part.place for part in report.coverage if part.what == "branches"]
    tables = f"every row of {len(report.coverage) - len(layers)} tables"
    return tables + (f" and every branch of {', '.join(layers)}" if layers else "")


def not_compared(report: Report) -> str:
    """Return the first tensors and layers that aren't compared, and the number of the rest."""
    more = len(report.not_compared) - FEW
    return ", ".join(report.not_compared[:FEW]) + (f" and {more} more" if more > 0 else "")


def _reasons(part: Coverage) -> str:
    reasons = dict.fromkeys(part.reasons[one] for one in part.untouched if one in part.reasons)
    return f" ({'; '.join(reasons)})" if reasons else ""


def sentence(text: str) -> str:
    """Return a text with its first word capitalised, unless that is a name of a layer."""
    return text[:1].upper() + text[1:] if text.split(" ", 1)[0].isalpha() else text


def number(value: float | None) -> str:
    """Return a number for people: 1.04, 12.3, 3.2e+04, ∞."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if 0.01 <= abs(value) < 999.5:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:.1e}"


def share(part: float) -> str:
    """Return a share in per cent, which says 100 only of all."""
    if part < 1 and round(100 * part, 2) == 100:
        return "nearly 100 %"
    return f"{100 * part:.4g} %"


def pieces(text: str) -> list[tuple[str, bool]]:
    """Return a text in runs, each with whether it had no shape of its own and so is escaped."""
    return [
        ("".join(run) if shown else "".join(map(_escaped, run)), not shown)
        for shown, run in groupby(text, key=str.isprintable)
    ]


def visible(text: str) -> str:
    """Return a text whose control, format and other shapeless characters are escaped."""
    return text if text.isprintable() else "".join(piece for piece, _ in pieces(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


# --- the layer table ---------------------------------------------------------------------------

RIGHT, INHERITED, WRONG = "right", "inherited", "wrong"


@dataclass(frozen=True)
class LayerRow:
    """A layer of the model's own graph, with all that was compared within it.

    Attributes:
        layer: its name; empty for the outputs of the model itself.
        measures: its tensors, in order.
        state: `wrong` where it computes something else, `inherited` where only its inputs are
            wrong, else `right`.
        has_finding: whether a finding lies within it.
    """

    layer: str
    measures: tuple[Measure, ...]
    state: str
    has_finding: bool

    @property
    def worst(self) -> Measure:
        """The tensor farthest from the reference's on the same inputs."""
        return max(self.measures, key=lambda m: math.inf if m.ratio is None else m.ratio)

    @property
    def local_ratio(self) -> float | None:
        """The largest ratio of a tensor when every layer gets the reference's own values."""
        return max(
            (m.local_ratio for m in self.measures if m.local_ratio is not None), default=None
        )


def layer_table(report: Report) -> list[LayerRow]:
    """Return a row for each layer of the model's own graph, in the order of computation."""
    rows: dict[str, list[Measure]] = {}
    for measure in report.measures:
        rows.setdefault(top_layer(measure.layer), []).append(measure)
    has_finding = {top_layer(f.layer or f.measure.layer) for f in report.findings}
    result = []
    for layer, measures in rows.items():
        states = {state(m, report) for m in measures} | ({WRONG} if layer in has_finding else set())
        worst = next(s for s in (WRONG, INHERITED, RIGHT) if s in states)
        result.append(LayerRow(layer, tuple(measures), worst, layer in has_finding))
    return result


def state(measure: Measure, report: Report) -> str:
    """Return whether a tensor is wrong by itself, wrong only through its inputs, or right."""
    itself = measure.ratio is None or (measure.local_ratio or 0.0) > report.threshold
    if itself or any(f.measure == measure for f in report.findings):
        return WRONG
    return INHERITED if measure.worst > report.threshold else RIGHT


def within(measure: Measure, row: LayerRow) -> str:
    """Return a tensor's name inside its row, such as `attention/query · linear`."""
    inner = measure.layer.removeprefix(row.layer).strip("/")
    name = f"{inner} · {measure.role}" if inner else measure.role
    return f"{name} (call {measure.call})" if measure.call else name


def attention_of(finding: Finding | None, measures: Sequence[Measure]) -> Measure | None:
    """Return the attention probabilities that a finding lies in, where they were compared."""
    if finding is None:
        return None
    places = [f"{place}/" for place in (finding.layer, finding.measure.layer) if place]
    around = [
        m for m in measures
        if m.heads and any(place.startswith(f"{m.layer}/") for place in places)
    ]  # fmt: skip
    same_call = [m for m in around if m.call == finding.measure.call]
    return next(iter(same_call or around), None)


def top_layer(layer: str) -> str:
    return layer.split("/", 1)[0]


# --- the scale ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """A logarithmic scale of noise ratios, from `10**low` to `10**high`."""

    low: int
    high: int

    @classmethod
    def of(cls, report: Report) -> Scale:
        """Whole decades around every ratio; those below 0.01 are at the edge."""
        ratios = [r for m in report.measures for r in (m.ratio, m.local_ratio) if r is not None]
        logs = [math.log10(r) for r in ratios if 0 < r < math.inf]
        low = math.floor(min([-1.0, *logs]))
        high = math.ceil(max([math.log10(report.threshold * 4), *logs]))
        return cls(max(low, -2), high)

    def at(self, ratio: float) -> float:
        """Return the position of a ratio, from 0 at the low end to 1 at the high one."""
        if ratio <= 0:
            return 0.0
        place = (math.log10(ratio) - self.low) / (self.high - self.low)
        return min(max(place, 0.0), 1.0)

    @property
    def decades(self) -> range:
        return range(self.low, self.high + 1)

    @property
    def labelled(self) -> list[int]:
        """At most seven of the decades, 1 among them."""
        step = math.ceil(len(self.decades) / 7)
        return [decade for decade in self.decades if decade % step == 0]
