"""Faults of a folder are named by step and cause, and what can't be done is said."""

import json
import shutil
from pathlib import Path

import keras
import pytest
from typer.testing import CliRunner

from inarch.cli.app import app
from inarch.errors import InputError
from inarch.models import registry
from inarch.port import check, checking, repository, subjects

TINY = Path(__file__).parents[2] / "docs" / "contribute" / "tiny"
# Of what is wrong on disk, and not in models.
QUICK = ("folder", "config", "prove", "load", "golden", "sizes", "presets")
LOADED = ("folder", "prove", "load")


@pytest.fixture
def checked(monkeypatch):
    """`checked(name, *steps)`: the steps of a check by name, those named alone."""

    def run(name, *steps, **options):
        chosen = {step: checking.STEPS[step] for step in steps or checking.STEPS}
        with monkeypatch.context() as patch:
            patch.setattr(checking, "STEPS", chosen)
            found = check(name, **options)
            return found, {step.name: step for step in found.steps}

    return run


@pytest.fixture
def alone(monkeypatch):
    """Have no reference installed."""
    monkeypatch.setattr(subjects, "has_reference", lambda: False)
    monkeypatch.setattr(checking.model_steps, "has_reference", lambda: False)


@pytest.fixture
def distil_bert(models):
    return models("distil_bert")


# --- what is right -----------------------------------------------------------------------------


def test_a_folder_that_is_right_passes_every_step(checked):
    found, steps = checked("distil_bert")
    states = {name: step.state for name, step in steps.items()}
    assert states == dict.fromkeys(checking.STEPS, "passed") | {"tokenizer": "not run"}
    assert "--checkpoint" in steps["tokenizer"].summary
    assert found.passed
    score = found.score()
    assert score["total"] == 1
    assert score["steps"] == {"right": 12, "total": 12}
    for name in ("fields", "tensors", "layers"):
        assert score[name]["right"] == score[name]["total"] > 20


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(registry.architectures()))
def test_every_architecture_here_passes(name, checked):
    found, _ = checked(name)
    assert found.first_failed is None
    assert found.score()["total"] == 1


# --- what is wrong -----------------------------------------------------------------------------


def test_a_wrong_entry_of_the_map_is_the_layers_that_hold_each_others_weights(
    distil_bert, edit, checked
):
    edit(distil_bert / "checkpoint.py", '"sa_layer_norm", "attention_norm"', '"sa_layer_norm", "x"')
    edit(distil_bert / "checkpoint.py", '"feed_forward_norm"', '"attention_norm"')
    edit(
        distil_bert / "checkpoint.py",
        '"sa_layer_norm", "x"',
        '"sa_layer_norm", "feed_forward_norm"',
    )
    found, steps = checked("distil_bert", *LOADED, "verify")
    assert found.first_failed is steps["verify"]
    first = steps["verify"].faults[0]
    assert "layer_0/attention_norm" in first
    assert "it holds distilbert.transformer.layer.0.output_layer_norm.weight" in first
    assert found.score()["first_wrong"] == first
    assert "docs/contribute/verify.md" in steps["verify"].way_on


def test_a_missing_entry_of_the_map_is_what_has_no_place(distil_bert, edit, checked):
    edit(
        distil_bert / "checkpoint.py", '            norm("sa_layer_norm", "attention_norm"),\n', ""
    )
    found, steps = checked("distil_bert", *LOADED, "verify", "export", "heads")
    assert found.first_failed is steps["prove"]
    said = "\n".join(steps["prove"].faults)
    assert "unknown in the file: distilbert.transformer.layer.0.sa_layer_norm.bias" in said
    assert "variables that nothing fills: layer_0/attention_norm/beta" in said
    assert steps["verify"].state == "not run"
    assert steps["load"].summary == "prove failed"
    tensors = found.score()["tensors"]
    # Two norms of two layers, in three runs.
    assert tensors["total"] - tensors["right"] == 2 * 2 * 3


@pytest.mark.slow
def test_a_wrong_epsilon_is_a_layer_with_its_diagnosis(distil_bert, edit, checked):
    edit(distil_bert / "backbone.py", 'epsilon=1e-12, name="embeddings_norm"',
         'epsilon=1e-5, name="embeddings_norm"')  # fmt: skip
    found, steps = checked("distil_bert", *LOADED, "verify")
    assert found.first_failed is steps["verify"]
    (fault,) = steps["verify"].faults
    assert fault.startswith("distil_bert: embeddings_norm: its output: LayerNormalization: ")
    assert "epsilon of 1e-12 (ours: epsilon=1e-05)" in fault
    layers = found.score()["layers"]
    assert layers["right"] == layers["total"] - 1


