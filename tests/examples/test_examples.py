"""Every example runs, on tiny data and a tiny model; the others beside it."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

import inarch
from inarch.models.bert.backbone import BertBackbone
from inarch.tasks import TextPreprocessor
from inarch.text import WordPieceTokenizer

pytestmark = [
    pytest.mark.turns(3),
    pytest.mark.filterwarnings("ignore:.* has no values for"),
]
OTHERS = {"embed_parquet_ray", "serve_fastapi", "serve_ray"}  # tested in a module of their own
EXAMPLES = [
    path
    for path in sorted(Path(__file__).parents[2].glob("examples/*.py"))
    if path.stem not in OTHERS
]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "the", "cat", "dog", "sat", "ran",
    "on", "mat", "road", "who", *LETTERS, *(f"##{letter}" for letter in LETTERS),
]  # fmt: skip


def encoder(folder):
    """A tiny encoder with its tokenizer, as a folder."""
    backbone = BertBackbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=32)
    task = inarch.TextEmbedder(backbone, TextPreprocessor(WordPieceTokenizer(VOCABULARY), 32))
    task.save_to_preset(folder)
    return str(folder)


def question_answering(folder):
    """Two questions on a context, one without an answer, and an answer within a token."""
    context = "The cat sat on the mat. The dog ran on the road."
    asked = [
        {"question": "Who sat?", "answers": [{"text": "cat", "answer_start": 4}]},
        {"question": "Who flew?", "answers": []},
        {"question": "Who ran?", "answers": [{"text": "og", "answer_start": 29}]},
    ]
    data = {"data": [{"paragraphs": [{"context": context, "qas": asked}]}]}
    path = folder / "squad.json"
    path.write_text(json.dumps(data))
    preset = encoder(folder / "encoder")
    return [path, path, "--preset", preset, "--output", folder / "tuned", "--epochs", 1]


def check_question_answering(folder, printed):
    assert "left out: the answer 'og' of question 0" in printed
    assert "'HasAns_exact'" in printed
    answer = inarch.load(folder / "tuned").answer("Who sat?", "the cat", top_k=1)
    assert set(answer) == {"answer", "start", "end", "score"}


def named_entities(folder):
    """Two sentences, one of which begins with a line that is none."""
    path = folder / "conll.txt"
    path.write_text("-DOCSTART- O\n\nThe DT O\ncat NN B-PET\n\nA DT O\nroad NN I-PET\n")
    preset = encoder(folder / "encoder")
    return [path, path, "--preset", preset, "--output", folder / "tuned", "--epochs", 1]


def check_named_entities(folder, printed):
    assert re.search(
        r"^PET: precision [\d.]+, recall [\d.]+, f1 [\d.]+, 2 entities$", printed, re.M
    )
    assert inarch.load(folder / "tuned").labels == ["B-PET", "I-PET", "O"]


def semantic_search(folder):
    """Three texts, and two queries with the number of the right one."""
    (folder / "texts.txt").write_text("The cat sat on the mat.\nThe dog ran.\nA road.\n")
    (folder / "relevant.txt").write_text("0\n1\n")
    reranker = inarch.Reranker(
        BertBackbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=32),
        preprocessor=TextPreprocessor(WordPieceTokenizer(VOCABULARY), 32),
    )
    reranker.save_to_preset(folder / "reranker")
    return [
        folder / "texts.txt", "who sat?", "who ran?", "--embedder", encoder(folder / "encoder"),
        "--reranker", folder / "reranker", "--candidates", 2, "--top-k", 1,
        "--relevant", folder / "relevant.txt",
    ]  # fmt: skip


def check_semantic_search(folder, printed):
    lines = printed.splitlines()
    assert [line for line in lines[:4] if line.startswith("who")] == ["who sat?", "who ran?"]
    texts = (folder / "texts.txt").read_text().splitlines()
    assert all(line.split("  ")[2] in texts for line in (lines[1], lines[3]))
    assert [line.partition(":")[0].strip() for line in lines[4:]] == ["vectors", "reranked"]


# By example: its arguments, and what it must have done.
CASES = {
    "named_entities": (named_entities, check_named_entities),
    "question_answering": (question_answering, check_question_answering),
    "semantic_search": (semantic_search, check_semantic_search),
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path, monkeypatch, capsys):
    arguments, check = CASES[path.stem]
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments(tmp_path))])
    runpy.run_path(str(path), run_name="__main__")
    check(tmp_path, capsys.readouterr().out)
