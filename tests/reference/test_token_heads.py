"""The heads over tokens are transformers': their numbers, and their dropout."""

import re
import warnings

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from inarch.models.registry import architectures
from inarch.tasks import QuestionAnswerer, TokenClassifier

from .conftest import Written, batch, noise_ratio, tensors, transformers, whole_batch

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
    *((f"{name}ForQuestionAnswering", QuestionAnswerer, {})
        for name in ("Mistral", "Qwen2", "Qwen3", "SmolLM3")),
    ("MT5ForTokenClassification", TokenClassifier, {}),
    ("T5ForTokenClassification", TokenClassifier, {"feed_forward_proj": "gated-gelu"}),
]  # fmt: skip


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
    inputs = whole_batch(model, batch(segments, padding=config.pad_token_id or 0))
    ours = keras.ops.convert_to_numpy(model(inputs)).astype("float64")
    real = inputs["padding_mask"].astype(bool)
    single, double = theirs(written, inputs)
    assert ours.shape == double.shape
    assert noise_ratio(ours[real], single[real], double[real]) <= 4


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "SmolLM3"])
def test_answers_of_llamas_graph_come_back_and_are_read_by_either_prefix(family, write, tmp_path):
    """Classes for answers call the graph `transformer`, but Mistral's; all others say `model`."""
    kind = f"{family}ForQuestionAnswering"
    written = write(kind)
    model = QuestionAnswerer.from_preset(written.folder, preprocessor=None)
    model.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)
    inputs = batch(None, padding=written.model.config.pad_token_id or 0)
    expected = keras.ops.convert_to_numpy(model(inputs))
    both = {name: t.numpy() for name, t in written.model.state_dict().items()}
    for prefix in ("model.", "") if family == "Mistral" else ("model.", "transformer.", ""):
        own = {re.sub(r"^(model|transformer)\.", prefix, name): a for name, a in both.items()}
        save_file(own, written.folder / "model.safetensors", metadata={"format": "pt"})
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            other = QuestionAnswerer.from_preset(written.folder, preprocessor=None)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(other(inputs)), expected)


@pytest.mark.parametrize("family", ["T5", "MT5"])
def test_the_encoder_of_a_t5_tags_and_comes_back_and_that_of_a_whole_one_too(
    family, write, tmp_path
):
    written = write(f"{family}ForTokenClassification", num_labels=3, classifier_dropout=0.3)
    model = TokenClassifier.from_preset(written.folder, preprocessor=None)
    assert [x.rate for x in model.layers if x.name == "classifier_dropout"] == [0.3]
    model.save_to_preset(tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(written.folder)
    whole = write(f"{family}ForConditionalGeneration", tie_word_embeddings=True)
    with pytest.warns(UserWarning, match="logits"):
        tagger = TokenClassifier.from_preset(whole.folder, num_classes=3, preprocessor=None)
    tagger.save_to_preset(tmp_path / "tagger")
    cls = getattr(transformers, f"{family}ForTokenClassification")
    theirs, report = cls.from_pretrained(tmp_path / "tagger", output_loading_info=True)
    assert not report["missing_keys"]
    inputs = batch(None, padding=0)
    inputs["token_ids"] %= tagger.backbone.arguments["vocabulary_size"]
    again, real = Written(tmp_path / "tagger", theirs.eval()), inputs["padding_mask"].astype(bool)
    single, double = (again.outputs(inputs, "logits", wide)[real] for wide in (False, True))
    assert noise_ratio(keras.ops.convert_to_numpy(tagger(inputs))[real], single, double) <= 4


@pytest.mark.parametrize("family", ["Llama", "Mistral"])
def test_a_new_head_for_answers_has_the_names_of_its_class(family, write, tmp_path):
    written = write(f"{family}Model")
    with pytest.warns(UserWarning, match="logits"):
        model = QuestionAnswerer.from_preset(written.folder, preprocessor=None)
    model.save_to_preset(tmp_path / "out")
    cls = getattr(transformers, f"{family}ForQuestionAnswering")
    theirs, report = cls.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys"))
    inputs = batch(None, padding=written.model.config.pad_token_id or 0)
    again = Written(tmp_path / "out", theirs.eval())
    real = inputs["padding_mask"].astype(bool)
    single, double = (again.outputs(inputs, "end_logits", wide)[real] for wide in (False, True))
    found = keras.ops.convert_to_numpy(model(inputs))[real][:, 1]
    assert noise_ratio(found, single, double) <= 4


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
