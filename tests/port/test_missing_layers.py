"""Layers that no brick computes have a place in a draft's graph, which can't be built with them."""

import ast
import importlib
import re

import keras
import pytest

import inarch.models
from inarch.checkpoints.formats.weights import TensorInfo
from inarch.errors import MissingLayerError
from inarch.layers import AlibiBias, Block, FeedForward
from inarch.layers.missing import MissingLayer
from inarch.models import registry
from inarch.port.alternatives import alternatives
from inarch.port.find_graph import find_graph
from inarch.port.folder import mounted, write_folder
from inarch.port.header import Header
from inarch.port.make_draft import make_draft
from inarch.port.modules import group_modules
from inarch.port.new import draft_of as new_draft_of
from inarch.port.patterns import collapse_names
from inarch.port.reference import find_evidence
from inarch.port.roles import recognize
from inarch.port.write_files import decisions_of, files_of

CONFIG = {
    "model_type": "novel", "hidden_size": 12, "intermediate_size": 20, "vocab_size": 29,
    "num_attention_heads": 3, "num_hidden_layers": 2, "max_position_embeddings": 14,
}  # fmt: skip
TABLE = {"embed_tokens.weight": (29, 12), "norm_f.weight": (12,)}
ATTENTION = {f"attn.{name}_proj.weight": (12, 12) for name in ("q", "k", "v", "o")}
NETWORK = {"mlp.up.weight": (20, 12), "mlp.down.weight": (12, 20)}
NORMS = {"attn_norm.weight": (12,), "mlp_norm.weight": (12,)}
WHOLE = {**ATTENTION, **NETWORK, **NORMS}


def draft_of(layer, outside=TABLE, config=CONFIG, stack="layers"):
    shapes = {**outside, **{f"{stack}.{i}.{n}": s for i in (0, 1) for n, s in layer.items()}}
    tensors = {name: TensorInfo("F32", shape) for name, shape in shapes.items()}
    return make_draft("drafted", Header("here", config, tensors), None)


def built(draft, tmp_path):
    """Build the tiny model of the folder of a draft, which imports."""
    write_folder(tmp_path, "drafted", files_of(draft))
    with mounted(tmp_path, "drafted") as architecture:
        assert architecture.sources[0].model_type == "novel"
        return architecture.backbone(**architecture.tiny)


def decided(draft):
    return {one.subject: one.text for one in decisions_of(draft) if one.kind == "DECIDE"}


def mapped(draft):
    """Return the strings of the weight map."""
    text = files_of(draft)["checkpoint.py"]
    tree = ast.parse(text[text.index("Source(\n") - 15 :])
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


