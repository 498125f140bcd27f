"""The command `rerank` does what the task does."""

import pytest

from inarch.tasks import Reranker, TextEmbedder

from .conftest import backbone, preprocessor

pytestmark = pytest.mark.turns(2)

TEXTS = ["the cat sat on the mat .", "a dog ran fast !", "a mat"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("rerankers")
    Reranker(backbone(), preprocessor=preprocessor()).save_to_preset(root / "reranker")
    Reranker(backbone(), 3, preprocessor()).save_to_preset(root / "three")
    TextEmbedder(backbone(), preprocessor()).save_to_preset(root / "bi")
    return root


def test_rerank_gives_the_tasks_rankings(run_json, run, folders, tmp_path):
    folder = folders / "reranker"
    found = Reranker.from_preset(folder).rank(["the cat", "dogs"], [TEXTS, TEXTS], top_k=2)
    rows = run_json("rerank", folder, *TEXTS, "-q", "the cat", "-q", "dogs", "--top-k", 2)
    assert [(row["query"], row["index"], row["text"]) for row in rows] == [
        (query, answer["index"], answer["text"])
        for query, ranking in zip(["the cat", "dogs"], found, strict=True)
        for answer in ranking
    ]
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS))
    lines = run("rerank", folder, "--input", file, "--query", "the cat").stdout.splitlines()
    assert lines[0].split() == ["score", "index", "text"]
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("reranker", "a cat"), "no query"),
        (("three", "a cat", "-q", "dog"), "3 classes"),
        (("bi", "a cat", "-q", "dog"), "is a bi-encoder"),
    ],
)
def test_what_cannot_be_ranked_is_named(arguments, message, run, folders):
    folder, *rest = arguments
    result = run("rerank", folders / folder, *rest)
    assert result.exit_code != 0
    assert message in " ".join(result.output.replace("│", " ").split())
