"""A checkpoint's header and config say what it is made of, and what they don't say is a guess."""

import json
import struct

import keras
import pytest

from inarch import layers
from inarch.checkpoints.formats.weights import TensorInfo
from inarch.errors import CheckpointFileError, ConfigError, PresetError
from inarch.models import registry
from inarch.port import inspect
from inarch.port.header import Header
from inarch.port.inspection import inspect_header
from inarch.port.patterns import collapse_names

from ..verify.faults import GOLDENS, read

SIZES = {
    "model_type": "novel", "hidden_size": 12, "intermediate_size": 20, "vocab_size": 29,
    "num_attention_heads": 6, "num_key_value_heads": 2, "rope_theta": 1e4, "rms_norm_eps": 1e-6,
}  # fmt: skip
LAYER = {
    "self_attn.q_proj.weight": (12, 12), "self_attn.k_proj.weight": (4, 12),
    "self_attn.v_proj.weight": (4, 12), "self_attn.o_proj.weight": (12, 12),
    "mlp.gate_proj.weight": (20, 12), "mlp.up_proj.weight": (20, 12),
    "mlp.down_proj.weight": (12, 20), "input_layernorm.weight": (12,),
}  # fmt: skip


def golden_header(path):
    golden = read(path)
    tensors = {name: TensorInfo("F32", value.shape) for name, value in golden.weights.items()}
    return Header(path.stem, json.loads(golden.config_text), tensors)


def decoder(layer=LAYER, config=SIZES, **others):
    """Return the inspection of a decoder of two layers and a table."""
    shapes = {"model.embed_tokens.weight": (29, 12), **others}
    shapes |= {f"model.layers.{i}.{name}": shape for i in (0, 1) for name, shape in layer.items()}
    tensors = {name: TensorInfo("F32", shape) for name, shape in shapes.items()}
    return inspect_header(Header("here", config, tensors))


def roles(found):
    return {part.pattern.name.rpartition("}.")[2]: (part.role, part.by) for part in found.parts}


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_an_architecture_that_is_here_is_its_own_nearest_and_needs_no_layer(path):
    found = inspect_header(golden_header(path))
    assert found.unexplained == ()
    assert found.explained == found.tensors == len(read(path).weights)
    assert found.nearest.model_type == found.model_type
    assert found.nearest.added_names == ()
    assert found.new_layers == ()


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_the_nearest_to_an_encoder_is_no_decoder_and_to_a_decoder_no_encoder(path, monkeypatch):
    """An architecture that isn't here is compared by what its class is named for."""
    header = golden_header(path)
    known = registry.architectures()
    own = next(a for a in known.values() if header.config["model_type"] in a.model_types)
    source = own.sources[own.model_types.index(header.config["model_type"])]
    others = {name: one for name, one in known.items() if one is not own}
    monkeypatch.setattr(registry, "architectures", lambda: others)
    for head in {"masked_lm", "causal_lm"} & source.heads.keys():
        config = {**header.config, "architectures": [source.heads[head].architectures[0]]}
        nearest = inspect_header(Header("here", config, header.tensors)).nearest
        formats = {s.model_type: s for other in others.values() for s in other.sources}
        assert head in formats[nearest.model_type].heads


def test_what_an_architecture_may_have_besides_makes_it_no_nearer(monkeypatch):
    """DistilBERT has none of the relative positions that DeBERTa-v3 can do without."""
    known = registry.architectures()
    others = {name: one for name, one in known.items() if name != "distil_bert"}
    monkeypatch.setattr(registry, "architectures", lambda: others)
    (path,) = (one for one in GOLDENS if one.stem == "distil_bert")
    header = golden_header(path)
    config = {**header.config, "architectures": ["DistilBertForMaskedLM"]}
    nearest = inspect_header(Header("here", config, header.tensors)).nearest
    assert (nearest.architecture, nearest.missing) == ("bert", ("segment table",))


@pytest.mark.parametrize("named", [None, "BertForMaskedLM", [7, None], {}, ["New"]])
def test_where_classes_show_neither_the_most_parts_in_common_count(named):
    found = decoder(config={**SIZES, "architectures": named})
    assert found.nearest == decoder().nearest


