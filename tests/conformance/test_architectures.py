"""What holds for every architecture folder. A new folder is tested by being there."""

import ast
import inspect
import json
import string
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from inarch.checkpoints.formats.files import open_weights
from inarch.checkpoints.maps.config import Field
from inarch.errors import ConfigError, PresetError, WeightMapError
from inarch.models import registry
from inarch.models.backbone import Backbone
from inarch.models.loading import Checkpoint
from inarch.models.variables import (
    build_without_values,
    initialize,
    named_variables,
    set_value,
)
from inarch.runtime.forward import compiled
from inarch.tasks import MaskedLM, TextClassifier, TextEmbedder, TextPreprocessor
from inarch.text import WordPieceTokenizer

TINY = {
    "vocabulary_size": 31, "num_layers": 2, "num_heads": 2, "hidden_dim": 8,
    "intermediate_dim": 12, "max_sequence_length": 24, "bucket_size": 4,
    "num_encoder_layers": 2, "num_decoder_layers": 2, "num_encoder_heads": 2,
    "num_decoder_heads": 4, "encoder_intermediate_dim": 12, "decoder_intermediate_dim": 10,
    "num_mels": 3, "max_encoder_sequence_length": 5, "max_decoder_sequence_length": 24,
}  # fmt: skip
TASKS = {"masked_lm": MaskedLM, "text_classifier": TextClassifier}


@pytest.fixture(params=sorted(registry.architectures()))
def architecture(request):
    return registry.architectures()[request.param]


ENCODERS = [n for n, a in registry.architectures().items() if "masked_lm" in a.sources[0].heads]


@pytest.fixture(params=sorted(ENCODERS))
def encoder(request):
    """An architecture that encodes text."""
    return registry.architectures()[request.param]


def randomized(model, seed=0):
    """The model with every weight of order one, so that nothing hides behind a zero."""
    random = np.random.default_rng(seed)
    for name, variable in named_variables(model).items():
        value = random.normal(size=tuple(variable.shape))
        set_value(variable, 1 + 0.3 * value if name.endswith("gamma") else value)
    return model


def tiny(architecture, **changes):
    known = inspect.signature(architecture.backbone).parameters
    # A size of which the suite hasn't heard, such as that of the embeddings alone, is 10.
    arguments = {
        name: TINY.get(name, 10)
        for name, parameter in known.items()
        if name in TINY or (parameter.default is parameter.empty and name != "kwargs")
    }
    # Without initial values, each shape of which JAX would compile.
    model, waiting = build_without_values(lambda: architecture.backbone(**arguments | changes))
    randomized(model)
    initialize(waiting)
    return model


def inputs_for(model, lengths=(7, 3, 5), pads=0, seed=0):
    random = np.random.default_rng(seed)
    longest = max(lengths)
    mask = (np.arange(longest) < np.array(lengths)[:, None]).astype("int32")
    arrays = {
        "token_ids": random.integers(1, 31, mask.shape).astype("int32") * mask,
        "segment_ids": random.integers(0, 2, mask.shape).astype("int32") * mask,
        "padding_mask": mask,
    }
    arrays = {k: np.pad(v, ((0, 0), (0, pads))) for k, v in arrays.items()}
    arrays |= {f"decoder_{name}": array for name, array in arrays.items()}
    # One sound for all rows, so that what differs between them is their tokens.
    heard = random.normal(size=(1, 2 * TINY["max_encoder_sequence_length"], TINY["num_mels"]))
    arrays["encoder_features"] = np.repeat(heard, len(mask), axis=0).astype("float32")
    return {name: arrays[name] for name in model.input}


def last_block(model, number):
    """The block of this number, of the decoder where there are two stacks."""
    return [layer for layer in model.layers if layer.name.endswith(f"layer_{number}")][-1]


def paths_of(model):
    """Of all variables but the seeds of dropout, whose names count up in a process."""
    return [v.path for v in model.variables if "seed_generator" not in v.path]


def padding_mask(inputs):
    return next(array for name, array in inputs.items() if name.endswith("padding_mask"))