def test_a_missing_field_is_named_with_the_default_that_counts(distil_bert, edit, checked):
    edit(distil_bert / "checkpoint.py",
         '        probability("attention_dropout", "attention_dropout", 0.1),\n', "")  # fmt: skip
    found, steps = checked("distil_bert", *QUICK)
    assert found.first_failed is steps["config"]
    said = "\n".join(steps["config"].faults)
    assert "distilbert: no entry gives the backbone's argument 'attention_dropout'" in said
    assert "distilbert: the base model reads 'attention_dropout'" in said
    assert "docs/contribute/maps.md" in steps["config"].way_on


def test_a_field_that_nobody_reads_and_another_default_are_named(distil_bert, edit, checked):
    edit(distil_bert / "checkpoint.py", "        PADDING_ROW,\n",
         '        PADDING_ROW,\n        must_be("quirk", 1),\n')  # fmt: skip
    edit(distil_bert / "checkpoint.py", '"hidden_dim", "intermediate_dim", 3072',
         '"hidden_dim", "intermediate_dim", 3000')  # fmt: skip
    _, steps = checked("distil_bert", *QUICK)
    said = "\n".join(steps["config"].faults)
    assert "the map has 'quirk', which is never read" in said
    assert "'intermediate_dim' is 3000 by default here, and 3072 in the reference" in said


@pytest.mark.parametrize("names", ["", "DistilBertModel"])
def test_a_copied_source_is_named_with_where_it_is_from(names, distil_bert, checked):
    """Notice one with its model type, and one whose model type was changed and nothing else."""
    made = "from inarch.models.bert.checkpoint import HUGGING_FACE as BERT\n"
    if names:
        made += "import dataclasses\nOWN = dataclasses.replace(BERT, model_type='distilbert')\n"
    (distil_bert / "checkpoint.py").write_text(made)
    found, steps = checked("distil_bert", *QUICK)
    assert found.first_failed is steps["folder"]
    said = "\n".join(steps["folder"].faults)
    if names:
        assert "the Source of 'distilbert' names BertForMaskedLM" in said
        assert "of 'bert' in bert: it is copied from there" in said
    else:
        assert "has model_type 'distilbert', of which checkpoint.py makes 0 Sources" in said
    assert {steps[name].summary for name in ("config", "prove", "golden")} == {"folder failed"}


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("backbone.py", "def broken(:\n", "backbone.py:1: SyntaxError"),
        ("backbone.py", "\nimport nothing_of_this_name\n", "backbone.py:2: ModuleNotFoundError"),
        ("presets.toml", "backbone = \n", "presets.toml can't be read"),
        ("presets.toml", 'backbone = "X"\n', "has no 'model_types'"),
        ("checkpoint.py", "1 / 0\n", "checkpoint.py:1: ZeroDivisionError"),
    ],
)
def test_a_file_that_breaks_is_named_with_its_line(file, text, said, distil_bert, checked):
    (distil_bert / file).write_text(text)
    found, steps = checked("distil_bert", *QUICK)
    assert found.first_failed is steps["folder"]
    assert said in steps["folder"].summary
    assert found.score()["total"] < 0.2


def test_a_graph_that_breaks_is_named_with_its_line(distil_bert, edit, checked):
    edit(distil_bert / "backbone.py", "        x = LayerNormalization(", "        x = Norm(")
    found, steps = checked("distil_bert", *LOADED)
    assert found.first_failed is steps["prove"]
    assert "backbone.py:" in steps["prove"].summary
    assert "NameError: name 'Norm' is not defined" in steps["prove"].summary


def test_a_head_that_does_not_come_back_is_named(distil_bert, edit, checked):
    edit(distil_bert / "checkpoint.py", 'dense("qa_outputs", "logits")',
         'dense("qa_outputs", "answers")')  # fmt: skip
    found, steps = checked("distil_bert", *LOADED, "heads")
    assert found.first_failed is steps["heads"]
    assert "answers/kernel" in "\n".join(steps["heads"].faults)


