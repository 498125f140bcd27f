"""Mixtures of experts in drafts: what a brick computes, and what is named as lacking."""

from types import SimpleNamespace

import numpy as np
import pytest

from inarch.checkpoints.formats.weights import TensorInfo
from inarch.models import registry
from inarch.port.experts import HeldExpert, Projection
from inarch.port.find_choice import AS_THEY_ARE, other_choices, with_read_choice
from inarch.port.folder import mounted, write_folder
from inarch.port.header import Header
from inarch.port.make_draft import make_draft
from inarch.port.new import draft_of as settled_draft
from inarch.port.saved_names import held_expert
from inarch.port.sparse_layers import SparseLayers, find_sparse_layers
from inarch.port.write_files import decisions_of, files_of

CONFIG = {
    "model_type": "novel", "architectures": ["NovelForCausalLM"], "hidden_size": 12,
    "intermediate_size": 20, "vocab_size": 29, "num_attention_heads": 3, "num_hidden_layers": 2,
    "max_position_embeddings": 14, "rope_theta": 1e4, "hidden_act": "silu", "rms_norm_eps": 1e-6,
    "num_experts": 4, "num_experts_per_tok": 2,
}  # fmt: skip
AROUND = {"embed_tokens.weight": (29, 12), "norm.weight": (12,)}
ATTENTION = {
    **{f"attn.{name}_proj.weight": (12, 12) for name in ("q", "k", "v", "o")},
    "input_layernorm.weight": (12,), "post_attention_layernorm.weight": (12,),
}  # fmt: skip
ROUTER = {"mlp.gate.weight": (4, 12)}
SINGLE = {f"mlp.experts.{e}.{name}.weight": (12, 20) if name == "w2" else (20, 12)
          for e in range(4) for name in ("w1", "w2", "w3")}  # fmt: skip
FUSED = {"mlp.experts.gate_up_proj": (4, 40, 12), "mlp.experts.down_proj": (4, 12, 20)}
TURNED = {"mlp.experts.gate_up_proj": (4, 12, 40), "mlp.experts.down_proj": (4, 20, 12)}
NETWORK = {"mlp.gate_proj.weight": (20, 12), "mlp.up_proj.weight": (20, 12),
           "mlp.down_proj.weight": (12, 20)}  # fmt: skip


def draft_of(*layers, **fields):
    """Return the draft of a file with the tensors of some layers."""
    shapes = {**AROUND}
    for i, layer in enumerate(layers):
        shapes |= {f"layers.{i}.{name}": shape for name, shape in {**ATTENTION, **layer}.items()}
    tensors = {f"model.{name}": TensorInfo("F32", shape) for name, shape in shapes.items()}
    return make_draft("drafted", Header("here", {**CONFIG, **fields}, tensors), None)


def built(draft, tmp_path):
    write_folder(tmp_path, "drafted", files_of(draft))
    with mounted(tmp_path, "drafted") as architecture:
        return architecture.backbone(**architecture.tiny)


def decided(draft, kind="DECIDE"):
    return {one.subject: one.text for one in decisions_of(draft) if one.kind == kind}


@pytest.mark.parametrize(
    ("experts", "rules"),
    [
        (SINGLE, ('rule("w1.weight", "gate", "o i -> {e} i o")', 'e="num_experts"')),
        (FUSED, ('"e (o + o) i -> e i o, e i o"', '"e o i -> e i o"')),
        (TURNED, ('"e i (o + o) -> e i o, e i o"', '"e i o -> e i o"')),
    ],
)
def test_gated_experts_that_a_softmax_chooses_are_drafted(experts, rules, tmp_path):
    draft = draft_of(*[{**ROUTER, **experts}] * 2)
    assert draft.graph.missing == ()
    text = files_of(draft)["checkpoint.py"]
    assert all(rule in text for rule in (*rules, '"router/kernel"'))
    assert decided(draft, "GUESS")["experts"].startswith("weights of experts over their sum")
    network = built(draft, tmp_path).get_layer("layer_1").feed_forward
    assert (network.num_experts, network.experts_per_token) == (5, 2)
    assert network.normalize_weights


def test_a_field_says_whether_weights_are_divided_by_their_sum():
    draft = draft_of(*[{**ROUTER, **FUSED}] * 2, norm_topk_prob=False)
    text = files_of(draft)["checkpoint.py"]
    assert 'field("norm_topk_prob", "normalize_weights", False)' in text
    assert "experts" not in decided(draft, "GUESS")
    unread = with_read_choice(draft.graph, ["hidden_size"])
    assert "normalize_weights" not in unread.switches
    words, other = next(other_choices(unread))
    assert (words, other.mixture.normalizes) == (AS_THEY_ARE, False)


def test_layers_without_experts_have_a_network_where_fields_name_them(tmp_path):
    fields = {"mlp_only_layers": [0], "decoder_sparse_step": 1, "moe_intermediate_size": 20}
    draft = draft_of(NETWORK, {**ROUTER, **SINGLE}, **fields)
    assert draft.graph.missing == ()
    text = files_of(draft)["checkpoint.py"]
    assert 'EveryNthBut("mlp_only_layers", "sparse_layers", None, layers=LAYERS,' in text
    assert 'i="num_layers[sparse_layers]"' in text
    assert 'i="num_layers[not sparse_layers]"' in text
    model = built(draft, tmp_path)
    networks = [model.get_layer(f"layer_{i}").feed_forward for i in (0, 1)]
    assert [type(one).__name__ for one in networks] == ["GatedFeedForward", "MixtureOfExperts"]


