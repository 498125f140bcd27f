"""The heads over tokens are transformers': their numbers, and their dropout."""

import keras
import numpy as np
import pytest

from inarch.models.registry import architectures
from inarch.tasks import QuestionAnswerer, TokenClassifier

from .conftest import batch, noise_ratio

pytestmark = [pytest.mark.reference, pytest.mark.turns(3)]


def cases():
    for architecture in architectures().values():
        for source in architecture.sources[:1]:
            for task in (TokenClassifier, QuestionAnswerer):
                if task.head in source.heads:
                    yield source.heads[task.head].architectures[0], task


BIASED = {"norm_bias": True, "classifier_bias": True, "classifier_activation": "silu"}
CASES = [
    *((kind, task, {}) for kind, task in cases()),
    ("ModernBertForTokenClassification", TokenClassifier, BIASED),
    ("ModernBertForQuestionAnswering", QuestionAnswerer, BIASED),
]


def theirs(written, inputs):
    def run(double):
        if isinstance(task_names(written), str):
            return written.outputs(inputs, "logits", double)
        return np.stack([written.outputs(inputs, n, double) for n in task_names(written)], axis=-1)

    return run(False), run(True)


def task_names(written):
    answers = "QuestionAnswering" in type(written.model).__name__
    return ("start_logits", "end_logits") if answers else "logits"


@pytest.mark.parametrize(("kind", "task", "changes"), CASES)
def test_logits_of_tokens_are_the_references(kind, task, changes, write):
    written = write(kind, **({"num_labels": 3} if task is TokenClassifier else {}), **changes)
    model = task.from_preset(written.folder, preprocessor=None)
    assert model.fresh_weights == ()
    config = written.model.config
    segments = model.backbone.arguments["num_segments"] if "segment_ids" in model.input else None
    inputs = batch(segments, padding=config.pad_token_id or 0)
    ours = keras.ops.convert_to_numpy(model(inputs)).astype("float64")
    real = inputs["padding_mask"].astype(bool)
    single, double = theirs(written, inputs)
    assert ours.shape == double.shape
    assert noise_ratio(ours[real], single[real], double[real]) <= 4


RATES = [
    ("AlbertForTokenClassification", {"hidden_dropout_prob": 0.3}, 0.1),
    ("AlbertForTokenClassification", {"classifier_dropout_prob": 0.4}, 0.4),
    ("AlbertForQuestionAnswering", {"hidden_dropout_prob": 0.3}, None),
    ("BertForTokenClassification", {"hidden_dropout_prob": 0.3}, 0.3),
    ("BertForTokenClassification", {"classifier_dropout": 0.4}, 0.4),
    ("MPNetForTokenClassification", {"hidden_dropout_prob": 0.3, "classifier_dropout": 0.4}, 0.3),
    ("ModernBertForTokenClassification", {"classifier_dropout": 0.4}, 0.4),
    ("ModernBertForQuestionAnswering", {"classifier_dropout": 0.4}, 0.4),
    ("DistilBertForTokenClassification", {"dropout": 0.3}, 0.3),
    ("DistilBertForQuestionAnswering", {"qa_dropout": 0.4}, 0.4),
    ("DistilBertForQuestionAnswering", {}, 0.1),
    ("BertForQuestionAnswering", {"hidden_dropout_prob": 0.3}, None),
    ("GPT2ForTokenClassification", {"resid_pdrop": 0.3}, 0.1),
    ("GPT2ForTokenClassification", {"hidden_dropout": 0.4}, 0.4),
    ("GPT2ForTokenClassification", {"hidden_dropout": 0.4, "classifier_dropout": 0.2}, 0.2),
]


@pytest.mark.parametrize(("kind", "changes", "rate"), RATES)
def test_a_heads_dropout_is_the_references(kind, changes, rate, write):
    written = write(kind, **changes)
    drops = [m for n, m in written.model.named_children() if n.startswith("drop")]
    assert [d.p for d in drops] == ([] if rate is None else [rate])
    task = QuestionAnswerer if "Question" in kind else TokenClassifier
    model = task.from_preset(written.folder, preprocessor=None, load_weights=False)
    own = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert own == ([] if rate is None else [rate])