def letters():
    """A preprocessor with one token for each letter."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *string.ascii_lowercase]
    return TextPreprocessor(WordPieceTokenizer(vocabulary), TINY["max_sequence_length"])


def sequence(outputs):
    if isinstance(outputs, dict):
        outputs = outputs.get("sequence_output", outputs.get("decoder_sequence_output"))
    return ops.convert_to_numpy(ops.cast(outputs, "float32"))


def at_once(model, inputs):
    """The sequence by one program, compiled sooner than its parts for a shape of its own."""
    return sequence(compiled(model)(inputs))


def stored(folder):
    with open_weights(folder) as weights:
        return {n: (i, weights.read(n).tobytes()) for n, i in weights.header.items()}


# --- files -------------------------------------------------------------------------------------


def test_saved_weights_are_proven_and_give_the_same_numbers(architecture, tmp_path):
    model = tiny(architecture)
    model.save_to_preset(tmp_path / "one")
    again = Backbone.from_preset(tmp_path / "one")
    assert type(again) is architecture.backbone
    assert again.arguments == model.arguments
    x = inputs_for(model)
    np.testing.assert_array_equal(sequence(again(x)), sequence(model(x)))
    again.save_to_preset(tmp_path / "two")
    assert stored(tmp_path / "one") == stored(tmp_path / "two")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("head", "tie"), [("masked_lm", True), ("masked_lm", False), ("text_classifier", True)]
)
def test_every_head_of_the_map_has_its_graph_and_comes_back(architecture, head, tie, tmp_path):
    if head not in architecture.sources[0].heads:
        pytest.skip(f"{architecture.name} has no {head} head")
    own = {"num_classes": 3} if head == "text_classifier" else {"tie_word_embeddings": tie}
    part = {"pooler": head == "text_classifier"} if architecture.sources[0].optional_layers else {}
    task = randomized(TASKS[head](tiny(architecture, **part), **own))
    task.save_to_preset(tmp_path / "one")
    again = TASKS[head].from_preset(tmp_path / "one", preprocessor=None)
    assert again.fresh_weights == ()
    x = inputs_for(task.backbone)
    np.testing.assert_array_equal(sequence(again(x)), sequence(task(x)))
    again.save_to_preset(tmp_path / "two")
    assert stored(tmp_path / "one") == stored(tmp_path / "two")


def test_a_backbone_from_a_file_with_a_head_keeps_the_head_for_export(encoder, tmp_path):
    part = {"pooler": False} if encoder.sources[0].optional_layers else {}
    randomized(MaskedLM(tiny(encoder, **part))).save_to_preset(tmp_path / "one")
    backbone = Backbone.from_preset(tmp_path / "one")
    assert backbone.passthrough
    path = tmp_path / "model.keras"
    backbone.save(path)
    for number, model in enumerate((backbone, keras.saving.load_model(path))):
        model.save_to_preset(tmp_path / f"out{number}")
        assert stored(tmp_path / f"out{number}") == stored(tmp_path / "one")


def test_a_task_around_a_loaded_backbone_keeps_the_checkpoints_config(encoder, tmp_path):
    tiny(encoder).save_to_preset(tmp_path / "one")
    path = tmp_path / "one/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": 7}))
    backbone = Backbone.from_preset(tmp_path / "one")
    TextEmbedder(backbone).save_to_preset(tmp_path / "two")
    assert stored(tmp_path / "two") == stored(tmp_path / "one")
    assert (tmp_path / "two/config.json").read_bytes() == path.read_bytes()
    TextClassifier(backbone, 3).save_to_preset(tmp_path / "three")
    assert json.loads((tmp_path / "three/config.json").read_text())["pad_token_id"] == 7
    again = TextClassifier.from_preset(tmp_path / "three", preprocessor=None)
    assert again.num_classes == 3


def test_a_checkpoint_with_a_layer_too_many_or_too_few_is_refused(architecture, tmp_path):
    tiny(architecture).save_to_preset(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    counts = [e.theirs for e in architecture.sources[0].config
              if isinstance(e, Field) and e.ours.endswith("_layers")]  # fmt: skip
    for layers in counts:
        for number, said in ((1, "unknown in the file"), (3, "missing from the file")):
            path.write_text(json.dumps(config | {layers: number}))
            with pytest.raises(WeightMapError, match=said):
                Backbone.from_preset(tmp_path)


def test_every_argument_is_in_the_config_map(architecture):
    signature = inspect.signature(architecture.backbone.__init__).parameters
    arguments = signature.keys() - {"self", "kwargs"}
    for source in architecture.sources:
        mapped = {e.ours for e in source.config if isinstance(e, Field)} | set(
            source.optional_layers
        )
        assert arguments == mapped


def test_a_class_of_the_wrong_kind_says_which_to_use(architecture, tmp_path):
    tiny(architecture).save_to_preset(tmp_path)
    for other in registry.architectures().values():
        if other is not architecture:
            with pytest.raises(PresetError, match=f"{architecture.backbone.__name__}.from_preset"):
                other.backbone.from_preset(tmp_path)


ALONE = """
import importlib, sys
for module in sys.argv[1:]:
    for name in [n for n in sys.modules if n.split(".")[0] == "inarch"]:
        del sys.modules[name]
    importlib.import_module(module)
