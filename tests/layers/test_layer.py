"""The base class of layers: a signature is a config."""

import keras
import numpy as np
import pytest

from inarch import layers
from inarch.errors import InputError
from inarch.layers.activation import gelu_approximate
from inarch.layers.layer import Layer


class Scale(Layer):
    """Multiplies, and has an argument of every kind."""

    def __init__(self, factor, sizes=(1, 2), *, kernel_initializer="zeros", inner_activation=None,
                 part=None, **kwargs):  # fmt: skip
        self.doubled = 2 * self.factor

    def call(self, inputs, return_attention_scores=False):
        y = self.inner_activation(inputs * self.factor)
        return (y, inputs[..., :1]) if return_attention_scores else y

    def _scores_shape(self, arguments):
        return (*arguments["inputs"].shape[:-1], 1)


class Half(Scale):
    """Settles an argument of its parent."""

    def __init__(self, part=None, **kwargs):
        super().__init__(0.5, part=part)


def copy_of(layer):
    config = layer.get_config()
    made = type(layer).from_config(config)
    assert made.get_config() == config
    return made


def test_arguments_are_attributes_before_the_body_runs():
    layer = Scale(3, inner_activation="gelu_approximate")
    assert (layer.factor, layer.sizes, layer.doubled) == (3, (1, 2), 6)
    assert isinstance(layer.kernel_initializer, keras.initializers.Zeros)
    assert layer.inner_activation is gelu_approximate


def test_a_config_has_every_argument_and_makes_an_equal_layer():
    part = keras.layers.Dense(3, name="inside")
    normal = keras.initializers.RandomNormal(seed=5)
    layer = Scale(3, part=part, kernel_initializer=normal, inner_activation="relu", name="mine",
                  dtype="bfloat16", trainable=False)  # fmt: skip
    made = copy_of(layer)
    assert (made.name, made.compute_dtype, made.trainable) == ("mine", "bfloat16", False)
    assert made.kernel_initializer.get_config()["seed"] == 5
    assert made.inner_activation is keras.activations.relu
    assert isinstance(made.part, keras.layers.Dense)
    assert made.part.name == "inside"


def test_what_is_set_later_is_in_the_config():
    layer = Scale(3)
    layer.factor = 7
    assert copy_of(layer).factor == 7


def test_a_subclass_records_its_own_signature_and_may_settle_its_parents():
    layer = Half(name="half")
    assert (layer.factor, layer.doubled, layer.name) == (0.5, 1, "half")
    assert "factor" not in layer.get_config()
    assert copy_of(layer).factor == 0.5


def test_arguments_that_are_missing_or_unknown_are_refused():
    with pytest.raises(TypeError, match="factor"):
        Scale()
    with pytest.raises(InputError, match="colour"):
        Scale(3, colour="red")


@pytest.mark.parametrize("scores", [False, True])
def test_symbolic_outputs_are_those_of_a_computation(scores):
    layer = Scale(3, dtype="float16")
    symbolic = layer(keras.Input((4, 2), batch_size=5), return_attention_scores=scores)
    found = layer(np.ones((5, 4, 2), "float16"), return_attention_scores=scores)
    shapes = [
        [(tuple(x.shape), keras.backend.standardize_dtype(x.dtype)) for x in keras.tree.flatten(y)]
        for y in (symbolic, found)
    ]
    assert shapes[0] == shapes[1]


PARTS = (layers.MultiHeadAttention(2), layers.FeedForward(8), keras.layers.LayerNormalization())
EXAMPLES = {
    "Adapter": (8,),
    "AlibiBias": (2,),
    "Block": PARTS,
    "FixedPositionEmbedding": (7, layers.SinePositions()),
    "InputEmbedding": (layers.ScaledEmbedding(9, 4), layers.PositionEmbedding(7)),
    "LastTokenOf": (2,),
    "RotaryAngles": (4,),
    "TokenDropoutEmbedding": (9, 4, 8, layers.PositionEmbedding(7), 1, PARTS[-1]),
    "ParallelBlock": PARTS,
    "ScaledEmbedding": (9, 4),
    "ShiftRight": (2,),
    "SymmetricConv1D": (4, 3),
    "ConvolutionStem": ((3, 4), (3, 2), (2, 1)),
    "ConvolutionalPositions": (4,),
    "FrameMask": ((3, 2), (2, 1)),
    "DisentangledAttentionEncoder": (8, 2),
    "DisentangledSelfAttention": (2,),
    "GlobalLocalAttention": (2,),
    "FNetEncoder": (8,),
    "Experts": (4, 2, 8),
    "FeedForward": (8,),
    "GatedFeedForward": (8,),
    "MaskedLMHead": (9,),
    "MixtureOfExperts": (4, 2, 8),
    "MultiHeadAttention": (2,),
    "PositionEmbedding": (7,),
    "RelativePositionBias": (2,),
    "Router": (4,),
    "SoftCap": (2.0,),
    "TokenAndPositionEmbedding": (9, 7, 4),
    "TransformerDecoder": (8, 2),
    "TransformerEncoder": (8, 2),
    "TransformerXLAttention": (2, PARTS[-1]),
    "TransformerXLBlock": (layers.TransformerXLAttention(2, PARTS[-1]), *PARTS[1:]),
    "VocabularyHead": (9,),
}  # fmt: skip
LAYERS = [
    name for name in layers.__all__
    if isinstance(getattr(layers, name), type) and issubclass(getattr(layers, name), keras.Layer)
]  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_made_anew_from_its_config(name):
    cls = getattr(layers, name)
    made = copy_of(cls(*EXAMPLES.get(name, ()), name="made", dtype="mixed_bfloat16"))
    stored = keras.saving.serialize_keras_object(made)
    assert type(keras.saving.deserialize_keras_object(stored)) is cls
