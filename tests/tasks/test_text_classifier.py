"""Laws of `TextClassifier`: targets and answers, and training on raw text."""

import json
import threading

import keras
import numpy as np
import pytest

from inarch.errors import InputError, InputTypeError
from inarch.keras_private import read_batches
from inarch.models.bert.backbone import BertBackbone
from inarch.models.distil_bert.backbone import DistilBertBackbone
from inarch.tasks import TextClassifier

from .conftest import LABELS, TEXTS, classifier, learner, make_backbone, weights_of

pytestmark = pytest.mark.turns(3)


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


def test_batches_of_a_data_set_may_have_no_weights(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    data = prepared_pieces(task)

    class Unweighted(type(data)):
        def __getitem__(self, index):
            return *super().__getitem__(index), None

    expected = task.evaluate(data, verbose=0)
    assert task.evaluate(Unweighted(), verbose=0) == expected


def test_prepared_and_raw_parts_of_one_fit_are_each_taken_as_what_they_are(preprocessor):
    task = classifier(make_backbone(), preprocessor)
    arrays, y = task.select_inputs(preprocessor(TEXTS)), np.array(LABELS)
    held_out = (arrays, y), (TEXTS, LABELS), (TEXTS, LABELS, np.ones(6)), Pieces()
    whole = task.evaluate(arrays, y, batch_size=2, verbose=0, return_dict=True)
    task.compile(keras.optimizers.SGD(0.0))
    for x in (arrays, TEXTS):
        for data in held_out:
            history = task.fit(x, y, verbose=0, validation_data=data, validation_batch_size=2)
            assert history.history["val_loss"] == pytest.approx([whole["loss"]], rel=1e-4)


def test_a_data_sets_workers_make_its_batches(preprocessor):
    makers = set()

    class Noted(Pieces):
        def __getitem__(self, index):
            makers.add(threading.current_thread())
            return super().__getitem__(index)

    task, data = classifier(make_backbone(), preprocessor), Noted(workers=2, max_queue_size=2)
    assert [y.tolist() for _, y in read_batches(data, 3)] == [LABELS[:2], LABELS[2:4], LABELS[4:]]
    assert threading.main_thread() not in makers
    whole = task.evaluate(TEXTS, LABELS, batch_size=2, verbose=0)
    assert task.evaluate(data, verbose=0) == pytest.approx(whole, rel=1e-4)


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


@pytest.mark.parametrize("has_text", [True, False])
def test_listed_targets_of_prepared_inputs_are_the_arrays_that_they_spell(has_text, preprocessor):
    task = classifier(make_backbone(), preprocessor if has_text else None)
    x, y, weight = task.select_inputs(preprocessor(TEXTS)), np.array(LABELS), np.arange(6.0)
    one = task.evaluate(x, y, sample_weight=weight, verbose=0)
    assert task.evaluate(x, LABELS, sample_weight=weight.tolist(), verbose=0) == one
    assert task.train_on_batch(x, LABELS) is not None
    found = task.fit(x, LABELS, validation_data=(x, LABELS), verbose=0)
    assert {"loss", "val_loss"} <= found.history.keys()


@pytest.mark.parametrize(
    ("y", "said"), [(["bad"] * 6, "y holds 'bad'; next to"), ([[0], [1, 0]], "several lengths")]
)
def test_lists_that_spell_no_array_are_refused_next_to_prepared_inputs(y, said, preprocessor):
    task = classifier(make_backbone(), preprocessor)
    x = task.select_inputs(preprocessor(TEXTS))
    for method in (task.fit, task.evaluate):
        with pytest.raises((InputError, InputTypeError), match=said):
            method(x, y, verbose=0)


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


def test_another_number_of_classes_gives_a_fresh_head_with_a_warning(preprocessor, tmp_path):
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
def test_a_number_of_answers_that_is_none_is_named(top_k, preprocessor):
    with pytest.raises(InputError, match=f"top_k is {top_k!r}"):
        classifier(make_backbone(), preprocessor).classify(TEXTS, top_k=top_k)


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


def test_a_longer_batch_may_follow_two_of_one_length(preprocessor):
    task = classifier(learner(), preprocessor)
    texts = [
        *["the cat"] * 4,
        *["the cat sat on the mat and the dog ran on the very good road"] * 2,
    ]
    task.compile(optimizer=keras.optimizers.SGD(0.0))
    history = task.fit(texts, LABELS, batch_size=2, shuffle=False, epochs=2, verbose=0).history
    losses = [
        task.evaluate(texts[i : i + 2], LABELS[i : i + 2], verbose=0, return_dict=True)["loss"]
        for i in (0, 2, 4)
    ]
    np.testing.assert_allclose(history["loss"], [np.mean(losses)] * 2, rtol=1e-5)
    whole = task.evaluate(texts, LABELS, batch_size=2, verbose=0, return_dict=True)["loss"]
    assert whole == pytest.approx(np.mean(losses), rel=1e-5)