"""


@pytest.mark.reference
def test_each_graph_can_be_the_first_thing_that_is_imported():
    modules = [a.backbone.__module__ for a in registry.architectures().values()]
    subprocess.run([sys.executable, "-c", ALONE, *modules], check=True)


def test_presets_are_complete(architecture):
    assert architecture.presets, "presets.toml names at least one published checkpoint"
    for preset in architecture.presets.values():
        assert preset.hub.count("/") == 1
        assert preset.parameters > 0
        assert preset.licence
        assert preset.description


def test_presets_have_the_names_that_kerasnlp_has():
    assert {
        "roberta_base_en", "roberta_large_en", "xlm_roberta_base_multi", "xlm_roberta_large_multi",
        "f_net_base_en", "f_net_large_en", "deberta_v3_extra_small_en", "deberta_v3_small_en",
        "deberta_v3_base_en", "deberta_v3_large_en", "deberta_v3_base_multi",
    } <= registry.presets().keys()  # fmt: skip


@pytest.mark.parametrize("value", [1.5, 2, -0.1, float("inf"), float("nan"), "0.1"])
def test_a_rate_of_dropout_beyond_its_bounds_is_refused_by_name(architecture, value):
    """In the backbone and in every head, of every format."""
    tables = [s.config for s in architecture.sources]
    tables += [head.config for s in architecture.sources for head in s.heads.values()]
    rates = [e for table in tables for e in table if isinstance(e, Field) and "drop" in e.ours]
    assert rates
    for rate in rates:
        with pytest.raises(ConfigError) as error:
            rate.read({rate.theirs: value})
        said = f"{rate.theirs!r} has the unusable value {value!r}; it must be from 0 to 1"
        assert said in str(error.value)


def test_the_folder_is_short(architecture):
    """At most 130 statements and table entries, however they are laid out in lines."""
    package = inspect.getmodule(architecture.backbone).__file__.rpartition("/")[0]
    graph, tables = (
        [*ast.walk(ast.parse(Path(package, name).read_text("utf-8")))]
        for name in ("backbone.py", "checkpoint.py")
    )
    statements = [node for node in (*graph, *tables) if isinstance(node, ast.stmt)]
    entries = [node for node in tables if isinstance(node, ast.Call)]
    assert len([*filter(is_written, statements), *entries]) <= 130


def is_written(statement):
    """Whether a statement does something: an import or a docstring doesn't."""
    text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return not text and not isinstance(statement, ast.Import | ast.ImportFrom)


# --- numbers -----------------------------------------------------------------------------------