CASES = {
    "state space": ({**NETWORK, **NORMS, "mamba.A_log": (24, 4), "mamba.in_proj.weight": (48, 12)},
        "attention", "recurrent", "mamba.A_log [24, 4]"),
    "memory": ({**WHOLE, "attn.fgate_preact.weight": (3, 12)},
        "attention", "recurrent", "attn.fgate_preact.weight [3, 12]"),
    "latent": ({**NETWORK, **NORMS, "attn.q_proj.weight": (12, 12), "attn.o_proj.weight": (12, 12),
        "attn.kv_a_proj.weight": (6, 12)}, "attention", "latent", "attn.kv_a_proj.weight [6, 12]"),
    "sinks": ({**WHOLE, "attn.sinks": (3,)}, "attention", "attention has", "attn.sinks [3]"),
    "unknown in attention": ({**WHOLE, "attn.zeta.weight": (5, 12)},
        "attention", "attention has", "attn.zeta.weight [5, 12]"),
    "no output": ({n: s for n, s in WHOLE.items() if "o_proj" not in n},
        "attention", "no tensor that is known for its output", ""),
    "shared experts": ({**ATTENTION, **NORMS, "mlp.experts.w": (4, 20, 12),
        "mlp.router.weight": (4, 12), "mlp.shared_expert.up_proj.weight": (20, 12)},
        "feed_forward", "shared experts, no gates, which no brick", "mlp.experts.w [4, 20, 12]"),
    "experts": ({**ATTENTION, **NORMS, "mlp.experts.gate_up_proj": (4, 40, 12),
        "mlp.experts.down_proj": (4, 12, 20), "mlp.router.weight": (4, 12)},
        "feed_forward", "MixtureOfExperts, if all are gated", "mlp.experts.down_proj [4, 12, 20]"),
    "a network of unknown names": ({**ATTENTION, **NORMS, "zeta.a.weight": (5, 12)},
        "feed_forward", "what the feed-forward network is", ""),
    "crossing": ({**WHOLE, "crossattention.key.weight": (12, 9)},
        "cross_attention", "another sequence", "crossattention.key.weight [12, 9]"),
    "a third sublayer": ({**WHOLE, "zeta.a.weight": (5, 12)},
        "layer_end", "a layer has", "zeta.a.weight [5, 12]"),
    "nothing known": ({"zeta.a.weight": (5, 12)}, "layers", "what the layers are", "zeta.a"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=CASES.keys())
def test_a_layer_that_must_be_written_is_named_and_nothing_is_built(case, tmp_path):
    layer, part, why, tensor = CASES[case]
    draft = draft_of(layer)
    text = decided(draft)[part]
    assert why in text
    assert tensor in text
    with pytest.raises(MissingLayerError, match=f"(?s){re.escape(why)}.*Write that layer"):
        built(draft, tmp_path)


@pytest.mark.parametrize("case", ["state space", "memory"])
def test_recurrent_layers_are_never_drafted_as_attention(case):
    draft = draft_of(CASES[case][0])
    assert not any(str(one).startswith("attention/") for one in mapped(draft))
    assert "MultiHeadAttention" not in files_of(draft)["backbone.py"]
    assert "feed_forward/up" in mapped(draft)


def test_the_weight_map_does_not_claim_what_is_lacking():
    names = mapped(draft_of(CASES["sinks"][0]))
    assert "attn.q_proj" in names
    assert not any("sinks" in str(name) for name in names)
    names = mapped(draft_of(CASES["shared experts"][0]))
    assert not any("experts" in str(name) or "feed_forward/" in str(name) for name in names)


def test_what_bricks_compute_is_built(tmp_path):
    draft = draft_of(WHOLE, {**TABLE, "embed_positions.weight": (14, 12)})
    assert draft.graph.missing == ()
    assert built(draft, tmp_path).num_layers == 2


@pytest.mark.parametrize("shown", [{"alibi": True}, {"attn_config": {"alibi": True}}])
def test_a_bias_by_distance_that_the_config_shows_is_drafted(shown, tmp_path):
    config = {**CONFIG, **shown, "architectures": ["NewForCausalLM"]}
    draft = draft_of(WHOLE, config=config)
    assert "score_bias=AlibiBias(num_heads)" in files_of(draft)["backbone.py"]
    (line,) = [one for one in decisions_of(draft) if one.subject == "positions"]
    assert (line.kind, line.text) == ("GUESS", "ALiBi, as alibi shows")
    attention = built(draft, tmp_path).get_layer("layer_1").attention
    assert isinstance(attention.distance_bias, AlibiBias)


def test_a_bias_by_distance_is_tried_in_a_decoder_whose_positions_nothing_shows():
    decoder = draft_of(WHOLE, config={**CONFIG, "architectures": ["NewForCausalLM"]})
    encoder = draft_of(WHOLE)
    for draft, is_tried in ((decoder, True), (encoder, False)):
        tried = {words: other for words, other in alternatives(draft) if "ALiBi" in words}
        assert bool(tried) == is_tried
        for other in tried.values():
            assert "score_bias=AlibiBias(num_heads)" in files_of(other)["backbone.py"]


def test_a_folder_is_known_no_longer_than_it_is_mounted(tmp_path):
    write_folder(tmp_path, "drafted", files_of(draft_of(WHOLE)))
    with mounted(tmp_path, "drafted") as architecture:
        module = importlib.import_module(architecture.backbone.__module__)
        assert module.__file__.startswith(str(tmp_path))
    assert not hasattr(inarch.models, "drafted")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(module.__name__)


@pytest.mark.parametrize(
    ("shape", "name"),
    [((12, 1, 5), "input_values"), ((12, 80, 3), "input_features"),
        ((12, 3, 4, 4), "pixel_values")],
)  # fmt: skip
def test_a_model_without_tokens_begins_with_a_layer_that_is_lacking(shape, name, tmp_path):
    draft = draft_of(WHOLE, {"stem.conv.weight": shape})
    assert "vocabulary_size" not in [argument.name for argument in draft.arguments]
    assert f'{name} = {{ reference = "{name}" }}' in files_of(draft)["presets.toml"]
    assert f"stem.conv.weight [{', '.join(map(str, shape))}]" in decided(draft)["embeddings"]
    guesses = [one.subject for one in decisions_of(draft) if one.kind == "GUESS"]
    assert "inputs" in guesses
    with pytest.raises(MissingLayerError, match="^embeddings: no table of tokens"):
        built(draft, tmp_path)


def test_the_layers_of_text_are_drafted_and_others_are_lacking(tmp_path):
    vision = {f"vision.layers.{i}.{n}": s for i in range(5) for n, s in WHOLE.items()}
    vision = {n: tuple(9 if size == 12 else size for size in s) for n, s in vision.items()}
    draft = draft_of(WHOLE, {**TABLE, **vision})
    assert {slot.module.stack for slot in draft.graph.slots} == {"", "layers.{i}"}
    assert "vision.layers." in decided(draft)["around_layers"]
    with pytest.raises(MissingLayerError, match="further stacks"):
        built(draft, tmp_path)


def test_an_encoder_of_sound_begins_with_a_layer_that_is_lacking(tmp_path):
    cross = {n.replace("attn.", "encoder_attn."): s for n, s in ATTENTION.items()}
    layers = {f"encoder.layers.{i}.{n}": s for i in (0, 1) for n, s in WHOLE.items()}
    cross["encoder_attn_norm.weight"] = (12,)
    whole = {**WHOLE, **cross}
    tables = {"encoder.conv1.weight": (12, 80, 3), "decoder.embed_tokens.weight": (29, 12)}
    draft = draft_of(whole, {**tables, **layers}, stack="decoder.layers")
    assert [one.subject for one in draft.graph.missing] == ["encoder embeddings"]
    assert "decoder_layer_{i}" in mapped(draft)
    with pytest.raises(MissingLayerError, match="^encoder_embeddings: .* begins with convolutions"):
        built(draft, tmp_path)


def test_sizes_that_no_field_has_are_those_of_the_tensors(tmp_path):
    text = {name: CONFIG[name] for name in ("hidden_size", "num_attention_heads")}
    other = {"hidden_size": 9, "num_attention_heads": 2}
    config = {"model_type": "novel", "vision_config": other, "text_config": text}
    draft = draft_of(WHOLE, config=config)
    known = {argument.name: argument.default for argument in draft.arguments}
    assert [known[n] for n in ("num_layers", "num_heads", "hidden_dim")] == ["2", "3", "12"]
    guesses = {one.subject for one in decisions_of(draft) if one.kind == "GUESS"}
    assert {"num_layers", "num_heads", "hidden_dim"} <= guesses


def test_norms_around_sublayers_are_known_by_their_names():
    norms = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
        "post_feedforward_layernorm")  # fmt: skip
    draft = draft_of({**ATTENTION, **NETWORK, **{f"{name}.weight": (12,) for name in norms}})
    assert draft.graph.order == "sandwich"
    by_name = {slot.module.inner: slot.ours for slot in draft.graph.slots}
    assert by_name["pre_feedforward_layernorm"] == ("feed_forward_norm",)