def test_names_with_numbers_are_patterns_whose_axes_the_config_names():
    (table, query, key, *_) = decoder().parts
    assert table.pattern.axes == ("vocab_size", "hidden_size")
    assert query.pattern.name == "model.layers.{i}.self_attn.q_proj.weight"
    assert (query.pattern.count, query.pattern.indices) == (2, ((0, 1, 2),))
    assert key.pattern.axes[0] == "num_key_value_heads * hidden_size / num_attention_heads"


def test_what_a_model_is_called_is_the_role_of_none_of_its_tensors():
    tensors = {
        "my_prelayernorm.embeddings.weight": TensorInfo("F32", (29, 12)),
        "my_prelayernorm.layer.0.query.weight": TensorInfo("F32", (12, 12)),
        "my_prelayernorm.layer.0.query.bias": TensorInfo("F32", (12,)),
        "my_prelayernorm.LayerNorm.bias": TensorInfo("F32", (12,)),
    }
    found = inspect_header(Header("here", SIZES, tensors))
    assert [part.role for part in found.parts] == ["token table", "query", "query", "norm"]


def test_a_pattern_names_each_size_and_a_table_the_field_that_counts_its_rows():
    tensors = {
        "wpe.weight": TensorInfo("F32", (20, 12)),
        "conv_layers.0.conv.weight": TensorInfo("F32", (7, 1, 10)),
        "conv_layers.1.conv.weight": TensorInfo("F32", (7, 7, 3)),
    }
    found = inspect_header(Header("here", {**SIZES, "n_positions": 20}, tensors))
    axes = [part.pattern.axes for part in found.parts]
    assert axes == [("n_positions", "hidden_size"), ("7", "1 or 7", "10 or 3")]


def test_positions_that_a_convolution_has_are_not_guessed_to_be_sines():
    layers = {"encoder.pos_conv.layers.0.conv.weight": (12, 6, 5)}
    config = {name: value for name, value in SIZES.items() if name != "rope_theta"}
    found = {brick.kind: brick.layer for brick in decoder(config=config, **layers).bricks}
    assert found["convolutions in front"] == "keras.layers.Conv1D"
    assert not [kind for kind in found if kind.startswith("positions that have no tensor")]


def test_a_layer_that_lacks_a_tensor_shows_in_the_range_of_its_index():
    tensors = {f"h.{i}.norm.weight": TensorInfo("F32", (12,)) for i in (1, 2, 5)}
    (pattern,) = collapse_names(tensors, SIZES)
    assert pattern.indices == ((1, 5, 3),)


def test_bricks_are_those_that_the_tensors_and_the_config_show():
    kinds = {brick.kind: brick.layer for brick in decoder().bricks}
    assert kinds["rotary positions"] == "RotaryEmbedding"
    assert kinds["attention, 6 heads of queries, 2 of keys and values, no biases"]
    assert kinds["gated feed-forward network, no biases"] == "GatedFeedForward"
    assert kinds["RMS normalization"] == "RMSNorm"
    assert decoder().new_layers == ()


@pytest.mark.parametrize(
    ("shown", "sign"),
    [({"alibi": True}, "alibi"), ({"a": {"alibi": True}}, "alibi"),
     ({"model_type": "bloom"}, "model_type")],
)  # fmt: skip
def test_a_bias_by_distance_is_shown_by_a_field_or_the_type(shown, sign):
    bare = {name: value for name, value in SIZES.items() if name != "rope_theta"}
    found = {brick.kind: brick for brick in decoder(config={**bare, **shown}).bricks}
    brick = found["ALiBi: a bias by distance, without weights"]
    assert (brick.layer, brick.evidence) == ("AlibiBias", (sign,))
    off = decoder(config={**bare, "alibi": False}).bricks
    assert not [brick for brick in off if "ALiBi" in brick.kind]


@pytest.mark.parametrize(
    "experts",
    [
        {"mlp.experts.gate_up_proj": (4, 40, 12), "mlp.experts.down_proj": (4, 12, 20)},
        {f"mlp.experts.{j}.w{n}.weight": (20, 12) for j in range(4) for n in (1, 2, 3)},
    ],
)
def test_gated_experts_that_a_softmax_chooses_are_a_layer_here(experts):
    layer = {**LAYER, **experts, "mlp.gate.weight": (4, 12)}
    kinds = {brick.kind: brick.layer for brick in decoder(layer).bricks}
    assert kinds["mixture of experts"] == "MixtureOfExperts"
    assert decoder(layer).new_layers == ()
    (other,) = decoder(layer, {**SIZES, "scoring_func": "sigmoid"}).new_layers
    assert other.kind == "mixture of experts, sigmoid in place of a softmax"