def test_real_tokens_depend_on_padding_only_where_the_class_says_so(architecture):
    model = tiny(architecture)
    mask = padding_mask(inputs_for(model)).astype(bool)
    alone = sequence(model(inputs_for(model)))[mask]
    padded = at_once(model, inputs_for(model, pads=6))[:, :7][mask]
    if architecture.backbone.padding_affects_output:
        assert np.abs(padded - alone).max() > 0.1
    else:
        np.testing.assert_allclose(padded, alone, rtol=1e-4, atol=1e-5)


def test_the_mask_has_no_part_in_the_numbers_where_padding_is_read(architecture):
    if not architecture.backbone.padding_affects_output:
        pytest.skip(f"{architecture.name} honours its mask")
    model = tiny(architecture)
    x = inputs_for(model)
    for mask in (np.ones_like(x["padding_mask"]), np.cumsum(x["padding_mask"], axis=1)):
        other = sequence(model(x | {"padding_mask": mask.astype("int32")}))
        np.testing.assert_array_equal(other, sequence(model(x)))


@pytest.mark.turns(3)
@pytest.mark.parametrize("task", [TextEmbedder, TextClassifier, MaskedLM])
def test_a_texts_numbers_do_not_depend_on_the_others_in_the_batch(encoder, task):
    parts = {"pooler": True} if encoder.sources[0].optional_layers else {}
    own = {"num_classes": 3} if task is TextClassifier else {}
    model = randomized(task(tiny(encoder, **parts), preprocessor=letters(), **own))
    texts = ["a b c", "a", "d e f g h i j k", "b b b", "c a e f b"]
    together = model.predict(texts, batch_size=3)
    for text, row in zip(texts, together, strict=True):
        (alone,) = model.predict([text])
        np.testing.assert_allclose(row[: len(alone)], alone, rtol=1e-4, atol=1e-4)


def test_packed_sequences_do_not_see_each_other(architecture):
    if architecture.backbone.padding_affects_output:
        pytest.skip(f"{architecture.name} mixes the whole row, so nothing is packed for it")
    model = tiny(architecture)
    alone = inputs_for(model, lengths=(6, 4))
    packed = {
        name: np.concatenate([a[0, :6], a[1, :4], np.zeros(2, "int32")])[None]
        if a.ndim == 2 else a[:1]
        for name, a in alone.items()
    }  # fmt: skip
    padding_mask(packed)[0] = [1] * 6 + [2] * 4 + [0, 0]
    together, apart = at_once(model, packed)[0], at_once(model, alone)
    np.testing.assert_allclose(together[:6], apart[0, :6], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together[6:10], apart[1, :4], rtol=1e-4, atol=1e-5)


def test_a_row_of_padding_is_finite(architecture):
    model = tiny(architecture)
    x = inputs_for(model)
    padding_mask(x)[1] = 0
    assert np.isfinite(sequence(model(x))).all()


# --- Keras habits ------------------------------------------------------------------------------


