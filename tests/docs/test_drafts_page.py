"""The page of drafts has what the folders and the stored measurements say."""

import json
import runpy
from pathlib import Path

from inarch.models import registry

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "drafts.md").read_text("utf-8")
SCRIPT = runpy.run_path(str(DOCS / "drafts.py"))
STORED = json.loads((DOCS / "measured" / "drafts.json").read_text("utf-8"))
ANEW = "write it anew: make tables"


FOLDERS = [
    name
    for name in registry.architectures()
    if f"\n| `{name}` | " in PAGE.partition("## The folders")[2]
]


def test_the_page_is_what_folders_and_measurements_give():
    # A folder that came after them has its rows once the page is written anew.
    assert SCRIPT["current"](FOLDERS) == PAGE, ANEW


def test_every_folder_that_was_measured_has_a_row_for_each_golden_file():
    assert {*FOLDERS} >= STORED["exports"].keys(), ANEW
    for name, architecture in registry.goldens().items():
        row = f"| `{name}` | `{architecture.sources[0].model_type}` |"
        assert PAGE.count(row) == (architecture.name in FOLDERS), ANEW


def test_no_module_outside_of_folders_imports_one():
    assert {name: SCRIPT["outside"](name) for name in registry.architectures()} == dict.fromkeys(
        registry.architectures(), []
    )


def test_a_folder_that_is_imported_elsewhere_is_counted(tmp_path, monkeypatch):
    globals_ = SCRIPT["outside"].__globals__
    folder = tmp_path / "models" / "bert"
    folder.mkdir(parents=True)
    (folder / "inner.py").write_text("from inarch.models.bert.backbone import BertBackbone")
    (tmp_path / "tasks.py").write_text("import inarch.models.bert.backbone")
    (tmp_path / "words.py").write_text('"""Like inarch.models.bert.backbone."""')
    monkeypatch.setitem(globals_, "MODELS", tmp_path / "models")
    assert SCRIPT["outside"]("bert") == ["tasks.py"]


def test_rows_take_the_place_of_stored_ones_and_are_counted_together():
    stored = json.loads(json.dumps(STORED))
    row = {"model_type": "bert", "map": "1/4", "config": "2/4", "DECIDE": 1, "GUESS": 0}
    rows = [
        {**row, "verified": ["graph"], "open": ["graph: the draft doesn't compute | this"]},
        {"model_type": "odd", "refused": "no table of tokens"},
        {"golden": "bert", "backend": "torch", "noise": 1.25},
    ]
    SCRIPT["take_in"](stored, rows)
    stored["drafts"] = {name: stored["drafts"][name] for name in ("bert", "odd")}
    text = SCRIPT["page"](stored)
    assert "Together 1 of 4 (25.0 %) entries of weight maps are right, and 2 of 4 (50.0 %)" in text
    # Of a format whose draft is verified what is left to write are the entries that aren't right.
    assert "1 formats are verified with no edit." in text
    assert "aren't right: 5 in the median format, and 5 at most." in text
    assert "| `bert` | `bert` | graph | 1/4 | 2/4 | 1 | 0 |" in text
    assert "Of 1 model types 0 compute the reference's values without an edit, and of 1 no" in text
    assert "| `odd` | no | – | – | – | no table of tokens |" in text
    assert stored["checks"]["bert"]["torch"] == 1.25