@pytest.mark.parametrize(
    ("tensors", "kind"),
    [
        (
            {
                "mlp.experts.gate_up_proj": (4, 40, 12),
                "mlp.gate.weight": (4, 12),
                "mlp.shared_expert.up_proj.weight": (20, 12),
            },
            "mixture of experts, shared experts",
        ),
        (
            {
                "mlp.experts.gate_up_proj": (4, 40, 12),
                "mlp.experts.gate_up_proj_bias": (4, 40),
                "mlp.router.weight": (4, 12),
            },
            "mixture of experts, biases",
        ),
        (
            {
                "mlp.experts.0.w1.weight": (20, 12),
                "mlp.experts.0.w2.weight": (12, 20),
                "mlp.gate.weight": (4, 12),
            },
            "mixture of experts, no gates",
        ),
        ({"attn.pos_key_proj.weight": (12, 12)}, "projected positions"),
        (
            {"self_attn.kv_a_proj_with_mqa.weight": (6, 12)},
            "attention through latent keys and values",
        ),
        ({"conv_module.depthwise_conv.weight": (12, 1, 3)}, "convolutions within layers"),
        ({"mixer.A_log": (20, 4)}, "recurrent layers: a state space, linear attention or RWKV"),
        ({"self_attn.sinks": (6,)}, "sinks in the scores of attention"),
        ({"mlp.act_fn.alpha_p": (1,)}, "an activation with weights"),
        ({"mixer.odd": (7, 5)}, "tensors of layers that nothing explains"),
        ({"self_attn.rel_attn_embed.weight": (6, 7)}, "a relative bias that is more than a table"),
        ({"self_attn.query_far.weight": (12, 12)}, "further projections in attention"),
        (
            {"self_attn.q_norm.weight": (6, 2)},
            "norms of queries and keys that aren't one for each head alike",
        ),
    ],
    ids=[
        "shared experts",
        "experts with biases",
        "experts without gates",
        "positions",
        "latent",
        "convolution",
        "recurrence",
        "sinks",
        "activation",
        "unknown",
        "gated bias",
        "further",
        "norms over heads",
    ],
)
def test_a_layer_that_is_not_here_is_named(tensors, kind):
    assert kind in [brick.kind for brick in decoder({**LAYER, **tensors}).new_layers]


def test_a_soft_cap_on_the_scores_needs_a_number():
    for cap in (50.0, None):
        config = {**SIZES, "attn_logit_softcapping": cap}
        kinds = {brick.kind: brick.layer for brick in decoder(config=config).bricks}
        assert kinds.get("a soft cap on the scores") == (cap and "MultiHeadAttention")


def test_norms_over_all_heads_are_as_wide_as_queries_or_keys():
    norms = {"self_attn.q_norm.weight": (12,), "self_attn.k_norm.weight": (4,)}
    kinds = {brick.kind: brick.layer for brick in decoder({**LAYER, **norms}).bricks}
    assert kinds["norms of queries and keys over all heads together"] == "RMSNorm"


def test_a_module_with_a_state_is_recurrent_whole_but_for_its_norms_and_other_layers_are_not():
    state = {"A_log": (20, 4), "D": (20,), "in_proj.weight": (40, 12), "conv1d.bias": (20,)}
    names = {f"model.layers.0.self_attn.{name}": shape for name, shape in state.items()}
    names |= {
        "model.layers.0.self_attn.out_proj.weight": (12, 20),
        "model.layers.0.self_attn.dt_layernorm.weight": (4,),
        "model.layers.0.ffn.up_proj.weight": (20, 12),
        "model.layers.1.self_attn.out_proj.bias": (12,),
        "model.layers.1.self_attn.query.weight": (12, 12),
    }
    found = roles(decoder({}, **names))
    recurrent = {name for name, (role, _) in found.items() if role == "recurrence"}
    assert recurrent == {f"self_attn.{name}" for name in (*state, "out_proj.weight")}
    assert found["self_attn.dt_layernorm.weight"] == ("norm", "name")
    assert found["self_attn.query.weight"] == ("query", "name")
    assert found["ffn.up_proj.weight"] == ("up", "name")
    bare = roles(decoder({**LAYER, "A_log": (20, 4)}))  # no module is around it
    assert [n for n, (role, _) in bare.items() if role == "recurrence"] == ["A_log"]


