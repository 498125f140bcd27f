"""Laws of `TokenClassifier`: training on words and spans, and answers for texts of any length."""

import keras
import numpy as np
import pytest

from inarch.errors import InputError, InputTypeError
from inarch.models.bert.backbone import BertBackbone
from inarch.models.distil_bert.backbone import DistilBertBackbone
from inarch.tasks import (
    QuestionAnswerer,
    Reranker,
    TextClassifier,
    TextPreprocessor,
    TokenClassifier,
)
from inarch.text import WordPieceTokenizer

from .conftest import VOCABULARY, learner, make_backbone, weights_of

pytestmark = pytest.mark.turns(3)

BIO = ["O", "B-ANIMAL", "I-ANIMAL", "B-PLACE", "I-PLACE"]
WORDS = [
    ["the", "cat", "sat", "on", "a", "mat"],
    ["bad", "dog", "cat", "ran"],
    ["on", "the", "road"],
]
LABELS = [
    ["O", "B-ANIMAL", "O", "O", "O", "B-PLACE"],
    ["B-ANIMAL", "I-ANIMAL", "B-ANIMAL", "O"],
    ["O", "O", "B-PLACE"],
]
TEXTS = [" ".join(words) for words in WORDS]
SPANS = [
    [(4, 7, "ANIMAL"), (17, 20, "PLACE")],
    [(0, 7, "ANIMAL"), (8, 11, "ANIMAL")],
    [(7, 11, "PLACE")],
]


def tagger(backbone=None, length=20, labels=BIO):
    preprocessor = TextPreprocessor(WordPieceTokenizer(VOCABULARY), length)
    return TokenClassifier(backbone or learner(), len(labels), preprocessor, labels=labels)


def places(found):
    return [(e["start"], e["end"], e["label"]) for e in found]


@pytest.fixture(scope="module")
def trained():
    """A classifier that knows its few texts, trained on words."""
    keras.utils.set_random_seed(0)
    task = tagger()
    task.compile(optimizer=keras.optimizers.Adam(3e-2))
    task.fit(WORDS * 2, LABELS * 2, epochs=40, batch_size=6, verbose=0)
    return task


def test_it_learns_the_labels_of_words(trained):
    assert [places(found) for found in trained.tag(TEXTS)] == SPANS
    scores = trained.evaluate_entities(WORDS, LABELS)
    assert (scores["precision"], scores["recall"], scores["f1"]) == (1.0, 1.0, 1.0)
    assert scores["labels"]["ANIMAL"]["support"] == 3
    assert trained.evaluate(WORDS, LABELS, verbose=0, return_dict=True)["accuracy"] == 1.0


def test_it_learns_spans_of_characters():
    keras.utils.set_random_seed(0)
    task = tagger()
    task.compile(optimizer=keras.optimizers.Adam(3e-2))
    task.fit(TEXTS * 2, SPANS * 2, epochs=40, batch_size=6, verbose=0)
    assert [places(found) for found in task.tag(TEXTS)] == SPANS
    assert task.evaluate_entities(TEXTS, SPANS)["f1"] == 1.0
    wrong = [[(0, 3, "ANIMAL")], *SPANS[1:]]
    assert task.evaluate_entities(TEXTS, wrong)["recall"] == pytest.approx(3 / 4)


def test_one_text_gives_its_entities_and_a_list_a_list(trained):
    (one,) = trained.tag([TEXTS[0]])
    assert trained.tag(TEXTS[0]) == one
    assert set(one[0]) == {"label", "text", "start", "end", "score"}
    assert one[0]["text"] == "cat"
    assert trained.tag([]) == []
    assert trained.tag("") == []


def test_a_text_of_many_windows_has_the_entities_of_its_parts(trained):
    """The windows of a long text are decoded as one."""
    task = tagger(trained.backbone)
    for variable, value in zip(task.weights, trained.weights, strict=True):
        variable.assign(value)
    text = " . ".join(TEXTS * 4)
    task.preprocessor.sequence_length = 12
    found = task.tag(text, stride=4)
    assert all(text[e["start"] : e["end"]] == e["text"] for e in found)
    assert places(found) == sorted({*places(found)})
    assert max(e["end"] for e in found) > len(text) - len(TEXTS[-1])


def test_a_long_text_is_trained_on_whole_with_each_word_labelled_in_every_window():
    task = tagger(length=8)
    words = WORDS[0] * 3
    windows, numbers, weights = task.training_rows(task.examples([words]), [LABELS[0] * 3], [0.5])
    assert len(windows) > 2
    assert all(len(w) <= 8 for w in windows)
    labelled = {
        position: BIO[number]
        for window, row, counted in zip(windows, numbers, weights, strict=True)
        for position, number, weight in zip(window.positions, row, counted, strict=True)
        if weight
    }
    assert [label for _, label in sorted(labelled.items())] == LABELS[0] * 3
    assert {*np.concatenate(weights).tolist()} == {0.0, 0.5}


def test_tokens_without_a_label_have_no_part_in_training():
    keras.utils.set_random_seed(0)
    task = tagger()
    batch = task.collate(*task.training_rows(task.examples(WORDS), LABELS, None))
    x, y, weight = batch(np.arange(3), np.random.default_rng(0))
    assert x["token_ids"].shape == y.shape == weight.shape
    assert weight.sum() == sum(map(len, WORDS))
    other = np.where(weight > 0, y, (y + 1) % len(BIO))
    task.compile(metrics=[])
    losses = [task.test_on_batch(x, numbers, weight) for numbers in (y, other)]
    assert losses[0] == losses[1]


