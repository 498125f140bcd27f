"""Laws of low-rank updates: which layers get them, and that PEFT's files keep them exactly."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from inarch.checkpoints.formats.files import SafetensorsFile
from inarch.errors import (
    CheckpointFileError,
    ConfigError,
    InputError,
    InputTypeError,
    WeightMapError,
)
from inarch.models.bert.backbone import BertBackbone
from inarch.models.gpt2.backbone import GPT2Backbone
from inarch.models.lora_layers import updated_layers
from inarch.models.modern_bert.backbone import ModernBertBackbone
from inarch.models.variables import named_variables
from inarch.runtime.forward import compiled
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder

pytestmark = pytest.mark.turns(3)

IDS = np.array([[3, 1, 4, 1, 5]], np.int32)
SIZES = {"dropout": 0.0, "attention_dropout": 0.0, "max_sequence_length": 8}


def bert(hidden_dim=8, **changes):
    return BertBackbone(11, 1, 2, hidden_dim, 12, **SIZES, **changes)


def modern_bert():
    sizes = {"attention_dropout": 0.0, "max_sequence_length": 8, "layer_types": ["global"]}
    return ModernBertBackbone(11, 1, 2, 8, 12, **sizes)


MAKERS = {
    "bert": bert,
    "modern_bert": modern_bert,
    "gpt2": lambda: GPT2Backbone(11, 1, 2, 8, **SIZES),
}


def output(model):
    inputs = {"token_ids": IDS, "segment_ids": 0 * IDS, "padding_mask": 0 * IDS + 1}
    result = compiled(model)({name: inputs[name] for name in model.input})
    return ops.convert_to_numpy(result["sequence_output"] if isinstance(result, dict) else result)


def train(model, seed=0):
    """Give what is trainable other values, as training does."""
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    return model


def stored(folder):
    file = SafetensorsFile(folder / "adapter_model.safetensors")
    return {name: np.array(file.read(name)) for name in file.shard.tensors}


def settings(folder, **changed):
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text()) | changed
    path.write_text(json.dumps(config))
    return config


@pytest.fixture
def base(tmp_path):
    """A saved classifier, to load anew."""
    TextClassifier(bert(), 2).save_to_preset(tmp_path / "base")
    return lambda: TextClassifier.from_preset(tmp_path / "base", preprocessor=None)


@pytest.fixture
def adapter(base, tmp_path):
    """A folder with an adapter of a trained classifier."""
    model = base()
    model.enable_lora(2)
    train(model).save_adapter(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_updates_and_the_head_alone_are_trained_and_change_nothing_at_first(base):
    model = base()
    before = output(model)
    model.enable_lora(2, alpha=6)
    np.testing.assert_array_equal(output(model), before)
    names = sorted(v.path.split("/", 1)[-1] for v in model.trainable_variables)
    assert [n.rpartition("/")[2] for n in names].count("lora_kernel_a") == 2
    assert len(names) == 6  # two of each update, and the head's kernel and bias
    assert {path: (u.lora_rank, u.lora_alpha) for path, u in updated_layers(model)} == {
        "layer_0/attention/query": (2, 6),
        "layer_0/attention/value": (2, 6),
    }


def test_a_language_model_head_is_tied_to_what_is_frozen_so_it_is_frozen_too(tmp_path):
    MaskedLM(bert(pooler=False)).save_to_preset(tmp_path)
    model = MaskedLM.from_preset(tmp_path, preprocessor=None)
    model.enable_lora(2, ["query", "layer_0/feed_forward/up"])
    assert {v.name for v in model.trainable_variables} == {"lora_kernel_a", "lora_kernel_b"}
    assert len(model.trainable_variables) == 4


@pytest.mark.parametrize("kind", MAKERS)
def test_an_adapter_gives_the_same_function_on_the_same_base(kind, tmp_path):
    """Cover one projection for three of ours, and kernels whose inputs come first."""
    MAKERS[kind]().save_to_preset(tmp_path / "base")
    load = lambda: TextEmbedder.from_preset(tmp_path / "base", preprocessor=None)  # noqa: E731
    model = load()
    model.enable_lora(2, ["query", "output"], alpha=3)
    model.backbone.get_layer("layer_0").attention.value_dense.enable_lora(3, lora_alpha=7)
    expected = output(train(model))
    model.save_adapter(tmp_path / "adapter")
    again = load()
    again.load_adapter(tmp_path / "adapter")
    np.testing.assert_allclose(output(again), expected, rtol=1e-4, atol=1e-5)
    ranks = {path: layer.lora_rank for path, layer in updated_layers(again)}
    assert ranks == {path: layer.lora_rank for path, layer in updated_layers(model)}
    again.load_adapter(tmp_path / "adapter")  # over updates of the same layers and ranks
    np.testing.assert_allclose(output(again), expected, rtol=1e-4, atol=1e-5)
    again.merge_lora()
    assert not [*updated_layers(again)]
    np.testing.assert_allclose(output(again), expected, rtol=1e-4, atol=1e-5)
    again.save_to_preset(tmp_path / "merged")
    np.testing.assert_allclose(
        output(TextEmbedder.from_preset(tmp_path / "merged", preprocessor=None)),
        expected, rtol=1e-4, atol=1e-5,
    )  # fmt: skip


def test_the_head_goes_with_the_adapter_under_the_names_of_the_reference(base, adapter):
    config, tensors = settings(adapter), stored(adapter)
    assert config["target_modules"] == [
        "bert.encoder.layer.0.attention.self.query",
        "bert.encoder.layer.0.attention.self.value",
    ]
    assert (config["modules_to_save"], config["r"], config["lora_alpha"]) == (["classifier"], 2, 2)
    assert tensors["base_model.model.classifier.weight"].shape == (2, 8)
    name = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_"
    assert tensors[f"{name}A.weight"].shape == (2, 8)
    model = base()
    model.load_adapter(adapter)
    assert {v.path.rpartition("/")[2] for v in model.trainable_variables} == {
        "kernel", "bias", "lora_kernel_a", "lora_kernel_b",
    }  # fmt: skip


def test_an_adapter_of_a_class_with_another_prefix_fits(tmp_path, base):
    model = base().backbone
    model.enable_lora(2)
    train(model).save_adapter(tmp_path / "adapter")
    assert all("bert" not in name for name in settings(tmp_path / "adapter")["target_modules"])
    task = base()
    task.load_adapter(tmp_path / "adapter")
    np.testing.assert_allclose(output(task.backbone), output(model), rtol=1e-4, atol=1e-5)


def test_a_table_of_embeddings_can_be_updated(base, tmp_path):
    model = base()
    model.enable_lora(2, "token_embedding")
    expected = output(train(model))
    model.save_adapter(tmp_path / "adapter")
    names = [n.rpartition(".")[2] for n in stored(tmp_path / "adapter") if "lora" in n]
    assert names == ["lora_embedding_A", "lora_embedding_B"]
    again = base()
    again.load_adapter(tmp_path / "adapter")
    np.testing.assert_allclose(output(again), expected, rtol=1e-4, atol=1e-5)


def test_an_update_of_a_table_that_is_a_heads_kernel_too_is_refused_as_peft_has_it(tmp_path):
    language = MaskedLM(bert(pooler=False))
    language.save_to_preset(tmp_path / "base")
    encoder = language.backbone
    encoder.enable_lora(2, "token_embedding")
    train(encoder).save_adapter(tmp_path / "adapter")
    tied = MaskedLM.from_preset(tmp_path / "base", preprocessor=None)
    with pytest.raises(InputError, match="is also the kernel of the masked_lm head"):
        tied.load_adapter(tmp_path / "adapter")
    assert not list(updated_layers(tied))


def test_rank_stabilized_scales_and_patterns_of_alpha_are_read(base, adapter):
    plain = base()
    plain.load_adapter(adapter)
    settings(adapter, use_rslora=True, lora_alpha=2 / np.sqrt(2), alpha_pattern={"value": 2})
    model = base()
    model.load_adapter(adapter)
    kernels = [
        {path: ops.convert_to_numpy(layer.kernel) for path, layer in updated_layers(m)}
        for m in (plain, model)
    ]
    query, value = "layer_0/attention/query", "layer_0/attention/value"
    np.testing.assert_allclose(kernels[0][query], kernels[1][query], rtol=1e-5, atol=1e-6)
    start = base().backbone.get_layer("layer_0").attention.value_dense.kernel
    grown = [k[value] - ops.convert_to_numpy(start) for k in kernels]
    np.testing.assert_allclose(grown[1], np.sqrt(2) * grown[0], rtol=1e-4, atol=1e-5)


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), InputError, "rank is 0"),
        ((2, ["query", "wings"]), InputError, "targets has 'wings'.*known: .*query"),
        ((2, []), InputError, "names no layer"),
        ((2, 3), InputTypeError, "targets is 3"),
        ((2, "query", 0), InputError, "alpha is 0"),
        ((2, "query", "much"), InputTypeError, "alpha is 'much'"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_changed(base, arguments, error, message):
    model = base()
    before = len(model.weights), len(model.trainable_variables)
    with pytest.raises(error, match=message):
        model.enable_lora(*arguments)
    assert (len(model.weights), len(model.trainable_variables)) == before


def test_a_second_update_of_a_layer_is_refused(base):
    model = base()
    model.enable_lora(2, "query")
    with pytest.raises(InputError, match=r"query has a low-rank update of rank 2 already"):
        model.enable_lora(2)
    model.merge_lora()
    model.enable_lora(3)
    assert {layer.lora_rank for _, layer in updated_layers(model)} == {3}


def test_what_an_adapter_cant_hold_is_refused(base, tmp_path):
    model = base()
    with pytest.raises(InputError, match="no low-rank updates"):
        model.save_adapter(tmp_path / "no")
    model.enable_lora(2)
    with pytest.raises(InputError, match="are zero"):
        model.save_adapter(tmp_path / "no")
    train(model)
    model.backbone.get_layer("layer_0").attention.query_dense.bias.trainable = True
    with pytest.raises(InputError, match=r"attention/query/bias .* is trained next to"):
        model.save_adapter(tmp_path / "no")
    language = MaskedLM(bert(pooler=False))
    language.enable_lora(2, "token_embedding")
    with pytest.raises(InputError, match="is also the kernel of the masked_lm head"):
        train(language).save_adapter(tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_updates_that_a_keras_file_merged_are_no_adapter_of_the_checkpoint(base, tmp_path):
    model = base()
    model.enable_lora(2)
    train(model).save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    with pytest.raises(InputError, match="are zero"):
        again.save_adapter(tmp_path / "no")
    again.compile()
    again.fit({"token_ids": IDS, "segment_ids": 0 * IDS, "padding_mask": 0 * IDS + 1},
              np.array([1]), verbose=0)  # fmt: skip
    with pytest.raises(InputError, match="merged into the kernels"):
        again.save_adapter(tmp_path / "no")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "IA3"),
        ("use_dora", True),
        ("init_lora_weights", "pissa"),
        ("something_new", [1]),
        ("bias", "all"),
        ("alpha_pattern", {"(query|key)": 3}),
        ("r", 0),
        ("lora_alpha", 0),
    ],
)
def test_a_kind_of_adapter_that_isnt_computed_is_named(base, adapter, field, value):
    settings(adapter, **{field: value})
    with pytest.raises(ConfigError, match=field):
        base().load_adapter(adapter)


def write(folder, tensors):
    from safetensors.numpy import save_file

    save_file({n: np.ascontiguousarray(a) for n, a in tensors.items()},
              folder / "adapter_model.safetensors")  # fmt: skip


def test_an_adapter_that_doesnt_fit_is_refused_before_anything_is_changed(base, adapter, tmp_path):
    tensors = stored(adapter)
    name = next(n for n in tensors if n.endswith("query.lora_A.weight"))
    other = name.replace("query", "key")
    cases = {
        r"lacks .*query\.lora_A\.weight": {n: a for n, a in tensors.items() if n != name},
        r"belong to no layer of the model: .*wings": {**tensors, f"{name}.wings": tensors[name]},
        r"lacks .*key\.lora_B": {**tensors, other: tensors[name]},
        r"has shape \(2, 9\)": {**tensors, name: np.zeros((2, 9), np.float32)},
        "two factors of one rank": {**tensors, name: np.zeros((3, 8), np.float32)},
        r"a part of classifier and lacks classifier\.bias": {
            n: a for n, a in tensors.items() if "classifier.bias" not in n
        },
    }  # fmt: skip
    model = base()
    before = output(model), len(model.weights)
    for message, changed in cases.items():
        write(adapter, changed)
        with pytest.raises(WeightMapError, match=message):
            model.load_adapter(adapter)
    write(adapter, tensors)
    with pytest.raises(WeightMapError, match=r"A\.weight has shape \(2, 8\), .* needs \(2, 16\)"):
        TextClassifier(bert(16), 2).load_adapter(adapter)
    with pytest.raises(WeightMapError, match="as many classes"):
        TextClassifier(bert(), 3).load_adapter(adapter)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointFileError, match=r"no adapter_model\.safetensors"):
        model.load_adapter(adapter)
    np.testing.assert_array_equal(output(model), before[0])
    assert len(model.weights) == before[1]


def test_an_adapter_doesnt_mix_with_updates_of_other_layers(base, adapter):
    model = base()
    model.enable_lora(2, "key")
    with pytest.raises(InputError, match=r"low-rank updates already .*attention/key"):
        model.load_adapter(adapter)


def test_a_projection_that_no_checkpoint_has_stays_trainable(tmp_path):
    modules = [{"type": "Dense", "out_features": 4}]
    built = TextEmbedder(bert(), modules=modules)
    built.save_to_preset(tmp_path)
    loaded = TextEmbedder.from_preset(tmp_path, preprocessor=None)
    for task, names in ((built, {"dense_0/bias", "dense_0/kernel"}), (loaded, set())):
        task.enable_lora(2)
        assert {n for n, v in named_variables(task).items() if v.trainable} == names