def test_keras_files_weights_and_clones(architecture, tmp_path):
    """They are of the same class, with the same arguments, frozen layers and low-rank updates."""
    model = tiny(architecture)
    last_block(model, 0).trainable = False
    for layer in last_block(model, 1)._flatten_layers():
        if isinstance(layer, keras.layers.Dense):
            layer.enable_lora(2)
    x = inputs_for(model)
    expected = sequence(model(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(sequence(loaded(x)), expected)
    clone = keras.models.clone_model(model)
    for other in (loaded, clone):
        assert type(other) is type(model)
        assert other.arguments == model.arguments
        assert paths_of(other) == paths_of(model)
        assert [v.trainable for v in other.variables] == [v.trainable for v in model.variables]
    model.save_weights(tmp_path / "model.weights.h5")
    clone.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(sequence(clone(x)), expected)


def test_a_layer_is_a_feature_and_the_summary_names_it(architecture):
    model = tiny(architecture)
    feature = keras.Model(model.input, last_block(model, 0).output)
    x = inputs_for(model)
    assert sequence(feature(x)).shape == (*padding_mask(x).shape, TINY["hidden_dim"])
    lines = []
    model.summary(print_fn=lines.append)
    assert "layer_1" in "\n".join(lines)


@pytest.mark.turns(3)
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16", "float16"])
def test_low_precision_loads_runs_and_is_kept(architecture, dtype, tmp_path):
    model = tiny(architecture)
    model.save_to_preset(tmp_path / "one")
    low = Backbone.from_preset(tmp_path / "one", dtype=dtype)
    stored_as = "float32" if dtype.startswith("mixed") else dtype
    assert {v.dtype for v in low.weights} == {stored_as}
    x = inputs_for(model)
    real = padding_mask(x).astype(bool)
    full, part = sequence(model(x))[real], sequence(low(x))[real]
    assert np.sqrt(np.mean((full - part) ** 2)) < 0.1 * np.sqrt(np.mean(full**2))
    low.save(tmp_path / "low.keras")
    again = keras.saving.load_model(tmp_path / "low.keras")
    assert again.dtype_policy.name == low.dtype_policy.name
    np.testing.assert_array_equal(sequence(again(x)), sequence(low(x)))
    assert keras.config.dtype_policy().name == "float32"


def test_frozen_weights_and_low_rank_updates_train_and_export(architecture, tmp_path):
    model = tiny(architecture)
    model.trainable = False
    assert not model.trainable_variables
    model.trainable = True
    block = last_block(model, 0)
    layer = getattr(block.attention, "query_dense", block.feed_forward.up)
    before = ops.convert_to_numpy(layer.kernel)
    layer.enable_lora(2)
    layer.lora_kernel_a.assign(np.ones(layer.lora_kernel_a.shape))
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    assert np.abs(ops.convert_to_numpy(layer.kernel) - before).max() > 0.1
    model.save_to_preset(tmp_path)
    merged = Backbone.from_preset(tmp_path)
    x = inputs_for(model)
    np.testing.assert_allclose(sequence(merged(x)), sequence(model(x)), rtol=1e-4, atol=1e-4)


def test_arguments_override_the_config(architecture, tmp_path):
    tiny(architecture).save_to_preset(tmp_path)
    model = Backbone.from_preset(tmp_path, dropout=0.4, name="mine")
    assert model.arguments["dropout"] == 0.4
    assert model.name == "mine"
    fresh = Backbone.from_preset(tmp_path, load_weights=False)
    assert fresh.arguments == tiny(architecture).arguments
    with pytest.raises(ValueError, match="wings"):
        Backbone.from_preset(tmp_path, wings=2)


def test_dropout_acts_in_training_alone(architecture):
    model = tiny(architecture, dropout=0.5)
    x = inputs_for(model)
    np.testing.assert_array_equal(sequence(model(x)), sequence(model(x)))
    assert np.abs(sequence(model(x, training=True)) - sequence(model(x))).max() > 0.1


def test_an_unnamed_input_is_an_error_that_names_it(architecture):
    model = tiny(architecture)
    with pytest.raises(ValueError, match="wings"):
        model({**inputs_for(model), "wings": np.zeros((3, 7))})


def test_an_interrupted_predict_leaves_the_weights(architecture):
    model = tiny(architecture)
    before = [ops.convert_to_numpy(v) for v in model.weights]

    class Stop(keras.callbacks.Callback):
        def on_predict_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.predict(inputs_for(model), callbacks=[Stop()], verbose=0, batch_size=1)
    for old, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), old)


def test_the_checkpoint_proves_itself(architecture, tmp_path):
    tiny(architecture).save_to_preset(tmp_path)
    with Checkpoint(tmp_path) as checkpoint:
        header = checkpoint.weights.header
    names = json.loads((tmp_path / "config.json").read_text())
    assert names["model_type"] == architecture.sources[0].model_type
    assert len(header) == len(tiny(architecture).weights)
    assert Backbone.from_preset(tmp_path).fresh_weights == ()
    if architecture.name in ENCODERS:
        assert TextEmbedder.from_preset(tmp_path, preprocessor=None).fresh_weights == ()
