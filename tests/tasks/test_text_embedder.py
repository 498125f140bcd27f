"""Laws of `TextEmbedder`: one vector for each text, whatever the rest of its batch."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops

from inarch.errors import InputError, InputTypeError
from inarch.tasks import TextEmbedder, TextPreprocessor

from .conftest import LABELS, TEXTS, VOCABULARY, classifier, learner, make_backbone, weights_of

pytestmark = pytest.mark.turns(3)


@pytest.fixture(scope="module")
def embedder():
    from inarch.text import WordPieceTokenizer

    return TextEmbedder(make_backbone(), TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20))


words = st.sampled_from(["cat", "dog", "sat", "xyz", "the", "[SEP]", "🙂", "\0", "É"])
texts = st.lists(st.lists(words, max_size=30).map(" ".join), min_size=1, max_size=9)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts, st.sampled_from([1, 3, 8]))
def test_each_text_gets_its_own_vector_whatever_the_rest_of_its_batch(embedder, batch, batch_size):
    together = embedder.predict(batch, batch_size=batch_size)
    assert together.shape == (len(batch), 16)
    assert together.dtype == np.float32
    for i in {0, len(batch) - 1}:
        np.testing.assert_allclose(embedder.predict([batch[i]])[0], together[i], atol=2e-5)


def test_predict_equals_the_model_called_on_prepared_arrays(backbone, preprocessor):
    task = classifier(backbone, preprocessor)
    called = ops.convert_to_numpy(task(task.select_inputs(preprocessor(TEXTS))))
    np.testing.assert_allclose(task.predict(TEXTS), called, atol=1e-5)
    prepared = task.select_inputs(preprocessor(TEXTS))
    np.testing.assert_allclose(task.predict(prepared, verbose=0), called, atol=1e-5)


def test_no_texts_give_an_empty_array(backbone, preprocessor):
    assert classifier(backbone, preprocessor).predict([]).shape == (0, 2)
    assert TextEmbedder(backbone, preprocessor).predict([]).shape == (0, 16)


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda t: np.array(t, dtype=object)])
def test_texts_may_be_any_sequence(kind, preprocessor):
    task = classifier(make_backbone(), preprocessor)
    np.testing.assert_array_equal(task.predict(kind(TEXTS)), task.predict(TEXTS))


def test_pairs_are_two_segments(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    pairs = [("the cat", "sat"), ("a", "dog ran")]
    assert preprocessor(pairs)["segment_ids"].max() == 1
    assert task.predict(pairs).shape == (2, 2)


@pytest.mark.parametrize(
    ("x", "error", "named"),
    [
        ("one string", InputTypeError, "one string"),
        (["a", 3], InputTypeError, "text 1"),
        (["a", None], InputTypeError, "text 1"),
        ([None], InputTypeError, "text 0 is a NoneType"),
        ([3], InputTypeError, "text 0"),
        ([float("nan")], InputTypeError, "text 0"),
        (None, InputTypeError, "x is None; give texts"),
        (5, InputTypeError, "x is 5; give texts"),
        (["a", b"\xff"], InputError, "text 1 is bytes that aren't UTF-8"),
        ({"text": ["a"]}, InputTypeError, r"give the texts themselves: x\['text'\]"),
        (["fine", "bad \ud800"], InputError, "1"),
    ],
)
def test_what_is_not_text_is_named(x, error, named, preprocessor):
    task = classifier(make_backbone(), preprocessor)
    # One string is a text for `classify`, which then gives one result.
    verbs = () if isinstance(x, str) else (task.classify,)
    for run in (task.predict, *verbs, task.fit, task.evaluate, task.train_on_batch):
        y = () if run in (task.predict, task.classify) else (LABELS[:1],)
        with pytest.raises(error, match=named):
            run(x, *y)


def test_lists_of_numbers_are_no_texts(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    with pytest.raises(InputTypeError, match="got 1; give a list of strings"):
        task.predict([[1, 2]])
    for run in (task.fit, task.evaluate):
        with pytest.raises(InputTypeError, match="x is a list that isn't texts"):
            run([[1, 2]], [0])


def test_a_very_long_text_is_truncated(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    assert preprocessor(["cat " * 25_000])["token_ids"].shape == (1, 20)
    assert np.isfinite(task.predict(["cat " * 25_000, "🙂", "\0"])).all()


def test_a_special_token_in_a_text_is_ordinary_text(preprocessor):
    ids = preprocessor(["cat [SEP] dog"])["token_ids"][0]
    assert (ids == VOCABULARY.index("[SEP]")).sum() == 1


def test_callbacks_see_every_batch_and_may_stop_predict(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    before = weights_of(task)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_predict_batch_end(self, batch, logs=None):
            seen.append(batch)
            if batch == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        task.predict(TEXTS, batch_size=2, callbacks=[Watch()])
    assert seen == [0, 1]
    for old, new in zip(before, weights_of(task), strict=True):
        np.testing.assert_array_equal(old, new)


def reference_pooling(tokens, mask, mode):
    rows = [t[m.astype(bool)] for t, m in zip(tokens, mask, strict=True)]
    weights = {
        "mean": lambda r: r.mean(0),
        "cls": lambda r: r[0],
        "max": lambda r: r.max(0),
        "mean_sqrt_len_tokens": lambda r: r.sum(0) / np.sqrt(len(r)),
        "weightedmean": lambda r: np.average(r, axis=0, weights=np.arange(1, len(r) + 1)),
        "lasttoken": lambda r: r[-1],
    }[mode]
    return np.stack([weights(row) for row in rows])


@pytest.mark.turns(2)
@pytest.mark.parametrize(
    "mode", ["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
)
@pytest.mark.parametrize("normalize", [False, True])
def test_pooling_is_the_function_of_its_name(mode, normalize, preprocessor):
    backbone = make_backbone()
    task = TextEmbedder(backbone, preprocessor, pooling=mode, normalize=normalize)
    inputs = preprocessor(TEXTS)
    tokens = ops.convert_to_numpy(backbone(inputs)["sequence_output"])
    expected = reference_pooling(tokens, inputs["padding_mask"], mode)
    if normalize:
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(task.predict(TEXTS), expected, atol=2e-5)


def test_pooling_modes_are_joined(preprocessor):
    both = TextEmbedder(make_backbone(), preprocessor, pooling=["cls", "mean"]).predict(TEXTS)
    apart = [
        TextEmbedder(make_backbone(), preprocessor, pooling=mode).predict(TEXTS)
        for mode in ("cls", "mean")
    ]
    np.testing.assert_allclose(both, np.concatenate(apart, -1), atol=1e-6)


def test_pairs_draw_together(preprocessor):
    keras.utils.set_random_seed(0)
    task = TextEmbedder(learner(), preprocessor, normalize=True)
    task.compile(optimizer=keras.optimizers.Adam(1e-2))
    pairs = [("cat", "dog sat"), ("road", "ran on"), ("good film", "very good"), ("bad", "not")]
    task.fit(pairs, epochs=30, batch_size=4, verbose=0)
    one, two = (task.predict([p[i] for p in pairs]) for i in (0, 1))
    np.testing.assert_array_equal(task.similarity(one, two).argmax(-1), np.arange(4))


def test_vectors_of_other_widths_are_not_compared(preprocessor):
    with pytest.raises(InputError, match=r"\(1, 3\) and \(1, 4\)"):
        TextEmbedder(make_backbone(), preprocessor).similarity(np.ones((1, 3)), np.ones((1, 4)))


def test_vectors_can_be_fitted_to_targets(preprocessor):
    task = TextEmbedder(make_backbone(), preprocessor)
    task.compile(loss="mse")
    task.fit(TEXTS, np.zeros((6, 16)), verbose=0)
    with pytest.raises(InputError, match="needs a target for each text"):
        task.fit(TEXTS, verbose=0)


def test_prompts_go_before_the_text(preprocessor):
    plain = TextEmbedder(make_backbone(dropout=0.0, attention_dropout=0.0), preprocessor)
    prompted = TextPreprocessor(
        preprocessor.tokenizer, 20, prompts={"query": "the "}, default_prompt_name="query"
    )
    task = TextEmbedder(plain.backbone, prompted)
    np.testing.assert_array_equal(task.predict(["cat"]), plain.predict(["the cat"]))
    np.testing.assert_array_equal(task.embed(["cat"], prompt_name="query"), task.predict(["cat"]))
    np.testing.assert_array_equal(task.embed(["cat"]), task.predict(["cat"]))
    np.testing.assert_array_equal(plain.embed(["cat"]), plain.predict(["cat"]))
    with pytest.raises(InputError, match="'passage'"):
        task.embed(["cat"], prompt_name="passage")
    # In what it is evaluated and trained on, too: one text, or a loss's columns of texts.
    columns = [("cat", "dog"), ("mat", "road")], [("the cat", "the dog"), ("the mat", "the road")]
    vectors = ["cat", "mat"], ["the cat", "the mat"]
    for loss, y, (short, long) in (("auto", None, columns), ("mse", np.ones((2, 16)), vectors)):
        for model in (task, plain):
            model.compile(keras.optimizers.SGD(0.0), loss)
        expected = plain.evaluate(long, y, verbose=0)
        assert task.evaluate(short, y, verbose=0) == pytest.approx(expected, rel=1e-6)
        assert task.fit(short, y, verbose=0).history["loss"] == pytest.approx([expected], rel=1e-5)
