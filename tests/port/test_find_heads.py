"""Fields of true and false decide about a head's layers and biases, where its classes show it."""

import pytest

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.port.find_heads import draft_heads
from inarch.port.heads import ENCODERS, HeadClass

CONFIG = {"vocab_size": 29, "hidden_size": 16, "old": True, "head_bias": False, "act": "relu"}
TABLE = {"decoder.weight": (29, 16), "decoder.bias": (29,)}


def cls(purpose, shapes, switched=None, fields=()):
    tensors = {name: TensorInfo("F32", shape) for name, shape in shapes.items()}
    others = {name: cls(purpose, shapes) for name, shapes in (switched or {}).items()}
    for other in others.values():
        object.__setattr__(other, "fields", fields)
    return HeadClass(f"AnyFor{purpose}", tensors, {}, fields, others)


def transform(prefix, bias=True):
    found = {f"{prefix}dense.weight": (16, 16), f"{prefix}norm.weight": (16,)}
    return found | ({f"{prefix}dense.bias": (16,)} if bias else {})


def drafted(made):
    (head,), lines = draft_heads([made], "base.", CONFIG, ENCODERS)
    assert lines == []
    return head


def test_a_field_that_names_other_layers_gives_two_heads():
    new = transform("new.") | {"new.bias": (29,)}
    head = drafted(cls("MaskedLM", transform("old.") | TABLE, {"old": new}))
    assert (head.switch, head.switches) == ("old", ("old",))
    assert [name for name, *_ in head.dense] == ["old.dense"]
    assert head.table == "decoder.weight"
    assert head.other is not None
    assert [name for name, *_ in head.other.dense] == ["new.dense"]
    assert (head.other.table, head.other.bias) == ("", ("new.bias",))
    assert head.without("old", True).dense == head.dense
    assert head.without("old", False).dense == head.other.dense
    assert head.without("old", False).switches == ()


def test_a_field_that_adds_a_bias_is_the_argument_of_it():
    plain = transform("head.", bias=False) | TABLE
    head = drafted(cls("MaskedLM", plain, {"head_bias": transform("head.") | TABLE}))
    assert head.dense == (("head.dense", "masked_lm_head/transform", "head_bias"),)
    assert head.without("head_bias", False).dense[0][2] is False


def test_a_field_that_takes_away_the_bias_of_tokens_is_the_argument_of_it():
    without = {name: shape for name, shape in TABLE.items() if name != "decoder.bias"}
    made = cls("MaskedLM", transform("head.") | TABLE, {"old": transform("head.") | without})
    head = drafted(made)
    assert (head.bias, head.bias_switch) == (("decoder.bias",), "old")
    assert head.without("old", False).bias == ()


def test_a_field_with_which_a_bias_is_left_out_is_no_argument():
    """Its name would say the opposite."""
    plain = transform("head.") | TABLE
    without = transform("head.", bias=False) | TABLE
    head = drafted(cls("MaskedLM", plain, {"head_bias": without}))
    assert head.dense[0][2] is True
    assert head.switches == ()


@pytest.mark.parametrize("purpose", ["TokenClassification", "SequenceClassification"])
def test_a_classifier_may_begin_with_a_dense_layer_and_a_norm(purpose):
    shapes = transform("head.") | {"classifier.weight": (5, 16), "classifier.bias": (5,)}
    head = drafted(cls(purpose, shapes, fields=("act",)))
    assert [ours for _, ours, _ in head.dense] == ["pooled_dense", "logits"]
    assert head.norms == (("head.norm", "pooled_norm", False),)
    assert head.activation_field == "act"
