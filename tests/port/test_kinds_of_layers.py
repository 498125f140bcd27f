"""Layers that differ: the first lacks a norm, and some see near tokens alone."""

import pytest

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.models import registry
from inarch.port.find_parts import with_layer_types
from inarch.port.graph import Graph
from inarch.port.header import Header
from inarch.port.modules import group_modules
from inarch.port.new import draft_of
from inarch.port.patterns import collapse_names
from inarch.port.roles import recognize
from inarch.port.tiny_model import call_order
from inarch.port.write_files import decisions_of, files_of

KINDS = ["full_attention", "sliding_attention"]


def modules(*names):
    tensors = {f"{name}.weight": TensorInfo("F32", (16,)) for name in names}
    found, _ = group_modules(recognize(collapse_names(tensors, {}), {}))
    return {module.name: module.is_late for module in found}


def test_what_all_layers_but_the_first_have_is_of_the_stack():
    both = [f"layers.{i}.mlp_norm" for i in (0, 1)]
    assert modules(*both, "layers.1.attn_norm") == {
        "layers.{i}.mlp_norm": False, "layers.{i}.attn_norm": True,
    }  # fmt: skip


def test_what_the_first_layer_alone_has_is_of_none():
    both = [f"layers.{i}.mlp_norm" for i in (0, 1)]
    assert modules(*both, "layers.0.bias_norm") == {
        "layers.{i}.mlp_norm": False, "layers.0.bias_norm": False,
    }  # fmt: skip


def test_what_the_first_layer_lacks_is_where_the_others_call_it():
    called = [
        "embeddings", "layers.0.attn.qkv", "layers.0.mlp_norm", "layers.1.attn_norm",
        "layers.1.attn.qkv", "layers.1.mlp_norm", "final_norm",
    ]  # fmt: skip
    assert call_order(called) == (
        "embeddings", "layers.{i}.attn_norm", "layers.{i}.attn.qkv", "layers.{i}.mlp_norm",
        "final_norm",
    )  # fmt: skip


def test_modules_outside_of_layers_are_where_they_are_called():
    called = ["embeddings", "layers.0.query", "conv", "layers.1.query", "final_norm"]
    assert call_order(called) == ("embeddings", "layers.{i}.query", "conv", "final_norm")


@pytest.mark.parametrize(
    ("fields", "halved", "window"),
    [
        ({"local_attention": 128}, {"64"}, "local_attention // 2"),
        ({"sliding_window": 128}, set(), "sliding_window - 1"),
    ],
)
def test_the_window_of_a_kind_is_the_field_or_half_of_it(fields, halved, window):
    graph = with_layer_types(Graph(False, (), positions="rotary"), {"layer_types": KINDS, **fields},
                             halved)  # fmt: skip
    assert graph.window == window
    assert dict(graph.layer_types) == {"full_attention": "global", "sliding_attention": "local"}


@pytest.mark.parametrize("kinds", [["full_attention"], ["full_attention", "chunked"], None])
def test_other_kinds_are_not_drafted(kinds):
    graph = Graph(False, (), positions="rotary")
    assert with_layer_types(graph, {"layer_types": kinds, "sliding_window": 8}, set()) == graph


@pytest.mark.slow
@pytest.mark.reference
def test_modern_bert_computes_what_its_reference_does(without):
    without("modern_bert")
    registry.architectures.cache_clear()
    made = draft_of("drafted", Header("here", {"model_type": "modernbert"}, {}))
    known = {one.subject for one in decisions_of(made) if one.kind == "SETTLED"}
    switches = {"norm_bias", "decoder_bias", "classifier_bias", "classifier_pooling"}
    assert known >= {"graph", "masked_lm", "text_classifier", *switches}
    text = files_of(made)["checkpoint.py"]
    assert 'norm("attn_norm", "attention_norm", bias="norm_bias", i="num_layers[1:]"),' not in text
    assert 'i="num_layers[1:]"),' in text
    assert 'config.get("local_attention", 128) // 2),' in text
