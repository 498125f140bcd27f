"""Models of configs with other values show which fields decide about tensors, and which follow."""

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.port.config_parts import find_parts, followed_widths, trials_of

SIZES = {"hidden_size": 16, "num_attention_heads": 4, "pooler_size": 16}
USUAL = {"hidden_size": 768, "num_attention_heads": 12, "pooler_size": 768}


def info(*shape):
    return TensorInfo("F32", shape)


def make(fields):
    """Return the tensors of a model with a table that two fields decide about."""
    given = {"relative": True, "shared": True, "segments": 0, **fields}
    found = {"embeddings.weight": info(29, 16)}
    if given["relative"]:
        found["table.weight"] = info(8, 16)
        if not given["shared"]:
            found["layer.0.position.weight"] = info(16, 16)
            found["layer.1.position.weight"] = info(16, 16)
    if given["segments"]:
        found["segments.weight"] = info(given["segments"], 16)
    return found


def test_each_tensor_has_the_values_that_it_depends_on():
    trials = {"relative": (True, False), "shared": (True, False), "segments": (0, 3),
              "scale": (False, True)}  # fmt: skip
    parts = find_parts(make, trials)
    assert {*parts.values} == {"relative", "shared", "segments"}
    layers = {f"layer.{i}.position.weight" for i in (0, 1)}
    assert {*parts.added} == {"segments.weight", *layers}
    assert parts.conditions == {
        "table.weight": {"relative": True},
        "layer.{i}.position.weight": {"relative": True, "shared": False},
        "segments.weight": {"segments": 3},
    }


def test_fields_are_tried_that_may_be_switches():
    config = {"old": True, "rows": 0, "size": 16, "terms": ["a"], "eos_token_id": 0, "none": "x"}
    found = dict(trials_of(config, {**config, "terms": None}, {"terms": "a"}, {"shared": False}))
    assert found == {
        "old": (True, False), "rows": (0, 3), "terms": (["a"], None), "shared": (False, True),
    }  # fmt: skip


def test_widths_follow_that_of_the_model():
    def built(fields):
        width = fields.get("narrow", 16)
        return {"embeddings.weight": info(29, width), "query": info(4 * fields.get("each", 4), 16)}

    absent = {"narrow": None, "each": None, "unread": None, "rate": 0.1}
    found = followed_widths(built, SIZES, USUAL, absent)
    assert found == ("pooler_size", "narrow")
