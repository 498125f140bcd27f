"""Coverage says which rows of a model's tables its inputs reach."""

import dataclasses

import keras
import numpy as np
import pytest

from inarch.models.registry import Unreached
from inarch.models.variables import named_variables
from inarch.verify.compare import verify
from inarch.verify.coverage import branch_coverage, joined_coverage, table_coverage
from inarch.verify.report import Coverage
from inarch.verify.report_text import coverage, headline
from inarch.workflows.verification import verify_golden

from .faults import GOLDENS, load, read, subjects

pytestmark = pytest.mark.turns(3)

READ = {path.stem: path for path in GOLDENS}


@pytest.mark.parametrize("name", ["bert", "distil_bert", "roberta", "whisper"])
def test_a_token_is_reached_where_it_stands_and_is_no_padding(name):
    model, inputs = subjects(READ[name])[""].model, read(READ[name]).runs[""].inputs
    prefix = "decoder_" if "decoder_token_ids" in inputs else ""
    ids = inputs[f"{prefix}token_ids"][inputs[f"{prefix}padding_mask"] != 0]
    (found,) = [c for c in table_coverage(model, inputs) if "token_embedding" in c.place]
    assert {*range(found.count)} - {*found.untouched} == {*ids.tolist()}


def test_a_distance_is_reached_only_in_rows_that_are_long_enough():
    subject, inputs = subjects(READ["deberta_v3"])[""], read(READ["deberta_v3"]).runs[""].inputs
    cut = {name: value[:, :3] for name, value in inputs.items()}
    whole, short = (
        [c for c in table_coverage(subject.model, fed) if "relative" in c.place]
        for fed in (inputs, cut)
    )
    assert len(short[0].untouched) == short[0].count - 5  # distances from -2 to 2
    assert len(whole[0].untouched) < len(short[0].untouched)


def reading(name):
    """The model of a golden file, and the inputs of its first run."""
    return subjects(READ[name])[""].model, read(READ[name]).runs[""].inputs


def test_a_window_is_reached_only_in_rows_that_are_longer_than_it():
    subject, inputs = subjects(READ["modern_bert"])[""], read(READ["modern_bert"]).runs[""].inputs
    window = subject.model.get_layer("layer_1").attention.window
    cut = {name: value[:, : window + 1] for name, value in inputs.items()}
    whole, short = (branch_coverage(subject.model, fed) for fed in (inputs, cut))
    assert {part.place for part in whole} == {"layer_{i}/attention"}
    assert [part.untouched for part in whole] == [()]
    assert [part.untouched for part in short] == [("window",)]
    report = verify(subject.model, read(READ["modern_bert"]).runs[""])
    unseen = dataclasses.replace(report, coverage=short, requires_coverage=True)
    assert not unseen.passed
    assert "no output depends on branches window of layer_{i}/attention" in headline(unseen)
    assert coverage(unseen) == "1 of 2 branches of layer_{i}/attention"
    given = Unreached("layer_{i}/attention", "rows are short", branches=["window"])
    assert joined_coverage(short, short, [given])[0].missing == ()


def test_the_scaling_of_rotary_positions_is_reached_where_a_model_has_one():
    found = {name: branch_coverage(*reading(name)) for name in ("llama", "qwen2")}
    counts = {name: [part.count for part in parts] for name, parts in found.items()}
    assert counts == {"llama": [1], "qwen2": [2]}
    assert [part.untouched for part in found["qwen2"]] == [()]
    model, inputs = reading("qwen2")
    start = {name: value[:, :1] for name, value in inputs.items()}  # where there is no angle
    assert branch_coverage(model, start)[0].untouched == ("position", "position scaling")


def test_a_wrong_row_that_no_other_input_reaches_is_found():
    golden = read(READ["bert"])
    model = load(golden)
    table = named_variables(model)["embeddings/position_embedding/embeddings"]
    rows = keras.ops.convert_to_numpy(table)
    table.assign(np.concatenate([rows[:13], -rows[13:]]))
    assert verify(model, golden.runs[""]).passed
    report = verify(model, golden.covering)
    assert report.first.layer == "embeddings/position_embedding"


def test_a_golden_file_that_leaves_rows_out_fails_and_names_them(tmp_path):
    golden, path = read(READ["distil_bert"]), tmp_path / "distil_bert.safetensors"
    inputs = golden.runs[""].inputs
    outputs = [t for t in golden.runs[""].tensors if not t.tap[0]]
    again = dataclasses.replace(golden.covering, inputs=inputs, tensors=tuple(outputs))
    dataclasses.replace(golden, covering=again).write(path)
    report = verify_golden(path)
    assert not report.findings
    assert not report.passed
    assert "rows 0, 4, 6, 7, 10, 11, 13, 14, 20, 22, 25, 27 of embeddings/token" in headline(report)
    assert "11 of 14 rows of embeddings/position_embedding" in coverage(report)


@pytest.mark.parametrize(
    ("name", "where"),
    # What the reference has no layer for is found where ours gives it.
    [("gpt2", "last_token: its output"), ("bert", "the model: its text_classifier output")],
    ids=["gpt2", "bert"],
)
def test_a_head_that_gives_something_else_is_found_where_all_layers_are_right(
    name, where, tmp_path
):
    golden, head = read(READ[name]), "text_classifier"
    run = golden.runs[head]
    tensors = tuple(
        t if t.tap[0] else dataclasses.replace(t, value=t.value[::-1].copy()) for t in run.tensors
    )
    runs = {**golden.runs, head: dataclasses.replace(run, tensors=tensors)}
    dataclasses.replace(golden, runs=runs).write(tmp_path / "wrong.safetensors")
    report = verify_golden(tmp_path / "wrong.safetensors")
    assert not report.passed
    (finding,) = report.findings
    assert finding.where == where
    assert finding.measure in report.measures


def test_two_runs_reach_what_either_does_and_a_reason_is_of_its_rows():
    first, second = [Coverage("a/embeddings", 9, (1, 2, 3))], [Coverage("a/embeddings", 9, (2, 3))]
    reason = Unreached("a", "it is padding", [3])
    (joined,) = joined_coverage(first, second, [reason])
    assert joined.untouched == (2, 3)
    assert joined.missing == (2,)
    assert joined_coverage(first, first, [])[0].missing == (1, 2, 3)
