"""Verification of author folders against transformers, from the command line as well."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from inarch.cli.app import app
from inarch.workflows.verification import verify_checkpoint

from .test_google_bert import CONFIG, HEADS, SIZES, google, slots
from .writers import write_bundle

pytest.importorskip("torch", reason="needs torch: make test-all")
pytest.importorskip("transformers", reason="needs transformers: make test-all")
pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from inarch.checkpoints.formats.files import open_weights
    from inarch.models.bert.backbone import BertBackbone

    root = tmp_path_factory.mktemp("bert")
    BertBackbone(**SIZES, pooler=True).save_to_preset(root / "shapes")
    random = np.random.default_rng(0)
    with open_weights(root / "shapes") as weights:
        shapes = {f"bert.{name}": info.shape for name, info in weights.header.items()}
    shapes |= HEADS["pretraining"]
    arrays = {n: random.normal(size=shape).astype("float32") for n, shape in shapes.items()}
    folder = root / "cased_L-2_H-8_A-2"
    folder.mkdir()
    (folder / "bert_config.json").write_text(json.dumps(CONFIG))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyZ"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    write_bundle(folder / "bert_model.ckpt", slots(dict(google(n, a) for n, a in arrays.items())))
    return folder


def test_model_and_tokenizer_compute_what_transformers_does(folder):
    report = verify_checkpoint(folder)
    assert report.passed
    assert report.tokenizer.same
    assert str(folder) in report.source
    assert "in a copy in Hugging Face's format" in report.source


@pytest.mark.parametrize("command", ["info", "prove", "verify", "embed"])
def test_the_commands_take_an_author_folder(command, folder):
    given = [command, str(folder), *(["a b"] if command == "embed" else [])]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    expected = {
        "info": "TensorFlow checkpoint: bert_model.ckpt",
        "prove": "92 tensors such as bert/",
        "verify": "82 texts same",
        "embed": "",
    }
    assert expected[command] in result.output


def test_an_export_from_the_command_line_is_equal(folder, tmp_path):
    result = CliRunner().invoke(app, ["export", str(folder), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "46 of 46 tensors are byte-equal" in result.output
