"""The page of benchmarks has what is stored; a new measurement takes the place of its group."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import page

    yield page
    for name in ("page", "table"):
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path):
    for name in ("measured", "_static"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_page_and_plot_are_those_of_the_stored_rows(page):
    stored = page.read(DOCS / "measured" / "benchmarks.json")
    assert (DOCS / "benchmarks.md").read_text("utf-8") == page.page(stored)
    assert (DOCS / "_static" / "benchmarks.svg").read_text("utf-8") == page.plot(stored)


def test_a_new_measurement_takes_the_place_of_its_group(page, folder):
    def rows(seconds):
        return [page.Row.over("a <b>", seconds, 2.0, 1), page.Row("not timed", "", 3.0)]

    page.write({"load": ("here", rows(1)), "training": ("here", rows(3))}, folder)
    page.write({"load": ("there", rows(5))}, folder)
    stored = json.loads((folder / "measured" / "benchmarks.json").read_text("utf-8"))
    assert [(name, group["about"]) for name, group in stored.items()] == [
        ("training", "here"), ("load", "there"),
    ]  # fmt: skip
    text = (folder / "benchmarks.md").read_text("utf-8")
    assert text.index("## Training\n\nhere") < text.index("## Loading\n\nthere")
    assert "| a <b> | 5.00 s over 2.00 s | 2.5x | <= 1x | **miss** |" in text
    assert "| a <b> | 1.00 s over 2.00 s |" not in text
    plot = (folder / "_static" / "benchmarks.svg").read_text("utf-8")
    assert plot.count("a &lt;b&gt;") == 2
    assert "not timed" not in plot
