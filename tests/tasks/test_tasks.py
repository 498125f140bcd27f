"""Laws of the tasks: raw text in, arrays out, in order, on every backend."""

import _thread
import json
import signal
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops

from inarch.errors import InputError, InputTypeError
from inarch.models.bert.backbone import BertBackbone
from inarch.models.distil_bert.backbone import DistilBertBackbone
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder, TextPreprocessor

from .conftest import VOCABULARY, learner, make_backbone

TEXTS = ["the cat sat", "a dog ran on the road.", "", "bad", "the film was not very good!", "mat"]
LABELS = [0, 1, 1, 0, 1, 0]


def classifier(backbone, preprocessor, **options):
    return TextClassifier(backbone, 2, preprocessor, **options)


def weights_of(model):
    return [ops.convert_to_numpy(v) for v in model.weights]


# --- predict -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedder():
    from inarch.text import WordPieceTokenizer

    return TextEmbedder(make_backbone(), TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20))


words = st.sampled_from(["cat", "dog", "sat", "xyz", "the", "[SEP]", "🙂", "\0", "É"])
texts = st.lists(st.lists(words, max_size=30).map(" ".join), min_size=1, max_size=9)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts, st.sampled_from([1, 3, 8]))
def test_each_text_gets_its_own_vector_whatever_is_beside_it(embedder, batch, batch_size):
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
    for run in (task.predict, task.classify, task.fit, task.evaluate, task.train_on_batch):
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


# --- fit and evaluate --------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [BertBackbone, DistilBertBackbone])
def test_fit_learns_from_raw_text(cls, preprocessor):
    keras.utils.set_random_seed(0)
    task = classifier(learner(cls), preprocessor)
    task.compile(optimizer=keras.optimizers.Adam(1e-2), metrics=["accuracy"])
    task.fit(TEXTS * 4, LABELS * 4, epochs=20, batch_size=24, verbose=0)
    np.testing.assert_array_equal(task.predict(TEXTS).argmax(-1), LABELS)
    scores = task.evaluate(np.array(TEXTS), np.array(LABELS), verbose=0, return_dict=True)
    assert scores["accuracy"] == 1.0


