"""Laws of `Model`'s runs on prepared arrays: failures are reported, and the weights stay."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.errors import InputError, InputTypeError
from inarch.models.bert.backbone import BertBackbone
from inarch.tasks import TextClassifier

pytestmark = pytest.mark.turns(3)


def small(**changes):
    return BertBackbone(11, 1, 2, 8, 12, max_sequence_length=6, **changes)


def arrays(rows=2, length=3):
    shape = (rows, length)
    return {
        "token_ids": np.ones(shape, "int32"),
        "segment_ids": np.zeros(shape, "int32"),
        "padding_mask": np.ones(shape, "int32"),
    }


def values(model):
    optimizer = getattr(model, "optimizer", None)
    optimizer = optimizer.variables if optimizer else []
    return [ops.convert_to_numpy(v) for v in [*model.variables, *optimizer]]


def assert_equal(before, after):
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


WRONG = {
    "a missing input": {"token_ids": np.ones((2, 3), "int32")},
    "too long": arrays(length=7),
    "of no length": arrays(length=0),
    "unequal lengths": arrays() | {"padding_mask": np.ones((2, 2), "int32")},
    "not numbers": arrays() | {"token_ids": np.full((2, 3), "a")},
}


class Fail(keras.callbacks.Callback):
    """Callback that fails at one moment of a run."""

    def __init__(self, moment):
        super().__init__()
        self.moment = moment

    def __getattribute__(self, name):
        if name.startswith("on_") and name == object.__getattribute__(self, "moment"):
            raise RuntimeError(name)
        return object.__getattribute__(self, name)


# --- weights -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    model = TextClassifier(small(), 2)
    model.fit(arrays(), np.array([0, 1]), verbose=0)
    return model


@pytest.mark.parametrize("fed", ["as arrays", "as batches"])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("run", ["predict", "evaluate", "fit"])
def test_whatever_a_run_raises_the_model_has_its_weights(run, wrong, fed, trained):
    before = values(trained)
    given = (wrong,) if run == "predict" else (wrong, np.array([0, 1]))
    given = given if fed == "as arrays" else (iter([given]),)
    with pytest.raises(Exception):  # noqa: PT011 - some are ours, some are the backend's
        getattr(trained, run)(*given, verbose=0)
    assert_equal(before, values(trained))
    assert np.isfinite(trained.predict(arrays(), verbose=0)).all()


def test_a_backbone_has_its_weights_after_a_failed_run():
    model = small()
    before = values(model)
    with pytest.raises(Exception):  # noqa: PT011 - as above
        model.predict(WRONG["a missing input"], verbose=0)
    assert_equal(before, values(model))


def test_a_later_epoch_that_fails_leaves_the_weights_of_the_last_step():
    model = TextClassifier(small(), 2)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    trained = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if keras.backend.backend() == "jax":
                model.jax_state_sync()
            trained.append([ops.convert_to_numpy(v) for v in model.trainable_variables])

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return arrays(length=7 if len(trained) == 2 else 3), np.array([0, 1])

    with pytest.raises(Exception):  # noqa: PT011 - as above
        model.fit(
            Batches(), validation_data=(arrays(), np.array([0, 1])), epochs=9, verbose=0,
            callbacks=[Watch()],
        )  # fmt: skip
    assert len(trained) == 2
    assert_equal(trained[-1], [ops.convert_to_numpy(v) for v in model.trainable_variables])


def test_a_validation_that_fails_leaves_the_weights_of_the_epoch():
    model = TextClassifier(small(), 2)
    start = values(model)
    with pytest.raises(Exception):  # noqa: PT011 - as above
        model.fit(
            arrays(), np.array([0, 1]), verbose=0,
            validation_data=(iter([(WRONG["too long"], np.array([0, 1]))])),
        )  # fmt: skip
    after = values(model)
    assert any((old != new).any() for old, new in zip(start, after, strict=False))
    assert np.isfinite(model.predict(arrays(), verbose=0)).all()


@pytest.mark.parametrize("moment", ["on_train_batch_begin", "on_train_batch_end"])
def test_a_callback_that_fails_leaves_the_weights(moment):
    model = TextClassifier(small(), 2)
    with pytest.raises(RuntimeError, match=moment):
        model.fit(arrays(), np.array([0, 1]), verbose=0, callbacks=[Fail(moment)])
    assert np.isfinite(model.predict(arrays(), verbose=0)).all()


def test_a_failed_run_does_not_bring_back_older_weights():
    model = TextClassifier(small(), 2)
    model.fit(arrays(), np.array([0, 1]), verbose=0)
    with pytest.raises(RuntimeError):
        model.fit(arrays(), np.array([0, 1]), verbose=0, callbacks=[Fail("on_train_batch_end")])
    model.set_weights([np.full_like(w, 0.5) for w in model.get_weights()])
    with pytest.raises(Exception):  # noqa: PT011 - as above
        model.predict(WRONG["too long"], verbose=0)
    assert all((w == 0.5).all() for w in model.get_weights())


# --- arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"token_ids": np.array([[1, 2], [3, 11]])}, "11 in row 1, place 1 of 'token_ids'.* 10"),
        ({"token_ids": np.array([[1, -1], [3, 4]])}, "-1 in row 0, place 1 of 'token_ids'"),
        ({"token_ids": np.array([[1, 2], [5.9, 4]])}, "5.9 in row 1, place 0 .* whole number"),
        ({"token_ids": np.array([[1, np.nan], [3, 4]])}, "nan in row 0"),
        ({"segment_ids": np.full((2, 2), 2)}, "2 in row 0, place 0 of 'segment_ids'"),
        ({"token_ids": np.full((2, 2), "a")}, "'token_ids' holds <U1"),
        ({"token_ids": [[1, 2], [3, 4]]}, "'token_ids' is a list"),
        ({"token_ids": np.ones(2)}, r"'token_ids' has the shape \(2,\)"),
        ({"token_ids": np.ones((2, 3))}, r"token_ids \(2, 3\)"),
        ({"wings": np.ones((2, 2))}, "unknown: wings"),
    ],
)
@pytest.mark.parametrize("run", ["predict", "evaluate", "fit"])
def test_what_is_wrong_with_arrays_is_named(run, change, named, trained):
    given = (arrays(length=2) | change,)
    given += () if run == "predict" else (np.array([0, 1]),)
    with pytest.raises((InputError, InputTypeError), match=named):
        getattr(trained, run)(*given, verbose=0)


@pytest.mark.parametrize("length", [0, 7])
def test_an_array_too_long_or_without_tokens_raises_our_error_alone(length, trained):
    with pytest.raises(InputError) as caught:
        trained.predict(arrays(length=length), verbose=0)
    assert str(length) in str(caught.value)
    assert "Exception encountered" not in str(caught.value)


def test_whole_numbers_of_any_kind_are_read(trained):
    expected = trained.predict(arrays(), verbose=0)
    for kind in ("float32", "int64", "uint8"):
        given = {name: array.astype(kind) for name, array in arrays().items()}
        np.testing.assert_array_equal(trained.predict(given, verbose=0), expected)


# --- what a model is built with ----------------------------------------------------------------


@pytest.mark.parametrize("rate", [2.0, -0.1, "a", float("nan")])
def test_a_rate_of_dropout_that_is_none_is_named(rate):
    with pytest.raises(InputError, match="dropout is .* from 0 to 1"):
        small(dropout=rate)
    with pytest.raises(InputError, match="dropout is .* from 0 to 1"):
        TextClassifier(small(), 2, dropout=rate)


@pytest.mark.parametrize("dtype", ["int8", "nonsense", 3, "bool"])
def test_a_dtype_that_is_not_of_floating_point_is_named(dtype):
    with pytest.raises(InputError, match=f"dtype is {dtype!r}; give float32"):
        small(dtype=dtype)
