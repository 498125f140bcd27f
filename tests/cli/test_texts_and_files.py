"""Texts come from arguments, files and pipes; results go to files by their suffix."""

import json
import re

import numpy as np
import pytest

from inarch.cli.texts import read_texts
from inarch.errors import InputError
from inarch.tasks import MultiVectorEmbedder, MultiVectorPreprocessor, SparseEmbedder
from inarch.text import WordPieceTokenizer

from .conftest import WORDS, backbone, preprocessor

pytestmark = pytest.mark.turns(2)

TEXTS = ["the cat sat .", "", "a dog ran !"]


@pytest.fixture
def embedder(checkpoints):
    return checkpoints["embedder"]


@pytest.fixture
def expected(run_json, embedder):
    return run_json("embed", embedder, *TEXTS)


def test_standard_input_is_a_text_per_line(run_json, embedder, expected):
    assert run_json("embed", embedder, stdin="\n".join(TEXTS) + "\n") == expected
    assert run_json("embed", embedder, stdin="\r\n".join(TEXTS)) == expected
    assert run_json("embed", embedder, "--input", "-", stdin="\n".join(TEXTS)) == expected


def test_empty_standard_input_gives_no_rows(run_json, run, embedder):
    assert run_json("embed", embedder, stdin="") == []
    assert run("embed", embedder, stdin="").stdout.strip() == ""


def test_a_text_file_is_a_text_per_line(run_json, embedder, expected, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\ufeff" + "\n".join(TEXTS) + "\n", "utf-8")
    assert run_json("embed", embedder, "--input", path) == expected


def test_a_jsonl_file_gives_its_field(run_json, embedder, expected, tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"id": 1, "say": t}) + "\n" for t in TEXTS), "utf-8")
    assert run_json("embed", embedder, "--input", path, "--field", "say") == expected


def test_a_parquet_file_gives_its_column(run_json, embedder, expected, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "texts.parquet"
    parquet.write_table(arrow.table({"say": TEXTS, "n": [1, 2, 3]}), path)
    assert run_json("embed", embedder, "--input", path, "--field", "say") == expected


def test_a_pair_of_texts_is_classified_as_one(run_json, run, checkpoints, tmp_path):
    from inarch.tasks import TextClassifier

    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"text": ["the cat", "sat"]}) + "\n", "utf-8")
    (row,) = run_json("classify", checkpoints["classifier"], "--input", path)
    model = TextClassifier.from_preset(checkpoints["classifier"])
    ((answer,),) = model.classify([("the cat", "sat")])
    assert (row["label"], row["score"]) == (answer["label"], pytest.approx(answer["score"]))
    run("classify", checkpoints["classifier"], "--input", path, "-o", tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy")["label"].tolist() == [answer["label"]]


def test_vectors_round_trip_through_npy(run, embedder, expected, tmp_path):
    path = tmp_path / "out.npy"
    result = run("embed", embedder, *TEXTS, "--output", path)
    assert (result.exit_code, result.stdout) == (0, "")
    array = np.load(path, allow_pickle=False)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.array([r["vector"] for r in expected], np.float32))


def test_rows_round_trip_through_jsonl_and_json(run, embedder, expected, tmp_path):
    lines, document = tmp_path / "out.jsonl", tmp_path / "out.json"
    assert run("embed", embedder, *TEXTS, "--output", lines).exit_code == 0
    assert run("embed", embedder, *TEXTS, "--output", document).exit_code == 0
    assert [json.loads(line) for line in lines.read_text("utf-8").splitlines()] == expected
    assert json.loads(document.read_text("utf-8")) == expected