class Pieces(keras.utils.PyDataset):
    """Raw text in batches of two, as a user's own data set."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(2 * index, 2 * index + 2)
        return np.array(TEXTS[part]), np.array(LABELS[part])


def prepared_pieces(task):
    class Batch(Pieces):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return task.select_inputs(task.preprocessor(x)), y

    return Batch()


def tf_data(task):
    tf = pytest.importorskip("tensorflow", reason="needs tensorflow")
    return tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)).batch(2)


def torch_loader(task):
    data = pytest.importorskip("torch.utils.data", reason="needs torch")
    return data.DataLoader(list(zip(TEXTS, LABELS, strict=True)), batch_size=2)


def grain_loader(task):
    grain = pytest.importorskip("grain", reason="needs grain")
    source = [(np.array(t, dtype=object), y) for t, y in zip(TEXTS, LABELS, strict=True)]
    return grain.MapDataset.source(source).batch(2)


SETS = {
    "PyDataset": lambda task: Pieces(),
    "prepared PyDataset": prepared_pieces,
    "tf.data": tf_data,
    "torch": torch_loader,
    "grain": grain_loader,
}


@pytest.mark.parametrize("name", SETS)
def test_data_sets_of_raw_text_feed_fit_evaluate_and_predict(name, preprocessor):
    task = classifier(make_backbone(), preprocessor)
    data = SETS[name](task)
    history = task.fit(data, epochs=3, verbose=0, validation_data=SETS[name](task))
    assert len(history.history["loss"]) == len(history.history["val_loss"]) == 3
    whole = task.evaluate(TEXTS, LABELS, batch_size=2, verbose=0, return_dict=True)
    fed = task.evaluate(data, verbose=0, return_dict=True)
    assert fed["loss"] == pytest.approx(whole["loss"], rel=1e-4)
    np.testing.assert_allclose(task.predict(data), task.predict(TEXTS), atol=1e-5)


def test_a_generator_feeds_one_epoch(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    batches = ((TEXTS[i : i + 2], LABELS[i : i + 2]) for i in (0, 2, 4))
    task.fit(batches, epochs=1, verbose=0)
    assert next(batches, None) is None
    assert int(task.optimizer.iterations) >= 3  # Keras on TensorFlow counts one more


def test_bare_batches_of_texts_are_predicted(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    for batches in ([TEXTS[:2], TEXTS[2:4]], [tuple(TEXTS[:3]), (np.array(TEXTS[3:4]),)]):
        np.testing.assert_allclose(task.predict(iter(batches)), task.predict(TEXTS[:4]), atol=1e-5)


def test_validation_is_split_off_the_end(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    history = task.fit(TEXTS, LABELS, validation_split=0.5, verbose=0, batch_size=1)
    assert int(task.optimizer.iterations) == 3
    held_out = task.evaluate(TEXTS[3:], LABELS[3:], verbose=0, return_dict=True)
    assert history.history["val_loss"][0] == pytest.approx(held_out["loss"], rel=1e-4)


def test_callbacks_and_sample_weights_reach_keras(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    stop = keras.callbacks.EarlyStopping(monitor="loss", baseline=-1.0, patience=0)
    history = task.fit(TEXTS, LABELS, epochs=9, callbacks=[stop], verbose=0)
    assert len(history.history["loss"]) < 9
    task.compile(optimizer=keras.optimizers.SGD(1.0))
    before = weights_of(task)
    for weight, moves in ((np.zeros(6), False), (np.ones(6), True)):
        task.fit(TEXTS, LABELS, sample_weight=weight, verbose=0)
        moved = [np.abs(a - b).max() for a, b in zip(before, weights_of(task), strict=True)]
        assert bool(max(moved) > 1e-3) == moves


def test_an_interrupted_fit_keeps_the_weights_it_had(preprocessor):
    task = classifier(make_backbone(), preprocessor)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        task.fit(TEXTS, LABELS, callbacks=[Stop()], verbose=0, batch_size=2)
    assert all(np.isfinite(w).all() for w in weights_of(task))
    assert np.isfinite(task.predict(TEXTS)).all()
    task.fit(TEXTS, LABELS, verbose=0)


def test_without_a_preprocessor_prepared_arrays_are_fed(preprocessor):
    task = classifier(make_backbone(), None)
    x = task.select_inputs(preprocessor(TEXTS))
    task.fit(x, np.array(LABELS), verbose=0)
    assert task.predict(x, verbose=0).shape == (6, 2)
    assert task.train_on_batch(x, np.array(LABELS)) is not None


def test_train_on_batch_takes_raw_text(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    task.train_on_batch(TEXTS, LABELS)
    assert int(task.optimizer.iterations) == 1
    assert np.isfinite(task.test_on_batch(TEXTS, LABELS)[0])


@pytest.mark.parametrize(
    ("labels", "named"),
    [([0, 1, 2, 0, 1, 0], "label 2 of text 2"), ([0, -1, 0, 0, 0, 0], "label -1 of text 1"),
     ([0, 0.5, 0, 0, 0, 0], "0.5 of text 1 is neither a whole number"),
     (["no"] * 6, "'no'"), ([0, 1], "2 targets"), (None, "give y")],
)  # fmt: skip
def test_labels_out_of_range_are_named(labels, named, preprocessor):
    with pytest.raises(InputError, match=named):
        classifier(make_backbone(), preprocessor).fit(TEXTS, labels, verbose=0)


# --- classification ----------------------------------------------------------------------------


def test_label_names_are_targets_and_answers(preprocessor):
    keras.utils.set_random_seed(1)
    task = TextClassifier(learner(), 2, preprocessor, labels=["poor", "fine"])
    task.compile(optimizer=keras.optimizers.Adam(1e-2))
    names = [task.labels[i] for i in LABELS]
    task.fit(TEXTS * 4, names * 4, epochs=20, batch_size=24, verbose=0)
    answers = task.classify(TEXTS, top_k=2)
    assert [a[0]["label"] for a in answers] == names
    assert all(sum(x["score"] for x in a) == pytest.approx(1) for a in answers)


def test_several_labels_and_regression_have_their_losses(preprocessor):
    many = TextClassifier(
        make_backbone(), 3, preprocessor, problem_type="multi_label_classification"
    )
    y = np.eye(6, 3)
    logits = many.predict(TEXTS).astype("float64")
    entropy = np.mean(np.logaddexp(0, logits) - y * logits)
    loss = many.evaluate(TEXTS, y, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(entropy, rel=1e-4)
    one = TextClassifier(make_backbone(), 1, preprocessor)
    y = np.linspace(0, 1, 6)
    squares = np.mean((one.predict(TEXTS)[:, 0] - y) ** 2)
    loss = one.evaluate(TEXTS, y, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(squares, rel=1e-4)


def test_another_number_of_classes_gives_a_fresh_head_and_says_so(preprocessor, tmp_path):
    task = TextClassifier(make_backbone(), 3, preprocessor, labels=["x", "y", "z"])
    task.save_to_preset(tmp_path)
    same = TextClassifier.from_preset(tmp_path)
    assert same.labels == ["x", "y", "z"]
    assert same.fresh_weights == ()
    with pytest.warns(UserWarning, match="logits"):
        other = TextClassifier.from_preset(tmp_path, num_classes=5)
    assert other.fresh_weights == ("logits/bias", "logits/kernel")
    other.save_to_preset(tmp_path / "other")
    config = json.loads((tmp_path / "other/config.json").read_text())
    assert len(config["id2label"]) == 5
    assert TextClassifier.from_preset(tmp_path / "other").predict(TEXTS).shape == (6, 5)


def test_bad_arguments_are_named(preprocessor):
    with pytest.raises(InputError, match="num_classes is 0"):
        TextClassifier(make_backbone(), 0, preprocessor)
    with pytest.raises(InputError, match="2 labels for 3"):
        TextClassifier(make_backbone(), 3, preprocessor, labels=["a", "b"])
    with pytest.raises(InputError, match="pooler"):
        TextClassifier(make_backbone(pooler=False), 2, preprocessor)


def test_one_hot_rows_need_a_loss_that_reads_them(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    rows = np.eye(2)[LABELS]
    for run in (task.fit, task.evaluate, task.train_on_batch):
        with pytest.raises(InputError, match=r"\(6, 2\), a row for each text.*CategoricalCross"):
            run(TEXTS, rows)
    task.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    assert {"accuracy", "loss"} <= task.fit(TEXTS, rows, verbose=0).history.keys()


@pytest.mark.parametrize("top_k", [0, -1, 1.5, "a", True])
def test_a_number_of_answers_that_is_none_is_named(top_k, preprocessor, masked):
    with pytest.raises(InputError, match=f"top_k is {top_k!r}"):
        classifier(make_backbone(), preprocessor).classify(TEXTS, top_k=top_k)
    with pytest.raises(InputError, match=f"top_k is {top_k!r}"):
        masked.fill_mask(["the [MASK]"], top_k=top_k)


# --- masked language modeling ------------------------------------------------------------------


@pytest.fixture
def masked(backbone, preprocessor):
    return MaskedLM(
        backbone, TextPreprocessor(preprocessor.tokenizer, 20, allow_special=("[MASK]",))
    )


def test_filling_in_agrees_with_the_logits_at_the_mask(masked):
    texts = ["the [MASK] sat", "[MASK] dog [MASK] on"]
    filled = masked.fill_mask(texts, top_k=3)
    assert [len(f) for f in filled] == [1, 2]
    logits = masked.predict(texts)
    for row, (text, blanks) in enumerate(zip(texts, filled, strict=True)):
        ids = masked.preprocessor([text])["token_ids"][0]
        for place, best in zip(np.flatnonzero(ids == 4), blanks, strict=True):
            scores = np.exp(logits[row, place].astype("float64"))
            scores /= scores.sum()
            assert [b["token_id"] for b in best] == np.argsort(-scores)[:3].tolist()
            assert best[0]["score"] == pytest.approx(scores.max(), rel=1e-4)
            assert best[0]["token"] == VOCABULARY[best[0]["token_id"]]
    assert all("sat" in best["text"] for best in filled[0][0])


def test_a_text_without_a_mask_is_named(masked):
    with pytest.raises(InputError, match="text 1"):
        masked.fill_mask(["the [MASK]", "no blank"])


def test_logits_beyond_a_text_are_zero_and_the_rest_is_the_models(masked):
    out = masked.predict(["the cat", "a dog sat on the road"])
    assert out.shape == (2, 8, len(VOCABULARY))
    assert not out[0, 4:].any()
    assert out[0, :4].any(-1).all()


def test_only_hidden_tokens_count_in_the_loss(masked):
    make = masked.collate(TEXTS, None, None)
    x, truth, hidden = make(np.arange(len(TEXTS)), np.random.default_rng(0))
    special = np.isin(truth, [0, 2, 3])
    assert hidden.sum() > 0
    assert not hidden[special].any()
    assert not (x["token_ids"] != truth)[hidden == 0].any()
    masked.compile(optimizer=keras.optimizers.SGD(0.0))
    reported = masked.evaluate(x, truth, sample_weight=hidden, verbose=0, return_dict=True)
    logits = ops.convert_to_numpy(masked(x)).astype("float64")
    logits -= logits.max(-1, keepdims=True)
    losses = np.log(np.exp(logits).sum(-1))
    losses -= np.take_along_axis(logits, truth[..., None], -1)[..., 0]
    assert reported["loss"] == pytest.approx(losses[hidden == 1].mean(), rel=1e-3)


def test_the_share_hidden_and_how_is_the_papers(masked):
    masked.mask_rate = 0.5
    texts = ["the cat sat on the mat and the dog ran on the road"] * 400
    x, truth, hidden = masked.collate(texts, None, None)(np.arange(400), np.random.default_rng(0))
    candidates = ~np.isin(truth, [0, 2, 3])
    assert hidden[candidates].mean() == pytest.approx(0.5, abs=0.03)
    changed = x["token_ids"][hidden == 1]
    assert (changed == 4).mean() == pytest.approx(0.8, abs=0.03)
    assert (changed == truth[hidden == 1]).mean() == pytest.approx(0.1, abs=0.03)


def test_training_fills_the_blank(preprocessor):
    keras.utils.set_random_seed(0)
    task = MaskedLM(
        learner(),
        TextPreprocessor(preprocessor.tokenizer, 20, allow_special=("[MASK]",)),
        mask_rate=0.3,
    )
    task.compile(optimizer=keras.optimizers.Adam(1e-2))
    task.fit(["the cat sat on the mat"] * 32, epochs=60, batch_size=32, verbose=0)
    assert task.fill_mask(["the [MASK] sat on the mat"], top_k=1)[0][0][0]["token"] == "cat"


# --- embedding ---------------------------------------------------------------------------------


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
def test_pooling_is_what_its_name_says(mode, normalize, preprocessor):
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
    with pytest.raises(InputError, match="pairs"):
        task.fit(TEXTS, verbose=0)


def test_prompts_go_before_the_text(preprocessor):
    task = TextEmbedder(
        make_backbone(), preprocessor, prompts={"query": "the "}, default_prompt_name="query"
    )
    plain = TextEmbedder(task.backbone, preprocessor)
    np.testing.assert_array_equal(task.predict(["cat"]), plain.predict(["the cat"]))
    np.testing.assert_array_equal(task.embed(["cat"], prompt_name="query"), task.predict(["cat"]))
    np.testing.assert_array_equal(task.embed(["cat"]), task.predict(["cat"]))
    np.testing.assert_array_equal(plain.embed(["cat"]), plain.predict(["cat"]))
    with pytest.raises(InputError, match="'passage'"):
        task.embed(["cat"], prompt_name="passage")


# --- files -------------------------------------------------------------------------------------


def tasks_of(preprocessor):
    return [
        TextEmbedder(make_backbone(), preprocessor, ["cls", "max"], True, {"q": "the "}),
        TextClassifier(make_backbone(), 3, preprocessor, labels=["x", "y", "z"], dropout=0.3),
        MaskedLM(make_backbone(pooler=False), preprocessor),
    ]


@pytest.mark.parametrize("number", range(3))
def test_a_preset_folder_and_a_keras_file_give_the_same_task(number, preprocessor, tmp_path):
    task = tasks_of(preprocessor)[number]
    expected = task.predict(TEXTS)
    task.save_to_preset(tmp_path / "preset")
    task.save(tmp_path / "task.keras")
    for again in (
        type(task).from_preset(tmp_path / "preset"),
        keras.saving.load_model(tmp_path / "task.keras"),
    ):
        assert type(again) is type(task)
        np.testing.assert_array_equal(again.predict(TEXTS), expected)
        for name in ("labels", "prompts", "pooling", "normalize", "num_classes"):
            assert getattr(again, name, None) == getattr(task, name, None)
    clone = keras.models.clone_model(task)
    assert type(clone) is type(task)
    clone.set_weights(task.get_weights())
    np.testing.assert_array_equal(clone.predict(TEXTS), expected)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_low_precision_tasks_answer_in_float32(dtype, preprocessor, tmp_path):
    task = TextEmbedder(make_backbone(), preprocessor)
    task.save_to_preset(tmp_path)
    low = TextEmbedder.from_preset(tmp_path, dtype=dtype)
    assert low.predict(TEXTS).dtype == np.float32
    np.testing.assert_allclose(low.predict(TEXTS), task.predict(TEXTS), atol=0.15)
    low.fit([("cat", "dog")] * 4, verbose=0)


@pytest.mark.parametrize("task", [TextClassifier, TextEmbedder])
def test_a_changed_longest_sequence_is_kept(task, preprocessor, tmp_path):
    own = {"num_classes": 2} if task is TextClassifier else {}
    task(make_backbone(), preprocessor=preprocessor, **own).save_to_preset(tmp_path / "one")
    again = task.from_preset(tmp_path / "one")
    assert again.preprocessor.sequence_length == 20
    again.preprocessor.sequence_length = 6
    again.save_to_preset(tmp_path / "two")
    assert task.from_preset(tmp_path / "two").preprocessor.sequence_length == 6


def test_a_fitted_task_goes_on_from_its_keras_file(preprocessor, tmp_path):
    task = classifier(make_backbone(), preprocessor)
    task.compile(optimizer=keras.optimizers.SGD(0.25, momentum=0.5))
    task.fit(TEXTS, LABELS, verbose=0)
    task.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    assert float(again.optimizer.learning_rate) == 0.25
    assert int(again.optimizer.iterations) == int(task.optimizer.iterations)
    assert again.evaluate(TEXTS, LABELS, verbose=0) == task.evaluate(TEXTS, LABELS, verbose=0)
    again.fit(TEXTS, LABELS, verbose=0)


def test_a_keras_file_loads_in_a_new_process(preprocessor, tmp_path):
    task = classifier(make_backbone(), preprocessor)
    task.save(tmp_path / "task.keras")
    code = (
        "import keras, inarch, sys; "
        "print(keras.saving.load_model(sys.argv[1]).predict(['the cat']).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "task.keras")], capture_output=True, text=True
    )
    assert "(1, 2)" in done.stdout, done.stderr[-500:]


@pytest.fixture
def heeding_ctrl_c():
    """Ctrl-C interrupts, also in the background of a shell, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_ctrl_c")
