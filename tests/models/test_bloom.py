"""BLOOM: published configs and files, and what they can't have."""

import json

import numpy as np
import pytest
from keras import ops

from inarch import Backbone, CausalLM, TokenClassifier
from inarch.checkpoints.formats.files import open_weights
from inarch.errors import ConfigError
from inarch.models.bloom.backbone import BloomBackbone
from inarch.models.bloom.checkpoint import HUGGING_FACE

# As bloom-560m has it, but for its sizes.
PUBLISHED = {
    "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0,
    "attention_softmax_in_fp32": True, "bias_dropout_fusion": True, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": 3, "unk_token_id": 0, "hidden_dropout": 0.0,
    "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "masked_softmax_fusion": True,
    "model_type": "bloom", "n_embed": 12, "n_inner": None, "n_layer": 2,
    "num_attention_heads": 3, "offset_alibi": 100, "pretraining_tp": 1, "seq_length": 2048,
    "skip_bias_add": True, "skip_bias_add_qkv": False, "transformers_version": "4.20.0",
    "use_cache": True, "vocab_size": 29, "architectures": ["BloomModel"],
}  # fmt: skip


def model(**arguments):
    sizes = {"vocabulary_size": 29, "num_layers": 2, "num_heads": 3, "hidden_dim": 12}
    return BloomBackbone(**{**sizes, **arguments})


@pytest.fixture
def published(tmp_path):
    """A folder as bloom-560m is published: older names of sizes, and tensors without prefix."""
    ours = model(padding_id=3)
    random = np.random.default_rng(0)
    for variable in ours.variables:
        variable.assign(0.5 * random.standard_normal(variable.shape))
    ours.save_to_preset(tmp_path / "published")
    (tmp_path / "published" / "config.json").write_text(json.dumps(PUBLISHED))
    return tmp_path / "published", ours


def test_published_files_are_read_and_come_back_as_they_are(published, tmp_path):
    folder, ours = published
    with open_weights(folder) as weights:
        names = [*weights.header]
    assert "word_embeddings.weight" in names
    assert not any("transformer." in name for name in names)
    read = Backbone.from_preset(folder)
    assert read.arguments == ours.arguments
    inputs = {"token_ids": np.array([[4, 5, 6, 7]]), "padding_mask": np.array([[1, 1, 1, 0]])}
    np.testing.assert_array_equal(*(ops.convert_to_numpy(m(inputs)) for m in (read, ours)))
    read.save_to_preset(tmp_path / "back")
    written = json.loads((tmp_path / "back" / "config.json").read_text())
    assert {**written, "transformers_version": "4.20.0"} == PUBLISHED
    task = CausalLM.from_preset(folder, preprocessor=None)
    assert task.tie_word_embeddings


def test_longer_sequences_than_those_of_training_can_be_allowed(published):
    folder, _ = published
    longer = Backbone.from_preset(folder, max_sequence_length=4096)
    assert (longer.max_length, longer.decoder_stack().max_length) == (4096, 4096)
    assert Backbone.from_preset(folder).max_length == 2048


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("apply_residual_connection_post_layernorm", True),
        ("slow_but_exact", True),
        ("n_inner", 40),
        ("is_causal", False),
    ],
)
def test_what_is_computed_otherwise_is_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=f"{field}.*{value}"):
        HUGGING_FACE.config_map.arguments({**PUBLISHED, field: value})


@pytest.mark.parametrize(("given", "rate"), [(None, 0.3), (0.1, 0.1)])
def test_a_token_classifier_has_the_dropout_of_its_backbone_unless_it_has_its_own(given, rate):
    task = TokenClassifier(model(dropout=0.3), 2, dropout=given)
    assert task.get_layer("classifier_dropout").rate == rate


def test_steps_normalize_what_they_embed(published):
    _, ours = published
    ids = np.random.default_rng(1).integers(4, 29, (2, 5)).astype("int32")
    whole = ops.convert_to_numpy(ours({"token_ids": ids, "padding_mask": np.ones_like(ids)}))
    stack = ours.decoder_stack()
    assert len(stack.variables) == len(ours.variables)
    x, _ = stack.step(
        ops.convert_to_tensor(ids), stack.init_cache(2, 5),
        {"positions": np.arange(5)[None], "cache_index": 0},
    )  # fmt: skip
    np.testing.assert_allclose(ops.convert_to_numpy(x), whole, atol=1e-5)
