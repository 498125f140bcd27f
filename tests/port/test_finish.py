"""Files of a pull request are written once the folder is right, each whole, and once."""

import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from inarch.cli.app import app
from inarch.errors import CheckpointError, CheckpointFileError, InputError
from inarch.port import checking, finish, finishing, repository, subjects
from inarch.verify.golden import Golden
from inarch.workflows.certification import certify

GOLDEN = subjects.GOLDENS / "distil_bert.safetensors"
# In a repository of a test, where the table of faults would take minutes.
FAULT_TABLE = """
import sys
page, *names = sys.argv[1:]
with open(page, "a") as file:
    file.writelines(f"\\n## {name}\\n\\n1 kinds\\n" for name in names)
"""


@pytest.fixture(scope="module")
def certificate():
    return certify(GOLDEN, most_faults=5)


@pytest.fixture
def root(tmp_path, monkeypatch, certificate, forget):
    """A repository that has nothing about DistilBERT yet, whose reference gives its golden file."""
    root = tmp_path / "repository"
    for name in (repository.README, repository.FAULTS, repository.CHANGELOG, repository.TABLES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository.ROOT / name, root / name)
    (root / repository.FAULT_TABLE).parent.mkdir(parents=True)
    (root / repository.FAULT_TABLE).write_text(FAULT_TABLE)
    row = repository.table_row((root / "README.md").read_text(), "distil_bert")
    for name, old, new in (
        ("README.md", f"{row}\n", ""), (repository.FAULTS, "## distil_bert\n", "## other\n")
    ):  # fmt: skip
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))
    text = (root / "CHANGELOG.md").read_text().replace("DistilBERT", "Another")
    (root / "CHANGELOG.md").write_text(text.replace("distil_bert", "another"))
    (root / "golden").mkdir()
    monkeypatch.setattr(repository, "ROOT", root)
    monkeypatch.setattr(finishing, "GOLDENS", root / "golden")
    monkeypatch.setattr(finishing, "certify", lambda *_, **__: certificate)
    steps = {name: checking.STEPS[name] for name in ("folder", "golden", "sizes", "docs")}
    monkeypatch.setattr(checking, "STEPS", steps)
    monkeypatch.setattr(finishing, "has_reference", lambda: True)
    monkeypatch.setattr(finishing, "golden_of", lambda architecture: Golden.read(GOLDEN))
    return root


def finished(root, **options):
    return finish("distil_bert", root / "out", goldens=root / "golden", **options)


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_all_is_written_and_the_check_is_green(root, certificate):
    done = finished(root)
    assert {path.relative_to(root).as_posix() for path in done.written} == {
        "golden/distil_bert.safetensors", "README.md", "CHANGELOG.md", "docs/faults.md",
        "out/distil_bert.json", "out/pull-request.md",
    }  # fmt: skip
    assert (done.kept, done.missing) == ((), ())
    assert [step.state for step in done.check.steps] == ["passed"] * 4
    assert (root / "golden" / "distil_bert.safetensors").read_bytes() == GOLDEN.read_bytes()
    line = (
        "- `DistilBertBackbone` (`distilbert`), with the presets `distil_bert_base_en_uncased`, "
        "`distil_bert_base_en`, `distil_bert_base_multi`.\n"
    )
    assert line in (root / "CHANGELOG.md").read_text()
    assert "\n\n## [" not in (root / "CHANGELOG.md").read_text().partition(line)[0][-300:]
    assert "## distil_bert\n\n1 kinds" in (root / "docs" / "faults.md").read_text()
    text = (root / "out" / "pull-request.md").read_text()
    assert text.startswith("Adds `DistilBertBackbone` for checkpoints of `distilbert`.\n")
    row = certificate.noise["layer_0"]
    assert f"| `layer_0` | {row['ratio']:.3g} | {row['isolated']:.3g} |" in text
    assert "`inarch verify --certificate distil_bert.json`" in text
    assert "| docs | passed |" in text
    assert "- [ ] The backbone reads like the paper's figure" in text


def test_a_second_run_changes_nothing(root):
    finished(root)
    before = contents(root)
    times = {path: path.stat().st_mtime_ns for path in before}
    done = finished(root)
    assert done.written == ()
    assert len(done.kept) == 6
    assert contents(root) == before
    assert {path: path.stat().st_mtime_ns for path in before} == times