def test_layers_with_experts_that_no_field_names_are_left_to_a_person():
    draft = draft_of(NETWORK, {**ROUTER, **SINGLE})
    assert "some layers alone have experts" in decided(draft)["sparse_layers"]
    assert 'constant("sparse_layers", None),  # DECIDE' in files_of(draft)["checkpoint.py"]


@pytest.mark.parametrize(
    ("layer", "fields", "lacking"),
    [
        ({"mlp.shared_expert.up_proj.weight": (20, 12)}, {}, "with shared experts, which no brick"),
        ({"mlp.gate.bias": (4,)}, {}, "with biases, which no brick"),
        ({"mlp.gate.e_score_correction_bias": (4,)}, {"scoring_func": "sigmoid"},
            "with biases, sigmoid in place of a softmax, which"),
        ({}, {"n_group": 2}, "with groups of experts that are chosen first, which"),
        ({}, {"routed_scaling_factor": 2.5}, "with weights times 2.5, which"),
        ({}, {"num_experts_per_tok": None}, "no field that is known has how many"),
        ({"mlp.experts.zeta": (4, 5, 12)}, {}, "aren't a router's kernel and the experts' gate"),
    ],
)  # fmt: skip
def test_what_no_brick_has_is_named(layer, fields, lacking):
    draft = draft_of(*[{**ROUTER, **FUSED, **layer}] * 2, **fields)
    (missing,) = draft.graph.missing
    assert missing.part == "feed_forward"
    assert lacking in missing.text
    assert "MixtureOfExperts(" not in files_of(draft)["backbone.py"]


def test_gates_may_be_what_they_multiply():
    graph = draft_of(*[{**ROUTER, **SINGLE}] * 2).graph
    other = dict(other_choices(graph))["gates of experts exchanged"].mixture
    assert {one.theirs[-9:]: one.ours for one in other.projections} == {
        "w1.weight": ("up",), "w2.weight": ("down",), "w3.weight": ("gate",),
    }  # fmt: skip
    assert graph.replace(mixture=other.with_gates_exchanged()).mixture == graph.mixture


def test_a_tensor_of_an_expert_is_found_in_the_stack_that_holds_it():
    random = np.random.default_rng(0)
    held = {"layers.1.up": random.normal(size=(3, 8, 5)), "norm": random.normal(size=5)}
    stack = held["layers.1.up"]
    name = "layers.1.experts.2.w"
    assert held_expert(name, stack[2], held) == HeldExpert("layers.{i}.up")
    assert held_expert(name, stack[2, 4:], held) == HeldExpert("layers.{i}.up", 1)
    assert held_expert(name, stack[2].T, held) == HeldExpert("layers.{i}.up", None, True)
    assert held_expert(name, stack[1], held) is None
    assert held_expert("experts.2.w", stack[2], held) is None  # of no layer


def test_rules_of_single_experts_and_of_stacks_differ_in_the_number_alone():
    assert Projection("experts.{e}.w2.weight", ("down",), True).pattern == "i o -> {e} i o"
    assert Projection("experts.w2", ("down",)).pattern == "e o i -> e i o"


def experts_of(config):
    """Return a model whose layers have experts but for the first and for listed ones."""
    chosen = [
        i for i in range(config["n_layer"]) if i >= config["n_dense"] and
        i not in config["dense"] and (i + 1) % config["every"] == 0
    ]  # fmt: skip
    names = [f"h.{i}.mlp.experts.up" for i in chosen] + ["h.0.mlp.shared_experts.up"]
    return SimpleNamespace(state_dict=lambda: dict.fromkeys(names))


def test_fields_of_layers_with_experts_are_those_that_change_them():
    usual = {"dense": [], "every": 1, "n_dense": 0, "width": 8}
    found = find_sparse_layers(
        lambda fields: experts_of({**usual, **fields}), {"n_layer": 2}, usual
    )
    assert found == SparseLayers("dense", "every", 1, "n_dense")
    assert found.tiny == {"dense": [0, 2], "every": 1}
    assert SparseLayers(step="every").tiny == {"every": 2}
    assert SparseLayers(first="n_dense").tiny == {"n_dense": 2}
    assert SparseLayers().tiny == {}
    plain = SimpleNamespace(state_dict=lambda: {"h.0.mlp.up": None})
    assert find_sparse_layers(lambda fields: plain, {"n_layer": 2}, usual) is None


@pytest.mark.reference
@pytest.mark.parametrize(
    ("model_type", "more"),
    [("mixtral", {"names"}), ("qwen3_moe", {"norm_topk_prob"})],
)
def test_experts_compute_what_their_reference_does(model_type, more, without):
    pytest.importorskip("torch")
    for name, architecture in registry.architectures().items():
        if model_type in architecture.model_types:
            without(name)
    draft = settled_draft("drafted", Header("here", {"model_type": model_type}, {}))
    assert set(decided(draft, "SETTLED")) >= {"graph", "causal_lm", *more}
    assert set(decided(draft, "GUESS")) == {"dropout"}
