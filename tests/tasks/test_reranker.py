"""Laws of `Reranker`: rankings, training on pairs and on lists, and what is refused."""

import json
import math

import keras
import numpy as np
import pytest

from inarch.errors import ConfigError, InarchError, InputError, InputTypeError, PresetError
from inarch.losses.ranking import LambdaLoss, ListNetLoss, MarginMSELoss, MarginRankingLoss
from inarch.models.loading import Checkpoint
from inarch.tasks import Reranker, TextClassifier, TextEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

from .conftest import VOCABULARY, learner, make_backbone

pytestmark = pytest.mark.turns(3)

QUERY = "the cat sat"
DOCUMENTS = ["a dog ran", "the cat", "", "not very good!", "mat"]
# Queries with their documents, of which the first is the relevant one.
LISTS = [
    ("cat", ["good cat", "dog", "road"]), ("dog", ["good", "mat"]), ("mat", ["good", "cat", "film"])
]  # fmt: skip
LABELS = [[2, 0, 1], [1, 0], [3, 0, 0]]
TRIPLETS = [(query, documents[0], documents[1]) for query, documents in LISTS]


def make_preprocessor(length=20, **options):
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), length, **options)


@pytest.fixture(scope="module")
def reranker():
    return Reranker(make_backbone(), preprocessor=make_preprocessor())


def new():
    keras.utils.set_random_seed(0)
    return Reranker(learner(), preprocessor=make_preprocessor())


# --- answers -----------------------------------------------------------------------------------


def test_documents_are_ranked_by_the_scores_of_their_pairs(reranker):
    scores = reranker.predict([(QUERY, document) for document in DOCUMENTS])
    assert scores.shape == (5,)
    assert scores.dtype == np.float32
    found = reranker.rank(QUERY, DOCUMENTS)
    assert [answer["index"] for answer in found] == np.argsort(-scores).tolist()
    for answer in found:
        assert answer["text"] == DOCUMENTS[answer["index"]]
        assert answer["score"] == pytest.approx(float(scores[answer["index"]]), rel=1e-6)
    assert reranker.rank(QUERY, DOCUMENTS, top_k=2) == found[:2]
    assert reranker.rank(QUERY, np.array(DOCUMENTS), top_k=9) == found
    json.dumps(found)


def test_a_list_of_queries_gives_a_list_of_rankings(reranker):
    queries, lists = [QUERY, "bad"], [DOCUMENTS, ["good", "film"]]
    together = reranker.rank(queries, lists)
    for found, query, documents in zip(together, queries, lists, strict=True):
        alone = reranker.rank(query, documents)
        assert [a["text"] for a in found] == [a["text"] for a in alone]
        np.testing.assert_allclose(
            [a["score"] for a in found], [a["score"] for a in alone], rtol=1e-5
        )
    assert reranker.rank([QUERY], [DOCUMENTS[:1]]) == [reranker.rank(QUERY, DOCUMENTS[:1])]
    assert reranker.rank([], []) == []


def test_equal_documents_keep_their_order(reranker):
    documents = ["mat", "cat"] * 6 + ["mat"]
    found = reranker.rank(QUERY, documents)
    assert [a["index"] for a in found if a["text"] == "mat"] == [*range(0, 13, 2)]
    assert len({a["score"] for a in found}) == 2


def test_one_pair_gives_one_score_and_prepared_arrays_are_scored_too(reranker):
    pairs = [(QUERY, "mat"), ("bad", "good")]
    scores = reranker.predict(pairs)
    assert reranker.predict(pairs[0]) == pytest.approx(scores[0], rel=1e-6)
    assert reranker.predict([]).shape == (0,)
    arrays = reranker.select_inputs(reranker.preprocessor(pairs))
    np.testing.assert_allclose(reranker.predict(arrays, verbose=0), scores, rtol=1e-5)