@pytest.mark.parametrize(
    ("name", "shape", "role"),
    [
        ("moe.input_linear.weight", (4, 40, 12), "expert"),
        ("mlp.experts.3.w1.weight", (20, 12), "expert"),
        ("self_attn.kv_proj.weight", (8, 12), "key and value"),
        ("self_attn.gate_proj.weight", (12, 12), "gate of attention"),
        ("self_attn.layout_query.bias", (2,), "query"),
        ("attn.project_q.weight", (12, 12), "query"),
        ("conv_layers.norm.bias", (12,), "norm"),
        ("conv_module.batch_norm.bias", (12,), "batch norm"),
        ("feed_forward.intermediate.bias", (20,), "up"),
        ("altup.modality_router.weight", (4, 12), "alternating updates"),
    ],
)
def test_a_name_says_what_a_tensor_is(name, shape, role):
    experts = {"mlp.experts.0.w1.weight": (20, 12)}  # without any, a router is a gate
    found = decoder({**LAYER, **experts, name: shape})
    (part,) = [p for p in found.parts if p.pattern.name.endswith(name.replace(".3.", ".{j}."))]
    assert (part.role, part.by) == (role, "name")


def test_a_table_has_no_bias_and_one_of_tokens_may_be_known_by_its_shape_alone():
    table = {"shape_embed.weight": (9, 12), "box_embeddings.weight": (12, 4)}
    found = decoder(**table, **{"box_embeddings.bias": (12,)})
    known = {part.pattern.name: (part.role, part.by) for part in found.parts}
    assert known["shape_embed.weight"] == ("other table", "name")
    assert known["box_embeddings.weight"] == known["box_embeddings.bias"] == ("projection", "name")
    alone = inspect_header(Header("x", SIZES, {"w.weight": TensorInfo("F32", (29, 12))}))
    assert [(p.role, p.by) for p in alone.parts] == [("token table", "shape")]
    both = decoder(**{"w.weight": (29, 12)})
    assert ("language head", "shape") in [(p.role, p.by) for p in both.parts]


def test_experts_and_their_router_may_be_known_by_their_number():
    config = {**SIZES, "num_experts": 4}
    found = roles(decoder({**LAYER, "x.a": (4, 7, 12), "x.b.weight": (4, 12)}, config))
    assert (found["x.a"], found["x.b.weight"]) == (("expert", "shape"), ("router", "shape"))


def test_items_of_a_list_in_a_layer_are_apart_where_their_shapes_differ():
    ffn = {"ffn.0.weight": (20, 12), "ffn.0.bias": (20,), "ffn.2.weight": (12, 20)}
    stem = {"stem.0.0.weight": (12, 1, 5), "stem.0.1.weight": (12,)}
    stem |= {"stem.1.0.weight": (12, 12, 5), "stem.1.1.weight": (12,)}
    found = decoder({**ffn, "ffn.2.bias": (12,)}, **stem)
    known = {part.pattern.name: (part.role, part.by) for part in found.parts}
    layer = "model.layers.{i}.ffn"
    assert known[f"{layer}.0.weight"] == known[f"{layer}.0.bias"] == ("up", "shape")
    assert known[f"{layer}.2.weight"] == known[f"{layer}.2.bias"] == ("down", "shape")
    assert known["stem.{i}.0.weight"] == ("convolution", "shape")
    (up, *_) = [part.pattern for part in found.parts if "ffn.0" in part.pattern.name]
    assert (up.count, up.shapes, up.indices) == (2, ((20, 12),), ((0, 1, 2),))


def test_items_that_lie_in_layers_of_several_sizes_stay_together():
    shapes = {f"h.{i}.x.{j}.w": (4 + i, 2) for i in (0, 1) for j in (0, 1)}
    tensors = {name: TensorInfo("F32", shape) for name, shape in shapes.items()}
    (pattern,) = collapse_names(tensors, SIZES)
    assert (pattern.name, pattern.count) == ("h.{i}.x.{j}.w", 4)


