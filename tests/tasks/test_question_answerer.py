"""Laws of `QuestionAnswerer`: answers of windows, targets in characters, and training on spans."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from inarch.answers.answer_spans import token_spans
from inarch.errors import InputError, InputTypeError
from inarch.models.bert.backbone import BertBackbone
from inarch.preprocessors.windows import encode_windows
from inarch.tasks import QuestionAnswerer, TextPreprocessor
from inarch.tasks.question_answerer import span_accuracy, span_cross_entropy
from inarch.text import WordPieceTokenizer
from inarch.training.answer_targets import answer_places, answer_tokens, window_target

from .conftest import VOCABULARY, learner, make_backbone

pytestmark = pytest.mark.turns(3)

QUESTION = "who sat"
CONTEXT = "the cat sat on the mat, and a dog ran on the road. not a very good film was on!"
TOKENIZER = WordPieceTokenizer(VOCABULARY)


@pytest.fixture(scope="module")
def task():
    made = QuestionAnswerer(make_backbone(BertBackbone), TextPreprocessor(TOKENIZER, 20))
    kernel = made.get_layer("logits").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))  # with a clear best answer
    return made


# --- answers ------------------------------------------------------------------------------------


def test_answers_are_places_in_the_context_whatever_the_number_of_windows(task):
    answers = task.answer(QUESTION, CONTEXT, top_k=5)
    assert len(encode_windows(task.preprocessor, [(QUESTION, CONTEXT)])) > 1
    assert [a["answer"] for a in answers] == [CONTEXT[a["start"] : a["end"]] for a in answers]
    scores = [a["score"] for a in answers]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert task.answer(QUESTION, CONTEXT)["answer"] == answers[0]["answer"]


def test_one_in_one_out_and_lists_in_lists_out(task):
    contexts = ["the cat sat.", CONTEXT, "", "a dog"]
    found = task.answer(QUESTION, contexts)
    for context, answer in zip(contexts, found, strict=True):
        single = task.answer(QUESTION, context)
        assert single | {"score": 0} == answer | {"score": 0}
        assert single["score"] == pytest.approx(answer["score"], rel=1e-4)
    assert found[2] == {"answer": "", "start": 0, "end": 0, "score": pytest.approx(1.0)}
    both = task.answer([QUESTION] * 4, contexts, batch_size=2)
    assert [a["answer"] for a in both] == [a["answer"] for a in found]
    assert len(task.answer([QUESTION, "why not"], CONTEXT, top_k=2)) == 2
    assert task.answer([], []) == []


def test_no_answer_is_given_only_on_demand(task):
    without = task.answer(QUESTION, CONTEXT, top_k=1000)
    assert all(answer["answer"] for answer in without)
    found = task.answer(QUESTION, CONTEXT, top_k=1000, handle_impossible_answer=True)
    (none,) = [answer for answer in found if not answer["answer"]]
    assert (none["start"], none["end"]) == (0, 0)
    assert 0 < none["score"] < 1


def test_predictions_are_logits_of_each_token_of_one_row(task):
    pairs = [("not", "the cat"), ("not very", "the cat sat on the mat")]
    logits = task.predict(pairs)
    assert logits.shape == (2, 11, 2)
    assert not logits[0, 6:].any()
    x = task.select_inputs(task.preprocessor(pairs))
    whole = ops.convert_to_numpy(task(x))
    np.testing.assert_allclose(logits[1], whole[1, :11], rtol=1e-4, atol=1e-4)
    assert (whole[0, 6:] < -9999).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": " "}, "question 0 is empty"), ({"top_k": 0}, "top_k is 0"),
        ({"max_answer_length": 0}, "max_answer_length is 0"), ({"stride": -1}, "stride is -1"),
        ({"stride": 17}, "stride=17"), ({"question": "the cat " * 9}, "sequence_length=20"),
        ({"question": ["a", "b"], "context": ["a"]}, "2 questions and 1 contexts"),
        ({"context": [("a", "b")]}, "context 0 is a pair"), ({"context": 3}, "got 3"),
        ({"align_to_words": 1}, "align_to_words is 1"),
        ({"handle_impossible_answer": 1}, "handle_impossible_answer is 1"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_used_are_named(arguments, message, task):
    with pytest.raises((InputError, InputTypeError), match=message):
        task.answer(**{"question": QUESTION, "context": CONTEXT} | arguments)


# --- targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ((4, 4), r"\(4, 4\), which is no span"), ((-1, 3), r"\(-1, 3\)"), ((0, 900), "no span of"),
        ("cat", "'cat'; give"), ((0, "3"), "give .start, end"), ((0, 1, 2), "question 1 is"),
        ({"start": 4, "text": "dog"}, "has the text 'dog' at 4, and the context has 'cat'"),
        ({"start": "4", "text": "cat"}, "give .start, end"), (True, "question 1 is True"),
        ({"answer_start": [4], "text": ["cat", "dog"]}, "with 2 texts and 1 starts"),
        ({"answer_start": [4], "text": ["dog"]}, "has the text 'dog' at 4"),
        ({"answer_start": ["4"], "text": ["cat"]}, "give .start, end"),
    ],
)  # fmt: skip
def test_targets_that_are_no_spans_are_named(target, message):
    with pytest.raises((InputError, InputTypeError), match=message):
        answer_places([(4, 7), target], [CONTEXT, CONTEXT])


def test_targets_have_three_forms():
    places = answer_places([(4, 7), {"start": 4, "text": "cat"}, None], [CONTEXT] * 3)
    assert places == [(4, 7), (4, 7), None]
    assert answer_places(np.array([[4, 7]]), [CONTEXT]) == [(4, 7)]
    squad = [
        {"answer_start": 4, "text": "cat"},
        {"answer_start": [4, 8], "text": ["cat", "sat"]},
        {"answer_start": np.array([4]), "text": np.array(["cat"], object)},
        {"answer_start": [], "text": []},
    ]
    assert answer_places(squad, [CONTEXT] * 4) == [(4, 7), (4, 7), (4, 7), None]
    with pytest.raises(InputError, match="give y"):
        answer_places(None, [CONTEXT])
    with pytest.raises(InputError, match="1 questions and 0 targets"):
        answer_places([], [CONTEXT])


@pytest.mark.parametrize(
    ("context", "answer"),
    [("cafe\u0301 mat", "cafe\u0301"), ("the m\u00e1t.", "m\u00e1t"), ("a\u0000 cat", "cat"),
     ("the  cat ", " cat "), ("catch the mat", "ch"), ("the cat", "the cat")],
)  # fmt: skip
def test_a_spans_tokens_give_the_span_again(context, answer):
    """Tokens of `catch` are `cat`, `##c` and `##h`, so that it can be cut there."""
    place = (context.index(answer), context.index(answer) + len(answer))
    windows = encode_windows(TextPreprocessor(TOKENIZER, 40), [("who", context)])
    first, last = answer_tokens(windows, place, context, 0)
    offsets = windows[0].offsets
    found = context[offsets[first][0] : offsets[last][1]]
    assert answer.strip() in (found, found + "\u0301")


@pytest.mark.parametrize(
    ("answer", "message"), [("oad", r"give \(45, 49\), 'road'"), (" ", "has no token")]
)
def test_a_span_that_no_tokens_are_is_refused(answer, message):
    place = (CONTEXT.index(answer), CONTEXT.index(answer) + len(answer))
    windows = encode_windows(TextPreprocessor(TOKENIZER, 20), [("who", CONTEXT)])
    with pytest.raises(InputError, match=message):
        answer_tokens(windows, place, CONTEXT, 0)


def test_windows_without_the_whole_answer_are_trained_to_give_none(task):
    place = (CONTEXT.index("dog"), CONTEXT.index("dog") + len("dog ran"))
    rows, targets, weights = task.training_rows([(QUESTION, CONTEXT)], [place], [3.0])
    windows = encode_windows(task.preprocessor, [(QUESTION, CONTEXT)])
    assert len(rows) == len(targets) == len(weights) == len(windows) > 2
    words = [
        [TOKENIZER.id_to_token(i) for i in row.ids[first : last + 1].tolist()]
        for row, (first, last) in zip(rows, targets, strict=True)
    ]
    assert ["dog", "ran"] in words
    assert ["[CLS]"] in words
    assert all(word in (["dog", "ran"], ["[CLS]"]) for word in words)
    assert set(weights) == {3.0}


def test_without_a_token_for_it_rows_without_an_answer_are_left_out():
    (window,) = encode_windows(TextPreprocessor(TOKENIZER, 40), [("who", "the cat")])
    assert window_target(window, None, None) is None
    assert window_target(window, (90, 91), None) is None
    assert window_target(window, (3, 4), None) == (3, 4)


# --- training -----------------------------------------------------------------------------------


def test_loss_and_accuracy_are_of_first_and_last_token():
    logits = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    y = np.array([[1, 3], [0, 0], [4, 4]])
    entropy = np.log(np.exp(logits).sum(1)) - np.take_along_axis(logits, y[:, None], 1)[:, 0]
    found = ops.convert_to_numpy(span_cross_entropy(y, ops.convert_to_tensor(logits)))
    np.testing.assert_allclose(found, entropy.mean(-1), rtol=1e-5)
    best = logits.argmax(1)
    best[1] = (best[1] + [0, 1]) % 5
    right = ops.convert_to_numpy(span_accuracy(best, ops.convert_to_tensor(logits)))
    np.testing.assert_array_equal(right, [1, 0, 1])


def test_fit_learns_spans_and_their_absence_and_saves_them(tmp_path):
    keras.utils.set_random_seed(0)
    task = QuestionAnswerer(learner(), TextPreprocessor(TOKENIZER, 16))
    pairs = [
        ("who sat", "the cat sat on the mat."), ("who ran", "the dog ran on the road."),
        ("what film", "the dog ran."), ("what film", "a very good film was on the road, not bad"),
    ]  # fmt: skip
    y = [(4, 7), {"start": 4, "text": "dog"}, None, (2, 16)]
    task.compile(optimizer=keras.optimizers.Adam(1e-2))
    task.fit(pairs * 4, y * 4, epochs=40, batch_size=32, verbose=0)
    questions, contexts = zip(*pairs, strict=True)
    answers = task.answer(questions, contexts, handle_impossible_answer=True)
    assert [a["answer"] for a in answers] == ["cat", "dog", "", "very good film"]
    assert task.evaluate(pairs, y, verbose=0, return_dict=True)["span_accuracy"] == 1.0
    task.save_to_preset(tmp_path / "folder")
    task.save(tmp_path / "model.keras")
    for again in (
        QuestionAnswerer.from_preset(tmp_path / "folder"),
        keras.saving.load_model(tmp_path / "model.keras"),
    ):
        assert again.answer(questions, contexts, handle_impossible_answer=True) == answers


def test_what_cannot_be_trained_on_trains_nothing(task):
    before = [ops.convert_to_numpy(v) for v in task.weights]
    for x, y in (
        ([(QUESTION, CONTEXT)] * 2, [(4, 7), (5, 7)]),
        ([(QUESTION, CONTEXT)], None),
        (["the cat"], [None]),
        ([("", CONTEXT)], [None]),
        ([(QUESTION, CONTEXT, "more")], [(4, 7)]),
    ):
        with pytest.raises((InputError, InputTypeError)):
            task.fit(x, y, verbose=0)
    for old, new in zip(before, task.weights, strict=True):
        np.testing.assert_array_equal(old, ops.convert_to_numpy(new))


def test_a_config_whose_classes_have_no_clear_names_is_saved_again(task, tmp_path):
    task.save_to_preset(tmp_path / "one")
    path = tmp_path / "one/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id2label": {"0": "a", "1": "a"}}))
    QuestionAnswerer.from_preset(tmp_path / "one").save_to_preset(tmp_path / "two")
    assert QuestionAnswerer.from_preset(tmp_path / "two").fresh_weights == ()


def test_windows_are_as_long_as_squads_where_a_folder_states_no_length(tmp_path):
    backbone = BertBackbone(len(VOCABULARY), 1, 2, 8, 8, max_sequence_length=512)
    task = QuestionAnswerer(backbone, TextPreprocessor(TOKENIZER, 500))
    task.save_to_preset(tmp_path)
    assert QuestionAnswerer.from_preset(tmp_path).preprocessor.sequence_length == 500
    (tmp_path / "inarch.json").unlink()
    assert QuestionAnswerer.from_preset(tmp_path).preprocessor.sequence_length == 384


def test_a_score_is_of_the_window_that_the_answer_is_in(task):
    """The readout of a row that holds the whole context is the answer's own."""
    found = task.answer(QUESTION, "the cat sat on", align_to_words=False)
    assert 0 < found["score"] <= 1
    (window,) = encode_windows(task.preprocessor, [(QUESTION, "the cat sat on")])
    ((first, last, score),), _ = token_spans(task._readouts([window], 1)[0], 1, 15)
    assert found["score"] == pytest.approx(score)
    assert (found["start"], found["end"]) == (window.offsets[first][0], window.offsets[last][1])