@pytest.mark.parametrize(
    ("classes", "activation", "applied"),
    [
        (1, None, lambda x: 1 / (1 + np.exp(-x[:, 0]))),
        (1, "identity", lambda x: x[:, 0]),
        (3, None, lambda x: x),
        (3, "softmax", lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    ],
)
def test_scores_are_the_activation_of_the_logits(classes, activation, applied):
    backbone, preprocessor = make_backbone(), make_preprocessor()
    task = Reranker(backbone, classes, preprocessor, activation_fn=activation)
    plain = TextClassifier(backbone, classes, preprocessor)
    plain.set_weights(task.get_weights())
    pairs = [(QUERY, document) for document in DOCUMENTS]
    logits = plain.predict(pairs).astype(np.float64)
    np.testing.assert_allclose(task.predict(pairs), applied(logits), rtol=1e-5)


def test_a_prompt_goes_before_the_query():
    task = new()
    task.preprocessor.prompts = {"query": "good "}
    plain = task.predict([("good " + QUERY, document) for document in DOCUMENTS])
    named = task.rank(QUERY, DOCUMENTS, prompt_name="query")
    np.testing.assert_allclose([a["score"] for a in named], np.sort(plain)[::-1], rtol=1e-6)
    task.preprocessor.default_prompt_name = "query"
    assert task.rank(QUERY, DOCUMENTS) == named
    np.testing.assert_array_equal(task.predict([(QUERY, d) for d in DOCUMENTS]), plain)
    with pytest.raises(InputError, match="no prompt 'other'; known: 'query'"):
        task.rank(QUERY, DOCUMENTS, prompt_name="other")
    task.compile(loss=ListNetLoss())
    labels = [[1.0, *[0.0] * (len(DOCUMENTS) - 1)]]
    prompted = task.evaluate([(QUERY, DOCUMENTS)], labels, verbose=0)
    task.preprocessor.default_prompt_name = None
    spelled = task.evaluate([("good " + QUERY, DOCUMENTS)], labels, verbose=0)
    assert prompted == pytest.approx(spelled, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((QUERY, []), "documents is an empty list"),
        (([QUERY, "bad"], [["mat"], []]), "documents of query 1 is an empty list"),
        (([QUERY, "bad"], [["mat"]]), "2 queries, and documents is"),
        (([QUERY, "bad"], ["mat", "cat"]), "give a list of documents for each query"),
        ((QUERY, "mat"), "got one string, 'mat'"),
        ((QUERY, [("mat", "cat")]), "documents has the pair"),
        ((QUERY, [None]), "missing value"),
        (([("a", "b")], [["mat"]]), "query has the pair"),
        ((QUERY, DOCUMENTS, 0), "top_k is 0"),
        (("cat " * 30, DOCUMENTS), "query 0, 'cat cat.* is as long as sequence_length=20"),
        (("cat " * 17, DOCUMENTS), "query 0.* would be cut to make room for a document"),
    ],
)
def test_what_cannot_be_ranked_is_named(arguments, named, reranker):
    with pytest.raises(InarchError, match=named):
        reranker.rank(*arguments)


def test_the_longest_query_leaves_a_token_of_a_document(reranker):
    assert len(reranker.rank("cat " * 16, ["dog", "mat"])) == 2


def test_a_single_text_is_no_pair(reranker):
    for x in (["the cat"], [("a", "b"), "the cat"], ["the cat", "mat"]):
        with pytest.raises(InputTypeError, match=r"'the cat', a single text; .*\(query, d"):
            reranker.predict(x)
    with pytest.raises(InputTypeError, match="a single text"):
        reranker.fit(["the cat"], [1])


def test_a_reranker_of_several_classes_has_no_single_score():
    names = ["no", "perhaps", "yes"]
    task = Reranker(learner(), 3, make_preprocessor(), labels=names)
    assert task.predict([("a", "b")]).shape == (1, 3)
    for use in (lambda: task.rank(QUERY, DOCUMENTS), lambda: task.fit([("a", "b")], [1])):
        with pytest.raises(InputError, match=r"3 classes \(no, perhaps, yes\).*one score"):
            use()


# --- training ----------------------------------------------------------------------------------


def test_fit_learns_from_pairs():
    task = new()
    task.compile(keras.optimizers.Adam(1e-2))
    pairs = [(query, d) for query, documents in LISTS for d in documents]
    y = [1, 0, 0, 1, 0, 1, 0, 0]
    task.fit(pairs, y, epochs=30, verbose=0)
    logits = task.predict(pairs)
    np.testing.assert_allclose(logits, y, atol=0.2)
    loss = task.evaluate(pairs, y, verbose=0)
    y = np.array(y)
    right = -np.mean(y * np.log(logits) + (1 - y) * np.log(1 - logits))
    assert loss == pytest.approx(right, rel=1e-3)