def test_a_list_of_layers_outside_of_attention_is_not_taken_for_attention():
    config = {name: size for name, size in SIZES.items() if "intermediate" not in name}
    extra = {f"extra.{i}.weight": (12, 12) for i in (0, 1)}
    found = {p.pattern.name: p.role for p in decoder({}, config, **extra).parts}
    assert found["extra.{i}.weight"] is None
    head = {p.pattern.name: p.role for p in decoder({}, **{"my_head.0.weight": (12, 12)}).parts}
    assert head["my_head.{i}.weight"] == "head"


@pytest.mark.parametrize(
    ("name", "shape", "role"),
    [
        ("head.weight", (29, 12), "language head"),
        ("head.weight", (3, 12), "head"),
        ("encoder/layer_1/mlp/down/kernel", (12, 20), "down"),
        ("embed.out.weight", (40, 12), "projection"),  # a table has no bias
    ],
)
def test_what_is_outside_of_layers_is_known_by_name_and_rows(name, shape, role):
    tensors = {"tok_emb.weight": (29, 12), name: shape, "embed.out.bias": (40,)}
    given = {n: TensorInfo("F32", s) for n, s in tensors.items()}
    found = inspect_header(Header("x", SIZES, given))
    assert {p.pattern.name: p.role for p in found.parts}[name] == role


def test_an_mlp_without_a_width_in_the_config_is_four_times_as_wide():
    config = {name: size for name, size in SIZES.items() if "intermediate" not in name}
    found = roles(decoder({"mix.a.weight": (48, 12), "mix.b.weight": (12, 48)}, config))
    assert (found["mix.a.weight"], found["mix.b.weight"]) == (("up", "shape"), ("down", "shape"))


def test_widths_say_whether_a_gate_is_in_the_same_tensor():
    known = {width: roles(decoder({"mlp.Wi.weight": (width, 12)})) for width in (20, 40)}
    assert known[20]["mlp.Wi.weight"][0] == "up"
    assert known[40]["mlp.Wi.weight"][0] == "gate and up"


def test_one_more_square_matrix_is_not_attention_where_names_say_what_attention_is():
    found = decoder({**LAYER, "linear.weight": (12, 12), "linear.bias": (12,)})
    assert roles(found)["linear.weight"] == ("projection", "shape")
    assert roles(found)["linear.bias"] == ("projection", "shape")


def test_only_what_names_and_fields_show_is_taken_for_known():
    kinds = [brick.kind for brick in decoder().bricks]
    assert not any("window" in kind for kind in kinds)
    windows = {**SIZES, "sliding_window": 8}
    assert any("window" in brick.kind for brick in decoder(config=windows).bricks)
    without = {**windows, "use_sliding_window": False}
    assert not any("window" in brick.kind for brick in decoder(config=without).bricks)
    gated = {**LAYER, "mlp.gate.weight": (20, 12)}  # without experts it chooses none
    assert roles(decoder(gated))["mlp.gate.weight"][0] == "gate"
    assert decoder(gated).new_layers == ()
    head = decoder(**{"lm_head.weight": (29, 12)}).bricks[-1]
    assert (head.kind, head.layer) == ("language-modeling head", "keras.layers.Dense")


def test_rotary_positions_that_are_not_here_are_named():
    scaling = {"rope_scaling": {"rope_type": "unheard of", "factor": 2.0}}
    (brick,) = decoder(config={**SIZES, **scaling}).new_layers
    assert brick.kind.startswith("rotary positions, ")
    share = {"partial_rotary_factor": 0.25}  # which RotaryEmbedding has
    assert decoder(config={**SIZES, **share}).new_layers == ()


def test_fields_that_change_the_graph_without_a_tensor_are_listed():
    config = {**SIZES, "attn_logit_softcapping": 50.0, "no_rope_layers": [1, 0], "multiplier": 1}
    assert decoder(config=config).quirks == ("attn_logit_softcapping", "no_rope_layers")
    assert decoder().quirks == ()


def test_what_names_do_not_say_is_guessed_by_shape_or_left_unexplained():
    layer = {"a.weight": (12, 12), "b.weight": (20, 12), "c.weight": (12, 20), "d.weight": (7, 5)}
    found = decoder(layer)
    assert roles(found)["a.weight"] == ("attention projection", "shape")
    assert roles(found)["b.weight"] == ("up", "shape")
    assert roles(found)["c.weight"] == ("down", "shape")
    assert found.unexplained == ("model.layers.{i}.d.weight",)
    assert found.tensors - found.explained == 2
    guesses = [brick for brick in found.bricks if "square projections" in brick.kind]
    assert [brick.is_guess for brick in guesses] == [True]