def test_norms_after_both_sublayers_and_over_all_heads_are_known_and_guesses(tmp_path):
    after = {f"post_{name}_layernorm.weight": (12,) for name in ("feedforward", "attention")}
    heads = {f"attn.{name}_norm.weight": (12,) for name in ("q", "k")}
    config = {**CONFIG, "rms_norm_eps": 1e-5, "rope_theta": 1e4}
    draft = draft_of({**ATTENTION, **heads, **NETWORK, **after}, config=config)
    assert draft.graph.order == "output"
    by_name = {slot.module.inner: slot.ours for slot in draft.graph.slots}
    assert by_name["post_attention_layernorm"] == ("attention_norm",)
    guesses = {one.subject: one.in_words() for one in decisions_of(draft) if one.kind == "GUESS"}
    assert "the norms are named as after each sublayer" in guesses["order of the norms"]
    assert "over all heads together" in guesses["norms of queries and keys"]
    model = built(draft, tmp_path)
    attention = model.get_layer("layer_0").attention
    assert attention.query_norm.gamma.shape == (attention.query_dense.units,)
    # A layer norm over all heads is none that is here.
    plain = draft_of({**ATTENTION, **heads, **NETWORK, **after}, config={**CONFIG, "rope_theta": 1})
    assert "RMSNorm alone has that" in decided(plain)["norms of queries and keys"]


def test_soft_caps_that_no_run_has_shown_are_guesses(tmp_path):
    caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    draft = draft_of(WHOLE, config={**CONFIG, **caps, "architectures": ["NewForCausalLM"]})
    guesses = {one.subject for one in decisions_of(draft) if one.kind == "GUESS"}
    assert guesses >= {"soft cap", "soft cap of logits"}
    assert "soft_cap=attention_soft_cap" in files_of(draft)["backbone.py"]
    assert built(draft, tmp_path).get_config()["attention_soft_cap"] == 50.0
    plain = {one.subject for one in decisions_of(draft_of(WHOLE)) if one.kind == "GUESS"}
    assert not plain & guesses & {"soft cap", "soft cap of logits"}


def test_norms_of_single_heads_stay_those_of_blocks():
    heads = {f"attn.{name}_norm.weight": (4,) for name in ("q", "k")}
    draft = draft_of({**WHOLE, **heads}, config={**CONFIG, "rms_norm_eps": 1e-5})
    assert "query_key_norm=norm" in files_of(draft)["backbone.py"]