@pytest.mark.parametrize(
    ("loss", "x", "y"),
    [
        (ListNetLoss(), LISTS, LABELS),
        (LambdaLoss(), LISTS, LABELS),
        (LambdaLoss(k=1), [(q, tuple(d[:2])) for q, d in LISTS], np.array([[1, 0]] * 3)),
        (MarginMSELoss(), LISTS, [[3.0, -1.0, 0.5], [2.0, 0.0], [4.0, 1.0, 1.0]]),
        (MarginMSELoss(), TRIPLETS, [3.0, 2.0, 4.0]),
        (MarginRankingLoss(), TRIPLETS, None),
        (MarginRankingLoss(), [(q, *d) for q, d in LISTS], None),
    ],
)
def test_fit_learns_to_rank_lists(loss, x, y):
    task = new()
    task.compile(keras.optimizers.Adam(1e-2), loss)
    before = task.evaluate(x, y, batch_size=2, verbose=0)
    task.fit(x, y, epochs=15, batch_size=2, verbose=0)
    assert task.evaluate(x, y, batch_size=2, verbose=0) < before
    for query, *documents in x:
        documents = documents if len(documents) > 1 else list(documents[0])
        assert task.rank(query, documents, top_k=1)[0]["index"] == 0


def test_a_list_has_the_loss_of_its_scores_whatever_the_batch():
    """Rows of padding, and dividing the queries into batches, change nothing."""
    task = Reranker(make_backbone(), preprocessor=make_preprocessor(), activation_fn="identity")
    task.compile(loss=ListNetLoss())
    values = []
    for (query, documents), labels in zip(LISTS, LABELS, strict=True):
        scores = task.predict([(query, d) for d in documents]).astype(np.float64)
        target = np.exp(labels) / np.exp(labels).sum()
        values.append(-(target * (scores - np.log(np.exp(scores).sum()))).sum())
    together = task.evaluate(LISTS, LABELS, verbose=0)
    assert together == pytest.approx(np.mean(values), rel=1e-4)
    assert task.test_on_batch(LISTS, LABELS) == pytest.approx(together, rel=1e-5)
    weights = np.array([1.0, 0.0, 2.0])
    weighed = task.evaluate(LISTS, LABELS, sample_weight=weights, verbose=0)
    assert weighed == pytest.approx(np.mean(weights * values), rel=1e-4)


def test_lists_are_split_and_come_from_data_sets():
    task = new()
    task.compile(loss=ListNetLoss())
    history = task.fit(LISTS, LABELS, validation_split=0.4, verbose=0).history
    assert history["val_loss"][0] == pytest.approx(
        task.evaluate(LISTS[1:], LABELS[1:], verbose=0), rel=1e-5
    )

    class Queries(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return LISTS[index : index + 1], LABELS[index : index + 1]

    assert math.isfinite(task.fit(Queries(), verbose=0).history["loss"][0])


class Column:
    """A column of a data frame, as `inarch.data.columns` knows one."""

    def __init__(self, values):
        self._values = values

    def to_list(self):
        return self._values


@pytest.mark.parametrize(("x", "y", "loss"), [
    (LISTS, LABELS, ListNetLoss()), (TRIPLETS, None, MarginRankingLoss()),
])  # fmt: skip
def test_a_column_of_queries_trains_as_a_list_does(x, y, loss):
    losses = []
    for given in (x, Column(x)):
        task = new()
        task.compile(loss=loss)
        losses.append(task.evaluate(given, y, verbose=0))
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("loss", "x", "y", "named"),
    [
        ("auto", [("a", "b")], [2], "y has 2.0 for pair 0, and binary cross entropy reads"),
        ("auto", [("a", "b")], [math.nan], "y has nan for text 0"),
        ("auto", [("a", "b")], [[0, 1]], "2 numbers for each text; give one number"),
        ("auto", [("a", "b")], ["yes"], "y has 'yes' for text 0; give numbers"),
        ("auto", [("a", "b")], None, "needs a target"),
        ("auto", LISTS, LABELS, r"several documents each.*compile\(loss=ListNetLoss\(\)\)"),
        (ListNetLoss(), [("a", "b")], [1], "compares the documents of a query, and x has pairs"),
        (ListNetLoss(), LISTS, None, "needs a label for each document"),
        (ListNetLoss(), LISTS, LABELS[:2], "3 queries, and y has 2"),
        (ListNetLoss(), LISTS, [[2, 0, 1], [1], [3, 0, 0]], "1 labels for query 1, .* 2 documents"),
        (ListNetLoss(), LISTS, [[2, 0, math.nan], [1, 0], [3, 0, 0]], "y has nan for document 2"),
        (ListNetLoss(), LISTS, [["a", 0, 1], [1, 0], [3, 0, 0]], "for query 0; give numbers"),
        (LambdaLoss(), LISTS, [[2, -1, 1], [1, 0], [3, 0, 0]], "-1.0 for document 1.* from 0 to"),
        (ListNetLoss(), [("a", ["b", "c"]), ("d", [])], [[1, 0], []], "example 1 has no documents"),
        (ListNetLoss(), [("a", ["b", "c"]), ("d", "e")], [[1, 0], [1]], "example 1 is a pair"),
        (ListNetLoss(), [("a", ["b", 3])], [[1, 0]], "example 0 has 3, which isn't text"),
        (ListNetLoss(), [("cat " * 30, ["b", "c"])], [[1, 0]], "query 0, 'cat .* as long as"),
        (MarginRankingLoss(), TRIPLETS, [1, 1, 1], "reads no labels"),
        (MarginRankingLoss(), [("a", ["b"])], None, "example 0 has one document"),
        (MarginMSELoss(), TRIPLETS, None, "MarginMSELoss needs a label"),
    ],
)
def test_what_cannot_be_trained_on_is_named_and_nothing_is_trained(loss, x, y, named):
    task = Reranker(learner(), preprocessor=make_preprocessor())
    task.compile(loss=loss)
    before = [w.copy() for w in task.get_weights()]
    with pytest.raises(InarchError, match=named):
        task.fit(x, y, verbose=0)
    for old, weights in zip(before, task.get_weights(), strict=True):
        np.testing.assert_array_equal(old, weights)