def test_without_a_field_for_its_epsilon_a_norm_without_bias_is_a_guess():
    without = {name: value for name, value in SIZES.items() if name != "rms_norm_eps"}
    (brick,) = [b for b in decoder(config=without).bricks if b.kind.startswith("norms")]
    assert brick.is_guess


def test_a_header_is_read_from_a_folder_a_cut_off_file_and_json_alike(tmp_path):
    shapes = {"embed_tokens.weight": [29, 12], "layers.0.mlp.up_proj.weight": [20, 12]}
    entries, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    data = json.dumps(entries).encode()
    (tmp_path / "config.json").write_text(json.dumps(SIZES))
    whole = struct.pack("<Q", len(data)) + data + bytes(at)
    (tmp_path / "model.safetensors").write_bytes(whole)
    (tmp_path / "begun.safetensors").write_bytes(whole[: len(data) + 20])
    (tmp_path / "header.json").write_text(json.dumps({"__metadata__": {}, **entries}))
    first, *others = (
        inspect(tmp_path / name).to_json()
        for name in ("", "model.safetensors", "begun.safetensors", "header.json")
    )
    for other in others:
        assert {**other, "source": ""} == {**first, "source": ""}
    assert json.dumps(first)
    assert first["tensors"] == first["explained"] == 2


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.gguf", b"GGUF", "GGUF: take the model that it was quantized from"),
        ("a.onnx", b"", "ONNX"),
        ("a.keras", b"PK", "is Keras: open it with"),
        ("a.safetensors", b"\x09\0\0\0\0\0\0\0{}", "no whole header"),
        ("a.safetensors", b"\xff" * 9, "no whole header"),
        ("a.json", b'{"w": {"dtype": "F32"}}', "tensor 'w' is"),
        ("a.json", b'{"w": {"dtype": "Q4", "shape": [2]}}', "tensor 'w' is"),
        ("a.json", b"{}", "has no tensors"),
        ("model-00001-of-00002.safetensors", b"", "part of a checkpoint"),
        ("model.safetensors.index.json", b"{}", "part of a checkpoint"),
        ("a.json", b'{"q.lora_A.weight": {"dtype": "F32", "shape": [2]}}', "an adapter alone"),
        ("a.json", b'{"q.qweight": {"dtype": "I32", "shape": [2]}}', "quantized"),
    ],
)
def test_what_is_no_header_is_named_for_what_it_is(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointFileError, match=said):
        inspect(tmp_path / name)


def test_a_config_is_needed_and_a_quantized_checkpoint_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"w": {"dtype": "F32", "shape": [2]}}')
    with pytest.raises(ConfigError, match="--config"):
        inspect(tmp_path / "a.json")
    (tmp_path / "c.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    with pytest.raises(ConfigError, match="gptq"):
        inspect(tmp_path / "a.json", tmp_path / "c.json")
    with pytest.raises(PresetError, match="a hub id has the form"):
        inspect(tmp_path / "nowhere" / "at" / "all")


def test_hostile_names_and_configs_without_a_type_are_read():
    tensors = {
        "../../etc/passwd": TensorInfo("F32", (2,)), "{i}.{j}": TensorInfo("F32", ()),
        "x" * 10_000: TensorInfo("F32", (0, 3)), "1.2.3.4.5.6.7": TensorInfo("I8", (1, 1)),
        "_" * 10_000: TensorInfo("F32", ()), "h.{i}.z": TensorInfo("F32", ()),
        "h.0.z": TensorInfo("F32", ()),
    }  # fmt: skip
    config = {"hidden_size": -1, "num_attention_heads": 0, "model_type": 7, "rope_parameters": 3}
    found = inspect_header(Header("x", config, tensors))
    assert found.model_type is None
    assert len(found.unexplained) == len(tensors)
    assert json.dumps(found.to_json())


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_every_layer_that_is_named_is_there(path):
    for brick in inspect_header(golden_header(path)).bricks:
        module, _, name = str(brick.layer).rpartition(".")
        assert hasattr(keras.layers if module else layers, name), brick
