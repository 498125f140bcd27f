"""Laws of a classifier's scores: transformers' rule, or the activation that a reranker records."""

import json

import keras
import numpy as np
import pytest

from inarch.answers.activation import ACTIVATIONS
from inarch.errors import ConfigError, InputError
from inarch.models.bert.backbone import BertBackbone
from inarch.tasks import TextClassifier

from .conftest import make_backbone

pytestmark = pytest.mark.turns(3)

PAIRS = [("the cat sat", "a dog ran"), ("bad", "not very good!")]
OLD, NEW = "sbert_ce_default_activation_function", "sentence_transformers"
TANH, IDENTITY = "torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity"
SIGMOID = "torch.nn.modules.activation.Sigmoid"
SETTINGS, MODULES = "config_sentence_transformers.json", "modules.json"


@pytest.fixture
def reranker(preprocessor, tmp_path):
    """A function that writes the folder of a model with one class, as rerankers have."""

    def write(settings=None, **fields):
        folder = tmp_path / "reranker"
        TextClassifier(make_backbone(), 1, preprocessor).save_to_preset(folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **fields}, indent=1))
        if settings is not None:
            (folder / SETTINGS).write_text(json.dumps({"model_type": "CrossEncoder", **settings}))
            kind = "sentence_transformers.base.modules.transformer.Transformer"
            (folder / MODULES).write_text(
                json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}])
            )
        return folder

    return write


def scores(task):
    """The scores of `PAIRS`, classes in the order of the logits."""
    found = [{a["label"]: a["score"] for a in answers} for answers in task.classify(PAIRS, None)]
    return np.array([[row[label] for label in task.labels] for row in found])