def test_a_place_of_a_layer_computes_nothing():
    layer = MissingLayer("a layer must be written for a.b [3]", name="attention")
    copy = MissingLayer.from_config(layer.get_config())
    assert copy.what == layer.what
    x = keras.ops.zeros((1, 2, 4))
    block = Block(copy, FeedForward(3, "relu"), keras.layers.Identity())
    for call in (lambda: copy(x), lambda: copy.call(x), lambda: block(x)):
        with pytest.raises(MissingLayerError, match="^attention: a layer must be written for a.b"):
            call()


def test_attention_with_relative_segments_is_known_by_its_tensors(tmp_path):
    split = {f"rel.{name}": (12, 3, 4) for name in "qkvor"}
    biases = {f"rel.r_{name}_bias": (3, 4) for name in "wrs"}
    layer = {**split, **biases, "rel.seg_embed": (2, 3, 4), **NETWORK, **NORMS}
    draft = draft_of(layer, {"embed_tokens.weight": (29, 12)}, {**CONFIG, "clamp_len": -1})
    text = files_of(draft)["checkpoint.py"]
    assert 'rule("rel.o", "attention/output/kernel", "d h k -> (h=num_heads k) d"),' in text
    assert 'rule("rel.seg_embed", "attention/segment_keys", "s h k -> s h k")' in text
    assert 'norm("attn_norm", "attention/norm", bias=False),' in text
    assert "rel.q" not in decided(draft)
    model = built(draft, tmp_path)
    assert {*model.input} == {"token_ids", "padding_mask", "segment_ids"}
    del layer["rel.r_s_bias"]  # of another kind of attention
    assert draft_of(layer).graph.missing_text("attention")


@pytest.mark.slow
@pytest.mark.reference
def test_what_mixes_tokens_without_weights_is_tried(without):
    without("f_net")
    registry.architectures.cache_clear()
    made = new_draft_of("drafted", Header("here", {"model_type": "fnet"}, {}))
    known = {one.subject: one.text for one in decisions_of(made) if one.kind == "SETTLED"}
    assert known.keys() >= {"graph", "masked_lm", "text_classifier"}
    assert known["attention"] == "FourierMixing(), by trial"


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize("name", ["wav2vec2", "xlnet"])
def test_a_reference_is_run_whatever_it_reads(name):
    found = find_evidence(name, {"model_type": name})
    assert not found.causal
    assert any("layer" in call for call in found.calls)
    assert found.reads.modeling[""]


def test_features_are_brought_to_the_width_of_the_model_before_its_layers():
    outside = {"stem.conv.weight": (7, 1, 5), "project.norm.weight": (7,),
        "project.dense.weight": (12, 7), "first_norm.weight": (12,),
        "last_norm.weight": (12,)}  # fmt: skip
    shapes = {**outside, **{f"layers.{i}.{n}": s for i in (0, 1) for n, s in WHOLE.items()}}
    tensors = {name: TensorInfo("F32", shape) for name, shape in shapes.items()}
    modules, others = group_modules(recognize(collapse_names(tensors, CONFIG), CONFIG))
    inside = [module.name for module in modules if module.stack]
    calls = ["stem.conv", "project.norm", "project.dense", "first_norm", *inside, "last_norm"]
    graph = find_graph(modules, CONFIG, False, calls, {}, others)
    found = {slot.module.name: slot.ours[0] for slot in graph.slots if not slot.module.stack}
    assert found == {
        "project.norm": "projection_norm", "project.dense": "projection",
        "first_norm": "embeddings_norm", "last_norm": "final_norm",
    }  # fmt: skip
    assert [one.part for one in graph.missing] == ["embeddings"]


def test_heads_on_a_graph_that_lacks_layers_are_guesses_or_left_out():
    head = {"classifier.weight": (2, 12), "classifier.bias": (2,)}
    config = {**CONFIG, "architectures": ["NewForTokenClassification"]}
    layer = CASES["sinks"][0]
    table = {f"new.{name}": shape for name, shape in TABLE.items()}
    draft = draft_of(layer, {**table, **head}, config, stack="new.layers")
    guesses = {one.subject: one.text for one in decisions_of(draft) if one.kind == "GUESS"}
    assert "since the graph lacks layers" in guesses["token_classifier"]
    stem = {"new.stem.conv.weight": (12, 1, 5)}
    draft = draft_of(WHOLE, {**stem, **head}, config, stack="new.layers")
    assert draft.heads == ()
    assert "isn't drafted" in decided(draft)["NewForTokenClassification"]
