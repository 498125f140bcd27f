"""Longformer's config, and which tokens its tasks make global."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from inarch import Backbone, MaskedLM, QuestionAnswerer, TextClassifier
from inarch.errors import ConfigError, InputError
from inarch.models import registry
from inarch.models.longformer.backbone import LongformerBackbone
from inarch.port.tiny_models import randomized
from inarch.preprocessors.preprocessor import TextPreprocessor
from inarch.text import WordPieceTokenizer
from inarch.verify.inputs import make_inputs

TINY = registry.architectures()["longformer"].tiny
WORDS = ["[PAD]", "[UNK]", "[SEP]", "[CLS]", "[MASK]", *"abcdefghijklmnop"]  # the separator is 2


def preprocessor():
    return TextPreprocessor(WordPieceTokenizer(WORDS), TINY["max_sequence_length"])


def tiny(**changes):
    keras.utils.set_random_seed(0)
    return LongformerBackbone(**{**TINY, "padding_id": 0, **changes})


def rows(*given):
    return {"token_ids": np.array([row[0] for row in given]),
            "padding_mask": np.array([row[1] for row in given])}  # fmt: skip


QUESTIONS = rows(
    ([3, 7, 8, 2, 9, 2, 0, 0], [1] * 6 + [0] * 2),
    ([3, 7, 2, 9, 2, 3, 2, 2], [1] * 5 + [2] * 3),
    ([0] * 8, [0] * 8),
)
GLOBAL_TOKENS = {
    "text_classifier": [[1] + [0] * 7, [1, 0, 0, 0, 0, 1, 0, 0], [0] * 8],
    "question_answering": [[1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1, 0, 0], [0] * 8],
    "masked_lm": [[0] * 8] * 3,
    "token_classifier": [[0] * 8] * 3,
    None: [[0] * 8] * 3,
}


@pytest.mark.parametrize("head", GLOBAL_TOKENS)
def test_a_head_has_its_global_tokens_in_packed_rows_too(head):
    (found,) = tiny().default_inputs(head, QUESTIONS).values()
    assert found.tolist() == GLOBAL_TOKENS[head]
    assert found.dtype == np.int32


def test_a_question_without_an_end_is_refused_with_the_way_out():
    lacking = rows(([3, 7, 8, 9], [1] * 4), ([3, 7, 2, 9], [1, 1, 0, 0]))
    with pytest.raises(InputError, match=r"row 0 has no token 2 \(separator_id\).*global_mask"):
        tiny().default_inputs("question_answering", lacking)
    lacking["token_ids"][0, 2] = 2
    with pytest.raises(InputError, match="row 1 has no token 2"):
        tiny().default_inputs("question_answering", lacking)
    with pytest.raises(InputError, match="separator_id=None, .*Load the model with separator_id="):
        tiny(separator_id=None).default_inputs("question_answering", QUESTIONS)


def test_tasks_tell_the_backbone_which_tokens_are_global():
    backbone = tiny()
    answerer = randomized(QuestionAnswerer(backbone, preprocessor()))
    windows = answerer.encode([("a b", "c d e f g")])
    logits = ops.convert_to_numpy(answerer(answerer.padded(windows)))
    given = answerer.padded(windows)
    assert given["global_mask"].tolist() == [[1, 1, 1, *[0] * (given["global_mask"].shape[1] - 3)]]
    np.testing.assert_allclose(
        answerer.predict([("a b", "c d e f g")])[0], logits[0, : len(windows[0].ids)], atol=1e-4
    )
    none = ops.convert_to_numpy(answerer({**given, "global_mask": 0 * given["global_mask"]}))
    assert np.abs(none - logits).max() > 0.1
    # Arrays that say it themselves are taken as they are, also where no default is known.
    unknown = QuestionAnswerer(tiny(separator_id=None), preprocessor())
    assert unknown.select_inputs(given)["global_mask"] is given["global_mask"]


@pytest.mark.parametrize("task", [TextClassifier, MaskedLM])
def test_a_text_packed_with_others_has_its_own_numbers(task):
    own = {"num_classes": 3} if task is TextClassifier else {}
    model = randomized(task(tiny(), preprocessor=preprocessor(), **own))
    texts = ["a b c", "d e f g h i j k l", "b", "c a b"]
    for text, row in zip(texts, model.predict(texts), strict=True):
        (alone,) = model.predict([text])
        np.testing.assert_allclose(row[: len(alone)], alone, rtol=1e-4, atol=1e-4)


def test_a_classifier_is_trained_on_texts():
    task = TextClassifier(tiny(), 2, preprocessor(), labels=["cat", "tree"])
    before = [w.numpy() if hasattr(w, "numpy") else np.array(w) for w in task.get_weights()]
    task.fit(["a b", "c d e"], ["cat", "tree"], epochs=1, verbose=0)
    moved = {v.path for v, old in zip(task.weights, before, strict=True)
             if np.abs(ops.convert_to_numpy(v) - old).max() > 0}  # fmt: skip
    # The first token is global, whose queries are read.
    assert any("global_query/kernel" in path for path in moved)


@pytest.fixture
def folder(tmp_path):
    tiny().save_to_preset(tmp_path / "saved")
    return tmp_path / "saved"


def changed(folder, **changes):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({n: v for n, v in config.items() if v != "absent"}))
    return path


def test_one_window_may_stand_for_all_layers_and_stays_one(folder, tmp_path):
    path = changed(folder, attention_window=6)
    model = Backbone.from_preset(folder)
    assert model.arguments["attention_windows"] == (6, 6)
    model.save_to_preset(tmp_path / "again")
    assert (tmp_path / "again/config.json").read_bytes() == path.read_bytes()
    changed(folder, attention_window="absent")
    assert Backbone.from_preset(folder).arguments["attention_windows"] == (512, 512)


@pytest.mark.parametrize(
    ("window", "error", "message"),
    [
        (7, InputError, r"attention_windows\[0\]=7. Pass an even number"),
        ([4, 5], InputError, r"attention_windows\[1\]=5. Pass an even number"),
        ([4], ConfigError, "'attention_window' has 1 values, and 'num_hidden_layers' is 2"),
        (0, ConfigError, "'attention_window' has the unusable value 0"),
        ("wide", ConfigError, "'attention_window' has the unusable value 'wide'"),
    ],
)
def test_windows_that_are_none_are_refused_by_name(folder, window, error, message):
    changed(folder, attention_window=window)
    with pytest.raises(error, match=message):
        Backbone.from_preset(folder)
    with pytest.raises(InputError, match="attention_windows has 3 values, and num_layers is 2"):
        tiny(attention_windows=(4, 4, 4))


def test_inputs_of_a_comparison_have_rows_that_the_reference_pads_no_more():
    model = tiny(attention_windows=(4, 6))
    assert model.reference_row_multiple == 12
    made = make_inputs(model, 0, (7, 3))
    assert made["padding_mask"].sum(axis=1).tolist() == [7, 3]
    assert {array.shape for array in made.values()} == {(2, 12)}
    assert set(made["global_mask"].ravel().tolist()) == {0, 1}


def test_a_global_mask_of_other_numbers_is_refused_by_name():
    task = MaskedLM(tiny(), preprocessor=preprocessor())
    given = task.padded(task.encode(["a b"]))
    assert task.predict(given).shape[-1] == TINY["vocabulary_size"]
    with pytest.raises(InputError, match="global_mask"):
        task.predict({**given, "global_mask": given["padding_mask"] + 1})