def test_a_golden_file_of_other_sizes_is_out_of_date(distil_bert, edit, checked):
    edit(distil_bert / "presets.toml", "hidden_dim = 12", "hidden_dim = 18")
    found, steps = checked("distil_bert", *QUICK)
    assert found.first_failed is steps["golden"]
    assert "has hidden_dim=12, and [tiny] 18" in steps["golden"].summary
    assert "inarch port finish distil_bert --overwrite" in steps["golden"].way_on


def test_a_golden_file_that_is_damaged_is_named(alone, checked, tmp_path):
    shutil.copy(subjects.GOLDENS / "distil_bert.safetensors", tmp_path)
    path = tmp_path / "distil_bert.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    found, steps = checked("distil_bert", *QUICK, goldens=tmp_path)
    assert found.first_failed is steps["golden"]
    assert str(path) in steps["golden"].summary


def test_what_is_too_large_and_presets_without_licence_are_named(distil_bert, edit, checked):
    lines = "".join(f"X{i} = {i}\n" for i in range(310))
    (distil_bert / "backbone.py").open("a").write(lines)
    edit(distil_bert / "presets.toml", "parameters = 65190912", "parameters = 0")
    text = (distil_bert / "presets.toml").read_text()
    (distil_bert / "presets.toml").write_text(text.replace('"apache-2.0"', '""', 1))
    _, steps = checked("distil_bert", "folder", "sizes", "presets")
    sizes = "\n".join(steps["sizes"].faults)
    assert "378 statements and entries, of 130" in sizes
    assert "backbone.py has 407 lines, of 300" in sizes
    assert steps["presets"].faults == (
        "distil_bert_base_en_uncased: licence is empty",
        "distil_bert_base_en: parameters is 0; count the backbone's",
    )


def test_marks_of_a_draft_that_are_left_are_named_with_their_places(distil_bert, edit, checked):
    edit(distil_bert / "checkpoint.py", "        PADDING_ROW,\n",
         "        PADDING_ROW,  # DECIDE pad_token_id\n")  # fmt: skip
    with (distil_bert / "backbone.py").open("a") as file:
        file.write("# GUESS order of the norms: 'post'\n# SETTLED query and key\n")
    found, steps = checked("distil_bert", "folder", "decided")
    assert found.first_failed is steps["decided"]
    assert steps["decided"].faults == (
        "backbone.py:98: GUESS order of the norms: 'post'", "checkpoint.py:35: DECIDE pad_token_id"
    )  # fmt: skip


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """A copy of the repository's pages."""
    root = tmp_path / "repository"
    for name in (repository.README, repository.FAULTS, repository.CHANGELOG, repository.TABLES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository.ROOT / name, root / name)
    monkeypatch.setattr(repository, "ROOT", root)
    return root


def test_rows_that_are_not_there_yet_are_to_be_written(pages, edit, checked):
    readme = (pages / "README.md").read_text()
    row = repository.table_row(readme, "distil_bert")
    (pages / "README.md").write_text(readme.replace(f"{row}\n", ""))
    edit(pages / "docs" / "faults.md", "## distil_bert\n", "## another\n")
    found, steps = checked("distil_bert", "folder", "docs")
    assert (found.passed, steps["docs"].state) == (True, "not run")
    assert steps["docs"].summary == (
        "not there yet: a row of README.md, a section of docs/faults.md (distil_bert); "
        "`inarch port finish` writes them"
    )
    (pages / "README.md").write_text(readme.replace(row, row.replace("`masked_lm`, ", "")))
    _, steps = checked("distil_bert", "folder", "docs")
    assert steps["docs"].faults[0] == "README.md has another row than the folder gives"
    (pages / "docs" / "architectures.py").unlink()
    assert "no repository" in checked("distil_bert", "folder", "docs")[1]["docs"].summary


# --- what can't be done here -------------------------------------------------------------------


def test_without_golden_file_and_reference_steps_are_not_run(alone, checked, tmp_path):
    found, steps = checked("distil_bert", *QUICK, "verify", "export", goldens=tmp_path)
    for name in ("config", "prove", "load", "verify", "export"):
        assert steps[name].state == "not run", name
        assert f"{tmp_path}/distil_bert.safetensors isn't there" in steps[name].summary
    assert "`inarch port finish` writes it" in steps["golden"].summary
    assert found.passed
    assert found.score()["steps"] == {"right": 3, "total": 3}


