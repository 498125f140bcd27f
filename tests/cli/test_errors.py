"""Every failure is one line on standard error and a status of failure."""

import json
import shutil

import pytest

from inarch.cli.output import one_line


def failure(result):
    """The one line of a command that failed by itself."""
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("inarch: ")
    return line


@pytest.mark.parametrize(
    "command",
    [("embed", "{}", "a"), ("fill-mask", "{}", "a"), ("classify", "{}", "a"), ("info", "{}"),
     ("prove", "{}"), ("export", "{}", "unused")],
)  # fmt: skip
def test_a_mistyped_preset_gets_the_nearest_name(run, command):
    line = failure(run(*(part.format("bert_base_en_uncasd") for part in command)))
    assert "bert_base_en_uncased" in line


def test_a_folder_without_a_config_is_named(run, tmp_path):
    assert str(tmp_path / "config.json") in failure(run("info", tmp_path))


def test_unknown_and_missing_tensors_are_all_on_one_line(run, checkpoints, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "odd"
    shutil.copytree(checkpoints["plain"], folder)
    weights = load_file(folder / "model.safetensors")
    weights["stray"] = weights.pop("embeddings.LayerNorm.bias")
    save_file(weights, folder / "model.safetensors")
    line = failure(run("prove", folder))
    assert "missing from the file: embeddings.LayerNorm.bias; unknown in the file: stray" in line


@pytest.mark.parametrize("classes", [[["BertModel"]], {"a": 1}, "BertModel"])
def test_strange_class_names_in_a_config_are_no_ones(classes, run, run_json, checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints["plain"], tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": classes}))
    assert run_json("info", folder)["written_by"] == []
    assert "bert (unnamed)" in run("info", folder).stdout


def test_a_head_that_is_not_in_the_checkpoint_gives_no_answers(run, checkpoints):
    for command, head, text in (
        ("classify", "text_classifier", "a cat"), ("fill-mask", "masked_lm", "a [MASK]"),
        ("tag", "token_classifier", "a cat"),
    ):  # fmt: skip
        result = run(command, checkpoints["plain"], text)
        warning, error = result.stderr.splitlines()
        assert (result.exit_code, result.stdout) == (1, "")
        assert warning.startswith("inarch: warning: ")
        assert f"no trained {head} head" in error


def test_a_text_without_a_mask_is_shown(run, checkpoints):
    assert "'a dog'" in failure(run("fill-mask", checkpoints["masked_lm"], "a dog"))


def test_an_unknown_prompt_is_named(run, checkpoints):
    line = failure(run("embed", checkpoints["embedder"], "a", "--prompt", "question"))
    assert "'question'" in line


def test_text_that_is_not_utf_8_is_found_by_its_line(run, checkpoints, tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"a cat\ncaf\xe9\n")
    assert f"{path}:2 " in failure(run("embed", checkpoints["embedder"], "--input", path))


def test_a_row_that_is_not_json_or_has_no_text_is_found_by_its_line(run, checkpoints, tmp_path):
    path = tmp_path / "rows.jsonl"
    for bad in ("{", '{"other": "a"}', '{"text": 3}', "[]"):
        path.write_text(json.dumps({"text": "a"}) + "\n" + bad + "\n", "utf-8")
        assert f"{path}:2 " in failure(run("embed", checkpoints["embedder"], "--input", path))


def test_a_file_that_is_not_there_is_named(run, checkpoints, tmp_path):
    path = tmp_path / "none.txt"
    assert str(path) in failure(run("embed", checkpoints["embedder"], "--input", path))


def test_a_damaged_parquet_file_or_column_is_named(run, checkpoints, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 and no more")
    assert str(path) in failure(run("embed", checkpoints["embedder"], "--input", path))
    parquet.write_table(arrow.table({"say": ["a"]}), path)
    assert "'text'" in failure(run("embed", checkpoints["embedder"], "--input", path))


def test_parquet_without_pyarrow_names_the_extra_to_install(
    run, checkpoints, tmp_path, monkeypatch
):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    result = run("embed", checkpoints["embedder"], "a", "--output", tmp_path / "out.parquet")
    assert "inarch[parquet]" in failure(result)
    result = run("embed", checkpoints["embedder"], "--input", tmp_path / "in.parquet")
    assert "inarch[parquet]" in failure(result)


def test_a_failed_write_keeps_the_old_file(run, checkpoints, tmp_path, monkeypatch):
    from inarch.cli import output

    def full(rows, path, example):
        path.write_text("half", "utf-8")
        raise OSError(28, "No space left on device")

    path = tmp_path / "out.json"
    path.write_text("before", "utf-8")
    monkeypatch.setitem(output.WRITERS, ".json", full)
    line = failure(run("embed", checkpoints["embedder"], "a", "--output", path))
    assert str(path) in line
    assert "No space left" in line
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]
    assert path.read_text("utf-8") == "before"


def test_a_folder_that_is_not_there_for_the_output_is_named(run, checkpoints, tmp_path):
    path = tmp_path / "none" / "out.jsonl"
    assert str(path) in failure(run("embed", checkpoints["embedder"], "a", "--output", path))


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed",),
        ("nonsense",),
        ("embed", "somewhere", "a", "--output", "out.xls"),
        ("embed", "somewhere", "a", "--batch-size", "0"),
        ("embed", "somewhere", "a", "--input", "file.txt"),
        ("classify", "somewhere", "a", "--top-k", "many"),
    ],
)
def test_a_wrong_call_is_status_2(run, arguments):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


def test_a_message_of_several_lines_becomes_one():
    assert one_line("it does not match:\n  missing: a\n  unknown: b\n") == (
        "it does not match: missing: a; unknown: b"
    )


@pytest.mark.parametrize("target", [".", ".."])
def test_an_export_over_the_current_directory_is_refused(
    target, run, checkpoints, tmp_path, monkeypatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    line = failure(run("export", checkpoints["plain"], target))
    assert "the current directory" in line
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
