"""The config maps of Llama and its relatives."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

from inarch.models.llama.checkpoint import SMOLLM3


def test_smollm3_without_sizes_has_its_own_and_not_llamas():
    sizes = {"num_hidden_layers": 36, "num_attention_heads": 16, "hidden_size": 2048}
    whole = {"head_dim": 128, "num_key_value_heads": 16, "layer_types": ["full_attention"] * 36}
    assert SMOLLM3.arguments(whole, ()) == SMOLLM3.arguments(sizes | whole, ())
    assert SMOLLM3.arguments(whole, ())["head_dim"] is None
    assert SMOLLM3.arguments({}, ())["num_key_value_heads"] == 4
