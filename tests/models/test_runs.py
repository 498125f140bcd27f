"""Laws of `Model`'s runs on prepared arrays: what fails is told, and the weights stay."""

import keras
import numpy as np
import pytest
from keras import ops

from inarch.models.bert.backbone import BertBackbone
from inarch.tasks import TextClassifier


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
    """Fails at one moment of a run."""

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