def test_words_validate_and_split_as_texts_do():
    task = tagger()
    history = task.fit(
        WORDS * 2, LABELS * 2, epochs=1, verbose=0, validation_data=(TEXTS, SPANS)
    ).history
    assert "val_loss" in history
    assert "val_loss" in task.fit(WORDS, LABELS, validation_split=0.34, verbose=0).history


def test_words_and_labels_may_be_arrays():
    task = tagger()
    arrays = [np.array(words) for words in WORDS], [np.array(row) for row in LABELS]
    for numbers, expected in zip(
        task.training_rows(task.examples(arrays[0]), arrays[1], None)[1],
        task.training_rows(task.examples(WORDS), LABELS, None)[1],
        strict=True,
    ):
        np.testing.assert_array_equal(numbers, expected)


def test_a_token_that_the_model_lacks_is_named_with_its_text_and_not_its_window():
    small = BertBackbone(30, 1, 2, 16, 24, max_sequence_length=20)
    with pytest.raises(InputError, match="text 1 has token id"):
        tagger(small, length=8).tag(["the cat " * 8, "xyz"])


def test_without_a_preprocessor_no_text_is_read():
    with pytest.raises(InputError, match="no preprocessor"):
        TokenClassifier(learner(), 5, labels=BIO).evaluate_entities(TEXTS, SPANS)


def test_what_cannot_be_learnt_is_refused_before_anything_is_trained():
    task = tagger()
    before = weights_of(task)
    for x, y, said in (
        (WORDS, LABELS[:2], "there are 3 texts and 2 lists of labels"),
        (TEXTS, [[(5, 7, "ANIMAL")], [], []], "begins or ends within the token 'cat'"),
        (TEXTS, [[], [(0, 7, "ANIMAL"), (4, 11, "PLACE")], []], "of text 1 overlap"),
        (TEXTS, None, "TokenClassifier needs labels"),
    ):
        with pytest.raises(InputError, match=said):
            task.fit(x, y, verbose=0)
    for run in (task.tag, task.predict):
        with pytest.raises(InputTypeError, match="text 0 .* read as a pair of texts; give one"):
            run([("the cat", "sat")])
    for row in ("dog", None):
        with pytest.raises(InputTypeError, match=f"text 1 is {row!r}.* give a list of words"):
            task.fit([["the"], row], [["O"], ["O"]], verbose=0)
    with pytest.raises(InputError, match="class_weight is given"):
        task.fit(WORDS, LABELS, class_weight={"O": 0.1}, verbose=0)
    for old, new in zip(before, weights_of(task), strict=True):
        np.testing.assert_array_equal(old, new)
    inside = tagger(labels=["O", "I-ANIMAL", "B-PLACE", "I-PLACE", "X"])
    with pytest.raises(InputError, match="'I-ANIMAL' and no 'B-ANIMAL'"):
        inside.fit(WORDS, [["O"] * len(words) for words in WORDS], verbose=0)


def test_a_wrong_stride_or_aggregation_is_refused(trained):
    with pytest.raises(InputError, match="aggregation is 'mean'"):
        trained.tag(TEXTS, aggregation="mean")
    with pytest.raises(InputError, match="stride=18"):
        trained.tag(" ".join(TEXTS * 2), stride=18)


def test_a_folder_gives_the_labels_and_the_answers_again(trained, tmp_path):
    trained.save_to_preset(tmp_path)
    again = TokenClassifier.from_preset(tmp_path)
    assert again.labels == BIO
    assert again.fresh_weights == ()
    assert again.tag(TEXTS, aggregation="average") == trained.tag(TEXTS, aggregation="average")
    with pytest.raises(InputError, match="give them in that order"):
        TokenClassifier.from_preset(tmp_path, labels=[BIO[1], BIO[0], *BIO[2:]])
    with pytest.warns(UserWarning, match="token_classifier head has 5 classes, not 3"):
        fresh = TokenClassifier.from_preset(tmp_path, labels=["O", "B-X", "I-X"])
    assert fresh.num_classes == 3


@pytest.mark.parametrize(
    ("make", "backbone"),
    [
        (lambda b, p: TokenClassifier(b, 3, p, dropout=0.3), DistilBertBackbone),
        (lambda b, p: QuestionAnswerer(b, p, dropout=0.3), BertBackbone),
        (lambda b, p: TextClassifier(b, 3, p, dropout=0.3), DistilBertBackbone),
        (lambda b, p: Reranker(b, 1, p, dropout=0.0), BertBackbone),
    ],
)
def test_a_heads_dropout_is_in_the_folder_even_if_the_reference_has_none(
    make, backbone, preprocessor, tmp_path
):
    task = make(learner(backbone), preprocessor)
    task.save_to_preset(tmp_path)
    assert type(task).from_preset(tmp_path).dropout == task.dropout
    assert type(task).from_preset(tmp_path, dropout=0.7).dropout == 0.7


def test_a_text_classifiers_labels_are_no_labels_of_tokens(tmp_path, preprocessor):
    TextClassifier(make_backbone(), 3, preprocessor, labels=["a", "b", "c"]).save_to_preset(
        tmp_path
    )
    with pytest.warns(UserWarning, match="text_classifier head"):
        task = TokenClassifier.from_preset(tmp_path)
    assert task.labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