def test_ctrl_c_at_any_moment_leaves_whole_weights(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    for delay in (0.1, 0.2, 0.5, 1.0):
        timer = threading.Timer(delay, _thread.interrupt_main)
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            timer.start()
            task.fit(TEXTS * 50, LABELS * 50, epochs=1000, batch_size=2, verbose=0)
        timer.join()
        assert np.isfinite(task.predict(TEXTS)).all()
        assert all(np.isfinite(w).all() for w in weights_of(task))


def test_an_endless_data_set_is_read_for_the_steps_given(preprocessor):
    task = classifier(make_backbone(), preprocessor)

    class Endless:
        def __iter__(self):
            while True:
                yield np.array(TEXTS[:2]), np.array(LABELS[:2])

    task.fit(Endless(), steps_per_epoch=2, epochs=2, verbose=0)
    assert int(task.optimizer.iterations) >= 4


def test_ambiguous_batches_and_foreign_tokenizers_are_named(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    with pytest.raises(InputError, match="pairs"):
        task.predict(iter([[("a", "b"), ("c", "d")]]))
    small = BertBackbone(30, 1, 2, 16, 24, max_sequence_length=20)
    with pytest.raises(InputError, match="text 1 has token id"):
        classifier(small, preprocessor).predict(["the cat", "xyz"])
