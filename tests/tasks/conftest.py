import keras
import numpy as np
import pytest
from keras import ops

from inarch.models.bert.backbone import BertBackbone
from inarch.models.distil_bert.backbone import DistilBertBackbone
from inarch.models.variables import named_variables
from inarch.tasks import TextClassifier, TextPreprocessor
from inarch.text import WordPieceTokenizer

WORDS = [
    "the", "cat", "dog", "sat", "ran", "on", "mat", "road", "good", "bad", "film", "was", "and",
    "not", "very", "##ing", ".", ",", "!",
]  # fmt: skip
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS, *(f"##{c}" for c in LETTERS)
]  # fmt: skip


@pytest.fixture
def preprocessor():
    return TextPreprocessor(WordPieceTokenizer(VOCABULARY), 20)


@pytest.fixture(params=[BertBackbone, DistilBertBackbone])
def backbone(request):
    return make_backbone(request.param)


def learner(cls=BertBackbone):
    """A backbone with initial weights and no dropout, which learns a few texts in seconds."""
    return cls(
        len(VOCABULARY), 1, 2, 16, 24, dropout=0.0, attention_dropout=0.0, max_sequence_length=20
    )


def make_backbone(cls=BertBackbone, seed=0, **changes):
    """A backbone with weights of order one, so that every part of it shows."""
    model = cls(len(VOCABULARY), 1, 2, 16, 24, max_sequence_length=20, **changes)
    random = np.random.default_rng(seed)
    for name, variable in named_variables(model).items():
        value = 0.4 * random.normal(size=tuple(variable.shape))
        variable.assign(1 + value if name.endswith("gamma") else value)
    return model


TEXTS = ["the cat sat", "a dog ran on the road.", "", "bad", "the film was not very good!", "mat"]
LABELS = [0, 1, 1, 0, 1, 0]


def classifier(backbone, preprocessor, **options):
    return TextClassifier(backbone, 2, preprocessor, **options)


def weights_of(model):
    return [ops.convert_to_numpy(v) for v in model.weights]


def batches_seen(task, **arguments):
    """The batches that `fit` hands on to Keras, one epoch, without training."""
    seen = []

    def fit(self, x=None, y=None, **kwargs):
        for place, data in enumerate((x, kwargs.get("validation_data"))):
            if data is not None:
                length = data.num_batches if hasattr(data, "num_batches") else None
                seen.append((place, [data[i] for i in range(length)] if length else list(data)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "fit", fit)
        task.fit(**arguments)
    as_arrays = keras.ops.convert_to_numpy  # of TensorFlow's data sets, too
    return {place: keras.tree.map_structure(as_arrays, batches) for place, batches in seen}
