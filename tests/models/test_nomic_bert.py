"""Nomic BERT as its authors publish it: fields named as GPT-2's, and no prefix of tensors."""

import json

import numpy as np
import pytest
from keras import ops

from inarch import Backbone, TextEmbedder
from inarch.errors import ConfigError
from inarch.models import registry

# Of ours, by name: what nomic-ai/nomic-embed-text-v1.5 has in its config.json.
SIZES = {
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_embd": "hidden_size",
    "n_inner": "intermediate_size",
    "n_positions": "max_position_embeddings",
    "layer_norm_epsilon": "layer_norm_eps",
    "resid_pdrop": "hidden_dropout_prob",
    "attn_pdrop": "attention_probs_dropout_prob",
}
PUBLISHED = {
    "activation_function": "swiglu",
    "architectures": ["NomicBertModel"],
    "auto_map": {"AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"},
    "causal": False,
    "dense_seq_output": True,
    "embd_pdrop": 0.0,
    "fused_bias_fc": True,
    "fused_dropout_add_ln": True,
    "max_trained_positions": 2048,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "pad_vocab_size_multiple": 64,
    "parallel_block": False,
    "parallel_block_tied_norm": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "reorder_and_upcast_attn": False,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "summary_activation": None,
    "summary_first_dropout": 0.0,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "use_cache": True,
    "use_flash_attn": True,
    "use_rms_norm": False,
    "use_xentropy": True,
}


@pytest.fixture
def published(tmp_path):
    """Return a function that makes a folder as the authors would have, and the model that is in it.

    Fields are given by keyword.
    """

    def make(**fields):
        architecture = registry.architectures()["nomic_bert"]
        model = architecture.backbone(**architecture.tiny, pooler=False)
        folder = tmp_path / "published"
        model.save_to_preset(folder)
        path = folder / "config.json"
        ours = json.loads(path.read_text())
        config = {name: ours[field] for name, field in SIZES.items() if field in ours}
        config |= {n: ours[n] for n in ("model_type", "vocab_size", "type_vocab_size") if n in ours}
        config["rotary_emb_base"] = ours["rope_parameters"]["rope_theta"]
        path.write_text(json.dumps(config | PUBLISHED | fields))
        return folder, model

    return make


def test_fields_by_the_authors_names_give_the_model_and_stay(published, tmp_path):
    folder, model = published()
    again = Backbone.from_preset(folder)
    assert again.arguments == model.arguments
    ids = np.array([[3, 5, 7, 2]], "int32")
    inputs = {
        "token_ids": ids,
        "padding_mask": np.ones_like(ids),
        "segment_ids": np.zeros_like(ids),
    }
    first, second = (m(inputs)["sequence_output"] for m in (model, again))
    np.testing.assert_array_equal(ops.convert_to_numpy(first), ops.convert_to_numpy(second))
    TextEmbedder(again).save_to_preset(tmp_path / "out")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("activation_function", "gelu"),
        ("prenorm", True),
        ("rotary_emb_interleaved", True),
        ("rotary_emb_fraction", 0.5),
        ("rotary_scaling_factor", 2.0),
        ("qkv_proj_bias", True),
        ("num_experts", 8),
    ],
)
def test_what_the_authors_code_computes_otherwise_is_refused_by_name(published, field, value):
    folder, _ = published(**{field: value})
    with pytest.raises(ConfigError, match=field):
        Backbone.from_preset(folder)
