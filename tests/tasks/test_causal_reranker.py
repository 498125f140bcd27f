"""Laws of `CausalReranker`: pairs as messages, what is cut, and how it is saved."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import pytest

from inarch.errors import ConfigError, InarchError
from inarch.models.gpt2.backbone import GPT2Backbone
from inarch.preprocessors.pair_preprocessor import PairPreprocessor
from inarch.tasks import CausalReranker, Reranker
from inarch.text import BytePairTokenizer, Tokenizer

pytestmark = pytest.mark.turns(3)

LETTERS = [*map(chr, range(ord("a"), ord("z") + 1)), *"ABC01"]
VOCABULARY = {token: i for i, token in enumerate([*LETTERS, "yes", "no", "<e>"])}
TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}ABC{% endif %}"
)
PAIRS = [("what", "cat"), ("what", ""), ("q", "dogs")]


def tokenizer(**config):
    made = BytePairTokenizer(VOCABULARY, [], special_tokens={"eos_token": "<e>"})
    spec = made.files["tokenizer.json"].decode()
    return Tokenizer(spec, config={**made.config, **config})


@pytest.fixture(scope="module")
def task():
    keras.utils.set_random_seed(3)
    backbone = GPT2Backbone(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=40)
    text = PairPreprocessor(
        tokenizer(chat_template=TEMPLATE), 40, message_format="flat",
        template_variables={"add_generation_prompt": True}, prompts={"web": "say"},
    )  # fmt: skip
    return CausalReranker(backbone, VOCABULARY["yes"], VOCABULARY["no"], text)


def text_of(task, pair, prompt=None):
    (row,) = task.preprocessor.encode([pair], prompt)
    return "".join(LETTERS[i] for i in row.ids)


def test_a_pair_is_messages_and_a_long_one_is_cut_before_the_templates_end(task):
    assert text_of(task, ("what", "cat")) == "qwhatdcatABC"
    assert text_of(task, ("what", "cat"), "web") == "ssayqwhatdcatABC"
    assert text_of(task, ("what", "x" * 99)) == "qwhatd" + "x" * 31 + "ABC"
    with pytest.raises(InarchError, match="query 0.*is as long as sequence_length=40"):
        task.rank("x" * 50, ["cat"])


def test_the_score_is_the_difference_of_two_logits_at_the_last_token(task):
    found = task.predict(PAIRS)
    ids = [row.ids for row in task.preprocessor.encode(PAIRS)]
    stack = task.backbone.token_embedding
    for row, score in zip(ids, found, strict=True):
        inputs = {"token_ids": np.array([row]), "padding_mask": np.ones((1, len(row)))}
        last = task.backbone(inputs)[:, -1]
        logits = keras.ops.convert_to_numpy(stack(last, reverse=True))[0]
        difference = float(logits[VOCABULARY["yes"]] - logits[VOCABULARY["no"]])
        assert score == pytest.approx(1 / (1 + np.exp(-difference)), rel=1e-4)
        assert task.predict([PAIRS[ids.index(row)]])[0] == pytest.approx(score, rel=1e-5)
    order = [answer["index"] for answer in task.rank("what", ["cat", "dog", "sun"])]
    scores = task.predict([("what", text) for text in ("cat", "dog", "sun")])
    assert order == np.argsort(-scores).tolist()


def test_it_is_saved_with_its_tokens_and_its_messages(task, tmp_path):
    task.save_to_preset(tmp_path / "folder")
    task.save(tmp_path / "model.keras")
    wanted = task.predict(PAIRS)
    found = Reranker.from_preset(tmp_path / "folder")
    assert isinstance(found, CausalReranker)
    again = keras.saving.load_model(tmp_path / "model.keras")
    for each in (found, again):
        assert each.false_token_id == VOCABULARY["no"]
        assert each.preprocessor.template_variables == {"add_generation_prompt": True}
        np.testing.assert_allclose(each.predict(PAIRS), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("1_LogitScore/config.json", '{"false_token_id": 1}', "has no true_token_id"),
        ("1_LogitScore/config.json", '{"true_token_id": -1}', "true_token_id=-1"),
        ("1_LogitScore/config.json", '{"true_token_id": 1, "scale": 2}', "scale=2"),
        ("sentence_bert_config.json", '{"transformer_task": "any-to-any"}', "any-to-any"),
        ("sentence_bert_config.json",
            '{"modality_config": {"image": {}}, "module_output_name": "causal_logits"}', "image"),
        ("sentence_bert_config.json",
            '{"processing_kwargs": {"chat_template": {"padding": "max_length"}}}', "padding"),
    ],
)  # fmt: skip
def test_a_field_that_is_not_computed_is_named(file, text, words, task, tmp_path):
    task.save_to_preset(tmp_path / "folder")
    (tmp_path / "folder" / file).write_text(text)
    with pytest.raises(ConfigError, match=words):
        Reranker.from_preset(tmp_path / "folder")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"true_token_id": 99}, "true_token_id is 99, and the model has 34 tokens"),
        ({"true_token_id": 1, "false_token_id": -1}, "false_token_id is -1"),
        ({"true_token_id": 1, "activation_fn": "cubic"}, "cubic"),
    ],
)
def test_tokens_that_are_none_are_refused(options, words, task):
    with pytest.raises(InarchError, match=words):
        CausalReranker(task.backbone, **options)
