"""Jobs write chunk by chunk, and go on where they were stopped as if they hadn't been."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inarch.cli import job_run, text_run
from inarch.cli.job import Job, job_files
from inarch.cli.job_run import run_job
from inarch.cli.texts import TextSource, open_texts
from inarch.errors import CheckpointFileError, InputError

from .test_errors import failure
from .test_process import COMMAND

TEXTS = ["the cat sat .", "", "a dog ran !", "the mat", "a fast cat", "cats", "the dog ran on"]


class Stop(Exception):
    """Exception that stops a job in the place of a signal."""


def answers(texts):
    if "stop" in texts:
        raise Stop
    if "bad" in texts:
        raise InputError("it is bad")
    return [text.upper() for text in texts]


def rows(number, text, answer):
    return [{"text": text, "answer": answer}]


def run_texts(path, texts, resume=False, bad_file=None, settings=None, chunk=2, name="texts"):
    source = TextSource(name, iter(texts))
    job = Job(path, settings or {"top_k": 1}, resume, bad_file)
    try:
        job.skip(source)
        run_job(job, source, answers, rows, chunk)
    finally:
        job.close()


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def stopped(tmp_path):
    """The output of a job that was stopped after two texts of six."""
    path = tmp_path / "out.jsonl"
    with pytest.raises(Stop):
        run_texts(path, ["a", "b", "stop", "d", "e", "f"])
    assert names(tmp_path) == ["out.jsonl.job", "out.jsonl.part"]
    return path


def test_a_job_reads_and_writes_a_chunk_at_a_time(tmp_path):
    path = tmp_path / "out.jsonl"
    part = path.with_name("out.jsonl.part")
    written = []

    def texts():
        for number in range(7):
            written.append(len(lines(part)))
            yield str(number)

    run_texts(path, texts(), chunk=3)
    assert written == [0, 0, 0, 3, 3, 3, 6]
    assert [row["text"] for row in lines(path)] == list("0123456")
    assert names(tmp_path) == ["out.jsonl"]


def test_files_are_read_as_their_rows_are_taken(tmp_path):
    body = {
        "x.txt": "a\n", "x.jsonl": '{"text": "a"}\n', "x.csv": "a,1\n",
    }  # fmt: skip
    for name, line in body.items():
        path = tmp_path / name
        path.write_text(("text,n\n" if name == "x.csv" else "") + line * 50_000)
        source = open_texts(None, path, "text")
        assert next(source.rows) == "a"
        assert source.share() < 0.2
        assert sum(1 for _ in source.rows) == 49_999
        assert source.share() == 1


def test_a_parquet_file_is_read_by_batches(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    texts = [str(number) for number in range(3000)]
    parquet.write_table(arrow.table({"n": range(3000), "text": texts}), path, row_group_size=1000)
    source = open_texts(None, path, "text")
    first = [next(source.rows) for _ in range(1500)]
    assert source.share() == pytest.approx(0.5, abs=1e-3)
    assert [*first, *source.rows] == texts


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_a_job_killed_at_any_line_goes_on_as_if_it_had_not_been(step, tmp_path):
    script = Path(__file__).with_name("crash_points.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, script, tmp_path, str(step)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_bytes(run, checkpoints, tmp_path):
    path, whole, out = (tmp_path / name for name in ("in.txt", "whole.jsonl", "out.jsonl"))
    texts = TEXTS * 12
    path.write_text("\n".join(texts) + "\n")
    command = ["embed", checkpoints["embedder"], "-i", path, "--chunk", 10]
    arguments = map(str, ["embed", checkpoints["embedder"], "--chunk", 10, "-o", out])
    process = subprocess.Popen([*COMMAND, *arguments], text=True, stdin=subprocess.PIPE)
    process.stdin.write("\n".join(texts[:35]) + "\n")
    process.stdin.flush()  # and it waits for more
    notes = tmp_path / "out.jsonl.job"
    while process.poll() is None and not (notes.exists() and notes.read_bytes().count(b"\n") > 3):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert names(tmp_path) == ["in.txt", "out.jsonl.job", "out.jsonl.part"]
    assert "go on with it by --resume" in failure(run(*command, "-o", out))
    assert run(*command, "-o", out, "--resume").exit_code == 0
    assert run(*command, "-o", whole).exit_code == 0
    assert out.read_bytes() == whole.read_bytes()
    assert [row["text"] for row in lines(out)] == texts
    assert names(tmp_path) == ["in.txt", "out.jsonl", "whole.jsonl"]


def test_a_stopped_job_goes_on_only_when_that_is_asked(stopped):
    with pytest.raises(InputError, match=r"results for 2 texts .* go on with it by --resume"):
        run_texts(stopped, list("abcdef"))
    assert len(lines(stopped.with_name("out.jsonl.part"))) == 2
    run_texts(stopped, list("abcdef"), resume=True)
    assert [row["text"] for row in lines(stopped)] == list("abcdef")


def test_what_was_there_stays_until_the_job_has_ended(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("before")
    with pytest.raises(Stop):
        run_texts(path, ["a", "b", "stop"])
    assert path.read_text() == "before"
    run_texts(path, ["a", "b", "c"], resume=True)
    assert len(lines(path)) == 3


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        (["a"], None, "first 2 texts of texts aren't those that"),
        ([], None, "first 2 texts of texts aren't those"),
        (["a", "other", "c"], None, "first 2 texts of texts aren't those"),
        (["a", "b", "c"], {"top_k": 2}, "is of a job with top_k 1, and this one has 2"),
        (["a", "b", "c"], {"top_k": 1, "prompt": "x"}, "prompt None, and this one has 'x'"),
    ],
)
def test_a_job_with_other_texts_or_options_does_not_go_on(texts, settings, message, stopped):
    before = stopped.with_name("out.jsonl.part").read_bytes()
    with pytest.raises(InputError, match=message):
        run_texts(stopped, texts, resume=True, settings=settings)
    assert stopped.with_name("out.jsonl.part").read_bytes() == before
    run_texts(stopped, ["a", "b", "c"], resume=True)


def test_files_that_are_not_of_a_job_are_left_alone(tmp_path, stopped):
    part, notes = (stopped.with_name(f"out.jsonl.{end}") for end in ("part", "job"))
    whole = notes.read_bytes()
    for resume in (False, True):
        notes.write_bytes(b"my own\n")
        with pytest.raises(CheckpointFileError, match="isn't of a job"):
            run_texts(stopped, ["a", "b"], resume)
        assert notes.read_bytes() == b"my own\n"
        notes.write_bytes(whole[:-20] + b"\n")
        with pytest.raises(CheckpointFileError, match="is damaged"):
            run_texts(stopped, ["a", "b"], resume)
        notes.unlink()
        with pytest.raises(CheckpointFileError, match="of which job it is"):
            run_texts(stopped, ["a", "b"], resume)
        assert names(tmp_path) == ["out.jsonl.part"]
    notes.write_bytes(whole)
    os.truncate(part, 10)
    with pytest.raises(CheckpointFileError, match="has 10 bytes, and had"):
        run_texts(stopped, ["a", "b"], resume=True)


def test_two_jobs_do_not_write_one_file(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "out.jsonl"
    refused = []

    def texts():
        yield from "ab"
        for resume in (False, True):
            with pytest.raises(InputError, match=r"another process is writing .*out\.jsonl"):
                run_texts(path, ["c"], resume)
            refused.append(resume)
        yield from "cd"

    run_texts(path, texts())
    assert refused == [False, True]
    assert [row["text"] for row in lines(path)] == list("abcd")


def test_a_row_without_an_answer_stops_the_job_at_its_number(tmp_path):
    path, bad = tmp_path / "out.jsonl", tmp_path / "bad.jsonl"
    for fault, message in (("bad", "it is bad"), (InputError("not JSON"), "not JSON")):
        texts = ["a", "b", "c", fault, "e"]
        with pytest.raises(InputError) as error:
            run_texts(path, texts)
        assert str(error.value) == (
            f"texts, row 3 (from 0): {message}; 2 texts are done: go on by --resume, once the row "
            "is mended, or give --bad-rows FILE to list such rows and leave them out"
        )
        run_texts(path, texts, resume=True, bad_file=bad)
        text = fault if isinstance(fault, str) else None
        assert lines(path)[2:4] == [{"text": "c", "answer": "C"}, {"text": text, "answer": None}]
        assert lines(bad) == [{"row": 3, "text": text, "error": message}]


def test_a_mended_row_is_answered_by_the_job_that_it_stopped(tmp_path):
    path = tmp_path / "out.jsonl"
    with pytest.raises(InputError):
        run_texts(path, ["a", "b", "c", "bad"])
    run_texts(path, ["a", "b", "c", "good"], resume=True)
    assert [row["answer"] for row in lines(path)] == ["A", "B", "C", "GOOD"]


def test_a_first_chunk_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match=r"row 0 \(from 0\): it is bad; give --bad-rows FILE"):
        run_texts(tmp_path / "out.jsonl", ["bad"])
    assert names(tmp_path) == []


def test_the_list_of_bad_rows_goes_on_with_its_job(tmp_path, capsys):
    path, bad = tmp_path / "out.jsonl", tmp_path / "bad.jsonl"
    with pytest.raises(Stop):
        run_texts(path, ["a", "bad", "stop"], bad_file=bad)
    with bad.open("a") as file:
        file.write('{"row": 2, "te')
    for other in (None, tmp_path / "other.jsonl"):
        with pytest.raises(InputError, match=r"give --bad-rows .*bad\.jsonl again"):
            run_texts(path, ["a", "bad", "c"], resume=True, bad_file=other)
    run_texts(path, ["a", "bad", "c", "bad"], resume=True, bad_file=bad)
    assert [row["row"] for row in lines(bad)] == [1, 3]
    assert [row["answer"] for row in lines(path)] == ["A", None, "C", None]
    assert "2 of 4 texts have no answer" in capsys.readouterr().err


def test_a_chunk_of_bad_rows_is_listed_wherever_it_is(tmp_path):
    path, bad = tmp_path / "out.jsonl", tmp_path / "bad.jsonl"
    run_texts(path, ["bad", "bad", "c"], bad_file=bad)
    assert [row["row"] for row in lines(bad)] == [0, 1]
    assert [row["answer"] for row in lines(path)] == [None, None, "C"]
    run_texts(path, ["a", "b", "bad", "bad", "bad", "bad", "c"], bad_file=bad)
    assert [row["row"] for row in lines(bad)] == [2, 3, 4, 5]
    assert [row["answer"] for row in lines(path)] == ["A", "B", None, None, None, None, "C"]


def test_a_full_disk_stops_a_job_that_goes_on_when_there_is_room(tmp_path):
    resource = pytest.importorskip("resource")
    path, texts = tmp_path / "out.jsonl", ["x" * 300] * 12
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limit[1]))
    try:
        with pytest.raises(CheckpointFileError, match=r"File too large; 6 texts are done: go on"):
            run_texts(path, texts)
        with pytest.raises(CheckpointFileError, match="File too large"):
            run_texts(path, texts, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    run_texts(path, texts, resume=True)
    assert len(lines(path)) == 12


def test_progress_is_for_terminals(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    path = tmp_path / "in.txt"
    path.write_text("a\n" * 20_000)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(job_run.time, "monotonic", lambda: next(clock))
    shown = {}
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        source = open_texts(None, path, "text")
        job = Job(tmp_path / "out.jsonl", {}, False, None)
        job.skip(source)
        run_job(job, source, answers, rows, 10_000)
        shown[stream.isatty()] = stream.getvalue()
    assert shown[False] == ""
    first, last = shown[True].replace("\r", "\n").split("\n")[1:3]
    assert first.startswith("10,000 texts, 1,000 a second, 0:00:0")
    assert first.rstrip().endswith("left")
    assert last.rstrip() == "20,000 texts, 1,000 a second, 0:00:00 left"


class Classifier:
    """A model that calls all texts calm."""

    def classify(self, texts, top_k, batch_size):
        return [[{"label": "calm", "score": 0.5}] for _ in texts]


def test_bad_rows_of_a_file_are_named_or_listed(run, tmp_path, monkeypatch):
    monkeypatch.setattr(text_run.TextRun, "load", lambda self, *names: Classifier())
    contents = {
        "in.txt": ("text", b"a cat\ncaf\xe9\na dog\n"),
        "in.jsonl": ("say", b'{"say": "a cat"}\n{"say": \n{"say": "a dog"}\n'),
        "in.csv": ("say", b'say,n\na cat,1\na "cat"",2,3\na dog,1\n'),
        "in.tsv": ("say", b"say\tn\na cat\t1\ncaf\xe9\t2\na dog\t1\n"),
    }
    out, bad = tmp_path / "out.jsonl", tmp_path / "bad.jsonl"
    for name, (field, content) in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        command = ["classify", "somewhere", "-i", path, "--field", field, "-o", out]
        line = failure(run(*command))
        assert f"{path}, row 1 (from 0): {path}:" in line
        result = run(*command, "--bad-rows", bad)
        assert result.exit_code == 0
        assert "1 of 3 texts have no answer" in result.stderr
        found = lines(out)
        assert [row["text"] for row in found] == ["a cat", None, "a dog"]
        assert found[1] == {"text": None, "label": None, "score": None}
        (listed,) = lines(bad)
        assert (listed["row"], listed["text"]) == (1, None)
        assert listed["error"] in line


def test_a_text_that_a_model_refuses_is_listed(run, checkpoints, tmp_path):
    path, out, bad = (tmp_path / name for name in ("in.txt", "out.jsonl", "bad.jsonl"))
    path.write_text("a [MASK] cat\na dog\nthe [MASK]\n")
    command = ["fill-mask", checkpoints["masked_lm"], "-i", path, "-o", out, "--top-k", 1]
    assert "row 1 (from 0)" in failure(run(*command))
    assert run(*command, "--bad-rows", bad).exit_code == 0
    assert [row["mask"] for row in lines(out)] == [0, None, 0]
    assert list(lines(out)[0]) == list(lines(out)[1])
    assert [(row["row"], row["text"]) for row in lines(bad)] == [(1, "a dog")]


def test_rows_of_a_job_are_those_of_the_command(run, run_json, checkpoints, tmp_path):
    path, out = tmp_path / "in.txt", tmp_path / "out.jsonl"
    path.write_text("\n".join(TEXTS) + "\n")
    for command in (
        ("tag", checkpoints["tagger"], "--aggregation", "none"),
        ("classify", checkpoints["classifier"], "--top-k", 2),
    ):
        expected = run_json(*command, "-i", path)
        assert run(*command, "-i", path, "-o", out, "--chunk", 3).exit_code == 0
        found = lines(out)
        assert [{**row, "score": 0} for row in found] == [{**row, "score": 0} for row in expected]
        assert [row["score"] for row in found] == pytest.approx([r["score"] for r in expected])


def test_a_lone_surrogate_of_a_json_file_comes_out_as_it_was(run, checkpoints, tmp_path):
    path, out, bad = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "bad.jsonl"))
    path.write_text('{"text": "a cat"}\n{"text": "a \\ud800"}\n')
    command = ["classify", checkpoints["classifier"], "-i", path, "-o", out]
    assert run(*command, "--bad-rows", bad).exit_code == 0
    assert [row["text"] for row in lines(out)] == ["a cat", "a \ud800"]


def test_an_empty_input_makes_an_empty_output(run, checkpoints, tmp_path):
    for name, content in (("in.txt", ""), ("in.jsonl", ""), ("in.csv", "text\n")):
        (tmp_path / name).write_text(content)
        out = tmp_path / f"{name}.jsonl"
        result = run("embed", checkpoints["embedder"], "-i", tmp_path / name, "-o", out)
        assert (result.exit_code, out.read_bytes()) == (0, b"")


def test_a_missing_column_or_checkpoint_leaves_no_job(run, checkpoints, tmp_path):
    path, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    path.write_text("say\na cat\n")
    command = ["-i", path, "-o", out]
    assert "column 'text'" in failure(run("embed", checkpoints["embedder"], *command))
    assert "none" in failure(run("embed", tmp_path / "none", *command, "--field", "say"))
    assert names(tmp_path) == ["in.csv"]


@pytest.mark.parametrize(
    "options",
    [
        ["--resume"], ["--chunk", 3, "-o", "x.npy"], ["--bad-rows", "b", "-o", "x.parquet"],
        ["--resume", "-o", "x.jsonl", "--precision", "int8"],
    ],
)  # fmt: skip
def test_options_of_jobs_are_refused_elsewhere(options, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("embed", "somewhere", "a", *options)
    assert result.exit_code == 2
    assert names(tmp_path) == []
    assert run("rerank", "somewhere", "a", "--resume").exit_code == 2


def test_bad_rows_do_not_go_over_the_input_or_the_output(run, tmp_path):
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"text": "a"}\n')
    part, notes = job_files(out)
    own = "a file of the job"
    for same, name in ((path, "--input"), (out, "--output"), (part, own), (notes, own)):
        line = failure(run("embed", "somewhere", "-i", path, "-o", out, "--bad-rows", same))
        assert f"--bad-rows and {name} are both" in line
    assert path.read_text() == '{"text": "a"}\n'


@pytest.mark.parametrize("suffix", [".jsonl", ".npy"])
def test_an_output_that_can_not_be_a_file_is_refused_before_the_work(suffix, run, tmp_path):
    (tmp_path / f"folder{suffix}").mkdir()
    for path, words in ((f"folder{suffix}", "is a folder"), (f"none/out{suffix}", "in no folder")):
        assert words in failure(run("embed", "somewhere", "a", "-o", tmp_path / path))
    assert names(tmp_path) == [f"folder{suffix}"]


def test_the_default_chunk_is_that_of_streams():
    from inspect import signature

    from inarch.tasks import TextClassifier

    assert signature(TextClassifier.stream).parameters["chunk"].default == text_run.CHUNK
