"""Layers that differ: the first lacks a norm, some see near tokens alone, or have no positions."""

import pytest

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.models import registry
from inarch.port.alternatives import alternatives
from inarch.port.find_parts import with_layer_fields
from inarch.port.graph import Graph
from inarch.port.header import Header
from inarch.port.layer_fields import LayerField, layer_fields
from inarch.port.make_draft import make_draft
from inarch.port.modules import group_modules
from inarch.port.new import draft_of
from inarch.port.patterns import collapse_names
from inarch.port.roles import recognize
from inarch.port.tiny_inputs import call_order
from inarch.port.write_files import decisions_of, files_of

KINDS = {"layer_types": LayerField("layer_types", "full_attention", "sliding_attention")}


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
    graph = with_layer_fields(Graph(False, (), positions="rotary"), KINDS, fields, halved)
    assert graph.window == window
    assert dict(graph.layer_types) == {"full_attention": "global", "sliding_attention": "local"}


@pytest.mark.parametrize("kinds", [{}, {"layer_types": LayerField("layer_types", "chunked", 0)}])
def test_other_kinds_are_not_drafted(kinds):
    graph = Graph(False, (), positions="rotary")
    assert not with_layer_fields(graph, kinds, {"sliding_window": 8}, set()).layer_types


def test_layers_without_positions_are_those_whose_value_is_not_true():
    layers = {"no_rope": LayerField("no_rope", 0, 1)}
    graph = with_layer_fields(Graph(True, (), positions="rotary"), layers, {}, set())
    assert graph.rotary_layers == {0: False, 1: True}
    assert graph.switches == {"rotary_layers": "no_rope"}


def test_positions_may_be_those_of_local_layers_alone():
    tensors = {f"layers.0.attn.{name}_proj.weight": (8, 8) for name in "qkvo"}
    config = {"model_type": "novel", "num_attention_heads": 2, "hidden_size": 8, "rope_theta": 1e4}
    infos = {name: TensorInfo("F32", shape) for name, shape in tensors.items()}
    draft = make_draft("drafted", Header("here", config, infos), None)
    graph = with_layer_fields(draft.graph, KINDS, {"sliding_window": 8}, set())
    other = dict(alternatives(draft.replace(graph=graph)))["positions in local layers alone"]
    text = files_of(other)["backbone.py"]
    assert "position=None if is_global else RotaryEmbedding(rope_theta)," in text
    # A line for each option of a layer that has many.
    scaled = other.with_graph(scaled=True, interleaved=True, scaled_tokens=True)
    lines = files_of(scaled)["backbone.py"].splitlines()
    assert max(map(len, lines)) <= 100
    assert "interleaved=True," in [line.strip() for line in lines]


class Configs:
    """Configs of a class whose layers are near or far, as a number says."""

    def __init__(self, kinds, **usual):
        self.kinds, self.usual = kinds, {"num_layers": 6, **usual}
        self.AutoConfig = self

    def for_model(self, model_type, **fields):
        made = {**self.usual, **fields}
        made["kinds"] = [self.kinds(i, made) for i in range(made["num_layers"])]
        made["window"] = 8 if made.get("is_near", True) else None
        self.made = made
        return self

    def to_dict(self):
        return self.made

    def layer_fields(self):
        usual = {**self.for_model("").to_dict()}
        return layer_fields("", usual, {}, self)


def test_a_list_follows_a_number_in_each_of_three_ways():
    last = Configs(lambda i, c: "far" if (i + 1) % c["step"] == 0 else "near", step=4)
    assert last.layer_fields()["kinds"].spelling == (
        "every_nth", ('"step"', '"far"', '"near"', "4", "is_last=True"),
    )  # fmt: skip
    begin = Configs(lambda i, c: "far" if i % c["step"] == 0 else "near", step=3)
    assert begin.layer_fields()["kinds"].spelling[1] == ('"step"', '"far"', '"near"', "3")
    until = Configs(lambda i, c: "near" if c["is_near"] and i >= c["full"] else "far", full=4,
                    is_near=False)  # fmt: skip
    found = until.layer_fields()["kinds"]
    assert found.spelling == (
        "first_layers", ('"full"', '"far"', '"near"', "4", 'switch="is_near"'),
    )  # fmt: skip
    assert found.blank == {"window": 8}  # which the class leaves without a value unless it is on


def test_a_list_may_follow_a_number_that_no_field_has():
    found = Configs(lambda i, c: "far" if i % 4 == 3 else "near", step=5).layer_fields()
    assert found["kinds"].spelling == (
        "every_nth",
        ("None", '"far"', '"near"', "4", "is_last=True"),
    )


def test_a_list_of_one_value_or_of_no_number_follows_none():
    assert Configs(lambda i, c: "far", step=4).layer_fields() == {}
    found = Configs(lambda i, c: "far" if i in (1, 2) else "near", step=4).layer_fields()
    assert (found["kinds"].older, found["kinds"].way) == ("", "")


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize(
    ("folder", "model_type", "lines"),
    [
        ("llama", "smollm3", [
            'per_layer("no_rope_layers", "rotary_layers", layers=LAYERS,',
            'older=every_nth("no_rope_layer_interval", 0, 1, 4, is_last=True)),',
            'ignored("sliding_window", reason="no output depends on it"),',
        ]),
        ("llama", "qwen2", [
            'older=first_layers("max_window_layers", "full_attention", "sliding_attention", 28, '
            'switch="use_sliding_window")),',
            'field("sliding_window", "sliding_window", 4096, nullable=True, least=2,',
        ]),
        ("gemma3", "gemma3_text", [
            'older=every_nth("sliding_window_pattern", "full_attention", "sliding_attention", 6, '
            "is_last=True)),",
            'field("query_pre_attn_scalar", "query_pre_attn_scalar", 256),',
            'field("use_bidirectional_attention", "bidirectional", False),',
            'rotary_scaling("rope_scaling", holder="rope_parameters.full_attention", length',
            'must_be("rope_parameters.sliding_attention.rope_type", "default"),',
        ]),
    ],
)  # fmt: skip
def test_decoders_whose_layers_differ_compute_what_their_references_do(
    folder, model_type, lines, without
):
    without(folder)
    made = draft_of("drafted", Header("here", {"model_type": model_type}, {}))
    known = {one.subject for one in decisions_of(made) if one.kind == "SETTLED"}
    assert known >= {"graph", "causal_lm", "text_classifier"}
    text = "".join(files_of(made)["checkpoint.py"].split())
    assert [line for line in lines if "".join(line.split()) not in text] == []


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