@pytest.mark.parametrize(
    ("classes", "problem_type", "activation", "applied"),
    [
        (1, None, None, lambda x: 1 / (1 + np.exp(-x))),
        (1, "multi_label_classification", None, lambda x: 1 / (1 + np.exp(-x))),
        (1, "regression", None, lambda x: x),
        (3, "regression", None, lambda x: x),
        (3, "multi_label_classification", None, lambda x: 1 / (1 + np.exp(-x))),
        (3, None, None, lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
        (3, None, "identity", lambda x: x),
        (1, "regression", "tanh", np.tanh),
    ],
)
def test_scores_are_the_activation_of_the_logits(
    classes, problem_type, activation, applied, preprocessor
):
    task = TextClassifier(
        make_backbone(), classes, preprocessor, problem_type=problem_type, activation_fn=activation
    )
    logits = task.predict(PAIRS).astype(np.float64)
    np.testing.assert_allclose(scores(task), applied(logits), rtol=1e-9)


@pytest.mark.parametrize(
    ("fields", "settings", "activation"),
    [
        ({OLD: IDENTITY}, None, "identity"),
        ({OLD: "torch.nn.Sigmoid"}, None, "sigmoid"),
        ({OLD: None}, None, None),
        ({NEW: {"activation_fn": TANH, "version": "4.0.1"}}, None, "tanh"),
        ({NEW: {"activation_fn": None}, OLD: TANH}, None, None),
        ({NEW: {"version": "4.0.1"}, OLD: TANH}, None, "tanh"),
        ({NEW: None}, None, None),
        ({NEW: {"activation_fn": TANH}}, {"activation_fn": IDENTITY}, "identity"),
        ({NEW: {"activation_fn": TANH}}, {"prompts": {}}, "tanh"),
        ({NEW: {"activation_fn": TANH}}, {"model_type": "SentenceTransformer",
            "activation_fn": IDENTITY}, "tanh"),
    ],
)  # fmt: skip
def test_a_rerankers_activation_is_read_where_cross_encoder_reads_it(
    fields, settings, activation, reranker
):
    assert TextClassifier.from_preset(reranker(settings, **fields)).activation_fn == activation


@pytest.mark.parametrize(
    ("fields", "settings"),
    [({OLD: TANH}, None), ({NEW: {"activation_fn": TANH, "version": "4.0.1"}}, None),
        ({}, {"activation_fn": TANH, "prompts": {"a": "b"}})],
)  # fmt: skip
def test_an_activation_survives_folder_keras_file_and_clone(fields, settings, reranker, tmp_path):
    folder = reranker(settings, **fields)
    task = TextClassifier.from_preset(folder)
    expected = np.tanh(task.predict(PAIRS).astype(np.float64))
    task.save_to_preset(tmp_path / "again")
    task.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    loaded.save_to_preset(tmp_path / "through")
    for other in (task, TextClassifier.from_preset(tmp_path / "again"), loaded,
            keras.models.clone_model(task)):  # fmt: skip
        assert other.activation_fn == "tanh"
    np.testing.assert_allclose(scores(loaded), expected, rtol=1e-6)
    for name in ("config.json", *((SETTINGS, MODULES) if settings else ())):
        untouched = (folder / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == untouched
        assert (tmp_path / "through" / name).read_bytes() == untouched


@pytest.mark.parametrize("activation", ["sigmoid", None])
@pytest.mark.parametrize(
    ("fields", "settings"),
    [({}, None), ({OLD: TANH}, None), ({NEW: {"activation_fn": TANH, "version": "5"}}, None),
        ({}, {"activation_fn": TANH, "prompts": {"a": "b"}})],
)  # fmt: skip
def test_a_changed_activation_is_written_where_cross_encoder_reads_it(
    activation, fields, settings, reranker, tmp_path
):
    task = TextClassifier.from_preset(reranker(settings, **fields), activation_fn=activation)
    task.save_to_preset(tmp_path / "again")
    assert TextClassifier.from_preset(tmp_path / "again").activation_fn == activation
    path = SIGMOID if activation else None
    config = json.loads((tmp_path / "again/config.json").read_text())
    if OLD in fields:
        assert config[OLD] == path
    if activation and not settings:
        assert config[NEW]["activation_fn"] == path
    if NEW in fields:
        assert config[NEW]["version"] == "5"
    if settings:
        saved = json.loads((tmp_path / "again" / SETTINGS).read_text())
        assert (saved["activation_fn"], saved["prompts"]) == (path, {"a": "b"})


@pytest.mark.parametrize(
    "path", ["os.system", "torch.nn.modules.activation.Foo", "torch.nn.Linear", "Sigmoid", 5, ""]
)
def test_an_unknown_activation_is_refused_by_name(path, reranker):
    folder = reranker(**{OLD: path})
    with pytest.raises(ConfigError, match="config.json") as refused:
        TextClassifier.from_preset(folder)
    assert OLD in str(refused.value)
    assert repr(path) in str(refused.value)
    assert TextClassifier.from_preset(folder, activation_fn="tanh").activation_fn == "tanh"
    BertBackbone.from_preset(folder)  # whose numbers don't depend on it
    with pytest.raises(InputError, match="activation_fn is 'softer'; known: 'identity'"):
        TextClassifier.from_preset(folder, activation_fn="softer")


def test_another_head_leaves_the_rerankers_files_behind(reranker, tmp_path):
    folder = reranker({"activation_fn": IDENTITY})
    with pytest.warns(UserWarning, match="has 1 classes, not 2"):
        task = TextClassifier.from_preset(folder, labels=["no", "yes"])
    assert task.activation_fn is None
    task.save_to_preset(tmp_path / "again")
    assert not (tmp_path / "again" / SETTINGS).exists()
    assert TextClassifier.from_preset(tmp_path / "again").score_activation == "softmax"


def test_what_cross_encoder_says_of_texts_counts_and_survives(reranker, tmp_path):
    folder = reranker({"prompts": {"query": "bad ", "none": None}, "default_prompt_name": "query"})
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    task = TextClassifier.from_preset(folder)
    assert (task.preprocessor.sequence_length, task.preprocessor.prompts) == (9, {"query": "bad "})
    pairs = [("bad " + first, second) for first, second in PAIRS]
    plain = TextClassifier(task.backbone, 1, task.preprocessor)
    plain.set_weights(task.get_weights())
    expected = scores(task)
    task.preprocessor.default_prompt_name = None
    np.testing.assert_array_equal([a[0]["score"] for a in plain.classify(pairs)], expected[:, 0])
    task.preprocessor.sequence_length = 8
    task.save_to_preset(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / SETTINGS).read_text())
    assert (saved["default_prompt_name"], saved["prompts"]["query"]) == (None, "bad ")
    length = json.loads((tmp_path / "again/sentence_bert_config.json").read_text())
    assert length == {"max_seq_length": 8}


def test_one_class_is_trained_as_the_libraries_train_it(preprocessor, tmp_path):
    y = np.array([1.0, 0.0])
    number = TextClassifier(make_backbone(), 1, preprocessor)
    values = number.predict(PAIRS)[:, 0].astype(np.float64)
    loss = number.evaluate(PAIRS, y, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(np.mean((values - y) ** 2), rel=1e-4)
    assert number.problem_type == "regression"  # so that scores are what was trained
    number.save_to_preset(tmp_path)
    np.testing.assert_allclose(
        scores(TextClassifier.from_preset(tmp_path))[:, 0], values, rtol=1e-5
    )
    reranker = TextClassifier(make_backbone(), 1, preprocessor, activation_fn="identity")
    values = reranker.predict(PAIRS)[:, 0].astype(np.float64)
    loss = reranker.evaluate(PAIRS, y, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(np.mean(np.logaddexp(0, values) - y * values), rel=1e-4)
    assert (reranker.problem_type, reranker.score_activation) == (None, "identity")
    with pytest.raises(InputError, match="for one class"):
        TextClassifier(make_backbone(), 1, preprocessor, problem_type="single_label_classification")


def test_every_activation_keeps_large_logits_finite():
    x = np.array([[-800.0, 0.0, 800.0]])
    for name, (_, function) in ACTIVATIONS.items():
        assert np.isfinite(function(x)).all(), name
