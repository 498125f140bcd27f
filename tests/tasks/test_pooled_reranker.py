"""Laws of `PooledReranker`: scores of a pooled vector, in every file, and what is refused."""

import json

import keras
import numpy as np
import pytest

from inarch import load
from inarch.errors import ConfigError, InputError, PresetError
from inarch.models.variables import named_variables
from inarch.tasks import PooledReranker, Reranker, TextEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

from .conftest import VOCABULARY, make_backbone

pytestmark = pytest.mark.turns(3)

PAIRS = [("the cat sat", "a dog ran"), ("cat", ""), ("bad", "the film was not very good!")]
HIDDEN = {"type": "Dense", "out_features": 8, "activation_function": "tanh"}
SCORE = {"type": "Dense", "out_features": 1, "activation_function": "identity"}


def make(modules=(HIDDEN, {"type": "LayerNorm"}, SCORE), **options):
    text = TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20)
    task = PooledReranker(make_backbone(), modules, text, pooling="mean", **options)
    random = np.random.default_rng(0)
    for name in sorted(task.sidecar_variables):
        variable = named_variables(task)[name]
        variable.assign(random.normal(size=variable.shape))
    return task


@pytest.fixture(scope="module")
def task():
    return make()


@pytest.fixture(scope="module")
def folder(task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pooled")
    task.save_to_preset(folder)
    return folder


def test_a_score_is_made_of_the_pooled_vector_by_the_modules(task):
    inputs = task.preprocessor(PAIRS)
    tokens = keras.ops.convert_to_numpy(
        task.backbone(task.select_inputs(inputs))["sequence_output"]
    )
    mask = inputs["padding_mask"][..., None]
    values = {n: keras.ops.convert_to_numpy(v) for n, v in named_variables(task).items()}
    x = (tokens * mask).sum(1) / mask.sum(1)
    x = np.tanh(x @ values["dense_0/kernel"] + values["dense_0/bias"])
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x = x * values["layer_norm_1/gamma"] + values["layer_norm_1/beta"]
    logits = (x @ values["dense_2/kernel"] + values["dense_2/bias"])[:, 0]
    np.testing.assert_allclose(task.predict(PAIRS), 1 / (1 + np.exp(-logits)), rtol=1e-4)
    best = task.rank(PAIRS[0][0], [document for _, document in PAIRS])
    scores = task.predict([(PAIRS[0][0], document) for _, document in PAIRS])
    assert [answer["index"] for answer in best] == np.argsort(-scores).tolist()


def test_it_is_saved_with_its_modules_and_opened_as_what_it_is(task, folder, tmp_path):
    task.save(tmp_path / "model.keras")
    found = Reranker.from_preset(folder), load(folder), keras.saving.load_model(
        tmp_path / "model.keras"
    )  # fmt: skip
    for each in found:
        assert type(each) is PooledReranker
        np.testing.assert_allclose(each.predict(PAIRS), task.predict(PAIRS), rtol=1e-5)
    found[0].save_to_preset(tmp_path / "again")
    for path in (p for p in folder.rglob("*") if p.is_file()):
        assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    last = json.loads((folder / "4_Dense/config.json").read_text())
    assert (last["module_output_name"], last["out_features"]) == ("scores", 1)


def test_training_changes_the_modules_and_a_changed_activation_is_saved(folder, tmp_path):
    task = Reranker.from_preset(folder)
    before = task.predict(PAIRS)
    task.compile(keras.optimizers.SGD(0.5))
    task.fit(PAIRS, [1.0, 0.0, 1.0], epochs=1, verbose=0)
    task.activation_fn = "tanh"
    task.save_to_preset(tmp_path)
    again = Reranker.from_preset(tmp_path)
    assert again.activation_fn == "tanh"
    np.testing.assert_allclose(again.predict(PAIRS), task.predict(PAIRS), rtol=1e-5)
    assert np.abs(np.arctanh(again.predict(PAIRS)) - np.log(before / (1 - before))).max() > 1e-3


def test_several_scores_are_given_and_not_ranked_by():
    task = make([{**SCORE, "out_features": 3}])
    assert task.predict(PAIRS).shape == (3, 3)
    assert task.labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    with pytest.raises(InputError, match="the reranker has 3 classes"):
        task.rank("cat", ["dog"])


def test_another_task_names_the_one_to_take_or_gets_a_fresh_head(folder, tmp_path):
    with pytest.raises(PresetError, match="is a CrossEncoder.*Load it by Reranker"):
        TextEmbedder.from_preset(folder)
    with pytest.warns(UserWarning, match="freshly initialized"):
        fresh = Reranker.from_preset(folder, num_classes=1)
    assert type(fresh) is Reranker
    fresh.save_to_preset(tmp_path)
    again = Reranker.from_preset(tmp_path)
    assert type(again) is Reranker
    np.testing.assert_allclose(again.predict(PAIRS), fresh.predict(PAIRS), rtol=1e-5)


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ([], "modules is empty"),
        ([HIDDEN, {"type": "Normalize"}], "modules is Dense, Normalize.*the last one, a Dense"),
        ([{"type": "WordWeights", "vocab": ["a"], "word_weights": {}}, SCORE], "WordWeights"),
    ],
)
def test_modules_that_make_no_scores_are_refused(modules, words):
    with pytest.raises(InputError, match=words):
        make(modules)


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("4_Dense", {"module_output_name": "sentence_embedding"}, "module_output_name='scores'"),
        ("2_Dense", {"module_output_name": "scores"}, "and of no other"),
        ("4_Dense", {"module_input_name": "token_embeddings"}, "module_input_name"),
    ],
)
def test_a_folder_whose_scores_are_another_modules_is_refused(
    file, changes, words, folder, tmp_path
):
    for path in (p for p in folder.rglob("*") if p.is_file()):
        copy = tmp_path / path.relative_to(folder)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    config = tmp_path / file / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(ConfigError, match=words):
        Reranker.from_preset(tmp_path)
    with pytest.raises(InputError, match="pooling is given"):
        Reranker.from_preset(folder, pooling="cls")