def test_rows_round_trip_through_parquet(run, embedder, expected, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"
    assert run("embed", embedder, *TEXTS, "--output", path).exit_code == 0
    rows = parquet.ParquetFile(path).read().to_pylist()
    assert [row["text"] for row in rows] == TEXTS
    assert [row["vector"] for row in rows] == [row["vector"] for row in expected]


def test_labels_round_trip_through_npy(run, run_json, checkpoints, tmp_path):
    path = tmp_path / "out.npy"
    rows = run_json("classify", checkpoints["classifier"], *TEXTS)
    assert run("classify", checkpoints["classifier"], *TEXTS, "-o", path).exit_code == 0
    array = np.load(path, allow_pickle=False)
    assert array["label"].tolist() == [row["label"] for row in rows]
    assert array["score"].tolist() == pytest.approx([row["score"] for row in rows])


def test_no_texts_make_a_file_without_rows(run, embedder, tmp_path):
    assert run("embed", embedder, "-o", tmp_path / "out.jsonl", stdin="").exit_code == 0
    assert (tmp_path / "out.jsonl").read_text("utf-8") == ""
    assert run("embed", embedder, "-o", tmp_path / "out.npy", stdin="").exit_code == 0
    assert len(np.load(tmp_path / "out.npy")) == 0


@pytest.mark.parametrize(
    ("command", "name", "options"),
    [
        ("embed", "embedder", ["--precision", "ubinary"]), ("embed", "embedder", []),
        ("embed", "embedder", ["--precision", "int8", "--truncate-dim", "4"]),
        ("embed", "sparse", []), ("embed", "tokens", []), ("classify", "classifier", []),
        ("fill-mask", "masked_lm", []), ("tag", "tagger", ["--aggregation", "none"]),
    ],
)  # fmt: skip
def test_a_file_without_rows_has_the_columns_of_one_with_rows(
    command, name, options, run, checkpoints, others, tmp_path
):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = others[name][0] if name in others else checkpoints[name]
    texts = [f"a {'[MASK]' if command == 'fill-mask' else 'cat'} sat", "the [MASK] dog"]
    found = {}
    for stdin in ("", "\n".join(texts) + "\n"):
        paths = [tmp_path / f"{bool(stdin)}{suffix}" for suffix in (".npy", ".parquet")]
        for path in paths:
            result = run(command, folder, *options, "-o", path, stdin=stdin)
            assert result.exit_code == 0, result.stderr
        found[bool(stdin)] = np.load(paths[0]), parquet.read_table(paths[1])
    (none, no_rows), (some, rows) = found[False], found[True]
    assert (len(none), len(some) > 0, no_rows.num_rows) == (0, True, 0)
    assert no_rows.schema.equals(rows.schema)
    assert none.shape[1:] == some.shape[1:]
    kinds = [
        [(n, a.dtype[n].base.kind, a.dtype[n].shape) for n in a.dtype.names or ()]
        for a in (none, some)
    ]
    assert kinds[0] == kinds[1]
    assert none.dtype.names or none.dtype == some.dtype


@pytest.mark.parametrize(("suffix", "mark"), [(".csv", ","), (".tsv", "\t")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_gives_its_column(suffix, mark, end, tmp_path):
    texts = ["a, b", 'say "hi"', "two\nlines\tand a tab", "", "é"]
    rows = [["id", "review"], *([str(i), text] for i, text in enumerate(texts))]
    lines = [mark.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    path = tmp_path / f"table{suffix}"
    path.write_bytes(b"\xef\xbb\xbf" + end.join([*lines, ""]).encode())
    assert read_texts(None, path, "review") == texts
    assert read_texts(None, path, "id") == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("id,review\n1,x\n", r"column 'text'; its first row names 'id', 'review'; .* --field"),
        ("text,text\n1,x\n", "should have one column 'text'"), ("", "names none"),
        ("id,text\n1,a, b\n", r"csv:2 has 3 cells, and the first row 2; .* quotes"),
        ('id,text\n1,"a"b\n', r"csv:2 can't be read as a table"),
        ('id,text\n1,"a', r"can't be read as a table"),
    ],
)  # fmt: skip
def test_a_table_without_the_column_or_with_a_broken_row_is_named(content, error, tmp_path):
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(InputError, match=error):
        read_texts(None, tmp_path / "table.csv", "text")


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A sparse and a multi-vector embedder, as folders."""
    root = tmp_path_factory.mktemp("embedders")
    text = MultiVectorPreprocessor(WordPieceTokenizer(WORDS), 32, prompts={"query": "the "})
    dense = [{"type": "Dense", "out_features": 4, "bias": False}]
    models = {
        "sparse": SparseEmbedder(backbone(), preprocessor()),
        "tokens": MultiVectorEmbedder(backbone(), text, dense),
    }
    for name, model in models.items():
        model.save_to_preset(root / name)
    return {name: (root / name, model) for name, model in models.items()}


def test_sparse_vectors_go_to_every_format(run, run_json, others, tmp_path):
    folder, model = others["sparse"]
    expected = model.embed(TEXTS)
    rows = run_json("embed", folder, *TEXTS)
    assert [row["indices"] for row in rows] == [v["indices"].tolist() for v in expected]
    for name in ("indices", "values"):
        found = [x for row in rows for x in row[name]]
        np.testing.assert_allclose(found, np.concatenate([v[name] for v in expected]), rtol=1e-5)
    run("embed", folder, *TEXTS, "-o", tmp_path / "out.npy")
    records = np.load(tmp_path / "out.npy")
    assert records["indices"].tolist() == [i for row in rows for i in row["indices"]]
    assert records["text"].tolist() == [n for n, row in enumerate(rows) for _ in row["indices"]]
    assert "numbers; all with --json" in run("embed", folder, *TEXTS).stdout


def test_token_vectors_go_to_every_format(run, run_json, others, tmp_path):
    folder, model = others["tokens"]
    for options, expected in (
        ([], model.embed_document(TEXTS)),
        (["--prompt", "query"], model.embed_query(TEXTS)),
    ):
        rows = run_json("embed", folder, *TEXTS, *options)
        for row, vectors in zip(rows, expected, strict=True):
            np.testing.assert_allclose(row["vectors"], vectors, rtol=1e-4, atol=1e-6)
        run("embed", folder, *TEXTS, *options, "-o", tmp_path / "out.npy")
        records = np.load(tmp_path / "out.npy")
        assert records["vectors"].shape == (sum(map(len, expected)), 4)
        assert np.bincount(records["text"]).tolist() == [len(v) for v in expected]
    assert "of 4 numbers; all with --json" in run("embed", folder, *TEXTS).stdout


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("sparse", ["--precision", "int8"], "--truncate-dim and --precision are of one vector"),
        ("tokens", ["--truncate-dim", "2"], "is a MultiVectorEmbedder's; leave them out"),
        ("tokens", ["--prompt", "passage"], "--prompt is 'passage'.*give query or document"),
    ],
)
def test_options_of_other_vectors_are_refused(kind, options, named, run, others):
    result = run("embed", others[kind][0], "a cat", *options)
    assert result.exit_code != 0
    assert re.search(named, result.stderr)
