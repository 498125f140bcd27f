"""A folder laid out as DeBERTaV3's is on the hub serves the backbone and every task."""

import json

import numpy as np
import pytest

from inarch.models.backbone import Backbone
from inarch.models.deberta_v3.backbone import DebertaV3Backbone
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder

CONTROL, UNKNOWN = 3, 2
PIECES = [("[PAD]", 0, CONTROL), ("[CLS]", 0, CONTROL), ("[SEP]", 0, CONTROL)]
PIECES += [("[UNK]", 0, UNKNOWN), ("▁hello", -1, 1), ("▁cat", -2, 1), ("▁", -3, 1)]


@pytest.fixture
def folder(tmp_path, sentence_piece):
    path = tmp_path / "deberta-v3"
    # As many rows as pieces and the mask, and some to spare.
    DebertaV3Backbone(10, 2, 2, 8, 12, bucket_size=4, max_sequence_length=16).save_to_preset(path)
    (path / "spm.model").write_bytes(sentence_piece(PIECES))
    config = {"do_lower_case": False, "vocab_type": "spm"}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def test_the_backbone_and_every_task_take_text(folder):
    assert type(Backbone.from_preset(folder)) is DebertaV3Backbone
    vectors = TextEmbedder.from_preset(folder).embed(["hello cat", "cat"])
    assert vectors.shape == (2, 8)
    with pytest.warns(UserWarning, match="freshly"):
        classifier = TextClassifier.from_preset(folder, num_classes=3)
    assert classifier.predict(["hello", "cat hello cat"]).shape == (2, 3)
    with pytest.warns(UserWarning, match="freshly"):
        masked = MaskedLM.from_preset(folder)
    ((blank,),) = masked.fill_mask(["hello [MASK] cat"], top_k=2)
    assert len(blank) == 2
    assert masked.preprocessor.tokenizer.mask_token_id == len(PIECES)


def test_what_a_task_saves_reads_the_same_text(folder, tmp_path):
    embedder = TextEmbedder.from_preset(folder)
    embedder.save_to_preset(tmp_path / "out")
    assert (tmp_path / "out/spm.model").read_bytes() == (folder / "spm.model").read_bytes()
    again = TextEmbedder.from_preset(tmp_path / "out")
    texts = ["hello cat", "cat cat hello"]
    np.testing.assert_array_equal(again.embed(texts), embedder.embed(texts))
