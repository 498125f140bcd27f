"""Laws of `class_weight` on batches: as Keras reads their targets, by number or by name."""

import keras
import numpy as np
import pytest
from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

from inarch.errors import InputError
from inarch.tasks import TextClassifier
from inarch.training.class_weights import weigh_batch

from .conftest import learner

pytestmark = pytest.mark.turns(3)

TEXTS = ["good film", "bad film", "good cat", "the bad dog"]
Y = [1, 0, 1, 0]


@pytest.mark.parametrize(
    "y",
    [
        np.array(Y), np.array(Y)[:, None], np.array(Y, "float32")[:, None], np.array(Y, "float64"),
        np.eye(2)[Y], np.array([1, -1, 0, 2]), keras.ops.convert_to_tensor(Y),
    ],
)  # fmt: skip
def test_targets_of_every_shape_weigh_what_keras_gives_them(y):
    weight = {0: 5.0, 1: 3.0}
    *_, weights = weigh_batch(weight, (TEXTS, y))
    np.testing.assert_array_equal(weights, class_weight_to_sample_weights(y, weight))


def test_a_single_batch_is_weighed_by_name(preprocessor):
    task = TextClassifier(learner(), 2, preprocessor, labels=["bad", "good"])
    task.compile(optimizer=keras.optimizers.SGD(0.0))
    losses = []
    for weight in ({"bad": 0.0, "good": 0.0}, {0: 0.0, 1: 0.0}, {"good": 3.0, "bad": 3.0}, None):
        task.reset_metrics()
        losses.append(float(task.train_on_batch(TEXTS, Y, class_weight=weight)[0]))
    assert losses[:2] == [0.0, 0.0]
    assert losses[2] == pytest.approx(3 * losses[3], rel=1e-4)
    for wrong in ({"fine": 1.0}, {2: 1.0}):
        with pytest.raises(InputError, match="which is no class"):
            task.train_on_batch(TEXTS, Y, class_weight=wrong)