def test_a_red_check_writes_nothing(root, monkeypatch):
    before = contents(root)
    monkeypatch.setattr(checking.file_steps.laws, "MAX_SIZE", 1)
    with pytest.raises(InputError, match="distil_bert isn't ready, .*: sizes failed: .* of 1"):
        finished(root)
    assert contents(root) == before
    assert not (root / "out").exists()


@pytest.mark.slow
def test_a_golden_file_that_ours_does_not_compute_is_not_written(root, monkeypatch):
    before = contents(root)
    golden = Golden.read(GOLDEN)
    name = "distilbert.transformer.layer.1.ffn.lin1.bias"
    wrong = replace(golden, weights={**golden.weights, name: golden.weights[name] + 0.5})
    monkeypatch.setattr(finishing, "golden_of", lambda architecture: wrong)
    monkeypatch.setattr(finishing, "certify", certify)
    with pytest.raises(CheckpointError, match="isn't what ours computes"):
        finished(root)
    assert contents(root) == before


def test_a_golden_file_that_differs_stays_with_all_else_unless_it_is_to_be_overwritten(root):
    golden = Golden.read(GOLDEN)
    name = "distilbert.transformer.layer.1.ffn.lin1.bias"
    weights = {**golden.weights, name: golden.weights[name] + 0.5}
    path = root / "golden" / "distil_bert.safetensors"
    replace(golden, weights=weights).write(path)
    before = contents(root)
    with pytest.raises(CheckpointFileError, match="nothing was written, .*lin1.bias changes by"):
        finished(root)
    assert contents(root) == before
    done = finished(root, overwrite=True)
    assert path in done.written
    assert path.read_bytes() == GOLDEN.read_bytes()


def test_without_the_reference_what_is_missing_is_said(root, monkeypatch):
    monkeypatch.setattr(finishing, "has_reference", lambda: False)
    done = finished(root)
    golden, faults = done.missing
    assert "distil_bert.safetensors: torch and transformers aren't installed" in golden
    assert "faults.md: there is no golden file of distil_bert" in faults
    assert {path.name for path in done.written} == {"README.md", "CHANGELOG.md", "pull-request.md"}
    shutil.copy(GOLDEN, root / "golden")
    done = finished(root)
    assert done.missing == ()
    assert {path.name for path in done.written} == {
        "faults.md", "distil_bert.json", "pull-request.md"
    }  # fmt: skip


def test_a_table_of_faults_that_fails_is_named_and_the_page_stays(root):
    (root / repository.FAULT_TABLE).write_text("raise SystemExit('no such fault')\n")
    before = (root / repository.FAULTS).read_bytes()
    with pytest.raises(CheckpointFileError, match=r"fault_table.py fails: no such fault"):
        finished(root)
    assert (root / repository.FAULTS).read_bytes() == before


def test_the_page_of_drafts_is_written_from_the_folder_and_the_stored_measurements(root):
    for name in (repository.DRAFT_TABLE, repository.DRAFTS, "docs/measured/drafts.json"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(subjects.ROOT / name, root / name)
    page = root / repository.DRAFTS
    start = "| `distil_bert` | 68 | 0 |"
    row = next(one for one in page.read_text().splitlines() if one.startswith(start))
    page.write_text(page.read_text().replace(row, ""))
    done = finished(root)
    assert page in done.written
    assert start in page.read_text()
    assert page not in finished(root).written


def test_outside_a_repository_the_pages_are_left_out(root):
    (root / repository.TABLES).unlink()
    done = finished(root)
    assert "the pages: there is no repository around" in done.missing[0]
    assert {path.name for path in done.written} == {
        "distil_bert.safetensors", "distil_bert.json", "pull-request.md"
    }  # fmt: skip


def test_the_command_says_what_was_written(root):
    arguments = ["port", "finish", "distil_bert", "--output", root / "out", "--folder"]
    run = [*map(str, arguments), str(root / "golden")]
    result = CliRunner().invoke(app, run)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"written: {root / 'README.md'}" in result.stdout
    result = CliRunner().invoke(app, run)
    assert {line.partition(":")[0] for line in result.stdout.splitlines()} == {"nothing changes"}
    result = CliRunner().invoke(app, ["port", "finish", "bart2"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


def test_the_changelog_of_a_version_without_additions_is_refused(root):
    (root / "CHANGELOG.md").write_text("# Changelog\n")
    with pytest.raises(CheckpointFileError, match="no part '### Added'"):
        finished(root)
