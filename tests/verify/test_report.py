"""The two faces of a report, the HTML file and the terminal: nothing lost, nothing unescaped."""

import json
import math
import re
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest

from inarch.cli import verdict
from inarch.errors import MissingExtraError
from inarch.verify.html import render
from inarch.verify.report import Finding, HeadAgreement, Measure, Report
from inarch.verify.report_text import (
    INHERITED,
    RIGHT,
    WRONG,
    Scale,
    layer_table,
    not_compared,
    number,
    pieces,
    visible,
)
from inarch.verify.tokenizer import TextDifference, TokenizerParity

VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}
LONG = "layer_1/" + "_".join(["adapter"] * 12)


def measure(layer, role="output", ratio=1.04, local=1.02, **more):
    error = {"max_abs": 3.1e-7, "relative_rms": 1.2e-7} | more
    return Measure(layer, 0, role, f"encoder.{layer}", (2, 7, 12), ratio, local, **error)


def passed_report():
    measures = (
        measure("embeddings_norm"),
        measure("layer_0/feed_forward/up", "linear", 0.0),
        measure("layer_0"),
    )
    return Report("BertBackbone", "tiny-bert", {"keras": "3.15"}, measures, (),
                  outputs={"logits": HeadAgreement(1.5e-13, 4.0e-13, 1.0)},
                  proof="21 tensors carried over", tokenizer=TokenizerParity(57),
                  model_type="bert")  # fmt: skip


def failed_report():
    heads = (1.3e-7, 0.625, 0.25)
    query = measure("layer_0/attention/query", "linear", 31987.0, 31500.0, max_abs=0.42)
    never = measure("pooler", ratio=None, local=None, max_abs=math.nan, relative_rms=math.nan)
    measures = (
        measure("embeddings_norm"),
        query,
        measure("layer_0/attention", "attention", 777.0, 888.0, heads=heads),
        measure(LONG, ratio=math.inf, local=math.inf, max_abs=math.inf, relative_rms=math.nan),
        never,
        Measure("", 0, "logits", "", (2, 7, 99), 5.4e5, 1.0),
    )
    findings = (
        Finding("layer_0/attention/query", query, 'heads in another order: "(h k) d -> d h k"'),
        Finding("", never),
    )
    differences = (
        TextDifference("<script>alert(1)</script>\x07\u200b\u202e", "ids", "1, 2, 3", "1, 5, 3"),
        TextDifference("a lone \ud800 & a tab\t", "decoded", "\x1b[31mred", "<b>red</b>"),
    )
    return Report("BertBackbone", "a <b>bold</b> & 'quoted' \x1b[2J folder", {"inputs": "</dl>\n"},
                  measures, findings, {"logits": HeadAgreement(2.5, 9.75, 0.3125)}, None,
                  TokenizerParity(57, differences))  # fmt: skip


REPORTS = pytest.mark.parametrize(
    "report", [passed_report(), failed_report()], ids=["passed", "failed"]
)


