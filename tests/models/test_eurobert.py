"""EuroBERT as its authors publish it: tokens in the config, and a former name of the pooling."""

import json

import numpy as np
import pytest
from keras import ops

from inarch import MaskedLM, TextClassifier, TokenClassifier
from inarch.errors import ConfigError, InputError
from inarch.models.eurobert.backbone import EuroBertBackbone
from inarch.models.variables import named_variables
from inarch.text import WordPieceTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "sat", "ran", "on", "mat"]
CODE = "EuroBERT/EuroBERT-210m--modeling_eurobert.EuroBertFor"
# What EuroBERT/EuroBERT-210m has in its config.json, besides the sizes.
PUBLISHED = {
    "auto_map": {"AutoConfig": "EuroBERT/EuroBERT-210m--configuration_eurobert.EuroBertConfig",
        "AutoModelForMaskedLM": f"{CODE}MaskedLM"},
    "attention_bias": False, "attention_dropout": 0.0, "bos_token": "<|begin_of_text|>",
    "bos_token_id": 128000, "eos_token": "<|end_of_text|>", "eos_token_id": 128001,
    "pad_token": "<|end_of_text|>", "pad_token_id": 128001, "mask_token": "<|mask|>",
    "mask_token_id": 128002, "hidden_act": "silu", "hidden_dropout": 0.0,
    "initializer_range": 0.02, "model_type": "eurobert", "pretraining_tp": 1,
    "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 250000,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "transformers_version": "4.40.0.dev0", "is_decoder": False,
}  # fmt: skip
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "intermediate_size", "max_position_embeddings", "id2label",
    "label2id", "architectures")  # fmt: skip
IDS = np.array([[2, 5, 9, 7, 3], [2, 6, 3, 0, 0]], "int32")
INPUTS = {"token_ids": IDS, "padding_mask": (IDS > 0).astype("int32")}


def make_backbone(**changes):
    sizes = {"num_key_value_heads": 2, "rope_theta": 250000.0, "max_sequence_length": 14}
    return EuroBertBackbone(len(WORDS), 2, 4, 24, 20, **{**sizes, **changes})


def randomized(model):
    random = np.random.default_rng(0)
    for name, variable in named_variables(model).items():
        value = 0.4 * random.normal(size=tuple(variable.shape))
        variable.assign(1 + value if name.endswith("scale") else value)
    return model


def publish(model, folder, **fields):
    """Save a model with the config that the authors' code writes."""
    model.save_to_preset(folder)
    path = folder / "config.json"
    ours = json.loads(path.read_text())
    config = {name: ours[name] for name in SIZES if name in ours} | PUBLISHED | fields
    path.write_text(json.dumps(config))
    WordPieceTokenizer(WORDS).save(folder)
    return path


def logits(model):
    return ops.convert_to_numpy(model(INPUTS))


def test_a_published_masked_language_model_opens_and_stays(tmp_path):
    model = randomized(MaskedLM(make_backbone(), tie_word_embeddings=False))
    path = publish(model, tmp_path / "in")
    again = MaskedLM.from_preset(tmp_path / "in")
    assert again.backbone.arguments == model.backbone.arguments
    np.testing.assert_array_equal(logits(again), logits(model))
    again.save_to_preset(tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text()) == json.loads(path.read_text())


def test_masked_tokens_are_filled_in_by_the_logits_of_the_mask(tmp_path):
    publish(randomized(MaskedLM(make_backbone(), tie_word_embeddings=False)), tmp_path)
    task = MaskedLM.from_preset(tmp_path)
    ids = np.array([[2, 5, 4, 9, 3]], "int32")
    found = ops.convert_to_numpy(task({"token_ids": ids, "padding_mask": np.ones_like(ids)}))[0, 2]
    best = task.fill_mask("cat [MASK] on", top_k=3)[0]
    assert [answer["token_id"] for answer in best] == np.argsort(-found)[:3].tolist()
    shares = np.exp(found - found.max())
    wanted = np.sort(shares / shares.sum())[::-1][:3]
    np.testing.assert_allclose([answer["score"] for answer in best], wanted, rtol=1e-4)


@pytest.mark.parametrize("name", ["classifier_pooling", "clf_pooling"])
@pytest.mark.parametrize("pooling", ["bos", "mean", "late"])
def test_a_classifier_pools_as_its_config_says_by_either_name(name, pooling, tmp_path):
    model = randomized(TextClassifier(make_backbone(classifier_pooling=pooling), 3))
    publish(model, tmp_path, **{name: pooling})
    again = TextClassifier.from_preset(tmp_path)
    assert again.backbone.arguments["classifier_pooling"] == pooling
    np.testing.assert_array_equal(logits(again), logits(model))


def test_pooling_late_is_the_mean_of_what_pooling_early_gives_of_each_token():
    late = randomized(TextClassifier(make_backbone(), 3))
    early = randomized(TextClassifier(make_backbone(classifier_pooling="bos"), 3))
    row = {name: array[:1] for name, array in INPUTS.items()}
    vectors = late.backbone(row)
    dense, linear = (early.get_layer(name) for name in ("pooled_dense", "logits"))
    wanted = ops.convert_to_numpy(linear(dense(vectors)))[0]
    np.testing.assert_allclose(ops.convert_to_numpy(late(row))[0], wanted.mean(0), atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(early(row))[0], wanted[0], atol=1e-5)


def test_a_token_classifier_is_a_layer_without_dropout():
    model = TokenClassifier(make_backbone(), 3)
    assert model.get_layer("classifier_dropout").rate == 0


def test_a_pooling_that_is_none_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="classifier_pooling='cls'; pass one of"):
        make_backbone(classifier_pooling="cls")
    publish(TextClassifier(make_backbone(), 3), tmp_path, clf_pooling="cls")
    with pytest.raises(ConfigError, match="'clf_pooling' is 'cls'; computed here: 'bos'"):
        TextClassifier.from_preset(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"), [("is_decoder", True), ("is_causal", True), ("num_experts", 8)]
)
def test_what_is_not_computed_is_refused_by_name(field, value, tmp_path):
    publish(MaskedLM(make_backbone(), tie_word_embeddings=False), tmp_path, **{field: value})
    with pytest.raises(ConfigError, match=field):
        MaskedLM.from_preset(tmp_path)
