"""XLNet beside the reference, whose rows are padded on the left."""

import keras
import numpy as np
import pytest

from inarch.models.backbone import Backbone
from inarch.tasks import QuestionAnswerer, TextClassifier, TokenClassifier

from .conftest import noise_ratio, tensors, torch, transformers

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]

CHANGES = [
    {},
    {"ff_activation": "relu", "layer_norm_eps": 1e-3, "n_head": 3},
    {"clamp_len": 4, "n_layer": 1, "dropout": 0.3},
    {"d_model": 20, "n_head": 5, "d_inner": 17, "mem_len": None, "same_length": True},
]
HEADS = [
    ("XLNetForSequenceClassification", TextClassifier, {"num_labels": 3}),
    ("XLNetForTokenClassification", TokenClassifier, {"num_labels": 5}),
    ("XLNetForQuestionAnsweringSimple", QuestionAnswerer, {}),
]


def left_batch(vocabulary=61):
    """Four rows of different lengths, padded on the left, with segments as the tokenizer gives."""
    random = np.random.default_rng(0)
    mask = (np.arange(13) >= 13 - np.array([13, 9, 1, 6])[:, None]).astype("int32")
    return {
        "token_ids": random.integers(6, vocabulary, mask.shape).astype("int32") * mask,
        "padding_mask": mask,
        "segment_ids": random.integers(0, 3, mask.shape).astype("int32") * mask,
    }


def logits_of(outputs):
    """Return the logits of a head of the reference, those of answers side by side."""
    if "start_logits" in outputs:
        return torch.stack([outputs.start_logits, outputs.end_logits], -1)
    return outputs.get("logits", outputs.get("last_hidden_state"))


def holds(written, model, tmp_path):
    inputs = left_batch()
    fed = {
        "input_ids": inputs["token_ids"],
        "attention_mask": inputs["padding_mask"],
        "token_type_ids": inputs["segment_ids"],
    }
    found = {}
    for dtype in ("float32", "float64"):
        there = written.model.to(getattr(torch, dtype))
        with torch.no_grad():
            outputs = there(**{name: torch.tensor(x).long() for name, x in fed.items()})
        found[dtype] = logits_of(outputs).double().numpy()
    ours = keras.ops.convert_to_numpy(model(inputs)).astype("float64")
    real = inputs["padding_mask"].astype(bool) if ours.ndim == 3 else slice(None)
    assert noise_ratio(ours[real], found["float32"][real], found["float64"][real]) <= 4
    model.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)


@pytest.mark.parametrize("changes", CHANGES)
def test_the_encoder_is_the_reference(changes, write, tmp_path):
    written = write("XLNetModel", **changes)
    holds(written, Backbone.from_preset(written.folder), tmp_path)


@pytest.mark.parametrize(("kind", "task", "changes"), HEADS)
def test_heads_are_the_references(kind, task, changes, write, tmp_path):
    written = write(kind, **changes)
    holds(written, task.from_preset(written.folder, preprocessor=None), tmp_path)


def test_a_language_model_keeps_its_head_under_a_classifier_and_new_ones_load_there(
    write, tmp_path
):
    written = write("XLNetLMHeadModel")
    model = Backbone.from_preset(written.folder)
    model.save_to_preset(tmp_path / "again")
    assert tensors(tmp_path / "again") == tensors(written.folder)
    with pytest.warns(UserWarning, match="freshly"):
        task = TextClassifier.from_preset(written.folder, preprocessor=None)
    task.save_to_preset(tmp_path / "out")
    cls = transformers.XLNetForSequenceClassification
    _, report = cls.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