class Page(HTMLParser):
    """Refuses tags that aren't balanced; collects the text, the tags and their attributes."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "title"} & set(self.open):
            self.words.append(data)


@REPORTS
def test_the_page_is_well_formed_and_loads_nothing(report):
    source = render(report)
    page = Page(source)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    for name, value in page.attributes:
        if name in ("href", "src", "xlink:href"):
            assert value.startswith("#")
            assert ("id", value[1:]) in page.attributes
    assert not re.search(r"https?://|@import|url\(", source)
    source.encode("utf-8")


def test_nothing_of_a_report_is_taken_for_markup_and_no_hidden_character_stays_hidden():
    report = failed_report()
    source = render(report)
    page = Page(source)
    assert "<script" not in source
    assert "<script>alert(1)</script>\\x07\\u200b\\u202e" in page.text
    assert "a lone \\ud800 & a tab\\t" in page.text
    assert "a <b>bold</b> & 'quoted' \\x1b[2J folder" in page.text
    assert not [c for c in source if not c.isprintable() and c != "\n"]


@REPORTS
def test_every_measure_is_in_the_page_with_all_its_numbers(report):
    source = render(report)
    table = source[source.index('<table class="measures">') :].split("</table>")[0]
    rows = table.split("<tr")[2:]
    assert len(rows) == len(report.measures)
    for row, m in zip(rows, report.measures, strict=True):
        cells = [unescape(re.sub("<.*?>", "", c)).strip() for c in row.split("<td")[1:]]
        cells = [cell.split(">", 1)[1].strip() for cell in cells]
        ratio = "never called" if m.ratio is None else number(m.ratio)
        numbers = [number(v) for v in (m.local_ratio, m.max_abs, m.relative_rms)]
        shape = "×".join(map(str, m.shape))
        layer = m.layer or "outputs of the model"
        assert cells == [layer, m.role, m.module, shape, ratio, *numbers]


def test_a_failure_is_headed_by_the_first_findings_diagnosis_and_lists_all_in_order():
    text = Page(render(failed_report())).text
    diagnosis = 'eads in another order: "(h k) d -> d h k"'
    assert text.startswith("Failed · verification of BertBackbone H" + diagnosis)
    first = text.index(
        "layer_0/attention/query: its values before the activation", text.index("What is wrong")
    )
    second = text.index("in the model's graph, before pooler")
    assert first < second < text.index("Layer by layer")


def test_a_pass_says_so_and_lists_nothing_wrong():
    source = render(passed_report())
    text = Page(source).text
    assert text.startswith(
        "Passed · verification of BertBackbone (bert) BertBackbone (bert) computes what the "
        "reference computes, and reads text as the reference does"
    )
    assert 'id="findings"' not in source
    assert "100 % of rows" in text
    assert "1.5e-13 nats" in text
    assert "21 tensors carried over" in text


def test_a_tokenizer_that_differs_fails_a_model_that_is_right():
    differences = (TextDifference("a", "ids", "1", "2"), TextDifference("a", "decoded", "a", "b"))
    measures = (measure("layer_0"),)
    report = Report("M", "s", {}, measures, (), tokenizer=TokenizerParity(9, differences))
    assert "its tokenizer reads 1 of 9 texts differently" in Page(render(report)).text


def test_what_is_not_compared_is_named_and_the_rest_counted():
    names = ("cls.a\x1b[2J", "cls.b", "cls.c", "cls.d", "pooler", "other")
    report = replace(passed_report(), not_compared=names)
    assert report.passed
    assert not_compared(report) == "cls.a\x1b[2J, cls.b, cls.c, cls.d and 2 more"
    text = Page(render(report)).text
    assert "cls.b, cls.c, cls.d and 2 more" in text
    assert "\x1b" not in text
    assert "Not compared" not in render(passed_report())


def test_every_state_of_a_row_has_its_colour():
    page = render(failed_report())
    for state in (RIGHT, INHERITED, WRONG):
        assert f".{state} {{ --dot: var(--{state}); }}" in page


def test_only_the_first_guilty_layer_stands_open():
    opened = re.findall(
        r'<details class="row (\w+)" open>.*?<code>(.*?)</code>', render(failed_report()), re.S
    )
    assert opened == [("wrong", "layer_0")]


def test_a_layer_is_wrong_itself_or_only_carries_what_came_before():
    states = {row.layer: (row.state, row.has_finding) for row in layer_table(failed_report())}
    assert states == {
        "embeddings_norm": ("right", False),
        "layer_0": ("wrong", True),
        "layer_1": ("wrong", False),
        "pooler": ("wrong", True),
        "": ("inherited", False),
    }


@pytest.mark.parametrize("place", ["layer_0/attention/query", "layer_0/attention"])
def test_the_heads_of_the_guilty_attention_are_drawn(place):
    report = failed_report()
    finding = Finding(place, report.findings[0].measure)
    source = render(Report("M", "s", {}, report.measures, (finding,)))
    bars = source[source.index('class="bars"') :].split("</section>")[0]
    assert re.findall(r'<rect width="([\d.]+)%"', bars) == ["0.00", "100.00", "40.00"]


def test_no_heads_are_drawn_for_a_fault_outside_attention():
    up = measure("layer_0/feed_forward/up", ratio=99.0, local=99.0)
    attention = measure("layer_0/attention", "attention", heads=(0.1, 0.2))
    source = render(
        Report("M", "s", {}, (attention, up), (Finding("layer_0/feed_forward/up", up),))
    )
    assert 'id="heads"' not in source


def test_a_report_without_measures_still_renders():
    assert "Passed" in Page(render(Report("M", "s", {}, (), ()))).text


@REPORTS
def test_json_holds_the_report_and_round_trips_without_nan(report):
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert plain["passed"] is report.passed
    assert [float(m["ratio"]) if m["ratio"] is not None else None for m in plain["measures"]] == [
        m.ratio for m in report.measures
    ]
    assert [f["where"] for f in plain["findings"]] == [f.where for f in report.findings]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0449, "1.04"), (1.0, "1.00"), (12.34, "12.3"), (412.0, "412"), (999.6, "1.0e+03"),
     (0.0, "0"), (32000.0, "3.2e+04"), (0.0123, "0.0123"), (3e-7, "3.0e-07"), (math.inf, "∞"),
     (math.nan, "–"), (None, "–")],
)  # fmt: skip
def test_numbers_are_written_for_people(value, text):
    assert number(value) == text


def test_shapeless_characters_are_escaped_and_told_apart_from_the_text():
    assert pieces("a\\n\tb") == [("a\\n", False), ("\\t", True), ("b", False)]
    assert visible("naïve 日本 🙂\u00a0") == "naïve 日本 🙂\\xa0"


def test_the_scale_holds_every_ratio_and_clamps_what_has_no_place():
    scale = Scale.of(failed_report())
    places = [scale.at(ratio) for ratio in (0.0, 1.0, 8.0, 31987.0, 5.4e5)]
    assert places == sorted(places)
    assert 0 == places[0] < places[1]
    assert places[-1] <= 1
    assert 0 in scale.labelled
    assert len(scale.labelled) <= 7


def test_without_jinja2_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'inarch[verify]'")):
        render(passed_report())


# --- the terminal ------------------------------------------------------------------------------


def test_the_terminal_says_first_what_is_wrong_first(capsys):
    verdict.show(failed_report())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "✗ Failed  layer_0/attention/query: its values before the activation"
    assert lines[1].strip() == 'Heads in another order: "(h k) d -> d h k"'
    assert "noise ratio 3.2e+04" in lines[2]


def test_the_terminal_has_a_line_per_layer_with_the_threshold_in_one_column(capsys):
    report = failed_report()
    verdict.show(report)
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert [line[2:].split()[0] for line in table[1:]] == [
        r.layer or "outputs" for r in layer_table(report)
    ]
    assert len({line.index("│") for line in table}) == 1
    assert [line[0] for line in table[1:]] == [" ", "▸", " ", "▸", " "]


def test_the_terminal_has_every_tensor_where_asked(capsys):
    report = failed_report()
    verdict.show(report, everything=True)
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()[1:]
    assert len(table) == len(report.measures)
    for line, m in zip(table, report.measures, strict=True):
        ratio = "never" if m.ratio is None else number(m.ratio)
        assert line[2:].split()[:3] == [m.layer or "outputs", ratio, number(m.local_ratio)]


def test_the_terminal_fits_80_columns_and_passes_no_control_characters_on(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    for everything in (False, True):
        verdict.show(failed_report(), everything)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert not [c for c in out if not c.isprintable() and c != "\n"]


def test_the_terminal_of_a_pass_begins_with_it(capsys):
    verdict.show(passed_report())
    assert capsys.readouterr().out.startswith("✓ Passed  BertBackbone (bert) computes what")