def test_a_checkpoint_alone_is_proven_loaded_and_written_back(alone, checked, tmp_path):
    steps = checked(
        "distil_bert", *LOADED, "verify", "export", "tokenizer", goldens=tmp_path, checkpoint=TINY
    )[1]
    states = {name: step.state for name, step in steps.items()}
    assert states == {
        "folder": "passed", "prove": "passed", "load": "passed", "verify": "not run",
        "export": "passed", "tokenizer": "not run",
    }  # fmt: skip
    assert steps["tokenizer"].summary == "ours reads it; torch and transformers aren't installed"


def test_a_tokenizer_that_is_not_known_is_wrong_in_its_own_step(alone, checked, tmp_path):
    odd = shutil.copytree(TINY, tmp_path / "odd")
    (odd / "tokenizer_config.json").write_text('{"tokenizer_class": "OddTokenizer"}')
    found, steps = checked(
        "distil_bert", *LOADED, "export", "tokenizer", goldens=tmp_path, checkpoint=odd
    )
    assert found.first_failed is steps["tokenizer"]
    assert "vocab.txt belongs to a tokenizer of kind 'OddTokenizer'" in steps["tokenizer"].summary
    assert "docs/contribute/text.md" in steps["tokenizer"].way_on


@pytest.mark.reference
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the reference is one for all")
def test_without_a_golden_file_the_reference_writes_checkpoints(
    distil_bert, edit, forget, checked, tmp_path
):
    found, steps = checked("distil_bert", goldens=tmp_path, checkpoint=TINY)
    assert {name for name, step in steps.items() if step.state != "passed"} == {"golden"}
    assert steps["golden"].state == "not run"
    assert steps["tokenizer"].summary.endswith("texts read alike")
    assert found.score()["total"] == 1
    edit(
        distil_bert / "checkpoint.py", '            norm("sa_layer_norm", "attention_norm"),\n', ""
    )
    forget("distil_bert")
    found, steps = checked("distil_bert", *LOADED, goldens=tmp_path)
    assert found.first_failed is steps["prove"]
    assert "sa_layer_norm" in steps["prove"].faults[1]


def test_a_folder_that_is_not_there_is_named_with_those_that_are():
    for name in ("bart2", "../bert", ""):
        with pytest.raises(InputError, match="name an architecture: albert, bart, bert, "):
            check(name)


# --- for a program -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_score_rises_with_each_mend(distil_bert, forget, checked):
    table, graph = distil_bert / "checkpoint.py", distil_bert / "backbone.py"
    right = {path: path.read_text() for path in (table, graph)}
    faults = [
        (graph, "from typing import Any\n", "from typing import Anything\n"),
        (table, '        field("sinusoidal_pos_embds", "sinusoidal_positions", False),\n', ""),
        (table, '            dense("ffn.lin1", "feed_forward/up"),\n', ""),
        (table, '            dense("attention.q_lin", "attention/query"),\n', ""),
        (graph, 'epsilon=1e-12, name="embeddings_norm"', 'epsilon=1e-5, name="embeddings_norm"'),
    ]
    totals = []
    for mended in range(len(faults) + 1):
        texts = dict(right)
        for path, old, new in faults[mended:]:
            assert texts[path].count(old) == 1
            texts[path] = texts[path].replace(old, new)
        for path, text in texts.items():
            path.write_text(text)
        forget("distil_bert")
        totals.append(checked("distil_bert", *QUICK, "verify")[0].score()["total"])
    assert totals == sorted(set(totals))
    assert totals[-1] == 1


def test_the_command_is_red_with_a_line_a_step_and_json(distil_bert, edit, monkeypatch):
    chosen = {step: checking.STEPS[step] for step in QUICK}
    monkeypatch.setattr(checking, "STEPS", chosen)
    edit(
        distil_bert / "checkpoint.py", '            norm("sa_layer_norm", "attention_norm"),\n', ""
    )
    result = CliRunner().invoke(app, ["port", "check", "distil_bert"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line[:11].strip() for line in lines[: len(QUICK)]] == [
        "✓ folder", "✓ config", "✗ prove", "– load", "✓ golden", "✓ sizes", "✓ presets",
    ]  # fmt: skip
    assert lines[3] == "– load       not run: prove failed"
    assert "prove failed:" in lines
    assert lines[-1].startswith("The way on: pair each of these in the weight map")
    result = CliRunner().invoke(app, ["port", "check", "distil_bert", "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["passed"], found["first_failed"]) == (False, "prove")
    assert [step["name"] for step in found["steps"]] == [*QUICK]
    assert 0 < found["score"]["total"] < 1