def test_metrics_are_refused_where_a_loss_reads_more_than_they_do():
    task = new()
    task.compile(loss=ListNetLoss(), metrics=["mse"])
    with pytest.raises(InputError, match="metrics are given.*inarch.metrics"):
        task.fit(LISTS, LABELS, verbose=0)


# --- folders -----------------------------------------------------------------------------------


def test_a_trained_reranker_survives_its_folder_and_keras_file(tmp_path):
    task = new()
    task.compile(loss=LambdaLoss(k=2))
    task.fit(LISTS, LABELS, verbose=0)
    expected = task.rank(QUERY, DOCUMENTS)
    task.save_to_preset(tmp_path / "folder")
    task.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras")
    assert (loaded.loss.k, type(loaded.loss)) == (2, LambdaLoss)
    for again in (loaded, Reranker.from_preset(tmp_path / "folder")):
        found = again.rank(QUERY, DOCUMENTS)
        assert [a["text"] for a in found] == [a["text"] for a in expected]
        np.testing.assert_allclose(
            [a["score"] for a in found], [a["score"] for a in expected], rtol=1e-5
        )


def test_a_checkpoint_without_a_head_gets_one_class(tmp_path):
    make_backbone().save_to_preset(tmp_path)
    with pytest.warns(UserWarning, match="has no values for"):
        task = Reranker.from_preset(tmp_path, preprocessor=None)
    assert (task.num_classes, task.score_activation) == (1, "sigmoid")
    with pytest.warns(UserWarning, match="has no values for"):
        assert Reranker.from_preset(tmp_path, preprocessor=None, num_classes=2).num_classes == 2


def test_a_bi_encoder_is_refused_unless_a_fresh_head_is_asked_for(tmp_path):
    TextEmbedder(make_backbone(), make_preprocessor()).save_to_preset(tmp_path / "bi")
    with pytest.raises(PresetError, match=r"is a bi-encoder.*Pooling.*num_classes=1"):
        Reranker.from_preset(tmp_path / "bi")
    with pytest.warns(UserWarning, match="has no values for"):
        task = Reranker.from_preset(tmp_path / "bi", num_classes=1)
    task.save_to_preset(tmp_path / "cross")
    kinds = [m["type"] for m in json.loads((tmp_path / "cross/modules.json").read_text())]
    assert kinds == ["sentence_transformers.base.modules.transformer.Transformer"]


def test_a_cross_encoder_of_other_modules_is_refused(tmp_path):
    new().save_to_preset(tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules.append({**modules[0], "type": "sentence_transformers.base.modules.dense.Dense"})
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ConfigError, match="Transformer, Dense; computed here"):
        Reranker.from_preset(tmp_path)


def test_what_cross_encoder_wrote_is_opened_as_a_reranker(tmp_path):
    new().save_to_preset(tmp_path / "ours")
    (tmp_path / "ours/inarch.json").unlink()
    plain = TextClassifier(make_backbone(), 1, make_preprocessor())
    plain.save_to_preset(tmp_path / "plain")
    for name, declared in (("ours", True), ("plain", False)):
        with Checkpoint(tmp_path / name) as checkpoint:
            assert Reranker.is_declared_by(checkpoint) == declared
